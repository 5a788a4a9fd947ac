"""Opening the state directory: one daemon, one database, and never a silent replacement.

Owns the lock, the decision what to do with the database that was found, and the mirror of
the policy. Promises: a damaged or lost database is rebuilt with its denials, rules, incumbents
and unfinished intents from `policy.json`, under a new epoch, also when the process dies
half-way; a foreign or newer one is refused; a damaged one is kept beside the new one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

import apsw

from meshd.clock import timestamp
from meshd.errors import AlreadyRunningError, DamagedDatabaseError, StoreError
from meshd.policy import Policy, PolicyFile
from meshd.store import apply, intents
from meshd.store.connection import (
    SIDE_FILES,
    Condition,
    beating,
    examine,
    open_writing,
    quarantine,
)
from meshd.store.migrations import migrate, migrations, version
from meshd.store.registry import Registry
from meshd.store.store import Store
from meshd.store.transactions import transaction
from meshd.store.upgrading import keep_copy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from meshd.clock import Clock
    from meshd.store.migrations import Migration

DATABASE = "meshd.db"
POLICY = "policy.json"
LOCK = "meshd.lock"


@dataclass(frozen=True, slots=True)
class Opened:
    """A store ready for use, and what had to be done to get there.

    Attributes:
        store: the store.
        rebuilt: why the database was begun anew, None when it was not.
        quarantined: where the old files went.
        migrated: names of the migrations applied.
        created: whether there was no database before.
    """

    store: Store
    rebuilt: Condition | None
    quarantined: tuple[Path, ...]
    migrated: tuple[str, ...]
    created: bool


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the state directory's lock for the length of a block, creating the directory.

    The kernel frees the lock however the process ends; its content is for people only.

    Raises:
        AlreadyRunningError: another process holds it.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(directory / LOCK, flags, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            raise AlreadyRunningError(
                f"meshd already runs on {directory} (process {owner or 'unknown'})",
                hint="stop it first, or set store.directory to another directory",
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        yield
    finally:
        os.close(descriptor)


def open_store(
    directory: Path,
    clock: Clock,
    beat: Callable[[], None] = lambda: None,
    *,
    thorough: bool = False,
) -> Opened:
    """Open the database of a state directory whose lock is held.

    Args:
        directory: the state directory.
        clock: stamps what is done.
        beat: called again and again while a large database is examined, copied and migrated.
        thorough: the database looked damaged: the indexes are examined too.

    Raises:
        ForeignDatabaseError: the file is another program's.
        NewerDatabaseError: a newer meshd wrote it.
        DamagedDatabaseError: it must be rebuilt and `policy.json` cannot be understood.
        StoreError: the state directory cannot be read or written.
    """
    path = directory / DATABASE
    file = PolicyFile(directory / POLICY)
    unreadable = None
    try:
        expected = file.load() is not None
    except DamagedDatabaseError as error:
        expected, unreadable = True, error
    condition = examine(path, expected=expected, thorough=thorough, beat=beat)
    rebuild = condition in (Condition.LOST, Condition.DAMAGED)
    if rebuild and unreadable is not None:
        raise unreadable
    try:
        moved = quarantine(path, _stamp(clock)) if rebuild or _has_leftovers(path) else []
        path.touch(mode=0o600)
        applied, epoch = _prepare(path, file, timestamp(clock.wall_ns()), beat)
    except (apsw.Error, OSError) as error:
        raise StoreError(
            f"cannot prepare {path}: {error}",
            hint="see that the disk is not full and the state directory is writable",
        ) from error
    store = Store(path, epoch, lambda writing: mirror(writing, file, epoch))
    return Opened(
        store,
        condition if rebuild else None,
        tuple(moved),
        tuple(step.name for step in applied),
        created=condition is not Condition.OURS,
    )


def _prepare(
    path: Path, file: PolicyFile, at: str, beat: Callable[[], None]
) -> tuple[list[Migration], str]:
    """Bring the database and its mirror up to date; return the migrations applied and the epoch."""
    connection = open_writing(path)
    try:
        beating(connection, beat)
        present = version(connection)
        if 0 < present < len(migrations()):
            keep_copy(connection, path, present)
        applied = migrate(connection, at)
        epoch = _settle_epoch(connection, file)
        _drop_finished(connection, file)
        mirror(connection, file, epoch)
    finally:
        connection.close()
    return applied, epoch


def mirror(connection: apsw.Connection, file: PolicyFile, epoch: str) -> None:
    """Bring `policy.json` in step with the database as this connection sees it.

    The writer asks for it before it commits. After a commit that failed or was cut short the
    file is ahead of the database, until the next commit or start.
    """
    registry = Registry(connection)
    file.save(
        Policy(
            epoch,
            tuple(registry.denials()),
            tuple(registry.rules()),
            {**registry.inherited_incumbents(), **registry.contested()},
            tuple(intents.listed(connection)),
        )
    )


def _stamp(clock: Clock) -> str:
    return timestamp(clock.wall_ns()).replace(":", "").replace(".", "-")


def _has_leftovers(path: Path) -> bool:
    """Whether side files lie there without their database: a new one must not replay them."""
    if path.exists() and path.stat().st_size > 0:
        return False
    return any(path.with_name(path.name + suffix).exists() for suffix in SIDE_FILES[1:])


def _settle_epoch(connection: apsw.Connection, file: PolicyFile) -> str:
    """Return the database's epoch; one without begins it with the policy that was mirrored.

    The epoch commits with what is inherited, so a rebuild that died in between inherits too.
    """
    epoch = Registry(connection).meta("epoch")
    if epoch:
        return epoch
    inherited = file.load()
    epoch = secrets.token_hex(4)
    with transaction(connection):
        apply.set_meta(connection, "epoch", epoch)
        if inherited is not None:
            _inherit(connection, inherited)
    return epoch


def _drop_finished(connection: apsw.Connection, file: PolicyFile) -> None:
    """Drop the intents that were finished since this copy of the database was made.

    The mirror is never behind the database: an intent that it has not is from a backup. To undo
    what was acknowledged after the backup would take a manifest away.
    """
    try:
        policy = file.load()
    except DamagedDatabaseError:
        return
    if policy is not None and policy.intents is not None:
        with transaction(connection):
            intents.drop_others(connection, policy.intents)


def _inherit(connection: apsw.Connection, policy: Policy) -> None:
    """Take over a policy whole: a copy put in the database's place has an older one."""
    for table in ("denials", "rules", "incumbents"):
        connection.execute(f"DELETE FROM {table}")  # noqa: S608 - our own words
    for denial in policy.denials:
        apply.add_denial(connection, denial)
    connection.executemany(
        "INSERT INTO rules (source_namespace, target_namespace, action, created_at)"
        " VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        policy.rules,
    )
    connection.executemany(
        "INSERT INTO incumbents (agent_id, path) VALUES (?, ?)",
        ((agent_id, os.fsencode(path)) for agent_id, path in policy.incumbents.items()),
    )
    intents.inherit(connection, policy.intents or ())
