"""What says nothing about a manifest makes no event, and a watcher costs nothing while idle."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from meshd.core.model import Source
from tests.watcher.hearing import make_project, watching

if TYPE_CHECKING:
    from collections.abc import Callable

    from meshd.watcher.inotify import RawEvent
    from tests.watcher.hearing import Watched

PART: Final = 2_000
"""Files touched between two syncs: together less than a quarter of what the kernel keeps."""


def events_of(watched: Watched, act: Callable[[], object]) -> int:
    """Return how many raw events an act makes in watched directories, whatever they say."""
    watched.sync()
    backend = watched.watcher._backend
    assert backend is not None
    read, watches = backend.read, watched.watcher._watches
    seen: list[RawEvent] = []

    def reading(cookie: int) -> list[RawEvent]:
        events = read(cookie)
        seen.extend(event for event in events if watches.nodes_of(event[0]))
        return events

    backend.read = reading  # type: ignore[method-assign]
    act()
    watched.sync()
    return len(seen)


def test_a_sweep_and_its_looks_make_no_event(base: Path, root: Path) -> None:
    """Fault 87."""
    projects = [make_project(root / str(number)) for number in range(50)]
    with watching(base, root) as watched:
        looker = watched.looker()

        def sweep() -> None:
            looker.check(None)
            watched.walk(full=True)
            looker.look([str(project) for project in projects], Source.SWEEP)

        assert events_of(watched, sweep) == 0


def test_churn_in_node_modules_makes_no_event(root: Path, watched: Watched) -> None:
    """A mark hears the whole file system, so what is left alone fills the queue all the same."""
    modules = root / "project" / "node_modules"
    modules.mkdir(parents=True)
    watched.sync()

    def churn() -> None:
        files = [modules / f"{number}.js" for number in range(20_000)]
        for act in (Path.touch, Path.unlink):
            for first in range(0, len(files), PART):
                for file in files[first : first + PART]:
                    act(file)
                watched.sync()

    assert events_of(watched, churn) == 0
    assert watched.hear_all() == ([], [])


def test_an_idle_watcher_reads_its_own_beats_and_nothing_else(root: Path, watched: Watched) -> None:
    make_project(root / "project")
    assert watched.hear() == ["root/project"]
    assert events_of(watched, lambda: None) == 0


def test_threads_do_not_depend_on_the_number_of_roots(base: Path) -> None:
    def threads_with(count: int) -> int:
        roots = [base / f"{count}-{number}" for number in range(count)]
        for root in roots:
            root.mkdir()
        before = threading.active_count()
        with watching(base, *roots) as watched:
            watched.sync()
            return threading.active_count() - before

    assert threads_with(1) == threads_with(12) == 2


def test_the_descriptors_are_few_and_not_inherited(base: Path, root: Path) -> None:
    def open_descriptors() -> set[str]:
        return set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names, and quickly

    (root / "a" / "b").mkdir(parents=True)
    before = open_descriptors()
    with watching(base, root) as watched:
        watched.sync()
        backend = watched.watcher._backend
        assert backend is not None
        assert backend.descriptors
        assert not any(os.get_inheritable(one) for one in backend.descriptors)
        assert not os.get_inheritable(watched.watcher.observer._wakeup)
        assert len(open_descriptors() - before) <= 2 + len(backend.descriptors)
    assert open_descriptors() - before <= {str(max(map(int, open_descriptors())))}
