"""Whether a database is sound, down to the last column.

Owns the check that SQLite cannot make: that every row reads as what it stands for. Assumes
nothing of the file, and that a daemon may be writing it. Promises: reads only, never raises
for damage, and says of a row no more than its table, its number and the column.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import apsw

from meshd.errors import StoreError
from meshd.store.connection import Condition, examine, open_reading
from meshd.store.migrations import migrations, version
from meshd.store.rows import CLAIM_COLUMNS, COLUMNS, ROOT_COLUMNS, claim_from_row, root_from_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

_TABLES = ("agents", "claims", "roots", "denials", "rules", "changes")
_MOST_PROBLEMS = 100


@dataclass(frozen=True, slots=True)
class Report:
    """What was found.

    Attributes:
        condition: what kind of file lies there.
        rows: how many rows each table has.
        problems: what is wrong, at most a hundred sentences; none when it is sound.
    """

    condition: str
    rows: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def examine_database(path: Path) -> Report:
    """Check a database.

    Args:
        path: the file, which exists.

    Raises:
        ForeignDatabaseError: it is another program's.
        NewerDatabaseError: a newer meshd wrote it.
        StoreError: it cannot be opened, or is of an older schema.
    """
    condition = examine(path, expected=True)
    if condition is not Condition.OURS:
        said = "was emptied" if condition is Condition.LOST else "is damaged"
        return Report(str(condition), problems=[f"the file {said}"])
    with contextlib.closing(open_reading(path)) as connection:
        if version(connection) < len(migrations()):
            raise StoreError(
                f"{path} is of an older schema", hint="start meshd once to bring it up to date"
            )
        rows: dict[str, int] = {}
        problems: list[str] = []
        try:
            problems += _told_by_sqlite(connection)
            rows |= {table: _count(connection, table) for table in _TABLES}
            for problem in _unreadable_rows(connection):
                problems.append(problem)
                if len(problems) >= _MOST_PROBLEMS:
                    break
        except apsw.Error as error:
            problems.append(f"reading ended: {error}")
    return Report(str(condition), rows, problems)


def _told_by_sqlite(connection: apsw.Connection) -> list[str]:
    answers = connection.execute(f"PRAGMA integrity_check({_MOST_PROBLEMS})").fetchall()
    broken = connection.execute("PRAGMA foreign_key_check").fetchall()
    return [
        *(str(text) for (text,) in answers if text != "ok"),
        *(f"{table}, row {number}: refers to nothing" for table, number, *_ in broken),
    ]


def _count(connection: apsw.Connection, table: str) -> int:
    ((count,),) = _select(connection, "count(*)", table)
    return int(count)


def _unreadable_rows(connection: apsw.Connection) -> Iterator[str]:
    """Yield one sentence for each row that the registry could not read whole."""
    for column in COLUMNS:
        values = (value for (value,) in _select(connection, column.name, "agents"))
        yield from _failures(f"agents.{column.name}", values, column.read)
    yield from _failures("claims", _select(connection, CLAIM_COLUMNS, "claims"), claim_from_row)
    yield from _failures("roots", _select(connection, ROOT_COLUMNS, "roots"), root_from_row)
    for name in ("before_json", "after_json"):
        values = (value for (value,) in _select(connection, name, "changes") if value is not None)
        yield from _failures(f"changes.{name}", values, json.loads)


def _select(connection: apsw.Connection, columns: str, table: str) -> Iterator[tuple[Any, ...]]:
    yield from connection.execute(f"SELECT {columns} FROM {table}")  # noqa: S608 - our own names


def _failures(what: str, values: Iterable[Any], read: Callable[[Any], object]) -> Iterator[str]:
    for number, value in enumerate(values, start=1):
        try:
            read(value)
        except (ValueError, TypeError):
            yield f"{what}: row {number} cannot be read"
