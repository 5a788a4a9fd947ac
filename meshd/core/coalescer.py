"""Many hints become few looks.

Owns how long a project waits before it is looked at, and what happens when too many wait.
Assumes instants of one monotonic clock, in seconds, that never go back. Promises:

- a project is handed out once it was quiet for `quiet`, or has waited for `longest`, or at
  once when its hint needs no settling; never before;
- what was added is handed out, as itself or as its widened root;
- projects that are due go out in the order in which they came;
- no operation costs more than O(log n) of what waits, amortised.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Final

from meshd.core.model import Hint, Source

if TYPE_CHECKING:
    from collections.abc import Collection

# The most urgent source of a project is kept, for the change log names it: a caller who waits
# for the answer, then the event that reported it (a sweep must not count as drift what an
# event has seen too), then start-up, sweep and timer, which would have come by anyway.
_URGENCY: Final = {
    Source.API: 0,
    Source.WATCH: 1,
    Source.START: 2,
    Source.SWEEP: 3,
    Source.TIMER: 4,
}


@dataclass(slots=True)
class _Waiting:
    """One project that waits for its look.

    Attributes:
        place: its place in the order of arrival.
        since: when it was first added.
        due: when it may be handed out; inf until that is set.
        ready: whether it stands in the queue of those that are due.
    """

    root: str
    source: Source
    place: int
    since: float
    due: float
    ready: bool = False


class Coalescer:
    """Hints by project, each waiting for its time."""

    def __init__(self, quiet: float, longest: float, max_paths_per_root: int) -> None:
        """Set the figures.

        Args:
            quiet: seconds without a hint after which a project is due.
            longest: seconds after its first hint at which it is due whatever happens.
            max_paths_per_root: how many projects that only events asked for may wait below
                one root; one more widens the question to the root.
        """
        self._quiet = quiet
        self._longest = longest
        self._max_paths_per_root = max_paths_per_root
        self._places = count()
        self._waiting: dict[str, _Waiting] = {}
        # Both heaps may hold items that are out of date; `_waiting` is what counts. An item
        # of a time that has moved on is put back when it comes up, so that a storm of hints
        # on one project adds one item, not one each.
        self._by_time: list[tuple[float, int, str]] = []
        self._by_place: list[tuple[int, str]] = []
        self._from_events: dict[str, set[str]] = {}
        self._widened: dict[str, None] = {}

    def __len__(self) -> int:
        """How many projects wait, due or not."""
        return len(self._waiting)

    def paths(self) -> set[str]:
        """Return what waits: projects, and roots that are to be looked at whole."""
        return {*self._waiting, *self._widened}

    def among(self, paths: Collection[str]) -> set[str]:
        """Return those of `paths` that may still wait.

        While a root is to be looked at whole these are all of them: it stands for projects
        that are no longer listed.
        """
        return set(paths) if self._widened else {path for path in paths if path in self._waiting}

    def add(self, path: str, root: str, source: Source, now: float, *, settled: bool) -> None:
        """Let a project wait for its look, or wait on.

        Args:
            path: the project.
            root: the root that owns it, for which it counts.
            source: who asks.
            now: the instant.
            settled: whether it may be looked at once. It stays so: what was read too early
                does not parse, and the one who looked adds it again, unsettled.
        """
        self._advance(now)  # a time that has come is not put off any more
        if source is Source.WATCH and root in self._widened:
            return
        waiting = self._waiting.get(path)
        if waiting is None:
            place = next(self._places)
            waiting = _Waiting(root, source, place, now, math.inf)
            self._waiting[path] = waiting
            if source is Source.WATCH:
                self._from_events.setdefault(root, set()).add(path)
        elif source is not Source.WATCH:
            self._forget_event(path, waiting)
        waiting.source = min(waiting.source, source, key=_URGENCY.__getitem__)
        self._schedule(path, waiting, now, settled=settled)
        if len(self._from_events.get(root, ())) > self._max_paths_per_root:
            self.widen(root)

    def widen(self, root: str) -> None:
        """Ask for all of `root` in place of its projects, at once.

        Projects that only events asked for are dropped, as are further events below the root
        until it is handed out: whoever takes the root looks at all of it. A hint of anyone
        else stays, for a sweep counts on its looks and a caller waits for its own.
        """
        self._widened[root] = None
        for path in self._from_events.pop(root, ()):
            del self._waiting[path]

    def take(self, now: float, limit: int) -> tuple[tuple[Hint, ...], tuple[str, ...]]:
        """Return up to `limit` projects that are due, first come first, and all widened roots."""
        self._advance(now)
        hints: list[Hint] = []
        while len(hints) < limit and (path := self._first_ready()) is not None:
            heappop(self._by_place)
            waiting = self._waiting.pop(path)
            self._forget_event(path, waiting)
            hints.append(Hint(path, waiting.source))
        widened = tuple(self._widened)
        self._widened.clear()
        return tuple(hints), widened

    def next_due(self) -> float | None:
        """Return when `take` has something to hand out; -inf for at once, None for never."""
        if self._widened or self._first_ready() is not None:
            return -math.inf
        self._advance(-math.inf)
        return self._by_time[0][0] if self._by_time else None

    def mark(self) -> int:
        """Return a place in the order of arrival: what is added from now on comes after it."""
        return next(self._places)

    def owes(self, mark: int, now: float) -> bool:
        """Whether a project that is due was added before `mark` and has not been handed out."""
        self._advance(now)
        path = self._first_ready()
        return path is not None and self._waiting[path].place < mark

    def _schedule(self, path: str, waiting: _Waiting, now: float, *, settled: bool) -> None:
        """Set when `path` is due. It moves earlier only by becoming due at once."""
        if waiting.ready:
            return
        if settled:
            waiting.ready = True
            heappush(self._by_place, (waiting.place, path))
            return
        first = waiting.due == math.inf
        waiting.due = min(now + self._quiet, waiting.since + self._longest)
        if first:
            heappush(self._by_time, (waiting.due, waiting.place, path))

    def _advance(self, now: float) -> None:
        """Queue what has become due, and leave the earliest true time on top of the heap."""
        while self._by_time:
            due, place, path = self._by_time[0]
            waiting = self._waiting.get(path)
            if waiting is None or waiting.place != place or waiting.ready:
                heappop(self._by_time)
            elif waiting.due > due:
                heappop(self._by_time)
                heappush(self._by_time, (waiting.due, place, path))
            elif due <= now:
                heappop(self._by_time)
                waiting.ready = True
                heappush(self._by_place, (place, path))
            else:
                return

    def _first_ready(self) -> str | None:
        """Return the project that is due and came first, or None."""
        while self._by_place:
            place, path = self._by_place[0]
            waiting = self._waiting.get(path)
            if waiting is not None and waiting.place == place:
                return path
            heappop(self._by_place)
        return None

    def _forget_event(self, path: str, waiting: _Waiting) -> None:
        """Stop counting `path` among those that only events asked for."""
        paths = self._from_events.get(waiting.root)
        if paths is not None:
            paths.discard(path)
            if not paths:
                del self._from_events[waiting.root]
