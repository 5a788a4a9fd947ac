"""What the open database keeps for itself, and gives back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import apsw

from meshd.store import store as module
from meshd.store.apply import set_meta
from meshd.store.store import Store
from tests.store.builders import SOON, held, running

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

SQLITES_OWN = 2_000 * 1024
"""What SQLite would keep of a database in memory if nobody said."""


def cached(connection: apsw.Connection) -> int:
    return connection.status(apsw.SQLITE_DBSTATUS_CACHE_USED)[0]


def test_the_writer_keeps_more_than_sqlite_would_and_gives_it_back(database: Path) -> None:
    store = Store(database, "epoch")

    def fill(connection: apsw.Connection) -> None:
        for number in range(10_000):
            set_meta(connection, f"key-{number}", "x" * 1_000)

    with running(store.writer) as writer:
        writer.submit(fill).result(SOON)
        assert writer.submit(cached).result(SOON) > 4 * SQLITES_OWN
        store.give_back()
        assert writer.submit(cached).result(SOON) < SQLITES_OWN / 10
        assert writer.commits == 1  # to give back writes nothing


def test_a_writer_that_is_busy_or_has_ended_is_not_waited_for(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GIVE_BACK_SECONDS", 0)
    store = Store(database, "epoch")
    with running(store.writer) as writer, held(writer):
        store.give_back()
    store.give_back()
