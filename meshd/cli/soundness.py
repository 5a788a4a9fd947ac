"""Whether a database is sound, down to the last column.

Owns the check that SQLite cannot make: that every row reads as what it stands for. Assumes
nothing of the file, and that a daemon may be writing it. Promises: changes no row, never raises
for damage, and says of a row no more than its table, its number and the column.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

import apsw

from meshd.errors import StoreError
from meshd.store.connection import Condition, examine, open_reading
from meshd.store.migrations import migrations, version
from meshd.store.rows import (
    CLAIM_COLUMNS,
    COLUMNS,
    ROOT_COLUMNS,
    claim_from_row,
    root_from_row,
    row_from_claim,
    row_from_root,
)

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
    report = Report(str(condition))
    if condition is Condition.LOST:
        report.problems.append("the file was emptied")
        return report
    if condition is Condition.DAMAGED:
        report.problems.append("the file is damaged")
    with contextlib.closing(open_reading(path)) as connection:
        try:
            _require_schema(connection, path)
            report.problems.extend(_told_by_sqlite(connection))
            report.rows.update((table, _count(connection, table)) for table in _TABLES)
            room = max(0, _MOST_PROBLEMS - len(report.problems))
            report.problems.extend(islice(_unreadable_rows(connection), room))
        except (apsw.Error, UnicodeDecodeError) as error:
            report.problems.append(f"reading ended: {error}")
    return report


def examine_quickly(path: Path) -> Report:
    """Check the pages of a database, but not what its rows say, which takes far longer.

    Args:
        path: the file, which exists.

    Raises:
        ForeignDatabaseError: it is another program's.
        NewerDatabaseError: a newer meshd wrote it.
        StoreError: it cannot be opened, or is of an older schema.
    """
    condition = examine(path, expected=True)
    report = Report(str(condition))
    if condition is Condition.LOST:
        report.problems.append("the file was emptied")
        return report
    with contextlib.closing(open_reading(path)) as connection:
        try:
            _require_schema(connection, path)
            report.problems.extend(_told_by_sqlite(connection, "quick_check"))
        except (apsw.Error, UnicodeDecodeError) as error:
            report.problems.append(f"reading ended: {error}")
    if condition is Condition.DAMAGED and not report.problems:
        report.problems.append("the file is damaged")
    return report


def _require_schema(connection: apsw.Connection, path: Path) -> None:
    if version(connection) < len(migrations()):
        raise StoreError(
            f"{path} is of an older schema", hint="start meshd once to bring it up to date"
        )


def _told_by_sqlite(connection: apsw.Connection, check: str = "integrity_check") -> list[str]:
    answers = connection.execute(f"PRAGMA {check}({_MOST_PROBLEMS})").fetchall()
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
    for table, columns, read, write in (
        ("claims", CLAIM_COLUMNS, claim_from_row, row_from_claim),
        ("roots", ROOT_COLUMNS, root_from_row, row_from_root),
    ):
        yield from _failures(table, _select(connection, columns, table), _same_after(read, write))
    for name in ("before_json", "after_json"):
        values = (value for (value,) in _select(connection, name, "changes") if value is not None)
        yield from _failures(f"changes.{name}", values, json.loads)


def _select(connection: apsw.Connection, columns: str, table: str) -> Iterator[tuple[Any, ...]]:
    yield from connection.execute(f"SELECT {columns} FROM {table}")  # noqa: S608 - our own names


def _same_after(
    read: Callable[[tuple[Any, ...]], Any], write: Callable[[Any], tuple[Any, ...]]
) -> Callable[[tuple[Any, ...]], None]:
    """Return a check that a row is written as it was read: reading alone forgives damage."""

    def check(row: tuple[Any, ...]) -> None:
        if write(read(row)) != row:
            raise ValueError

    return check


def _failures(what: str, values: Iterable[Any], read: Callable[[Any], object]) -> Iterator[str]:
    for number, value in enumerate(values, start=1):
        try:
            read(value)
        except (ValueError, TypeError, RecursionError):
            yield f"{what}: row {number} cannot be read"
