"""What may become of a database file, whoever has it open."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path


def empty_journal(database: Path) -> None:
    """Bring the journal into the file: while it holds every page, SQLite never reads the file."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def move_away(database: Path) -> None:
    database.rename(database.with_name("moved-away.db"))


def delete(database: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)


def empty(database: Path) -> None:
    os.truncate(database, 0)


def overwrite(database: Path) -> None:
    database.write_bytes(b"not a database at all, " * 500)


def tear(database: Path) -> None:
    os.truncate(database, database.stat().st_size // 2 + 100)


WAYS: Final = (move_away, delete, empty, overwrite, tear)
