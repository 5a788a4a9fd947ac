"""Opening the database: as what it is, never as what we hoped.

Owns every SQLite connection's settings, and the examination that tells ours from foreign,
newer, damaged, emptied and lost databases before anything is written. Assumes the caller
holds the lock of the state directory when it opens for writing. Promises: a damaged file is
renamed and kept, the newest three of them.
"""

from __future__ import annotations

import ctypes
import os
from enum import StrEnum
from typing import TYPE_CHECKING

import apsw

from meshd.errors import ForeignDatabaseError, NewerDatabaseError, StoreError
from meshd.store.migrations import APPLICATION_ID, migrations, version
from meshd.store.upgrading import way_back

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BUSY_TIMEOUT_MS = 5000
# Steps of SQLite's machine between two beats: some tens of milliseconds.
BEAT_STEPS = 1_000_000
# The log is cut back to this after a checkpoint; a reader that lingers lets it grow (fault 111).
WAL_LIMIT_BYTES = 16 * 1024 * 1024
# What the writer keeps of the database in memory: with the 2,000 KiB of SQLite's own, an import of
# 100,000 projects, whose ids come in no order, takes a seventh longer.
CACHE_KIB = 16_000
QUARANTINED_KEPT = 3
SIDE_FILES = ("", "-wal", "-shm")
# What SQLite raises for a file that is not as it was written: a header that is none, a page
# that is malformed, and (as a plain error) a header with a file format that does not exist;
# Python, for text that is not UTF-8. An I/O error is not among them: the disk could not be
# read, and a full one could not take the -shm file.
_DAMAGE = (apsw.NotADBError, apsw.CorruptError, apsw.SQLError, UnicodeDecodeError)


class Condition(StrEnum):
    """What lies where the database should be."""

    FRESH = "fresh"  # nothing is there and nothing was ever there
    OURS = "ours"
    LOST = "lost"  # it was there, and is missing or emptied
    DAMAGED = "damaged"


def open_writing(path: Path) -> apsw.Connection:
    """Open the database for its one writer: WAL, every commit on disk (R1, R6).

    The file must exist, be it empty: one that vanished is never replaced by an empty one.

    Raises:
        StoreError: it is missing, cannot be opened or cannot be written.
    """
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", "full")
        connection.pragma("foreign_keys", value=True)
        connection.pragma("cache_size", -CACHE_KIB)
        connection.pragma("journal_size_limit", WAL_LIMIT_BYTES)
        _keep_within(connection)
    except apsw.Error as error:
        raise _unusable(path, error) from error
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
        _keep_within(connection)
    except apsw.Error as error:
        raise StoreError(f"cannot read {path}: {error}") from error
    return connection


def _keep_within(connection: apsw.Connection) -> None:
    """Keep what SQLite lays aside in memory: else it goes to /var/tmp, outside of our directory."""
    connection.pragma("temp_store", "memory")


def beating(connection: apsw.Connection, beat: Callable[[], None]) -> None:
    """Have `beat` called again and again while the connection works."""

    def note() -> bool:
        beat()
        return False  # go on

    connection.set_progress_handler(note, BEAT_STEPS)


def examine(
    path: Path,
    *,
    expected: bool,
    thorough: bool = False,
    beat: Callable[[], None] = lambda: None,
) -> Condition:
    """Say what lies at `path`.

    Args:
        path: the database file.
        expected: whether this state directory has had a database before.
        thorough: compare each index with its table too, for a database that looks damaged. It
            takes some three times as long, and a key that is wrong is met by nothing less.
        beat: called again and again while the examination moves.

    Raises:
        ForeignDatabaseError: another program's database, or a file we never wrote.
        NewerDatabaseError: a newer meshd's.
        StoreError: it cannot be read, which says nothing of what is in it.
    """
    absent = Condition.LOST if expected else Condition.FRESH
    check = "integrity_check" if thorough else "quick_check"
    try:
        if not path.exists() or path.stat().st_size == 0:
            return absent
        return _look_inside(path, absent, check, beat)
    except _DAMAGE as error:
        first = error
    except (apsw.Error, OSError) as error:
        raise _unusable(path, error) from error
    # One such error can be a passing read fault: only a second look condemns (fault 104).
    try:
        return _look_inside(path, absent, check, beat)
    except _DAMAGE as error:
        if isinstance(error, apsw.NotADBError) and not expected:
            raise _foreign(path) from first
        return Condition.DAMAGED
    except (apsw.Error, OSError) as error:
        raise _unusable(path, error) from error


def _look_inside(path: Path, absent: Condition, check: str, beat: Callable[[], None]) -> Condition:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        beating(connection, beat)
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
                hint=way_back(path, len(migrations())),
            )
        sound = connection.execute(f"PRAGMA {check}(1)").get == "ok"
        for table in ("agents", "claims", "denials", "endpoints", "roots", "rules"):
            _read_through(connection, table)
    finally:
        connection.close()
    if not sound:
        raise apsw.CorruptError(f"{check} found damage")
    return Condition.OURS


def _read_through(connection: apsw.Connection, table: str) -> None:
    """Read a table's rows, because no check tells a flipped bit in a text (fault 108).

    Raises:
        UnicodeDecodeError: such a bit makes the row, and every answer with it, unreadable.
    """
    if connection.table_exists("main", table):
        for _ in connection.execute(f"SELECT * FROM {table}"):
            pass


def _unusable(path: Path, error: Exception) -> StoreError:
    return StoreError(
        f"cannot open {path}: {error}", hint="see that its directory is readable and writable"
    )


def _foreign(path: Path) -> ForeignDatabaseError:
    return ForeignDatabaseError(
        f"{path} is not a database of meshd",
        hint="move it away, or set store.directory to a directory of meshd's own",
    )


def tells_of_damage(error: BaseException) -> bool:
    """Whether an error makes a database suspect that was sound when it was opened.

    A table that is missing, too: the file was emptied in its place, and the pages that another
    connection remembers hide it from that one (fault 119).
    """
    if isinstance(error, apsw.SQLError):
        return str(error).startswith("no such table")
    return isinstance(error, apsw.CorruptError | apsw.NotADBError)


def quarantine(path: Path, stamp: str) -> list[Path]:
    """Rename a database and its side files to `NAME.corrupt-STAMP…` and return the new names.

    These and the newest two from before are kept, so that a crash loop cannot fill the disk.
    Stamps come from a clock that may step back or stand still: a name that is taken is never
    written over, and what was just renamed is never the oldest.
    """
    before = _quarantined(path)
    base = f"{path.name}.corrupt-{stamp}"
    number = 1
    name = base
    while name in before:
        number += 1
        name = f"{base}.{number}"
    moved = []
    for suffix in SIDE_FILES:
        source = path.with_name(path.name + suffix)
        if source.exists():
            moved.append(source.rename(path.with_name(name + suffix)))
    if moved:
        for old in before[: max(0, len(before) - (QUARANTINED_KEPT - 1))]:
            for suffix in SIDE_FILES:
                path.with_name(old + suffix).unlink(missing_ok=True)
    return moved


def _quarantined(path: Path) -> list[str]:
    """Return the names that quarantined databases have, by their stamps."""
    return sorted(
        {
            file.name.removesuffix("-wal").removesuffix("-shm")
            for file in path.parent.glob(f"{path.name}.corrupt-*")
        }
    )


def was_moved(connection: apsw.Connection) -> bool:
    """Whether the open database, or a file beside it, is no longer that of its name.

    What is committed to a log without a name is gone with the process (faults 117, 118).

    Args:
        connection: the writing one, inside a transaction: then the files beside it are open.
    """
    answer = ctypes.c_int(0)
    connection.file_control("main", apsw.SQLITE_FCNTL_HAS_MOVED, ctypes.addressof(answer))
    sides = [connection.filename + suffix for suffix in SIDE_FILES[1:]]
    if answer.value or not all(os.path.exists(side) for side in sides):  # noqa: PTH110 - as SQLite names them
        return True
    # Somebody else may have made files of these names since.
    unlinked = {f"{side} (deleted)" for side in sides}
    try:
        with os.scandir("/proc/self/fd") as descriptors:
            return any(_target(one.path) in unlinked for one in descriptors)
    except OSError:
        return False  # no descriptor is left to tell with (fault 80): the next tick asks again


def _target(link: str) -> str | None:
    try:
        return os.readlink(link)  # noqa: PTH115 - compared as text
    except FileNotFoundError:
        return None  # closed meanwhile
