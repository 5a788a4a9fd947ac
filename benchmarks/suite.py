"""All measures, in order, and the document they make.

Owns which measures there are, and which of them are repeated over trees of different sizes.
Promises: a directory of its own below the one for temporary files, removed whatever happens.
"""

from __future__ import annotations

import math
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks import answering, events, sweeping
from benchmarks.figures import DESIGN_PROJECTS, document
from benchmarks.machine import describe
from benchmarks.rendering import GROWTH_BAR, GROWTH_TO
from benchmarks.site import Site, tell

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from benchmarks.figures import Row
    from benchmarks.site import Scale

MEASURES: Final[dict[str, Callable[[Site], list[Row]]]] = {
    "floors": sweeping.floors_alone,
    "import": sweeping.cold_import,
    "sweep": sweeping.warm_sweep,
    "memory": sweeping.memory,
    "idle": sweeping.idle,
    "restart": sweeping.restart,
    "list": answering.lists,
    "get": answering.get,
    "feed": answering.feed,
    "latency": events.latency_idle,
    "load": events.latency_loaded,
    "burst": events.burst,
    "overflow": events.overflow,
    "edited": sweeping.edited_sweep,
    "checkout": events.checkout,
    "cli": answering.command_line,
    "fanotify": sweeping.fanotify,
}
"""By name, in the order in which they run; memory before anything has made it larger."""

GROWING: Final = ("import", "sweep", "idle", "restart", "burst", "fanotify")
"""What is measured when the size of the tree is the question."""

_LARGE: Final = 100_000
_OF_THE_LARGE: Final = 3
"""Projects, at least, of a tree where half a minute goes into each repetition, and how many."""

_HUGE: Final = 1_000_000
"""Projects, at least, of a tree where each repetition takes minutes: there is one of each."""

_OF_THE_HUGE: Final = ("import", "sweep", "idle", "restart")
"""What of that is measured in such a tree: a burst of so many saves is the same in any."""

_SLOPED: Final = ("cold-import", "sweep-warm", "restart", "memory")


def names_for(size: int, sizes: Sequence[int]) -> Collection[str]:
    """Return what is measured at a size when nobody says: all where the bars are judged."""
    if size >= _HUGE:
        return _OF_THE_HUGE
    return GROWING if len(sizes) > 1 and size != DESIGN_PROJECTS else list(MEASURES)


def measure(
    wanted: Sequence[tuple[int, Collection[str]]], seed: int, scale: Scale
) -> Iterator[dict[str, Any]]:
    """Run measures over a tree of each size.

    Args:
        wanted: sizes, each with the names of what is measured at it.
        seed: of the trees.
        scale: how much is measured.

    Yields:
        After each size the results so far: a run over large trees takes an hour, and what
        ends it early must not take them with it.
    """
    directory = Path(tempfile.mkdtemp(prefix="meshd-benchmarks-")).resolve()
    try:
        machine = describe(directory)
        runs: list[dict[str, Any]] = []
        for size, names in wanted:
            runs.append(_run(directory / str(size), size, names, seed, scale))
            runs.sort(key=lambda run: run["projects"])
            yield {"machine": machine, "seed": seed, "runs": runs, "growth": growth(runs)}
    finally:
        tell("removing the trees")
        _remove(directory)


def _run(
    directory: Path, size: int, names: Collection[str], seed: int, scale: Scale
) -> dict[str, Any]:
    directory.mkdir()
    most = 1 if size >= _HUGE else _OF_THE_LARGE if size >= _LARGE else scale.repetitions
    site = Site(directory, size, seed, replace(scale, repetitions=min(most, scale.repetitions)))
    rows: list[Row] = []
    try:
        for name, measures in MEASURES.items():
            if name in names:
                tell(f"{size:,} projects: {name}")
                rows += measures(site)
    finally:
        site.rest()
        _remove(directory)
    return {
        "projects": size,
        "shape": str(site.shape),
        "rows": [document(row, size) for row in rows],
    }


def _remove(directory: Path) -> None:
    """Remove a tree by a program: Python's own way takes minutes for millions of files."""
    subprocess.run(["rm", "-rf", directory], check=False)
    shutil.rmtree(directory, ignore_errors=True)


def growth(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return, for what should grow no faster than the tree, the figures and their slope."""
    if len(runs) < 2:
        return []
    lines = []
    for name in _SLOPED:
        rows = [row for run in runs for row in run["rows"] if row["name"] == name]
        if len(rows) != len(runs):
            continue
        values = [row["figure"]["median"] for row in rows]
        sizes = [run["projects"] for run in runs]
        judged = sum(size <= GROWTH_TO for size in sizes)
        slope = _slope(sizes[:judged], values[:judged]) if judged > 1 else None
        lines.append(
            {
                "name": name,
                "what": rows[0]["what"],
                "unit": rows[0]["unit"],
                "values": values,
                "slope": slope,
                "slope_of_all": _slope(sizes, values),
                "met": None if slope is None else slope <= GROWTH_BAR,
            }
        )
    return lines


def _slope(sizes: Sequence[int], values: Sequence[float]) -> float:
    """Return the slope of the line that fits the logarithms best: 1 is linear."""
    points = [(math.log(size), math.log(value)) for size, value in zip(sizes, values, strict=True)]
    x_mean = sum(x for x, _ in points) / len(points)
    y_mean = sum(y for _, y in points) / len(points)
    above = sum((x - x_mean) * (y - y_mean) for x, y in points)
    return above / sum((x - x_mean) ** 2 for x, _ in points)
