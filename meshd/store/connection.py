"""Opening the database: as what it is, never as what we hoped.

Owns every SQLite connection's settings, and the examination that tells ours from foreign,
newer, damaged, emptied and lost databases before anything is written. Assumes the caller
holds the lock of the state directory when it opens for writing. Promises: no file is ever
deleted; a damaged one is renamed and kept.
"""

from __future__ import annotations

import ctypes
from enum import StrEnum
from typing import TYPE_CHECKING

import apsw

from meshd.errors import ForeignDatabaseError, NewerDatabaseError, StoreError
from meshd.store.migrations import APPLICATION_ID, migrations, version

if TYPE_CHECKING:
    from pathlib import Path

BUSY_TIMEOUT_MS = 5000
# The log is cut back to this after a checkpoint; a reader that lingers lets it grow (fault 111).
WAL_LIMIT_BYTES = 16 * 1024 * 1024
QUARANTINED_KEPT = 3
SIDE_FILES = ("", "-wal", "-shm")


class Condition(StrEnum):
    """What lies where the database should be."""

    FRESH = "fresh"  # nothing is there and nothing was ever there
    OURS = "ours"
    LOST = "lost"  # it was there, and is missing or emptied
    DAMAGED = "damaged"


def open_writing(path: Path) -> apsw.Connection:
    """Open (or create) the database for its one writer: WAL, every commit on disk (R1, R6)."""
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "full")
    connection.pragma("foreign_keys", value=True)
    connection.pragma("journal_size_limit", WAL_LIMIT_BYTES)
    return connection


def open_reading(path: Path) -> apsw.Connection:
    """Open the database for reading only.

    Raises:
        StoreError: it is missing or cannot be opened.
    """
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        connection.pragma("query_only", value=True)
    except apsw.Error as error:
        raise StoreError(f"cannot read {path}: {error}") from error
    return connection


def examine(path: Path, *, expected: bool) -> Condition:
    """Say what lies at `path`.

    Args:
        path: the database file.
        expected: whether this state directory has had a database before.

    Raises:
        ForeignDatabaseError: another program's database, or a file we never wrote.
        NewerDatabaseError: a newer meshd's.
    """
    absent = Condition.LOST if expected else Condition.FRESH
    if not path.exists() or path.stat().st_size == 0:
        return absent
    try:
        condition = _look_inside(path, absent)
    except apsw.NotADBError:
        if expected:
            return Condition.DAMAGED
        raise _foreign(path) from None
    except (apsw.CorruptError, apsw.IOError):
        # One such error can be a passing read fault: only a second look condemns (fault 104).
        try:
            condition = _look_inside(path, absent)
        except (apsw.CorruptError, apsw.IOError, apsw.NotADBError):
            return Condition.DAMAGED
    except apsw.Error as error:
        raise StoreError(
            f"cannot open {path}: {error}", hint="see that its directory is readable and writable"
        ) from error
    return condition


def _look_inside(path: Path, absent: Condition) -> Condition:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        owner = int(connection.pragma("application_id"))
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").get
        if owner == 0 and tables == 0:
            return absent
        if owner != APPLICATION_ID:
            raise _foreign(path)
        if version(connection) > len(migrations()):
            raise NewerDatabaseError(
                f"{path} has schema {version(connection)}, this meshd knows {len(migrations())}",
                hint="start the newer meshd that wrote it, or move the file away to rebuild it",
            )
        sound = connection.execute("PRAGMA quick_check(1)").get == "ok"
    finally:
        connection.close()
    if not sound:
        raise apsw.CorruptError("quick_check found damage")
    return Condition.OURS


def _foreign(path: Path) -> ForeignDatabaseError:
    return ForeignDatabaseError(
        f"{path} is not a database of meshd",
        hint="move it away, or set store.directory to a directory of meshd's own",
    )


def quarantine(path: Path, stamp: str) -> list[Path]:
    """Rename a database and its side files to `NAME.corrupt-STAMP…` and return the new names.

    The newest three are kept, so that a crash loop cannot fill the disk.
    """
    moved = []
    for suffix in SIDE_FILES:
        source = path.with_name(path.name + suffix)
        if source.exists():
            target = path.with_name(f"{path.name}.corrupt-{stamp}{suffix}")
            source.rename(target)
            moved.append(target)
    stamps = sorted(
        {
            name.name.removesuffix("-wal").removesuffix("-shm")
            for name in path.parent.glob(f"{path.name}.corrupt-*")
        }
    )
    for old in stamps[:-QUARANTINED_KEPT]:
        for suffix in SIDE_FILES:
            path.with_name(old + suffix).unlink(missing_ok=True)
    return moved


def was_moved(connection: apsw.Connection) -> bool:
    """Whether the open database is no longer the file of its name (fault 117)."""
    answer = ctypes.c_int(0)
    connection.file_control("main", apsw.SQLITE_FCNTL_HAS_MOVED, ctypes.addressof(answer))
    return bool(answer.value)
