"""The main thread: nothing that happens to it leaves a daemon half alive.

Whatever it meets, the daemon runs on and answers, or ends by itself with all its actors.
"""

from __future__ import annotations

import json
import signal
import sys
from typing import TYPE_CHECKING, Final

from tests.system.daemon import Daemon
from tests.system.trees import save

if TYPE_CHECKING:
    from pathlib import Path

    from tests.system.daemon import Document

UNREAD: Final = """
import os, sys
reader, writer = os.pipe()
os.close(reader)
os.dup2(writer, 1)
del os.environ["NOTIFY_SOCKET"]  # under a service manager nothing is printed
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Runs a daemon whose output nobody reads any more, as in `meshd run | head -1`."""


def breaking(trip: Path, seam: str) -> tuple[str, ...]:
    """Return what runs a daemon with `seam` in it, whose `tripped()` says that a file exists.

    Memory and descriptors of a process cannot be taken away from one thread of it alone.
    """
    preface = f"import pathlib, sys\ntripped = pathlib.Path({str(trip)!r}).exists\n"
    # What follows is the daemon's own command: python -m meshd run.
    start = (
        "sys.argv = ['meshd', *sys.argv[4:]]\nfrom meshd.cli.main import main\nsys.exit(main())\n"
    )
    return (sys.executable, "-c", preface + seam + start)


DYING_WRITER: Final = """
from meshd.store.writer import Writer
commit = Writer._commit
def commit_or_die(*arguments):
    if tripped():
        raise MemoryError("no memory for the writer")
    return commit(*arguments)
Writer._commit = commit_or_die
"""

NO_READER: Final = """
import threading
from meshd.errors import StoreError
from meshd.store.store import Store
reading = Store.reading
def reading_or_not(store):
    if tripped() and threading.current_thread() is threading.main_thread():
        raise StoreError("the database cannot be opened: too many open files")
    return reading(store)
Store.reading = reading_or_not
"""


def scanning(root: Path, *more: str) -> str:
    """Return a configuration."""
    return "\n".join((f"[scan]\nroots = {json.dumps([str(root)])}", *more, ""))


def reload(daemon: Daemon) -> Document:
    """Have the configuration read anew, by the main thread."""
    with daemon.client() as client:
        return client.reload()


def test_a_daemon_whose_banner_nobody_reads_runs_on_and_stops_in_order(
    home: Path, root: Path
) -> None:
    save(root / "one", "one")
    daemon = Daemon(home, config=scanning(root), through=(sys.executable, "-c", UNREAD))
    daemon.launch()
    with daemon:
        daemon.wait_until(daemon.answers, "answer")
        daemon.await_ready()
        assert reload(daemon)["needsRestart"] == []
        assert daemon.stop() == 0
        assert "BrokenPipeError" not in daemon.log


def test_a_shorter_interval_counts_from_the_reload_on(home: Path, root: Path) -> None:
    """The sweeper sleeps towards a sweep an hour away when it is told."""
    save(root / "one", "one")
    with Daemon(home, config=scanning(root, "[sweep]", 'interval = "1h"')) as daemon:
        first = daemon.status()["lastSweep"]["startedAt"]
        daemon.configure(scanning(root, "[sweep]", 'interval = "200ms"'))
        reload(daemon)
        assert "sweep.interval" in daemon.reloaded()
        daemon.wait_until(
            lambda: daemon.status()["lastSweep"]["startedAt"] != first, "second sweep", seconds=20
        )


def test_a_daemon_whose_writer_dies_ends_by_itself(home: Path, root: Path, tmp_path: Path) -> None:
    """The main thread uses the writer, too; it must not die of its death. Hooks the commit."""
    trip = tmp_path / "trip"
    save(root / "one", "one")
    with Daemon(home, root, through=breaking(trip, DYING_WRITER)) as daemon:
        daemon.may_fail = True
        trip.touch()
        daemon.process.send_signal(signal.SIGHUP)  # the main thread turns to the writer at once
        assert daemon.ended() == 1
        assert [one["actor"] for one in daemon.logged("actor_ended")] == ["meshd-writer"]
        assert daemon.logged()[-1]["event"] == "stopped"


def test_a_main_thread_that_cannot_read_says_so_and_runs_on(
    home: Path, root: Path, tmp_path: Path
) -> None:
    """It reads only to show figures to the service manager. Hooks its reading."""
    trip = tmp_path / "trip"
    save(root / "one", "one")
    with Daemon(home, config=scanning(root), through=breaking(trip, NO_READER)) as daemon:
        trip.touch()
        save(root / "two", "two")
        with daemon.client() as client:
            client.sweep()
        reload(daemon)  # so that the main thread looks at once
        daemon.wait_until(lambda: bool(daemon.logged("degraded")), "degraded")
        trip.unlink()
        assert reload(daemon)["needsRestart"] == []
        daemon.wait_until(lambda: daemon.status()["degraded"] is None, "end of degraded")
        assert daemon.agents().keys() == {"one", "two"}
        assert daemon.stop() == 0


def test_a_key_that_needs_a_restart_is_named_at_every_reload_until_then(
    home: Path, root: Path, tmp_path: Path
) -> None:
    save(root / "one", "one")
    with Daemon(home, config=scanning(root)) as daemon:
        elsewhere = f'directory = "{tmp_path / "elsewhere"}"'
        daemon.configure(scanning(root, "[store]", elsewhere))
        assert reload(daemon)["needsRestart"] == ["store.directory"]
        assert reload(daemon)["needsRestart"] == ["store.directory"]
        daemon.configure(scanning(root))
        assert reload(daemon)["needsRestart"] == []
