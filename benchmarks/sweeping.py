"""Measures of import, sweep, start and memory: what the size of the tree decides.

Owns the rows that follow from walking. Each function returns its rows.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks import floors
from benchmarks.figures import Bar, Figure, Row
from benchmarks.processes import apart, forget_peak, peak_mb, processor_seconds, resident_mb
from benchmarks.saving import save
from benchmarks.site import of_runs, repeat
from benchmarks.trees import Shape

if TYPE_CHECKING:
    from benchmarks.daemon import Daemon
    from benchmarks.site import Site

_FIND = "find, pruned"
_IMPORT = "walk, read, parse, one-transaction insert"
_MOST_BARE = 10_000
"""Projects, at most, of the tree without manifests that tells directories from agents."""


def floors_alone(site: Site) -> list[Row]:
    """Measure what belongs to no row of meshd's, for the reader to set the others against."""
    site.rest()
    known = (site.projects,)
    database = site.directory / "floor.db"
    return [
        Row("floor-walk", "floor: scandir walk", "s", repeat(site, floors.walk)),
        Row("floor-stat", "floor: stat known", "s", repeat(site, floors.stat_known, *known)),
        Row("floor-read", "floor: read known", "s", repeat(site, floors.read_known, *known)),
        Row(
            "floor-parse",
            "floor: read and parse known",
            "s",
            repeat(site, floors.parse_known, *known),
        ),
        Row(
            "floor-insert",
            "floor: one-transaction insert",
            "s",
            repeat(site, floors.insert_all, *known, database),
        ),
        Row(
            "floor-watched",
            "floor: walk, each directory watched, read, parse, insert",
            "s",
            repeat(site, floors.import_and_watch, database),
        ),
    ]


def cold_import(site: Site) -> list[Row]:
    """Fill an empty registry, then sweep for the first time without a change."""
    imports, firsts, launches, found, runs, peaks = [], [], [], [], [], []
    broken: tuple[str, ...] = ()
    for _ in range(site.scale.repetitions):
        daemon = site.import_cold()
        imports.append(daemon.first_sweep())
        launches.append(daemon.seconds)
        peaks.append(peak_mb(daemon.pid))
        broken = _unwatched(daemon)
        firsts.append(_sweep_unchanged(daemon))
        site.rest()
        runs.append(apart(floors.import_all, site.root, site.directory / "floor.db"))
        found.append(apart(floors.find, site.root))
    floor = of_runs(runs, len(site.projects))
    site.imports = Figure.of(imports, max(peaks))
    return [
        Row(
            "cold-import", "cold import", "s", site.imports, floor, _IMPORT, Bar(3.0, True), broken
        ),
        Row("start-empty", "process start to ready, empty database", "s", Figure.of(launches)),
        Row(
            "sweep-first",
            "no-change sweep, first",
            "s",
            Figure.of(firsts),
            of_runs(found, len(site.projects)),
            _FIND,
        ),
    ]


def _unwatched(daemon: Daemon) -> tuple[str, ...]:
    root = daemon.root()
    watched, wanted = root["watchedDirectories"], root["wantedDirectories"]
    return () if watched == wanted else (f"{watched:,} of {wanted:,} directories are watched",)


def _sweep_unchanged(daemon: Daemon) -> float:
    began = time.perf_counter()
    daemon.client.sweep()
    return time.perf_counter() - began


def warm_sweep(site: Site) -> list[Row]:
    """Sweep without a change, `find` and sweep in turn."""
    daemon = site.daemon
    _sweep_unchanged(daemon)
    forget_peak(daemon.pid)
    sweeps, runs = [], []
    for _ in range(site.scale.repetitions):
        sweeps.append(_sweep_unchanged(daemon))
        runs.append(apart(floors.find, site.root))
    figure = Figure.of(sweeps, peak_mb(daemon.pid))
    floor = of_runs(runs, len(site.projects))
    what = "no-change sweep, warm"
    return [Row("sweep-warm", what, "s", figure, floor, _FIND, Bar(0.5, True))]


def edited_sweep(site: Site) -> list[Row]:
    """Sweep after saves of one manifest in a hundred that no event told of."""
    sweeps, runs, broken = [], [], []
    edited = site.projects[::100]
    with site.another(site.root, backend="none") as daemon:
        _sweep_unchanged(daemon)
        forget_peak(daemon.pid)
        for number in range(site.scale.repetitions):
            for project in edited:
                save(site.root, project, f"edited {number}")
            began = time.perf_counter()
            drift = daemon.client.sweep()["drift"]
            sweeps.append(time.perf_counter() - began)
            runs.append(apart(floors.find, site.root))
            if drift != len(edited):
                broken.append(f"{drift} of {len(edited)} edits were found")
        figure = Figure.of(sweeps, peak_mb(daemon.pid))
    floor = of_runs(runs, len(site.projects))
    what = "sweep after 1 % edits, not watched"
    return [Row("sweep-edited", what, "s", figure, floor, _FIND, broken=tuple(broken))]


def restart(site: Site) -> list[Row]:
    """Start with a full database: until the socket answers, and until the first sweep is done."""
    _ = site.daemon
    ready, runs, peaks, broken = [], [], [], []
    for _repetition in range(site.scale.repetitions):
        site.rest()
        runs.append(apart(floors.import_all, site.root, site.directory / "floor.db"))
        daemon = site.daemon
        ready.append(daemon.seconds)
        peaks.append(peak_mb(daemon.pid))
        status = daemon.client.status()
        if status["totalAgents"] != len(site.projects):
            broken.append(f"{status['totalAgents']} of {len(site.projects)} agents")
    figure, floor = Figure.of(ready, max(peaks)), of_runs(runs, len(site.projects))
    what = "process start to ready, full database"
    return [Row("restart", what, "s", figure, floor, _IMPORT, broken=tuple(broken))]


def idle(site: Site) -> list[Row]:
    """Watch the processor time and the memory of a daemon that has nothing to do."""
    daemon = site.daemon
    daemon.client.sync()
    time.sleep(site.scale.idle_seconds)  # what a start leaves to be done is not idleness
    shares = []
    for _ in range(3):
        before, began = processor_seconds(daemon.pid), time.perf_counter()
        time.sleep(site.scale.idle_seconds)
        took = time.perf_counter() - began
        shares.append(100 * (processor_seconds(daemon.pid) - before) / took)
    resident = Figure.of([resident_mb(daemon.pid)])
    return [
        Row(
            "idle-cpu", "idle, of one core", "%", Figure.of(shares), bar=Bar(0.2, projects=100_000)
        ),
        Row("memory", "resident memory, idle", "MB", resident, bar=Bar(350.0, projects=100_000)),
    ]


def fanotify(site: Site) -> list[Row]:
    """Fill an empty registry with one mark for all directories in place of a watch for each."""
    with site.another(site.root, backend="fanotify") as daemon:
        took, root = daemon.first_sweep(), daemon.root()
        resident = Figure.of([resident_mb(daemon.pid)])
    broken = () if root["watch"] == "fanotify" else (f"it is watched by {root['watch']}",)
    figure = Figure.of([took])
    return [
        Row("import-fanotify", "cold import, by fanotify", "s", figure, broken=broken),
        Row("memory-fanotify", "resident memory, by fanotify", "MB", resident, broken=broken),
    ]


def memory(site: Site) -> list[Row]:
    """Tell what a directory takes from what an agent takes, by trees that have more of one."""
    with_all = resident_mb(site.daemon.pid)
    directories = int(site.daemon.root()["wantedDirectories"]) - len(site.projects)
    with site.another(site.another_tree("empty", 0, Shape.BARE)) as daemon:
        with_none = resident_mb(daemon.pid)
    bare = site.another_tree("bare", min(len(site.projects), _MOST_BARE), Shape.BARE)
    with site.another(bare) as daemon:
        bare_directories = int(daemon.root()["wantedDirectories"])
        of_directory = (resident_mb(daemon.pid) - with_none) / bare_directories
    of_agent = (with_all - with_none - of_directory * directories) / len(site.projects)
    kilobytes = {"memory-directory": of_directory * 1024, "memory-agent": of_agent * 1024}
    return [
        Row("memory-empty", "resident memory, empty root", "MB", Figure.of([with_none])),
        Row(
            "memory-directory",
            "memory per directory",
            "kB",
            Figure.of([kilobytes["memory-directory"]]),
        ),
        Row("memory-agent", "memory per agent", "kB", Figure.of([kilobytes["memory-agent"]])),
    ]
