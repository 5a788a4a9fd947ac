"""What a flood may cost: descriptors, threads, memory, the write-ahead log, the log, and work.

One daemon bears one flood after the other. Each figure is asserted against a stated number, none
of them a time. Between the floods all comes back to rest.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from meshd.api.feed import STREAM_LIMIT
from meshd.api.protocol import CONNECTION_LIMIT
from meshd.api.server import READER_THREADS
from tests.faults.hostile import plant
from tests.faults.tools import needs_root, needs_tool
from tests.system.daemon import DEADLINE, Daemon
from tests.system.trees import save, save_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.slow

MIB: Final = 1024 * 1024

DESCRIPTORS: Final = 64
"""Open at any time, besides one for each connection. At rest there are some 20."""

THREADS: Final = 24
"""At any time: the eight that have names, and those that answer requests."""

MEMORY: Final = 48 * MIB
"""More resident memory than at rest."""

WAL: Final = 8 * MIB
"""Bytes of the write-ahead log: `journal_size_limit` and a batch under way."""

LOG: Final = 64 * 1024
"""Bytes of the log for one flood, however many files, requests or events it has."""

OF_OTHERS: Final = 1_500
"""Calls of a sweep that are not the one for each directory and the one for each manifest: looks at
what is looked at each time, the API, the canary. One more for each directory would be 2,400."""

GROWTH: Final = 4
"""Threads, and descriptors but of the database, at rest after a flood, more than before."""

OF_THE_DATABASE: Final = 1 + 2 * (1 + READER_THREADS + 4)
"""Descriptors of the database, ever: one for what all share; two for the writer, and for each who
reads at the same time as all others: what answers, the feed, the main, the reconciler's and the
sweeper's thread. A reader is opened when that first happens, and kept."""

SWEEPS: Final = 6
"""Between two floods: more than `GROWTH`, so that one thing that each sweep leaves is seen."""

AGENTS: Final = 20
QUIET: Final = {"MESHD_SWEEP__INTERVAL": "24h", "MESHD_LOG__FORMAT": "json"}


@dataclass(frozen=True)
class Figures:
    """What a daemon takes at one moment.

    Attributes:
        of_database: descriptors among them that are of the database.
        resident: bytes of memory, the most there ever were since the last reset.
        wal: bytes of the write-ahead log.
        log: bytes written to the log so far.
        commits: transactions that wrote so far.
    """

    descriptors: int
    of_database: int
    threads: int
    resident: int
    wal: int
    log: int
    commits: int


def figures(daemon: Daemon) -> Figures:
    process = Path(f"/proc/{daemon.process.pid}")
    status = dict(
        line.split(":", 1) for line in (process / "status").read_text("ascii").splitlines()
    )
    wal = daemon.database.with_name(daemon.database.name + "-wal")
    opened = descriptors(daemon)
    return Figures(
        descriptors=len(opened),
        of_database=sum(one.startswith(str(daemon.database)) for one in opened),
        threads=int(status["Threads"]),
        resident=int(status["VmHWM"].split()[0]) * 1024,
        wal=wal.stat().st_size if wal.exists() else 0,
        log=len(daemon.log),
        commits=int(metric(daemon, "meshd_writer_commits_total")),
    )


def descriptors(daemon: Daemon) -> list[str]:
    """Return what each open descriptor leads to."""
    found = []
    for one in Path(f"/proc/{daemon.process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found.append(str(one.readlink()))
    return found


def metric(daemon: Daemon, name: str) -> float:
    with daemon.client() as client:
        lines = client.metrics().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(name + " "))


class Gauge:
    """Takes the highest figures while a flood lasts."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        # The peak is from now on.
        Path(f"/proc/{daemon.process.pid}/clear_refs").write_text("5", "ascii")
        self.before = figures(daemon)

    def assert_within(self, *, connections: int = 0, log: int = LOG) -> Figures:
        """Assert the ceilings, now that the flood is at its height; return the figures.

        Args:
            connections: that are open, with a descriptor each.
            log: bytes that may have been logged meanwhile.
        """
        now = figures(self._daemon)
        assert now.descriptors <= DESCRIPTORS + connections, now
        assert now.threads <= THREADS, now
        assert now.resident - self.before.resident <= MEMORY, (self.before, now)
        assert now.wal <= WAL, now
        assert now.log - self.before.log <= log, (self.before, now)
        return now


@dataclass(frozen=True)
class Place:
    """The daemon that bears all floods, its root, and what it took before the first."""

    daemon: Daemon
    root: Path
    rest: Figures


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    base = tmp_path_factory.mktemp("c")
    (base / "h").mkdir()
    for number in range(AGENTS):
        save(base / "root" / f"a{number:02}", f"a{number:02}")
    with Daemon(base / "h", base / "root", environ=QUIET) as daemon:
        # Threads that answer are kept once there are some.
        def ask(_: int) -> None:
            assert len(daemon.agents()) == AGENTS

        at_once(daemon, 200, ask)
        yield Place(daemon, base / "root", figures(daemon))


@pytest.fixture
def place(running: Place) -> Iterator[Place]:
    """The running daemon; after each flood its agents are as before, and it is at rest."""
    yield running
    daemon = running.daemon
    daemon.ask("sync")
    agents = daemon.agents()
    assert {f"a{number:02}" for number in range(AGENTS)} <= agents.keys()
    assert all(agents[f"a{number:02}"]["status"] == "active" for number in range(AGENTS))
    for _ in range(SWEEPS):
        daemon.sweep()
    daemon.wait_until(lambda: is_at_rest(running), f"descriptors and threads as in {running.rest}")
    assert metric(daemon, "meshd_inbox_length") == 0


def is_at_rest(place: Place) -> bool:
    now, rest = figures(place.daemon), place.rest
    others, others_at_rest = (one.descriptors - one.of_database for one in (now, rest))
    return (
        others <= others_at_rest + GROWTH
        and now.of_database <= OF_THE_DATABASE
        and now.threads <= rest.threads + GROWTH
    )


# floods of files


@needs_root
def test_hostile_files(place: Place) -> None:
    gauge = Gauge(place.daemon)
    for number in range(5):
        plant(place.root / f"hostile{number}")
    place.daemon.ask("sync")
    place.daemon.sweep("--full")
    height = gauge.assert_within()
    place.daemon.sweep("--full")
    assert figures(place.daemon).commits == height.commits, "what stays wrong is written once"


def test_invalid_manifests(place: Place) -> None:
    gauge = Gauge(place.daemon)
    for number in range(2_000):
        save_bytes(place.root / "invalid" / f"p{number:04}", "x", b'{"id": [' + b"[" * 900)
    place.daemon.ask("sync")
    assert place.daemon.status()["claims"]["invalid"] >= 2_000
    height = gauge.assert_within()
    place.daemon.sweep("--full")
    again = figures(place.daemon)
    assert again.commits == height.commits
    assert again.log - height.log <= 4096, "a sweep of what is known is one line"


def test_an_event_storm_on_one_path_is_few_looks(place: Place) -> None:
    gauge = Gauge(place.daemon)
    for number in range(5_000):
        save(place.root / "a00", "a00", description=str(number))
    place.daemon.ask("sync")
    height = gauge.assert_within()
    assert place.daemon.agents()["a00"]["description"] == "4999"
    assert height.commits - gauge.before.commits <= 2_500, "saves are gathered up"


def test_an_overflow_of_the_queue_of_events_is_one_recovery(home: Path, root: Path) -> None:
    """A daemon of its own is stopped for so long that the kernel drops events."""
    save(root / "one", "one")
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text("ascii"))
    with Daemon(home, root, environ=QUIET) as daemon:
        gauge = Gauge(daemon)
        stopped = daemon.process.pid
        os.kill(stopped, 19)
        try:
            noisy = root / "one" / ".dork" / "agent.json"
            content = noisy.read_bytes()
            other = noisy.with_name("other")
            for number in range(limit // 2 + 100):
                target = noisy.with_name(f"n{number % 7}")
                other.write_bytes(content)
                other.rename(target)
            save(root / "two", "two")
        finally:
            os.kill(stopped, 18)
        daemon.wait_until(lambda: "two" in daemon.agents(), "agent whose event was lost")
        daemon.ask("sync")
        assert daemon.root(root)["overflows"] == 1
        gauge.assert_within()


# floods of requests


@contextlib.contextmanager
def connections(daemon: Daemon, count: int, first: bytes = b"") -> Iterator[list[socket.socket]]:
    """Open connections that say something, or nothing, and read nothing."""
    with contextlib.ExitStack() as stack:
        opened = []
        for _ in range(count):
            one = stack.enter_context(socket.socket(socket.AF_UNIX))
            one.settimeout(DEADLINE)
            one.connect(str(daemon.socket))
            with contextlib.suppress(BrokenPipeError):
                one.sendall(first)
            opened.append(one)
        yield opened


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: meshd\r\n\r\n".encode("ascii")


def test_connections_that_say_nothing(place: Place) -> None:
    gauge = Gauge(place.daemon)
    with connections(place.daemon, CONNECTION_LIMIT - 40):
        gauge.assert_within(connections=CONNECTION_LIMIT)


def test_more_connections_than_there_may_be_are_turned_away(place: Place) -> None:
    gauge = Gauge(place.daemon)
    with connections(place.daemon, 2 * CONNECTION_LIMIT):
        place.daemon.wait_until(
            lambda: len(descriptors(place.daemon)) <= DESCRIPTORS + CONNECTION_LIMIT, "refusals"
        )
    place.daemon.wait_until(place.daemon.answers, "an answer after the flood")
    gauge.assert_within(connections=CONNECTION_LIMIT)


def test_readers_that_do_not_read(place: Place) -> None:
    gauge = Gauge(place.daemon)
    with connections(place.daemon, 200, 40 * get("/api/mesh/registry")):
        for _ in range(3):
            place.daemon.sweep()
        gauge.assert_within(connections=200)


def test_subscribers_of_the_feed(place: Place) -> None:
    gauge = Gauge(place.daemon)
    stream = b"GET /api/mesh/events HTTP/1.1\r\nHost: meshd\r\nAccept: text/event-stream\r\n\r\n"
    with connections(place.daemon, STREAM_LIMIT + 20, stream):
        place.daemon.wait_until(
            lambda: metric(place.daemon, "meshd_feed_subscribers") == STREAM_LIMIT, "streams"
        )
        for number in range(50):
            save(place.root / "a01", "a01", description=str(number))
        place.daemon.ask("sync")
        gauge.assert_within(connections=STREAM_LIMIT + 20)
    place.daemon.wait_until(
        lambda: metric(place.daemon, "meshd_feed_subscribers") == 0, "the end of the streams"
    )


def at_once(daemon: Daemon, times: int, act: Callable[[int], None], threads: int = 8) -> None:
    """Do something many times from several threads, and raise what failed."""
    failed: list[BaseException] = []

    def some(first: int) -> None:
        try:
            for number in range(first, times, threads):
                act(number)
        except BaseException as error:  # noqa: BLE001 - boundary: raised by the test's thread
            failed.append(error)

    running = [threading.Thread(target=some, args=(first,)) for first in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert not failed, failed
    assert daemon.running


def test_heartbeats(place: Place) -> None:
    gauge = Gauge(place.daemon)

    def beat(number: int) -> None:
        with place.daemon.client() as client:
            client.heartbeat(f"a{number % AGENTS:02}", "flood")

    at_once(place.daemon, 1_200, beat)
    height = gauge.assert_within()
    assert height.commits - gauge.before.commits <= 600, "heartbeats are gathered up"


def test_registrations(place: Place) -> None:
    gauge = Gauge(place.daemon)
    for number in range(150):
        (place.root / "born" / f"p{number:03}").mkdir(parents=True)

    def register(number: int) -> None:
        with place.daemon.client() as client:
            client.register(
                str(place.root / "born" / f"p{number:03}"),
                {"name": f"n{number}", "runtime": "codex"},
            )

    at_once(place.daemon, 150, register)
    height = gauge.assert_within(log=150 * 512)
    place.daemon.ask("sync")
    # An intent, its change with the row, and little more: an event of our own write is nothing.
    assert height.commits - gauge.before.commits <= 4 * 150


# the work of a sweep


@needs_tool("strace")
def test_a_sweep_after_all_floods_asks_the_kernel_once_for_each_directory(place: Place) -> None:
    """Nothing that a flood left makes later sweeps dearer; a count of system calls shows it."""
    daemon = place.daemon
    daemon.sweep("--full")
    before = figures(daemon)
    directories = sum(not at.endswith("/.dork") for at, _, _ in os.walk(place.root))
    manifests = sum(daemon.status()["claims"].values())
    trace = daemon.state.parent / "trace"
    watched = ("-e", "trace=%file,%desc", "-p", str(daemon.process.pid))
    tracer = subprocess.Popen(
        ["strace", "-f", "-qq", "-o", trace, *watched], stderr=subprocess.DEVNULL
    )
    try:
        daemon.wait_until(lambda: "TracerPid:\t0" not in traced(daemon), "strace that is attached")
        daemon.sweep()
    finally:
        tracer.terminate()
        tracer.wait(DEADLINE)
    asked = [line for line in trace.read_text("utf-8", "replace").splitlines() if at_root(line)]
    assert figures(daemon).commits == before.commits, "a sweep that finds nothing commits nothing"
    assert len(asked) <= directories + manifests + OF_OTHERS


def traced(daemon: Daemon) -> str:
    return Path(f"/proc/{daemon.process.pid}/status").read_text("ascii")


def at_root(line: str) -> bool:
    """Whether a traced call may be one of the walk or of a look."""
    return any(f" {name}(" in line for name in ("newfstatat", "openat", "openat2", "getdents64"))
