"""The service manager, as commands.

Owns every process that is started for an installation. Promises: each has a deadline, and what
it says when it fails is passed on; what runs for a user has that user's rights, the environment
of the service, and no terminal.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from meshd.errors import DeadlineError, MeshdError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from meshd.installing.target import Target

DEADLINE: Final = 120.0
"""Seconds: a start may migrate a database."""

_QUOTED: Final = re.compile(r"\$'(.*)'")
_OF_MESHD: Final = re.compile(r"HOME$|USER$|XDG_(CONFIG|STATE)_HOME$|MESHD_")
_UNREACHABLE: Final = re.compile(r"connect to .*bus")
_LINGER: Final = Path("/var/lib/systemd/linger")


@dataclass(frozen=True, slots=True)
class Manager:
    """The manager that runs a service."""

    target: Target

    def version(self) -> int:
        """Return the number of the systemd that is here, and answers.

        Raises:
            MeshdError: there is none, or it does not answer.
        """
        match = re.match(r"systemd (\d+)", _said_to_be_here())
        if match is None:
            raise MeshdError(
                "there is no systemd here", hint="start meshd by what starts services: meshd run"
            )
        self.tell("show-environment")
        return int(match[1])

    def tell(self, *arguments: str) -> None:
        """Tell the manager to do something.

        Raises:
            MeshdError: it did not; the message is what it said.
        """
        done = self._ask(*arguments)
        if done.returncode != 0:
            said = done.stderr.strip() or f"{self.target.systemctl} {' '.join(arguments)} failed"
            raise MeshdError(said, hint=self._hint(said))

    def is_active(self) -> bool:
        """Whether the service runs, or is about to, or not yet to end."""
        state = self._ask("is-active", self.target.unit).stdout.strip()
        return state not in ("", "inactive", "failed", "unknown")

    def has_failed(self) -> bool:
        """Whether the service ended by a failure, and nobody has taken note of it."""
        return self._ask("is-failed", self.target.unit).returncode == 0

    def is_outdated(self) -> bool:
        """Whether the manager has not read the service's files as they are now."""
        shown = self._ask("show", "-P", "NeedDaemonReload", self.target.unit)
        return shown.stdout.strip() == "yes"

    def is_enabled(self) -> bool:
        """Whether the service is started with the system or the session."""
        return self._ask("is-enabled", self.target.unit).stdout.strip() == "enabled"

    def lingers(self) -> bool:
        """Whether the user's manager runs while the user is logged out."""
        return (_LINGER / self.target.user).exists()

    def learn_explanations(self) -> None:
        """Have journalctl know the explanations that lie in its places now."""
        done = run(["journalctl", "--update-catalog"])
        if done.returncode != 0:
            raise MeshdError(f"journalctl --update-catalog failed: {done.stderr.strip()}")

    def as_user(
        self, command: Sequence[str], text: str = "", more: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command with the rights of the service's user, in the service's environment.

        Root reads and writes nothing below a user's home: a symlink there could lead anywhere.

        Args:
            command: the program and its arguments.
            text: its standard input.
            more: further variables.
        """
        target = self.target
        environ = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", **target.environ, **(more or {})}
        if os.geteuid() == target.uid:
            return run(command, text, environ)
        try:
            return subprocess.run(  # noqa: S603 - our own words, and the path of our program
                command, input=text, capture_output=True, text=True, check=False, timeout=DEADLINE,
                user=target.uid, group=target.gid, cwd="/", env=environ,
                extra_groups=os.getgrouplist(target.user, target.gid),
                # Without it the user's code could type into root's terminal (TIOCSTI).
                start_new_session=True,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise _late(command) from None

    def _ask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        scope = ["--user"] if self.target.of_user else []
        return run(["systemctl", *scope, *arguments])

    def _hint(self, said: str) -> str:
        if self.target.of_user and _UNREACHABLE.search(said):
            return unreachable_hint(self.target.user)
        if "not been booted with systemd" in said:
            return "start meshd by what starts services: meshd run"
        return f"see {self.target.journalctl} -n 20"


def environment_of_own_manager() -> dict[str, str]:
    """Return what the caller's own manager gives its services, as far as it matters to meshd.

    The shell may say otherwise; a service never hears of that.

    Raises:
        MeshdError: there is no such manager, or it cannot be reached.
    """
    if not _said_to_be_here():
        raise MeshdError(
            "there is no systemd here", hint="start meshd by what starts services: meshd run"
        )
    asked = run(["systemctl", "--user", "show-environment"])
    if asked.returncode != 0:
        name = os.environ.get("USER") or str(os.geteuid())
        raise MeshdError(asked.stderr.strip(), hint=unreachable_hint(name))
    lines = (line.partition("=") for line in asked.stdout.splitlines())
    return {name: _unquoted(value) for name, _, value in lines if _OF_MESHD.match(name)}


def unreachable_hint(user: str) -> str:
    """Return what to do when a user's own manager cannot be reached."""
    return (
        "your own service manager does not run: log in rather than use su or sudo, or as"
        f" root: loginctl enable-linger {user}"
    )


def run(
    command: Sequence[str], text: str = "", environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command as whoever we are.

    Raises:
        DeadlineError: it has not ended in time.
    """
    try:
        return subprocess.run(  # noqa: S603 - our own words
            command, input=text, capture_output=True, text=True, check=False, timeout=DEADLINE,
            env=None if environ is None else dict(environ),
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise _late(command) from None


def _late(command: Sequence[str]) -> DeadlineError:
    return DeadlineError(f"{command[0]} has not ended within {DEADLINE:.0f} s")


def _said_to_be_here() -> str:
    """Return what systemctl says of its version; nothing where there is none."""
    try:
        return run(["systemctl", "--version"]).stdout
    except FileNotFoundError:
        return ""


def _unquoted(value: str) -> str:
    """Return a value as systemctl shows it, without the quotes of a shell."""
    quoted = _QUOTED.fullmatch(value)
    return (
        quoted[1].encode("latin-1", "backslashreplace").decode("unicode_escape")
        if quoted
        else value
    )
