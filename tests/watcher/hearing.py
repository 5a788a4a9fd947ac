"""A watcher over real directories, with an inbox that the test drains.

What is faked: nothing but the other end of the inbox. `Watched.hear` waits for a cookie, so what
was done before it is in the inbox when it returns; no test waits for time to pass.
"""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Final, cast

import structlog

from meshd.clock import SystemClock
from meshd.commands import LookWithin
from meshd.config.settings import ScanSettings
from meshd.core.coalescer import Coalescer
from meshd.inbox import Inbox
from meshd.looker import LocalLooker, RootLostError, make_looker
from meshd.looker.nodes import place_of
from meshd.roots import Roots
from meshd.watcher import Coverage, NotWatchingError, Watcher
from meshd.watcher.backend import is_limited
from meshd.watcher.fanotify import Fanotify, queue_limit
from meshd.watcher.inotify import limit

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping

    from meshd.looker.nodes import Node
    from meshd.looker.walk import Found
    from meshd.shared import Shared
    from meshd.watcher.inotify import Inotify

COOKIE_SECONDS: Final = 20.0
BACKEND: Final = "inotify"
"""What watches; the fixture `backend` sets it for each test."""


@dataclass
class Watched:
    """Some roots, watched.

    Attributes:
        log: the words of every record, as `(event, fields)`.
        entered: directories in which all that is known was asked for, of what was drained.
    """

    watcher: Watcher
    shared: Shared
    base: Path
    log: list[dict[str, object]] = field(default_factory=list)
    entered: list[str] = field(default_factory=list)

    @property
    def roots(self) -> list[str]:
        return list(self.shared.roots.view.scope.roots)

    def looker(self, root: Path | None = None) -> LocalLooker:
        looker = self.shared.roots.view.lookers[str(root) if root else self.roots[0]]
        assert isinstance(looker, LocalLooker)
        return looker

    def walk(self, root: Path | None = None, *, full: bool = False) -> list[Found]:
        """Walk as a sweep does."""
        scope = self.shared.roots.view.scope
        batches = self.looker(root).walk(scope, full=full, stop=lambda: False)
        return list(itertools.chain.from_iterable(batches))

    def walk_all(self) -> None:
        """Walk every root that can be walked, as a sweep does."""
        view = self.shared.roots.view
        for looker in view.lookers.values():
            with suppress(RootLostError):
                for _ in looker.walk(view.scope, full=False, stop=lambda: False):
                    pass

    def sync(self) -> None:
        """Wait until everything done before is in the inbox."""
        self.watcher.cookie().result(COOKIE_SECONDS)

    def hear(self) -> list[str]:
        """Return what was hinted at since the last time, relative to the base, in order."""
        return self.hear_all()[0]

    def hear_all(self) -> tuple[list[str], list[str]]:
        """Return what was hinted at, and which roots have to be looked at whole."""
        self.sync()
        return self.drain()

    def drain(self) -> tuple[list[str], list[str]]:
        paths: set[str] = set()
        widened: set[str] = set()
        # At the end of time everything is due, settled or not.
        inbox = self.shared.inbox
        with inbox._arrived:
            while batch := inbox._take_now(math.inf):
                paths.update(hint.path for hint in batch.hints)
                widened.update(batch.widened)
                for control in batch.controls:
                    if isinstance(control, LookWithin):
                        self.entered += control.directories
        return (
            sorted(os.path.relpath(path, self.base) for path in paths),
            sorted(os.path.relpath(path, self.base) for path in widened),
        )

    def wait_for_lost(self) -> tuple[list[str], list[str]]:
        """Return what was hinted at until some root had to be looked at whole, and which."""
        paths: set[str] = set()
        while True:
            with suppress(NotWatchingError):  # the loss may take the cookie along
                self.sync()
            heard, widened = self.drain()
            paths.update(heard)
            if widened:
                return sorted(paths), widened

    def hear_due(self) -> list[str]:
        """Return what may be looked at at once; what has to settle stays."""
        self.sync()
        batch = self.shared.inbox.take(0.0)
        assert batch is not None
        return sorted(os.path.relpath(hint.path, self.base) for hint in batch.hints)

    def coverage(self, root: Path | None = None) -> Coverage:
        return self.watcher.coverage()[str(root) if root else self.roots[0]]

    def configure(self, **changes: object) -> None:
        """Take a new `[scan]` section."""
        self.shared.roots.configure(scan_settings(changes))
        self.watcher.configure()


def scan_settings(values: dict[str, object]) -> ScanSettings:
    return ScanSettings.model_validate(values)


@contextmanager
def watching(
    base: Path,
    *roots: Path,
    walk: bool = True,
    quiet: float = 60.0,
    backend: str | None = None,
    **scan: object,
) -> Iterator[Watched]:
    """Watch roots.

    Args:
        base: above the roots; the state directory is made in it.
        roots: what is watched.
        walk: whether every root is walked once before anything is heard.
        quiet: the settle time, so long that only settled hints are due at once.
        backend: what watches; None for the one that the test runs over.
        scan: more of the `[scan]` section.
    """
    backend = backend or BACKEND
    clock = SystemClock()
    state = base / "state"
    state.mkdir(exist_ok=True)
    log: list[dict[str, object]] = []

    def note(_logger: object, _method: str, record: MutableMapping[str, object]) -> str:
        log.append(dict(record))
        raise structlog.DropEvent

    shared = SimpleNamespace(
        roots=Roots(
            scan_settings({"roots": [str(root) for root in roots], **scan}),
            (),
            lambda root, isolated: make_looker(
                root, isolated=isolated, clock=clock, numbers=itertools.count(1).__next__
            ),
        ),
        inbox=Inbox(clock, Coalescer(quiet, quiet, 100_000), capacity=8_192),
        clock=clock,
        log=structlog.wrap_logger(None, processors=[note]),
    )
    watcher = Watcher(cast("Shared", shared), state, prefers_fanotify=backend == "fanotify")
    watched = Watched(watcher, cast("Shared", shared), base, log)
    watcher.open()
    if walk:
        watched.walk_all()
    thread = threading.Thread(target=watcher.run, name="meshd-watch")
    thread.start()
    try:
        yield watched
    finally:
        watcher.stop()
        thread.join()
        shared.roots.close()


@contextmanager
def mounted(place: Path, *what: str) -> Iterator[None]:
    """Mount something; needs root."""
    subprocess.run(["mount", *what, str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def make_project(path: Path, text: str = "{}") -> Path:
    """Make a project, its manifest put in place by rename."""
    (path / ".dork").mkdir(parents=True, exist_ok=True)
    save(path, text)
    return path


def save(project: Path, text: str) -> None:
    """Save a manifest as most editors do: write beside it, and rename over it."""
    beside = project / ".dork" / "agent.json~"
    beside.write_text(text)
    beside.rename(project / ".dork" / "agent.json")


def watched_directories(looker: LocalLooker) -> dict[str, bool]:
    """Return every directory of the table, and whether it and its `.dork` are watched."""
    with looker.table.lock:
        return {
            place.relative: is_watched(node)
            for node in looker.table.top.below()
            if (place := place_of(node)) is not None
        }


def is_watched(node: Node) -> bool:
    return node.watch > 0 and (node.dork_watch > 0 or not node.dork)


def directories_on_disk(watched: Watched, root: Path | None = None) -> set[str]:
    """Return every directory in scope, as a looker that has just been made finds them."""
    old = watched.looker(root)
    fresh = LocalLooker(old.root, clock=SystemClock(), numbers=itertools.count(1).__next__)
    for _ in fresh.walk(watched.shared.roots.view.scope, full=True, stop=lambda: False):
        pass
    return set(watched_directories(fresh))


def blind_spots(watched: Watched, root: Path | None = None) -> list[str]:
    """Return the directories in scope that are not watched."""
    known = watched_directories(watched.looker(root))
    return sorted(path for path in directories_on_disk(watched, root) if not known.get(path))


def wait_for_departures(watched: Watched) -> None:
    """Wait until the observer has given up every move whose other half did not come."""
    watched.sync()
    while watched.watcher._translator.next_deadline() is not None:
        watched.sync()
    watched.sync()  # what was given up then is confirmed now


@contextmanager
def stalled(watched: Watched) -> Iterator[None]:
    """Keep the observer from reading, while the queue of the kernel fills."""
    stalling, goes_on = threading.Event(), threading.Event()

    def stall() -> None:
        stalling.set()
        goes_on.wait(COOKIE_SECONDS)

    watched.watcher.observer.before_read = stall
    try:
        watched.watcher.cookie()  # something to read
        assert stalling.wait(COOKIE_SECONDS)
        yield
    finally:
        watched.watcher.observer.before_read = lambda: None
        goes_on.set()


def fill_the_queue(project: Path) -> None:
    """Make more events than the queue of the kernel holds, of one watched project."""
    file = project / ".dork" / "0"
    file.touch()
    # Each to a new name: fanotify makes one event of two that are alike.
    for number in range(1, 2 + max(limit("max_queued_events") or 0, queue_limit() or 0)):
        file = file.rename(project / ".dork" / str(number))


def kernel_of(watched: Watched) -> Inotify | Fanotify:
    """Return the interface of the kernel that watches the canary, and so the roots."""
    backend = watched.watcher._backend
    assert backend is not None
    one = backend._inotify if is_limited(watched.watcher._canary.watch) else backend._fanotify
    assert one is not None
    return one


def kernel_watches(watched: Watched) -> int:
    """Return how many watches are held for the roots; the canary's is left out.

    With fanotify the kernel holds none, and what counts is what is listened for.
    """
    one = kernel_of(watched)
    if isinstance(one, Fanotify):
        return len(watched.watcher._watches._nodes)
    lines = Path(f"/proc/self/fdinfo/{one.descriptor}").read_text(encoding="ascii")
    return lines.count("inotify wd:") - 1


def age(watched: Watched) -> None:
    """Trust every signature, as if the racy window of each listing were over."""
    for looker in watched.shared.roots.view.lookers.values():
        if isinstance(looker, LocalLooker):
            for node in looker.table.top.below():
                node.settled = True


def wait_until_idle(watched: Watched) -> None:
    """Wait until everything that was heard or found is followed up, watches included."""
    wait_for_departures(watched)
    scans, watches = watched.watcher._scans, watched.watcher._watches
    while watches.is_removing or any(
        scans.concern(looker.table)
        for looker in watched.shared.roots.view.lookers.values()
        if isinstance(looker, LocalLooker)
    ):
        watched.sync()
