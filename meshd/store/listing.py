"""Rows as lists show them: only the fields asked for, structured ones read or passed on as text.

Owns reading many rows at once. Assumes a connection that only this thread uses. Promises: as for
a row alone, a column that cannot be read has its default (fault 55); and no text is passed on
that is not the JSON it should be, so a damaged row cannot break the list around it.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import orjson

from meshd.store.rows import COLUMNS, DEFAULTS, Column, read_outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    import apsw

Passing: TypeAlias = "Callable[[str], object]"
"""What a structured column becomes, given its JSON text: `json.loads`, or a value that stands for
the text in the answer."""

Reader: TypeAlias = "Callable[[Any], Any]"
"""How a value that is not NULL is read."""

Row: TypeAlias = "dict[str, Any]"
"""Fields of one row, each under the key its asker chose."""

Columns: TypeAlias = "dict[str, Sequence[Any]]"
"""One field of every row under the key its asker chose, the rows in one order in all of them."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows: a condition, and what is bound to it."""

    condition: str = "1"
    bindings: tuple[str | bytes, ...] = ()


ALL: Final = Selection()

# The endpoint comes with the row's transaction; pending is one that a relay has yet to confirm.
_LIVE: Final = (
    "agents.status <> 'unreachable' AND agents.unscanned IS NULL AND NOT EXISTS (SELECT 1"
    " FROM endpoints WHERE endpoints.agent_id = agents.id AND endpoints.state = 'pending')"
)
# SQLite evaluates the parts of a CASE in their order, those of an AND in any.
_CAPABLE: Final = (
    "CASE WHEN json_valid(agents.capabilities_json) THEN EXISTS"
    " (SELECT 1 FROM json_each(agents.capabilities_json) WHERE value = ?) END"
)

_JOINED: Final = {
    "claim_outcome": "claims.outcome",
    "claim_reason": "claims.reason",
    "root_healthy": "coalesce(roots.healthy, 0)",
    "root_observed_seconds": "coalesce(roots.observed_seconds, 0)",
}
"""What a row's claim and root say of it, each by the name under which it may be asked for."""
_JOINED_READERS: Final[dict[str, Reader]] = {
    "claim_outcome": read_outcome,
    "root_healthy": bool,
}

JOINS: Final = (
    " LEFT JOIN claims ON claims.path = agents.project_path"
    " LEFT JOIN roots ON roots.path = agents.scan_root"
)
ORDER: Final = " ORDER BY agents.registered_at, agents.id"

_COLUMN_OF: Final = {column.field: column for column in COLUMNS}
_KINDS: Final = {
    column.field: list if isinstance(DEFAULTS[column.field], tuple) else dict
    for column in COLUMNS
    if column.name.endswith("_json")
}
_PATHS: Final = frozenset({"project_path", "last_path", "scan_root"})


def only(agent_id: str) -> Selection:
    """Select the row of an id."""
    return Selection("agents.id = ?", (agent_id,))


def live(runtime: str | None = None, capability: str | None = None) -> Selection:
    """Select the agents that may be discovered.

    Never unreachable or unscanned ones, nor one whose endpoint no relay has confirmed.

    Args:
        runtime: only agents of this runtime.
        capability: only agents that have this capability.
    """
    conditions, bindings = [_LIVE], []
    for condition, wanted in (("agents.runtime = ?", runtime), (_CAPABLE, capability)):
        if wanted is not None:
            conditions.append(condition)
            bindings.append(wanted)
    return Selection(" AND ".join(conditions), tuple(bindings))


def unreachable(before: str | None = None) -> Selection:
    """Select the unreachable agents; with `before`, those unreachable since before that time."""
    if before is None:
        return Selection("agents.status = 'unreachable'")
    return Selection("agents.status = 'unreachable' AND agents.unreachable_since < ?", (before,))


def columns_of(
    connection: apsw.Connection,
    wanted: Mapping[str, str],
    selection: Selection = ALL,
    passing: Passing = json.loads,
    read_here: Collection[str] = (),
) -> Columns:
    """Return fields of the selected rows, oldest registration first.

    Column by column, because a row at a time takes half as long again.

    Args:
        connection: where to read.
        wanted: by the key under which each is returned, a field of an agent, or
            `claim_outcome`, `claim_reason`, `root_healthy` or `root_observed_seconds`.
        selection: which rows.
        passing: what structured fields become.
        read_here: structured fields that are read all the same.
    """
    fields = wanted.values()
    named = ", ".join(_JOINED.get(one) or f"agents.{_COLUMN_OF[one].name}" for one in fields)
    joins = "" if _JOINED.keys().isdisjoint(fields) else JOINS
    rows = connection.execute(
        f"SELECT {named} FROM agents{joins} WHERE {selection.condition}{ORDER}",
        selection.bindings,
    ).fetchall()
    columns = zip(*rows, strict=True) if rows else [()] * len(wanted)
    return {
        key: _read(column, _reader(field, json.loads if field in read_here else passing))
        for (key, field), column in zip(wanted.items(), columns, strict=True)
    }


def rows_of(columns: Columns) -> list[Row]:
    """Return the rows that some columns make up, their keys in the order of the columns."""
    keys = tuple(columns)
    return [dict(zip(keys, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _read(column: Sequence[Any], reader: Reader | None) -> Sequence[Any]:
    if reader is None:
        return column
    return [None if value is None else reader(value) for value in column]


def _reader(field: str, passing: Passing) -> Reader | None:
    """Return how a value that is not NULL is read, None when it is what it stands for."""
    if field in _JOINED:
        return _JOINED_READERS.get(field)
    if field in _KINDS:
        return lru_cache(maxsize=4096)(partial(_structured, field, passing))
    if field in _PATHS:
        return partial(_path, passing)
    column = _COLUMN_OF[field]
    return lru_cache(maxsize=256)(partial(_plain, column)) if column.is_converted else None


def _structured(field: str, passing: Passing, text: str) -> object:
    try:
        if isinstance(orjson.loads(text), _KINDS[field]):
            return passing(text)
    except (ValueError, RecursionError):
        pass
    return DEFAULTS[field]


def _path(passing: Passing, raw: bytes) -> object:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        # Half a character has no form but an escape, so it is passed on as text that has one.
        return passing(json.dumps(os.fsdecode(raw)))


def _plain(column: Column, value: object) -> object:
    try:
        return column.read(value)
    except (ValueError, TypeError):
        return DEFAULTS[column.field]
