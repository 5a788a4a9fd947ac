"""One call of the database's files fails, each in turn, a write after half of its bytes.

Each operation writes two rows: neither is ever there without the other, both are there where the
operation was acknowledged, and the writer goes on with the next.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from typing import TYPE_CHECKING, Any, Final

import apsw
import pytest

from meshd.errors import StoreError
from meshd.store import writer as writing
from meshd.store.connection import Condition, examine, open_reading, open_writing
from meshd.store.writer import Writer
from tests.store.conftest import database, migrated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["database", "migrated"]

PADDING: Final = "x" * 3000
ERRORS: Final = {
    "103_a_short_write": ("write", apsw.SQLITE_IOERR_WRITE),
    "101_a_short_write_on_a_full_disk": ("write", apsw.SQLITE_FULL),
    "102_a_sync": ("sync", apsw.SQLITE_IOERR_FSYNC),
    "103_a_truncation": ("truncate", apsw.SQLITE_IOERR_TRUNCATE),
    "104_a_read": ("read", apsw.SQLITE_IOERR_READ),
}
_NAMES: Final = itertools.count()


class Fault:
    """Fails the call of one kind that comes next but so many."""

    def __init__(self) -> None:
        self.met = 0
        self._kind, self._left, self._code = "", 0, 0

    def arm(self, kind: str, after: int, code: int) -> None:
        self._kind, self._left, self._code = kind, after, code

    def heal(self) -> None:
        self._kind = ""

    def meets(self, kind: str) -> bool:
        """Whether this call fails."""
        if kind != self._kind:
            return False
        self._left -= 1
        if self._left != 0:
            return False
        self.met += 1
        return True

    def error(self) -> Exception:
        return apsw.exception_for(self._code)


class FailingVfs(apsw.VFS):
    """SQLite's own way to files, but for one call."""

    def __init__(self, name: str, fault: Fault) -> None:
        self._fault = fault
        self._base = apsw.vfs_names()[0]
        super().__init__(name, self._base)

    def xOpen(self, name: Any, flags: list[int]) -> FailingFile:  # noqa: ANN401, N802 - apsw's
        return FailingFile(self._base, name, flags, self._fault)


class FailingFile(apsw.VFSFile):
    """A file of it."""

    def __init__(self, base: str, name: Any, flags: list[int], fault: Fault) -> None:  # noqa: ANN401 - a name, or apsw's form of one
        super().__init__(base, name, flags)
        self._fault = fault

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802 - apsw's
        if self._fault.meets("read"):
            raise self._fault.error()
        return super().xRead(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - apsw's
        if self._fault.meets("write"):
            super().xWrite(data[: len(data) // 2], offset)
            raise self._fault.error()
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - apsw's
        if self._fault.meets("truncate"):
            raise self._fault.error()
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802 - apsw's
        if self._fault.meets("sync"):
            raise self._fault.error()
        super().xSync(flags)


@pytest.fixture
def fault(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fault]:
    """What fails the writing connections of a test."""
    fault, name, plain = Fault(), f"failing-{next(_NAMES)}", apsw.Connection
    vfs = FailingVfs(name, fault)

    def connect(path: str, flags: int = apsw.SQLITE_OPEN_READWRITE) -> apsw.Connection:
        is_writing = bool(flags & apsw.SQLITE_OPEN_READWRITE)
        return plain(path, flags=flags, vfs=name if is_writing else None)

    monkeypatch.setattr(apsw, "Connection", connect)
    yield fault
    vfs.unregister()


@contextlib.contextmanager
def working(path: Path) -> Iterator[Writer]:
    writer = Writer(path)
    thread = threading.Thread(target=writer.run, daemon=True)
    thread.start()
    try:
        yield writer
    finally:
        writer.stop()
        thread.join(10)
        assert not thread.is_alive()


def pair(number: int) -> Callable[[apsw.Connection], None]:
    def operation(connection: apsw.Connection) -> None:
        for half in ("left", "right"):
            connection.execute("INSERT INTO meta VALUES (?, ?)", (f"{half} {number}", PADDING))

    return operation


@pytest.fixture(autouse=True)
def _many_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bring the log into the file after a few pages, so that those calls are met too."""

    def often(path: Path) -> apsw.Connection:
        connection = open_writing(path)
        connection.wal_autocheckpoint(8)
        return connection

    monkeypatch.setattr(writing, "open_writing", often)


def pairs(path: Path, half: str) -> set[int]:
    connection = open_reading(path)
    try:
        rows = connection.execute("SELECT key FROM meta WHERE key GLOB ?", (f"{half} *",))
        return {int(key.split()[1]) for (key,) in rows}
    finally:
        connection.close()


@pytest.mark.parametrize("name", ERRORS)
def test_101_to_104_one_call_that_fails_leaves_all_of_an_operation_or_none(
    database: Path, fault: Fault, name: str
) -> None:
    kind, code = ERRORS[name]
    acknowledged, numbers, met = set(), itertools.count(), 0
    with working(database) as writer:
        writer.submit(lambda _: None).result(timeout=10)
        for after in range(1, 25):
            fault.arm(kind, after, code)
            for number in itertools.islice(numbers, 3):
                future = writer.submit(pair(number))
                with contextlib.suppress(StoreError):
                    future.result(timeout=10)
                    acknowledged.add(number)
            met, fault.met = met + fault.met, 0
            fault.heal()
            number = next(numbers)
            # The first that comes after a failed one may find the connection closed.
            with contextlib.suppress(StoreError):
                writer.submit(lambda _: None).result(timeout=10)
            writer.submit(pair(number)).result(timeout=10)
            acknowledged.add(number)
    assert met > 0
    assert examine(database, expected=True) is Condition.OURS
    # One that was refused may be there: its log was written before the sync of it failed.
    assert pairs(database, "left") == pairs(database, "right") >= acknowledged
