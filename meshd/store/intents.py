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
    from collections.abc import Mapping

    import apsw


@dataclass(frozen=True, slots=True)
class Intent:
    """One intent as it is stored.

    Attributes:
        number: its key.
        kind: what is done.
        path: the project.
        document: what it takes to finish or to undo it, JSON-ready.
    """

    number: int
    kind: str
    path: str
    document: Mapping[str, object]


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
    return Intent(connection.last_insert_rowid(), kind, path, document)


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
        "SELECT id, kind, path, document_json FROM intents ORDER BY id"
    ).fetchall()
    return [
        Intent(number, kind, os.fsdecode(path), json.loads(text))
        for number, kind, path, text in rows
    ]
