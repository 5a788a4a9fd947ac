"""Numbered migrations, each committed together with its record.

Owns the order of the files in `sql/` and the meaning of `user_version`: the number of the
newest migration applied. Assumes a connection no one else writes on. Promises: a migration
is applied whole or not at all, and a database is never brought to a state half-way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from meshd.errors import DamagedDatabaseError, NewerDatabaseError
from meshd.store.transactions import transaction

if TYPE_CHECKING:
    import apsw

# "mesh" in ASCII: tells our database from any other program's (SQLite's application_id).
APPLICATION_ID = 0x6D657368


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema."""

    number: int
    name: str
    sql: str


@cache
def migrations() -> tuple[Migration, ...]:
    """Return every migration, in order; numbers run from 1 without a gap."""
    found = []
    for file in resources.files("meshd.store").joinpath("sql").iterdir():
        match = re.fullmatch(r"(\d{4})_(\w+)\.sql", file.name)
        if match:
            found.append(Migration(int(match[1]), match[2], file.read_text("utf-8")))
    found.sort(key=lambda migration: migration.number)
    assert [step.number for step in found] == list(range(1, len(found) + 1)), "bug: a gap"
    return tuple(found)


def version(connection: apsw.Connection) -> int:
    """Return the number of the newest migration in the database; 0 for an empty one."""
    return int(connection.pragma("user_version"))


def migrate(connection: apsw.Connection, at: str, *, upto: int | None = None) -> list[Migration]:
    """Apply what is missing and return it; `upto` stops at that number.

    Args:
        connection: the writing connection, in no transaction.
        at: wall-clock time, RFC 3339, for the record.
        upto: number of the last migration to apply; all by default.

    Raises:
        NewerDatabaseError: a newer meshd has migrated this database.
        DamagedDatabaseError: the migrated rows break a foreign key.
    """
    known = migrations()
    present = version(connection)
    if present > len(known):
        raise NewerDatabaseError(
            f"the database has schema {present}, this meshd knows {len(known)}",
            hint="start the meshd that wrote it, or a newer one",
        )
    last = len(known) if upto is None else upto
    applied = [step for step in known if present < step.number <= last]
    for step in applied:
        with transaction(connection):
            connection.execute(step.sql)
            connection.execute(
                "INSERT INTO migrations (number, name, applied_at) VALUES (?, ?, ?)",
                (step.number, step.name, at),
            )
            connection.pragma("user_version", step.number)
            connection.pragma("application_id", APPLICATION_ID)
            # The pragma reports by rows and raises nothing: an unread report cannot fail.
            broken = connection.execute("PRAGMA foreign_key_check").fetchall()
            if broken:
                raise DamagedDatabaseError(f"migration {step.number} breaks {len(broken)} rows")
    return applied
