"""The database in use: others at its files, at its locks, and in its log."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final

import apsw
import pytest

from meshd.cli.gathering import _holder
from meshd.errors import NoDaemonError, StoppingError
from meshd.opening import LOCK
from meshd.store import connection as connecting
from meshd.store.connection import WAL_LIMIT_BYTES, examine, open_reading, open_writing
from meshd.store.transactions import transaction
from tests.faults import speaking
from tests.faults.fuse import Mirror, needs_fuse
from tests.faults.tools import needs_root
from tests.harness import World, write_manifest
from tests.store.builders import flip_key
from tests.store.conftest import database, migrated
from tests.system.daemon import Daemon
from tests.system.test_state import empty_journal, shape
from tests.system.trees import plant, save

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["database", "migrated"]

BIG: Final = "x" * 100_000

TAKE_THE_LOCK: Final = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=0.2, isolation_level=None)
try:
    connection.execute("BEGIN IMMEDIATE")
except sqlite3.OperationalError as error:
    sys.exit(f"refused: {error}")
"""


HOLD: Final = """
import sys
from pathlib import Path
from meshd.opening import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def put(connection: apsw.Connection, key: str, value: str = "") -> None:
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))


def is_locked(path: Path) -> bool:
    """Whether another process is refused the lock of the writer."""
    done = subprocess.run(
        [sys.executable, "-c", TAKE_THE_LOCK, path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 or "refused: database is locked" in done.stderr, done.stderr
    return done.returncode != 0


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    root = tmp_path / "root"
    for number in range(5):
        write_manifest(root / f"p{number}", f"a{number}")
    world = World(tmp_path / "state", [root])
    world.sweep()
    yield world
    world.stop()


def test_111_a_reader_that_lingers_lets_the_log_grow_and_no_longer_than_it_lingers(
    database: Path,
) -> None:
    """A reader of another program; ours hold a snapshot for the length of one answer."""
    writer, reader = open_writing(database), open_reading(database)
    log = database.with_name(database.name + "-wal")
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM meta").fetchall()
    for number in range(250):
        put(writer, str(number % 10), BIG)
    assert log.stat().st_size > WAL_LIMIT_BYTES
    reader.execute("ROLLBACK")
    for number in range(20):
        put(writer, str(number % 10), BIG)
    assert log.stat().st_size <= WAL_LIMIT_BYTES
    reader.close()
    writer.close()


@pytest.mark.slow
def test_111_a_reader_that_is_given_back_holds_no_snapshot(home: Path, root: Path) -> None:
    """Whatever it was asked for: a checkpoint that empties the log waits for every snapshot."""
    plant(root, 3)
    with Daemon(home, root) as daemon:
        agent, row = next(iter(daemon.agents().items()))
        project = row["projectPath"]
        for words in speaking.ASKING:
            daemon.cli(*speaking.filled(words, agent=agent, project=project))
        daemon.ask("deny", str(root / "elsewhere"))
        other = open_writing(daemon.database)
        busy, _, _ = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()[0]
        assert not busy
        other.close()


def test_112_a_transaction_has_the_lock_of_the_writer_from_its_beginning(database: Path) -> None:
    """One that reads first and writes then would fail at once when another wrote in between."""
    writer = open_writing(database)
    with transaction(writer):
        assert is_locked(database)
    assert not is_locked(database)
    writer.close()


def test_113_the_writer_waits_for_a_lock_that_another_process_has(world: World) -> None:
    other = apsw.Connection(str(world.store.path))
    other.execute("BEGIN IMMEDIATE")
    future = world.store.writer.submit(lambda one: put(one, "waited"))
    with pytest.raises(TimeoutError):
        future.result(timeout=0.3)
    other.execute("ROLLBACK")
    other.close()
    future.result(timeout=10)


def test_114_many_threads_read_while_the_writer_writes(world: World) -> None:
    """A connection that two threads use at once raises; each reader is lent to one."""
    stop, all_have_one = threading.Event(), threading.Barrier(4)
    lent = []

    def read() -> int:
        count = 0
        with world.store.reading() as registry:
            all_have_one.wait(10)
            lent.append(registry._connection)
        while not stop.is_set():
            with world.store.reading() as registry:
                count += len(registry.records()) == 5
        return count

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read) for _ in range(4)]
        for number in range(50):
            world.store.writer.submit(partial(put, key=str(number))).result(10)
        stop.set()
        assert all(reader.result() > 0 for reader in readers)
    assert len(set(map(id, lent))) == 4


def test_116_nothing_that_this_process_does_to_the_file_gives_up_its_lock(world: World) -> None:
    """To close any descriptor of a file of the database would drop every lock on it."""
    path = world.store.path
    begun, go_on = threading.Event(), threading.Event()

    def hold(connection: apsw.Connection) -> bool:
        put(connection, "held")
        begun.set()
        return go_on.wait(30)

    future = world.store.writer.submit(hold)
    assert begun.wait(10)
    try:
        examine(path, expected=True)
        with world.store.reading() as registry:
            assert len(registry.records()) == 5
        world.store.close_readers()
        assert is_locked(path)
        # That the test would tell: what no part of meshd does.
        os.close(os.open(path.with_name(path.name + "-shm"), os.O_RDONLY))
        assert not is_locked(path)
    finally:
        go_on.set()
        future.result(timeout=10)


@needs_fuse
@pytest.mark.slow
def test_121_a_state_directory_on_a_file_system_behind_a_server_is_refused(
    tmp_path: Path, root: Path
) -> None:
    """SQLite's locks do not hold there."""
    home, served = tmp_path / "h", tmp_path / "served"
    (home / "state").mkdir(parents=True)
    served.mkdir()
    with Mirror(served, home / "state"):
        daemon = Daemon(home, root)
        ran = daemon.cli("run", str(root))
        assert (ran.returncode, "network file system" in ran.stderr) == (5, True)
        assert "local disk" in ran.stderr
        assert list(served.rglob("meshd.db*")) == []


@needs_root
def test_122_who_holds_a_state_directory_is_told_by_the_lock_on_its_own_file(
    tmp_path: Path, mount: Callable[..., None]
) -> None:
    """A file of another file system may bear the same number."""
    holders = {}
    for name in ("one", "other"):
        directory = tmp_path / name
        directory.mkdir()
        mount("-t", "tmpfs", "tmpfs", directory)
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, directory], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.readline()
        holders[directory] = process
    assert len({(directory / LOCK).stat().st_ino for directory in holders}) == 1
    found = {directory: _holder(directory) for directory in holders}
    for process in holders.values():
        process.communicate()
    assert found == {directory: process.pid for directory, process in holders.items()}


def test_123_every_connection_waits_five_seconds_for_a_lock(database: Path) -> None:
    for open_one in (open_writing, open_reading):
        connection = open_one(database)
        assert connection.pragma("busy_timeout") == connecting.BUSY_TIMEOUT_MS == 5000
        connection.close()


def test_124_everything_beside_the_database_is_its_owners_alone(world: World) -> None:
    modes = {file.name: file.stat().st_mode & 0o777 for file in world.store.path.parent.iterdir()}
    assert {"meshd.db", "meshd.db-wal", "meshd.db-shm", "policy.json"} <= modes.keys()
    assert set(modes.values()) == {0o600}


def is_denied(daemon: Daemon, path: Path) -> bool:
    """Whether the daemon, asked to deny a path, has done so; False while it opens anew."""
    try:
        with daemon.client() as client:
            client.deny(str(path))
    except (NoDaemonError, StoppingError):
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("unlinked", [("-wal",), ("-shm",), ("-wal", "-shm")], ids="".join)
def test_118_what_is_acknowledged_after_the_log_was_unlinked_survives_a_kill(
    home: Path, root: Path, unlinked: tuple[str, ...]
) -> None:
    """SQLite notices nothing; what it commits to a log without a name is gone with the process."""
    plant(root, 5)
    with Daemon(home, root) as daemon:
        epoch = daemon.status()["epoch"]
        for suffix in unlinked:
            daemon.database.with_name(daemon.database.name + suffix).unlink()
        daemon.wait_until(lambda: is_denied(daemon, root / "elsewhere"), "acknowledgement")
        daemon.wait_until(lambda: bool(daemon.logged("database_lost")), "notice")
        daemon.wait_until(lambda: len(daemon.logged("started")) == 2, "new opening")
        daemon.await_ready()
        daemon.kill()
        daemon.start()
        assert [one["path"] for one in daemon.ask("denied")["denied"]] == [str(root / "elsewhere")]
        assert len(daemon.agents()) == 5
        assert daemon.status()["epoch"] == epoch
        assert daemon.cli("db", "check").returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "index",
    ["agents_by_last_path", "sqlite_autoindex_agents_2", "claims_by_agent", "endpoints_by_agent"],
)
def test_108_an_index_that_is_not_that_of_its_table_is_met_and_the_database_built_anew(
    home: Path, root: Path, index: str
) -> None:
    """SQLite's quick check passes it, and every change of the row fails."""
    plant(root, 5)
    denied = save(root / "denied", "denied")
    moving = save(root / "moving", "moving")
    with Daemon(home, root) as daemon:
        daemon.ask("deny", str(denied.path))
        before, pid = shape(daemon), daemon.process.pid
        empty_journal(daemon.database)
        flip_key(daemon.database, index, b"moving")
        assert examine(daemon.database, expected=True) is connecting.Condition.OURS
        moving.path.rename(root / "elsewhere")
        daemon.wait_until(lambda: len(daemon.logged("started")) == 2, "new opening")
        assert [one["why"] for one in daemon.logged("database_rebuilt")] == ["damaged"]
        daemon.await_ready()
        daemon.sweep()
        assert shape(daemon) == before | {"moving": ("active", str(root / "elsewhere"))}
        assert [str(denied.path)] == [one["path"] for one in daemon.ask("denied")["denied"]]
        assert daemon.status()["degraded"] is None
        assert daemon.cli("db", "check").returncode == 0
        assert len(list(daemon.state.glob("meshd.db.corrupt-*"))) > 0
        assert (len(daemon.logged("started")), daemon.process.pid) == (2, pid)
        assert daemon.stop() == 0
