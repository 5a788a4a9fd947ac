"""The state directory under a running daemon: lost, overwritten, emptied, full.

Whatever happens to the database, the registry is right again and no denial is lost (R1).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import TYPE_CHECKING, Final

import pytest

from meshd.errors import MeshdError
from tests.system.conftest import needs_root
from tests.system.daemon import Daemon
from tests.system.test_main_thread import breaking
from tests.system.trees import plant, save

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


COUNTED: Final = """
import json, weakref
import meshd.daemon
begin = meshd.daemon.Daemon.__init__
begun = []
def begin_counted(self, *arguments):
    begun.append(weakref.ref(self))
    living = sum(one() is not None for one in begun)
    print(json.dumps({"event": "life_begun", "living": living}), file=sys.stderr, flush=True)
    begin(self, *arguments)
meshd.daemon.Daemon.__init__ = begin_counted
"""
"""Tells at the beginning of each life over an open database how many there are in memory."""


def move_away(database: Path) -> None:
    database.rename(database.with_name("moved-away.db"))


def delete(database: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)


def overwrite(database: Path) -> None:
    database.write_bytes(b"not a database at all, " * 500)


def replace_by_text(database: Path) -> None:
    draft = database.with_suffix(".draft")
    draft.write_text("a text file")
    draft.rename(database)


def empty(database: Path) -> None:
    os.truncate(database, 0)


def tear(database: Path) -> None:
    """Cut the file in the middle of a page."""
    os.truncate(database, database.stat().st_size // 2 + 100)


SLOWER = (delete, replace_by_text, overwrite, tear)
"""What is met on the same two ways as the first two."""


def shape(daemon: Daemon) -> dict[str, tuple[str, str | None]]:
    """Return what no rebuild may change: who lives where."""
    return {
        agent_id: (agent["status"], agent["projectPath"])
        for agent_id, agent in daemon.agents().items()
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage",
    [
        move_away,
        empty,
        *(pytest.param(one, marks=pytest.mark.slow) for one in SLOWER),
    ],
    ids=lambda damage: damage.__name__,
)
def test_a_database_lost_under_the_running_daemon_is_rebuilt_from_the_files(
    home: Path, root: Path, damage: Callable[[Path], None]
) -> None:
    """Faults 117-119; the process, its lock and its socket stay."""
    plant(root, 40)
    denied = save(root / "denied", "denied")
    # Only who came first tells which of the two holds the id; the smaller path would win.
    save(root / "z-first", "contested")
    with Daemon(home, root) as daemon:
        daemon.ask("deny", str(denied.path), "--reason", "private")
        save(root / "a-second", "contested")
        daemon.sweep()
        before, pid, epoch = shape(daemon), daemon.process.pid, daemon.status()["epoch"]
        daemon.may_fail = True
        empty_journal(daemon.database)
        damage(daemon.database)
        save(root / "later", "later")
        daemon.cli("sweep")
        daemon.wait_until(lambda: epoch_of(daemon) not in (None, epoch), "new epoch")
        daemon.await_ready()
        daemon.sweep()
        assert shape(daemon) == before | {"later": ("active", str(root / "later"))}
        assert daemon.process.pid == pid
        assert [str(denied.path)] == [one["path"] for one in daemon.ask("denied")["denied"]]
        assert daemon.cli("db", "check").returncode == 0
        assert daemon.stop() == 0


@pytest.mark.slow
def test_a_life_that_ended_with_its_database_does_not_stay_in_memory(
    home: Path, root: Path, tmp_path: Path
) -> None:
    """What the process keeps for good is hidden from the garbage collector. Hooks each life."""
    save(root / "one", "one")
    with Daemon(home, root, through=breaking(tmp_path / "trip", COUNTED)) as daemon:
        for lost in (1, 2):
            delete(daemon.database)
            daemon.wait_until(lambda: len(daemon.logged("started")) > lost, "new life")  # noqa: B023 - called at once
            daemon.await_ready()
        assert [one["living"] for one in daemon.logged("life_begun")] == [1, 1, 1]
        assert daemon.stop() == 0


def empty_journal(database: Path) -> None:
    """Bring the journal into the file: while it holds every page, SQLite never reads the file."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def epoch_of(daemon: Daemon) -> str | None:
    """Return the epoch, None while the daemon cannot tell it."""
    try:
        epoch: str | None = daemon.status()["epoch"]
    except MeshdError:
        return None
    return epoch


def test_a_rebuild_ordered_by_the_operator_keeps_denials(home: Path, root: Path) -> None:
    plant(root, 10)
    denied = save(root / "denied", "denied")
    with Daemon(home, root) as daemon:
        daemon.ask("deny", str(denied.path))
        before = shape(daemon)
        assert daemon.cli("db", "rebuild", "--yes").returncode != 0
        assert daemon.stop() == 0
        assert daemon.cli("db", "rebuild", "--yes").returncode == 0
        daemon.start()
        assert before == shape(daemon)


@needs_root
def test_a_full_state_directory_degrades_and_recovers(
    home: Path, root: Path, mount: Callable[..., None]
) -> None:
    """Fault 101: what is committed is answered, nothing is acknowledged, nobody crashes."""
    (home / "state").mkdir()
    mount("-t", "tmpfs", "-o", "size=16m", "tmpfs", home / "state")
    plant(root, 20)
    with Daemon(home, root) as daemon:
        before = shape(daemon)
        ballast = home / "state" / "ballast"
        fill(ballast)
        for number in range(40):
            save(root / f"more-{number}", f"more-{number}", description="x" * 20_000)
        refused = daemon.cli("sweep")
        assert (refused.returncode, "full" in refused.stderr) == (1, True)
        assert daemon.running
        assert shape(daemon).items() >= before.items()
        daemon.wait_until(lambda: daemon.status()["degraded"] is not None, "degraded")
        assert "degraded" in daemon.cli("status").stdout
        ballast.unlink()
        daemon.sweep()
        daemon.wait_until(lambda: daemon.status()["degraded"] is None, "end of degraded")
        assert len(daemon.agents()) == 60
        assert daemon.stop() == 0


@needs_root
def test_a_denial_on_a_full_disk_is_not_acknowledged(
    home: Path, root: Path, mount: Callable[..., None]
) -> None:
    (home / "state").mkdir()
    mount("-t", "tmpfs", "-o", "size=16m", "tmpfs", home / "state")
    one = save(root / "one", "one")
    with Daemon(home, root) as daemon:
        fill(home / "state" / "ballast")
        assert daemon.cli("deny", str(one.path), "--reason", "x" * 50_000).returncode == 1
        assert shape(daemon) == {"one": ("active", str(one.path))}
        (home / "state" / "ballast").unlink()
        daemon.ask("deny", str(one.path))
        assert shape(daemon) == {}


def fill(ballast: Path) -> None:
    """Write until the file system is full, to the last byte."""
    with ballast.open("ab", buffering=0) as file:
        size = 65_536
        while size:
            try:
                file.write(b"\0" * size)
            except OSError:
                size //= 2
