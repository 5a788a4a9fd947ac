"""A database is copied before it is migrated, and the copy is a way back."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import apsw
import pytest

from meshd import opening
from meshd.clock import SystemClock
from meshd.core.model import Denial
from meshd.errors import NewerDatabaseError, StoreError
from meshd.opening import open_store
from meshd.policy import PolicyFile
from meshd.store import apply, connection, migrations, upgrading
from meshd.store.migrations import Migration
from meshd.store.upgrading import copy_of

if TYPE_CHECKING:
    from pathlib import Path

KNOWN = migrations.migrations()
NEXT = Migration(len(KNOWN) + 1, "next", "CREATE TABLE next (value TEXT)")
AT = "2026-01-01T00:00:00.000Z"


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A meshd with one migration more; `undo` makes it the older one again."""
    for module in (migrations, connection, opening):
        monkeypatch.setattr(module, "migrations", lambda: (*KNOWN, NEXT))
    return monkeypatch


def deny(state: Path, path: str) -> None:
    """Deny a path as the daemon does, with the mirror."""
    store = open_store(state, SystemClock()).store
    with closing(connection.open_writing(store.path)) as writing:
        apply.add_denial(writing, Denial(path, None, "mesh", AT))
        opening.mirror(writing, PolicyFile(state / "policy.json"), store.epoch)


def denied(database: Path) -> list[str]:
    with closing(apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)) as reading:
        return [bytes(path).decode() for (path,) in reading.execute("SELECT path FROM denials")]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory of the older meshd."""
    deny(tmp_path, "/r/before")
    return tmp_path


def test_the_copy_is_whole_closed_to_others_and_made_once(
    state: Path, newer: pytest.MonkeyPatch
) -> None:
    opened = open_store(state, SystemClock())
    copy = copy_of(opened.store.path, len(KNOWN))
    assert opened.migrated == ("next",)
    assert denied(copy) == ["/r/before"]
    assert copy.stat().st_mode & 0o777 == 0o600
    written = copy.stat().st_mtime_ns
    open_store(state, SystemClock())
    assert copy.stat().st_mtime_ns == written
    assert not list(state.glob("*.new"))


def test_a_new_database_is_not_copied(tmp_path: Path) -> None:
    open_store(tmp_path, SystemClock())
    assert not list(tmp_path.glob("*.schema-*"))


def test_without_a_copy_nothing_is_migrated(
    state: Path, newer: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    newer.setattr(upgrading, "_make_durable", fail)
    with pytest.raises(StoreError, match="No space left"):
        open_store(state, SystemClock())
    assert not list(state.glob("*.schema-*"))
    with closing(apsw.Connection(str(state / "meshd.db"))) as reading:
        assert migrations.version(reading) == len(KNOWN)


def test_the_older_meshd_refuses_and_names_the_copy(state: Path, newer: pytest.MonkeyPatch) -> None:
    path = open_store(state, SystemClock()).store.path
    newer.undo()
    with pytest.raises(NewerDatabaseError) as refused:
        open_store(state, SystemClock())
    assert f"cp {copy_of(path, len(KNOWN))} {path}" in str(refused.value.hint)
    copy_of(path, len(KNOWN)).unlink()
    with pytest.raises(NewerDatabaseError) as refused:
        open_store(state, SystemClock())
    assert "cp " not in str(refused.value.hint)


def test_a_copy_that_is_put_back_has_a_new_epoch_and_the_newest_denials(
    state: Path, newer: pytest.MonkeyPatch
) -> None:
    opened = open_store(state, SystemClock())
    path, epoch = opened.store.path, opened.store.epoch
    deny(state, "/r/after")
    newer.undo()
    copy = copy_of(path, len(KNOWN))
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    copy.replace(path)
    again = open_store(state, SystemClock())
    assert again.rebuilt is None
    assert again.store.epoch != epoch
    assert sorted(denied(path)) == ["/r/after", "/r/before"]


def test_an_opening_says_that_it_moves(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "BEAT_STEPS", 1)
    beats: list[None] = []
    open_store(state, SystemClock(), lambda: beats.append(None))
    assert len(beats) > 100
