"""What is wrong with the state directory, the socket and the database."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from meshd.diagnosis.findings import Facts, Finding, Severity, StateDirectory, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

PRIVATE_MODE: Final = 0o700
OTHERS_WRITE: Final = 0o022
LITTLE_BYTES: Final = 64 * 1024 * 1024
"""With less left, the next large batch may fail to commit."""
UNDER_WAY_SECONDS: Final = 30.0
"""A change of files that began later than that is most likely under way."""


def place_findings(facts: Facts) -> Iterator[Finding]:
    """Yield what is wrong with the files meshd keeps."""
    if facts.state is not None:
        yield from _directory(facts.state, facts.user)
        yield from _kept_files(facts.state)
        yield from _unfinished(facts.state, facts.now)
    if facts.socket_mode is not None and facts.socket_mode & OTHERS_WRITE:
        yield Finding(
            Severity.REMARK, "socket-open", facts.socket,
            f"others may read the registry through it (mode {facts.socket_mode:04o})",
            'if that is not meant, set api.socket_mode = "0600" and restart',
        )  # fmt: skip
    yield from _database(facts)


def _directory(state: StateDirectory, user: int) -> Iterator[Finding]:
    if state.mode & ~PRIVATE_MODE:
        yield Finding(
            Severity.WARNING, "state-open", state.path,
            f"other users may enter the state directory (mode {state.mode:04o})",
            f"chmod 0700 {quoted(state.path)}",
        )  # fmt: skip
    if state.mode & PRIVATE_MODE != PRIVATE_MODE:
        yield Finding(
            Severity.ERROR, "state-closed", state.path,
            f"its owner may not use the state directory (mode {state.mode:04o})",
            f"chmod 0700 {quoted(state.path)}",
        )  # fmt: skip
    if state.owner != user:
        yield Finding(
            Severity.WARNING, "state-owner", state.path,
            f"it belongs to user {state.owner}, and the daemon's user is {user}",
            f"chown -R {user} {quoted(state.path)}, or set store.directory to another directory",
        )  # fmt: skip
    if state.free_bytes < LITTLE_BYTES:
        yield Finding(
            Severity.ERROR, "disk-full", state.path,
            f"its file system has {state.free_bytes // 1024 // 1024} MiB left",
            "make room: a commit that fails is tried again, but nothing new is kept meanwhile",
        )  # fmt: skip


def _kept_files(state: StateDirectory) -> Iterator[Finding]:
    if state.policy_problem is not None:
        yield Finding(
            Severity.ERROR, "policy", f"{state.path}/policy.json",
            f"the mirror of denials and rules cannot be understood: {state.policy_problem}",
            "restart the daemon while the database is sound: it writes the file anew",
        )  # fmt: skip
    for name in state.set_aside:
        yield Finding(
            Severity.REMARK, "set-aside", f"{state.path}/{name}",
            "a database was set aside, and a new one built from the manifests",
            "look at the disk if it was damaged; delete the file once it is of no use",
        )  # fmt: skip


def _unfinished(state: StateDirectory, now: float) -> Iterator[Finding]:
    for change in state.unfinished:
        if now - datetime.fromisoformat(change.since).timestamp() > UNDER_WAY_SECONDS:
            yield Finding(
                Severity.WARNING, "unfinished", change.path,
                f"a change of its files, begun {change.since}, is not finished: {change.left}"
                " is to go or to be put back",
                "see that meshd may write there, that nothing is mounted in it, and that no new"
                " `.dork` is in its way; then: meshd sweep. The daemon's log says why",
            )  # fmt: skip


def _database(facts: Facts) -> Iterator[Finding]:
    for problem in facts.database_problems or ():
        yield Finding(
            Severity.ERROR, "database", facts.database, problem,
            "stop the daemon and start it again: it keeps the file and builds a new one",
        )  # fmt: skip
