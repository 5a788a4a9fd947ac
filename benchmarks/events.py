"""Measures of what events bring: latency, bursts, losses, checkouts.

Owns the rows that follow from saving. A row is taken for committed when another process can
read it from the database: that is asked every tenth of a millisecond.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Final

import apsw

from benchmarks import floors
from benchmarks.figures import Bar, Figure, Row, percentile
from benchmarks.processes import Apart, apart, forget_peak, peak_mb, processor_seconds
from benchmarks.saving import draft, save_and_sync, save_many, save_steadily
from benchmarks.trees import Shape, plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.daemon import Daemon
    from benchmarks.site import Site
    from benchmarks.trees import Project

_POLL: Final = 0.0001
_GIVEN_UP: Final = 30.0
_PROBED: Final = 50
"""Projects on which latency is measured; the load is on others."""

_LOAD_PER_SECOND: Final = 200.0
_FOLLOW: Final = "inotify loop, read, parse, one durable insert each"
_HEAR: Final = "raw inotify read loop"
_PARTS: Final = (("p50", 0.5, 3.0), ("p99", 0.99, 15.0), ("max", 1.0, None))
"""Percentiles with their bars, in milliseconds."""

_QUIET: Final = 0.02
"""Of a core: the work of a daemon whose processor time is back to zero."""


class _Table:
    """Someone's table of agents, read by a connection of ours."""

    def __init__(self, database: Path, column: str) -> None:
        self._connection = apsw.Connection(os.fspath(database), flags=apsw.SQLITE_OPEN_READONLY)
        self._query = f"SELECT {column} FROM agents WHERE id = ?"

    def said(self, project: Project) -> str | None:
        """Return what the row of a project says."""
        for (said,) in self._connection.execute(self._query, (project.agent_id,)):
            return str(said)
        return None

    def close(self) -> None:
        self._connection.close()


def latency_idle(site: Site) -> list[Row]:
    """Save one manifest at a time, and wait for its row each time."""
    site.rest()
    database = site.directory / "floor.db"
    with Apart(floors.follow, site.root, site.projects[:_PROBED], database) as loop:
        loop.go()
        followed = _latencies(site, _Table(database, "document"), "followed")
    table = _Table(site.daemon.database, "description")
    return _latency_rows("latency-idle", "idle", _latencies(site, table, "idle"), followed)


def latency_loaded(site: Site) -> list[Row]:
    """The same, while other manifests are saved all the time."""
    table = _Table(site.daemon.database, "description")
    others = site.projects[_PROBED:] or site.projects
    with Apart(save_steadily, site.root, others, _LOAD_PER_SECOND) as load:
        load.go()
        loaded = _latencies(site, table, "loaded")
    return _latency_rows("latency-loaded", f"{_LOAD_PER_SECOND:.0f} other saves/s", loaded, None)


def _latencies(site: Site, table: _Table, said: str) -> list[list[float]]:
    """Return milliseconds from a rename to its committed row, repetition by repetition."""
    projects = cycle(site.projects[:_PROBED])
    repetitions = []
    for repetition in range(site.scale.repetitions):
        taken = []
        for number in range(site.scale.probes):
            project, word = next(projects), f"{said} {repetition}.{number}."
            beside, path = draft(site.root, project, word)
            began = time.perf_counter()
            os.rename(beside, path)
            while word not in (table.said(project) or ""):
                if time.perf_counter() - began > _GIVEN_UP:
                    raise RuntimeError(f"a save was not seen in {_GIVEN_UP:.0f} s")
                time.sleep(_POLL)
            taken.append(1000 * (time.perf_counter() - began))
            time.sleep(0.002 * (number % 5))  # no beat with anything periodic
        repetitions.append(taken)
    table.close()
    return repetitions


def _latency_rows(
    name: str,
    circumstances: str,
    taken: Sequence[Sequence[float]],
    followed: Sequence[Sequence[float]] | None,
) -> list[Row]:
    rows = []
    for word, part, limit in _PARTS:
        floor = None
        if followed is not None:
            floor = Figure.of([percentile(one, part) for one in followed])
        bar = None if limit is None or followed is None else Bar(limit)
        rows.append(
            Row(
                f"{name}-{word}",
                f"rename to committed row, {circumstances}, {word}",
                "ms",
                Figure.of([percentile(one, part) for one in taken]),
                floor,
                None if floor is None else _FOLLOW,
                bar,
            )
        )
    return rows


def burst(site: Site) -> list[Row]:
    """Save many manifests as fast as can be; it ends when every last save is in the registry."""
    site.rest()
    heard = _heard_burst(site)
    daemon = site.daemon
    took, broken = [], []
    forget_peak(daemon.pid)
    for repetition in range(site.scale.repetitions):
        overflows = daemon.root()["overflows"]
        seconds, missing = _save_and_sync(site, daemon, f"burst {repetition}")
        took.append(seconds)
        if missing:
            broken.append(f"{missing} saves are not in the registry")
        if daemon.root()["overflows"] != overflows:
            broken.append("events were lost, and a sweep made up for them")
        if drift := daemon.client.sweep()["drift"]:
            broken.append(f"{drift} changes were found by the sweep after it")
    figure = Figure.of(took, peak_mb(daemon.pid))
    # The bar is of the cold import of the manifests saved, and these are not all or more than all.
    as_many = site.imports and site.imports.times(site.scale.saves / len(site.projects))
    what, of = f"burst of {site.scale.saves:,} saves", "cold import of as many manifests"
    return [
        Row("burst", what, "s", figure, as_many, of, Bar(1.5, True), tuple(broken)),
        Row("burst-floor", f"floor: {_HEAR} of the burst", "s", heard),
    ]


def _heard_burst(site: Site) -> Figure:
    """Return how long the saves take when somebody only reads their events."""
    seconds = []
    for _ in range(site.scale.repetitions):
        with (
            Apart(floors.hear, site.root, site.projects, site.scale.saves) as reader,
            Apart(save_many, site.root, site.projects, site.scale.saves, "heard") as saver,
        ):
            reader.go()
            saver.go()
            seconds.append(reader.result().seconds)
    return Figure.of(seconds)


def _save_and_sync(site: Site, daemon: Daemon, said: str) -> tuple[float, int]:
    """Save a burst; return seconds from its beginning to the sync, and how much is missing."""
    saving = (site.root, site.projects, site.scale.saves, said)
    run = apart(save_and_sync, *saving, daemon.socket)
    return run.seconds, _missing(site, daemon, said, run.result)


def _missing(site: Site, daemon: Daemon, said: str, last: str) -> int:
    """Return how many saved projects do not say their last word in the registry."""
    of_last_round = site.scale.saves % len(site.projects) or len(site.projects)
    of_last_round = min(of_last_round, site.scale.saves)
    saved = min(site.scale.saves, len(site.projects))
    words = daemon.descriptions()
    right = sum(word == last for word in words)
    some = sum(word.startswith(f"{said} ") for word in words)
    return (of_last_round - right) + (saved - some)


def overflow(site: Site) -> list[Row]:
    """Let the kernel lose events: save while the daemon is stopped, then let it go on."""
    daemon = site.daemon
    queue = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text("ascii"))
    # A save makes at least two events that are not joined with their neighbours.
    saves = queue // 2 + 1
    took, broken = [], []
    for repetition in range(site.scale.repetitions):
        before = daemon.root()["overflows"]
        os.kill(daemon.pid, signal.SIGSTOP)
        try:
            last = apart(
                save_many, site.root, site.projects, saves, f"overflow {repetition}"
            ).result
        finally:
            os.kill(daemon.pid, signal.SIGCONT)
        began = time.perf_counter()
        daemon.client.sync()
        took.append(time.perf_counter() - began)
        if daemon.root()["overflows"] != before + 1:
            broken.append(f"{daemon.root()['overflows'] - before} losses instead of one")
        of_last_round = saves % len(site.projects) or len(site.projects)
        right = sum(word == last for word in daemon.descriptions())
        if right < min(of_last_round, saves):
            broken.append(f"{of_last_round - right} saves are not in the registry")
        if drift := daemon.client.sweep()["drift"]:
            broken.append(f"{drift} changes were found by the sweep after it")
        if (work := _work_after(daemon)) > _QUIET:
            broken.append(f"{100 * work:.1f} % of a core is used afterwards")
    what = "overflow forced, to the end of its recovery"
    figure = Figure.of(took)
    return [Row("overflow", what, "s", figure, site.imports, "cold import", broken=tuple(broken))]


def _work_after(daemon: Daemon) -> float:
    """Return the part of a core that the daemon uses."""
    before, began = processor_seconds(daemon.pid), time.perf_counter()
    time.sleep(1.0)
    return (processor_seconds(daemon.pid) - before) / (time.perf_counter() - began)


def checkout(site: Site) -> list[Row]:
    """Check out a branch of one repository in which many manifests say something else."""
    count = site.scale.checked_out
    root = site.another_tree("repository", count, Shape.SPARSE)
    projects = plan(count, seed=1)
    _git(root, "init", "--quiet", "--initial-branch=main")
    _commit(root, "main")
    _git(root, "checkout", "--quiet", "-b", "other")
    apart(save_many, root, projects, count, "other")
    _commit(root, "other")
    site.rest()
    took, broken = [], []
    alone = [
        _check_out(root, ("main", "other")[number % 2]) for number in range(site.scale.repetitions)
    ]
    _git(root, "checkout", "--quiet", "other")
    with site.another(root) as daemon:
        for number in range(site.scale.repetitions):
            branch, said = (("main", "as planted"), ("other", "other 1"))[number % 2]
            began = time.perf_counter()
            _check_out(root, branch)
            daemon.client.sync()
            took.append(time.perf_counter() - began)
            wrong = sum(word != said for word in daemon.descriptions())
            if wrong:
                broken.append(f"{wrong} manifests are not in the registry")
        figure = Figure.of(took, peak_mb(daemon.pid))
    what = f"git checkout of {count:,} manifests, to the registry"
    floor = Figure.of(alone)
    return [Row("checkout", what, "s", figure, floor, "git alone", broken=tuple(broken))]


def _check_out(root: Path, branch: str) -> float:
    began = time.perf_counter()
    _git(root, "checkout", "--quiet", branch)
    return time.perf_counter() - began


def _commit(root: Path, message: str) -> None:
    _git(root, "add", "--all")
    _git(root, "-c", "user.name=x", "-c", "user.email=x@y", "commit", "--quiet", "-m", message)


def _git(root: Path, *arguments: str) -> None:
    # The configuration of whoever measures is not part of what is measured.
    environ = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    subprocess.run(["git", "-C", root, *arguments], check=True, env=environ)
