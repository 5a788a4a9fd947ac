"""Intents: what a registration is about to do to files, before it does.

Owns the table `intents`. Assumes that the document of an intent is the caller's to read.
Promises: an intent that was committed is found again by the next start, and only what was
committed is.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import apsw


@dataclass(frozen=True, slots=True)
class Intent:
    """One intent as it is stored.

    Attributes:
        number: its key.
        kind: what is done.
        path: the project.
        document: what it takes to finish or to undo it, JSON-ready.
        created_at: wall-clock time, RFC 3339; for people.
    """

    number: int
    kind: str
    path: str
    document: Mapping[str, object]
    created_at: str

    @property
    def left(self) -> str:
        """What it may leave in the project, relative to it."""
        name = self.document.get("temporary")
        return str(self.document.get("name")) if name is None else f".dork/{name}"


def add(
    connection: apsw.Connection, kind: str, path: str, document: Mapping[str, object], at: str
) -> Intent:
    """Write an intent.

    Args:
        connection: the writing connection, inside a transaction.
        kind: what is done.
        path: the project.
        document: what it takes to finish or to undo it, JSON-ready.
        at: wall-clock time, RFC 3339; for people.
    """
    connection.execute(
        "INSERT INTO intents (kind, path, document_json, created_at) VALUES (?, ?, ?, ?)",
        (kind, os.fsencode(path), json.dumps(document), at),
    )
    return Intent(connection.last_insert_rowid(), kind, path, document, at)


def rewrite(connection: apsw.Connection, number: int, document: Mapping[str, object]) -> None:
    """Replace the document of an intent."""
    connection.execute(
        "UPDATE intents SET document_json = ? WHERE id = ?", (json.dumps(document), number)
    )


def drop(connection: apsw.Connection, number: int) -> None:
    """Delete an intent."""
    connection.execute("DELETE FROM intents WHERE id = ?", (number,))


def listed(connection: apsw.Connection) -> list[Intent]:
    """Return every intent, oldest first."""
    rows: list[Any] = connection.execute(
        "SELECT id, kind, path, document_json, created_at FROM intents ORDER BY id"
    ).fetchall()
    return [
        Intent(number, kind, os.fsdecode(path), json.loads(text), at)
        for number, kind, path, text, at in rows
    ]


def inherit(connection: apsw.Connection, intents: Iterable[Intent]) -> None:
    """Write intents that were mirrored into a database that has none."""
    connection.executemany(
        "INSERT INTO intents (id, kind, path, document_json, created_at) VALUES (?, ?, ?, ?, ?)",
        (
            (one.number, one.kind, os.fsencode(one.path), json.dumps(one.document), one.created_at)
            for one in intents
        ),
    )


def drop_others(connection: apsw.Connection, intents: Iterable[Intent]) -> None:
    """Delete every intent that is not among those that were mirrored."""
    mirrored = {(one.number, one.kind, one.path, one.created_at) for one in intents}
    for one in listed(connection):
        if (one.number, one.kind, one.path, one.created_at) not in mirrored:
            drop(connection, one.number)
