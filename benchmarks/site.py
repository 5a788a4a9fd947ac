"""One tree and the daemons over it.

Owns the directories of a measurement. Assumes a temporary directory that its owner removes.
Promises: at most one daemon runs at a time, so that nothing is measured beside it.
"""

from __future__ import annotations

import shutil
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.daemon import Daemon
from benchmarks.figures import Figure
from benchmarks.processes import Run, apart
from benchmarks.trees import Shape, plan, plant, shape_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured.

    Attributes:
        repetitions: of what takes long.
        probes: single requests or saves of one repetition.
        saves: of a burst.
        checked_out: manifests that differ between two branches.
        subscribers: of the feed.
        idle_seconds: for which a daemon that has nothing to do is watched.
        commands: runs of the command line.
    """

    repetitions: int = 5
    probes: int = 300
    saves: int = 20_000
    checked_out: int = 2_000
    subscribers: int = 200
    idle_seconds: float = 20.0
    commands: int = 15


QUICK: Final = Scale(
    repetitions=1,
    probes=20,
    saves=400,
    checked_out=50,
    subscribers=20,
    idle_seconds=0.3,
    commands=1,
)
"""To see that everything works. Its figures say nothing."""


class Site:
    """A planted tree, and whatever runs over it.

    Args:
        directory: empty; everything lies below it.
        count: of projects.
        seed: of the tree.
        scale: how much is measured.

    Attributes:
        root: of the tree.
        projects: of the tree.
        shape: how much of each project was planted.
        imports: seconds of the cold imports so far, None before the first.
    """

    def __init__(self, directory: Path, count: int, seed: int, scale: Scale) -> None:
        self.directory = directory
        self.scale = scale
        self.projects = plan(count, seed)
        self.shape = shape_for(directory, count)
        self.root = directory / "tree" / "root"
        self._home = directory / "home"
        self._daemon: Daemon | None = None
        self.imports: Figure | None = None
        tell(f"planting {count:,} projects ({self.shape})")
        plant(self.root, self.projects, self.shape)

    @property
    def daemon(self) -> Daemon:
        """The daemon over the tree, with its first sweep behind it."""
        if self._daemon is None:
            is_new = not self._home.exists()
            self._home.mkdir(exist_ok=True)
            self._daemon = Daemon(self._home, self.root)
            if is_new and self.imports is None:
                self.imports = Figure.of([self._daemon.first_sweep()])
        return self._daemon

    def import_cold(self) -> Daemon:
        """Return the daemon after it has filled an empty registry."""
        self.rest()
        shutil.rmtree(self._home, ignore_errors=True)
        return self.daemon

    def rest(self) -> None:
        """Stop the daemon; the next who asks for it continues its registry."""
        if self._daemon is not None:
            daemon, self._daemon = self._daemon, None
            daemon.stop()

    @contextmanager
    def another(self, root: Path, *, backend: str = "auto") -> Iterator[Daemon]:
        """Have a daemon over another root, or over the same in another way, and no other."""
        self.rest()
        home = self.directory / "other"
        home.mkdir()
        try:
            with Daemon(home, root, backend=backend) as daemon:
                yield daemon
        finally:
            shutil.rmtree(home)

    def another_tree(self, name: str, count: int, shape: Shape) -> Path:
        """Plant a further tree beside the first, and return its root."""
        root = self.directory / name / "root"
        if not root.exists():
            plant(root, plan(count, seed=1), shape)
        return root


def of_runs(runs: list[Run[int]], expected: int) -> Figure:
    """Return the figure of a floor's repetitions.

    Raises:
        RuntimeError: it has not found everything, so its time is not that of the work.
    """
    if any(run.result != expected for run in runs):
        raise RuntimeError(f"a floor found {runs[0].result} instead of {expected}")
    return Figure.of([run.seconds for run in runs], max(run.peak_mb for run in runs))


def repeat(site: Site, floor: Callable[..., int], *arguments: object) -> Figure:
    """Return the figure of a floor over the tree, run as often as everything."""
    runs = [apart(floor, site.root, *arguments) for _ in range(site.scale.repetitions)]
    return of_runs(runs, len(site.projects))


def tell(text: str) -> None:
    """Say what is going on."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
