"""Transactions, spelled once.

Owns how a block becomes a transaction. Promises: it is all there afterwards, or none of it.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import apsw


@contextlib.contextmanager
def transaction(connection: apsw.Connection) -> Iterator[None]:
    """Run a block in one `BEGIN IMMEDIATE` transaction; an exception rolls it back.

    IMMEDIATE, because a read that turns into a write fails at once when another wrote in
    between, whatever the busy timeout (fault 112).
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # SQLite itself has rolled back after some errors (a full disk among them).
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def snapshot(connection: apsw.Connection) -> Iterator[None]:
    """Let several reads see one state of the database. Keep it short: it pins the log."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
