"""The change log: audit trail, event feed and outbox in one table.

Owns the numbering. Promises: `seq` only grows, also over a restart; an entry commits with
the rows it tells of or not at all; what is kept has no gaps, whatever the wall clock did.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meshd.store.rows import to_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    import apsw

    from meshd.core.model import Change


@dataclass(frozen=True, slots=True)
class Entry:
    """One numbered entry of the change log."""

    seq: int
    kind: str
    agent_id: str | None
    path: str | None
    source: str
    at: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


def append(connection: apsw.Connection, changes: Iterable[Change], at: str) -> list[int]:
    """Append entries and return their numbers, in order."""
    rows = [
        (
            str(change.kind),
            change.agent_id,
            None if change.path is None else os.fsencode(change.path),
            str(change.source),
            at,
            None if change.before is None else to_json(change.before),
            None if change.after is None else to_json(change.after),
        )
        for change in changes
    ]
    if not rows:
        return []
    connection.executemany(
        "INSERT INTO changes (kind, agent_id, path, source, at, before_json, after_json)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        rows,
    )
    # AUTOINCREMENT counts by one, and nobody else writes meanwhile.
    newest = connection.last_insert_rowid()
    return list(range(newest - len(rows) + 1, newest + 1))


def since(connection: apsw.Connection, seq: int, limit: int = 1000) -> list[Entry]:
    """Return up to `limit` entries after `seq`, oldest first."""
    rows: list[Any] = connection.execute(
        "SELECT seq, kind, agent_id, path, source, at, before_json, after_json FROM changes"
        " WHERE seq > ? ORDER BY seq LIMIT ?",
        (seq, limit),
    ).fetchall()
    return [
        Entry(
            number,
            kind,
            agent_id,
            None if path is None else os.fsdecode(path),
            source,
            at,
            _read_document(before),
            _read_document(after),
        )
        for number, kind, agent_id, path, source, at, before, after in rows
    ]


def _read_document(text: str | None) -> dict[str, Any] | None:
    """Read a JSON column; one that is damaged must not end the feed for all that follows."""
    try:
        value = None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def bounds(connection: apsw.Connection) -> tuple[int, int]:
    """Return the oldest number still kept and the newest ever given; (1, 0) when empty."""
    newest = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'changes'").get
    oldest = connection.execute("SELECT min(seq) FROM changes").get
    newest = 0 if newest is None else int(newest)
    return (newest + 1 if oldest is None else int(oldest), newest)


def prune(connection: apsw.Connection, before: str) -> int:
    """Delete the oldest entries up to the first not written before a time; return how many.

    A wall clock that stepped stamps entries out of order. The log is cut at its end only: a
    hole in it would be a loss that a reader of the feed cannot see.
    """
    connection.execute(
        "DELETE FROM changes WHERE seq < coalesce("
        "(SELECT seq FROM changes WHERE at >= ? ORDER BY seq LIMIT 1),"
        " (SELECT max(seq) + 1 FROM changes))",
        (before,),
    )
    return connection.changes()
