"""What the tests of the store begin with: a migrated database, a writer at work, values."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from typing import TYPE_CHECKING, Any

from meshd.core.model import Agent, Change, Claim, ClaimOutcome, Kind, Source, Status
from meshd.store.connection import open_reading, open_writing
from meshd.store.migrations import migrate
from meshd.store.transactions import transaction
from meshd.store.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import apsw

AT = "2026-03-01T00:00:00.000Z"
SOON = 10.0  # seconds until a test gives up waiting


def new_database(path: Path, *, upto: int | None = None) -> apsw.Connection:
    """Create a database at `path`, migrated, and return its writing connection."""
    path.touch()
    connection = open_writing(path)
    migrate(connection, AT, upto=upto)
    return connection


def agent(agent_id: str, path: str | None = None, **fields: object) -> Agent:
    """Return a row that lives at `/r/ID` unless told otherwise."""
    place = path or f"/r/{agent_id}"
    values: dict[str, Any] = {
        "id": agent_id,
        "name": f"agent {agent_id}",
        "runtime": "claude-code",
        "registered_at": "2026-01-01T00:00:00Z",
        "registered_by": "test",
        "namespace": "work",
        "scan_root": "/r",
        "project_path": place,
        "last_path": place,
    }
    values.update(fields)
    return Agent(**values)


def flip_key(database: Path, index: str, key: bytes) -> None:
    """Flip a bit in the one key of an index that holds `key`, as a failing disk would."""
    connection = open_reading(database)
    size = int(connection.pragma("page_size"))
    named = "SELECT rootpage FROM sqlite_schema WHERE name = ?"
    page = int(connection.execute(named, (index,)).get) - 1
    connection.close()
    with database.open("r+b") as file:
        file.seek(page * size)
        at = page * size + file.read(size).rindex(key) + len(key) - 1
        file.seek(at)
        (last,) = file.read(1)
        file.seek(at)
        file.write(bytes((last ^ 1,)))


def unreachable(agent_id: str, since: str) -> Agent:
    """Return a row that is unreachable since a time."""
    return agent(agent_id, status=Status.UNREACHABLE, unreachable_since=since)


def claim(path: str, agent_id: str | None, **fields: object) -> Claim:
    """Return a valid claim under `/r` unless told otherwise."""
    values: dict[str, Any] = {"root": "/r", "outcome": ClaimOutcome.VALID}
    values.update(fields)
    return Claim(path=path, agent_id=agent_id, **values)


def change(agent_id: str | None, kind: Kind = Kind.UPDATED) -> Change:
    """Return an entry for the change log."""
    return Change(kind, agent_id, None, Source.SWEEP)


@contextlib.contextmanager
def working(
    path: Path, before_commit: Callable[[apsw.Connection], None] | None = None
) -> Iterator[Writer]:
    """Run a new writer in its thread for the length of a block."""
    with running(Writer(path) if before_commit is None else Writer(path, before_commit)) as writer:
        yield writer


@contextlib.contextmanager
def running(writer: Writer) -> Iterator[Writer]:
    """Run a writer in its thread for the length of a block."""
    thread = threading.Thread(target=writer.run)
    thread.start()
    try:
        yield writer
    finally:
        writer.stop()
        thread.join(timeout=10)
        assert not thread.is_alive()


@contextlib.contextmanager
def held(writer: Writer) -> Iterator[None]:
    """Keep the writer busy for the length of a block: what is submitted in it queues up."""
    begun, go_on = threading.Event(), threading.Event()

    def hold(_: apsw.Connection) -> None:
        begun.set()
        assert go_on.wait(SOON)

    future = writer.submit(hold)
    assert begun.wait(SOON)
    try:
        yield
    finally:
        go_on.set()
    future.result(SOON)


@contextlib.contextmanager
def mounted(directory: Path, options: str) -> Iterator[Path]:
    """Mount a file system of its own below a directory. Needs root."""
    disk = directory / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)


def set_meta(key: str, value: str = "1") -> Callable[[apsw.Connection], str]:
    """Return an operation that writes one row of `meta` and answers its key."""

    def operation(connection: apsw.Connection) -> str:
        connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))
        return key

    return operation


def meta_keys(connection: apsw.Connection) -> list[str]:
    return [key for (key,) in connection.execute("SELECT key FROM meta ORDER BY key")]


def write(connection: apsw.Connection, sql: str, *bindings: apsw.SQLiteValue) -> None:
    """Write behind the back of the store, constraints and all."""
    with transaction(connection):
        connection.pragma("ignore_check_constraints", value=True)
        connection.execute(sql, bindings)
        connection.pragma("ignore_check_constraints", value=False)
