"""The one way in (R3): everything that may lead to a change waits here as a hint.

Owns the lock around the coalescer, the bound on what a sweep may put ahead, and the order of
controls: commands, sweep markers and second looks stand in one line with the hints. Assumes
one taker and any number of putters. Promises that nothing put is lost, that a control comes
after every hint that was put before it and is due, that a storm of later hints cannot hold it
up, and that `close` wakes everybody.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from heapq import heappop, heappush
from threading import Condition, Lock
from typing import TYPE_CHECKING, Final

from meshd.errors import StoppingError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from meshd.clock import Clock
    from meshd.core.coalescer import Coalescer
    from meshd.core.model import Hint

LIMIT: Final = 2_048
"""Most hints of one batch: a sweep then commits some five times per 10,000 projects."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What the taker has to do next, in this order.

    Attributes:
        hints: projects to look at.
        widened: roots to look at whole, in place of projects that are no longer listed.
        controls: what was posted, its time come.
        draining: whether the inbox is closed. What was still waiting for its time is then
            handed out before it, so a second look among it has not been waited for.
    """

    hints: tuple[Hint, ...] = ()
    widened: tuple[str, ...] = ()
    controls: tuple[object, ...] = ()
    draining: bool = False

    def __bool__(self) -> bool:
        """Whether there is anything to do; a batch that is only a timeout has nothing."""
        return bool(self.hints or self.widened or self.controls)


class Inbox:
    """A coalescer that threads share."""

    def __init__(
        self, clock: Clock, coalescer: Coalescer, capacity: int, *, limit: int = LIMIT
    ) -> None:
        """Open the inbox.

        Args:
            clock: where all instants come from.
            coalescer: used by this inbox alone.
            capacity: how many projects may wait before a putter with `block` waits too.
            limit: most hints of one batch.
        """
        self._clock = clock
        self._coalescer = coalescer
        self._capacity = capacity
        self._limit = limit
        self._closed = False
        # Controls whose time has not come, by time; and those it has come for, by place.
        # A place is unique, so two controls are never compared.
        self._scheduled: list[tuple[float, int, object]] = []
        self._posted: list[tuple[int, object]] = []
        lock = Lock()
        self._arrived = Condition(lock)
        self._room = Condition(lock)

    def __len__(self) -> int:
        """How many projects wait, due or not."""
        with self._arrived:
            return len(self._coalescer)

    def paths(self) -> set[str]:
        """Return the projects that wait, due or not, and the roots to be looked at whole."""
        with self._arrived:
            return self._coalescer.paths()

    def among(self, paths: Collection[str]) -> set[str]:
        """Return those of `paths` that may still wait; see `Coalescer.among`."""
        with self._arrived:
            return self._coalescer.among(paths)

    def put(
        self,
        hints: Iterable[Hint],
        *,
        root_of: Callable[[str], str],
        settled: bool = True,
        block: bool = False,
    ) -> None:
        """Put hints.

        Args:
            hints: read to its end before the lock is taken.
            root_of: the root that owns a path, for which an overflow counts. A path that no
                root owns counts for itself.
            settled: whether the projects may be looked at once.
            block: wait while more than the capacity wait. For the sweep, which could put a
                whole disk; never for the taker, who would wait for itself.

        Raises:
            StoppingError: the inbox is, or was while waiting, closed.
        """
        entries = [(hint, root_of(hint.path)) for hint in hints]
        with self._arrived:
            self._refuse_if_closed()
            now = self._clock.monotonic()
            for hint, root in entries:
                while block and len(self._coalescer) >= self._capacity:
                    self._arrived.notify()
                    self._room.wait()
                    self._refuse_if_closed()
                    now = self._clock.monotonic()
                self._coalescer.add(hint.path, root, hint.source, now, settled=settled)
            self._arrived.notify()

    def widen(self, root: str) -> None:
        """Ask for all of `root`: somebody cannot say what happened below it.

        Raises:
            StoppingError: the inbox is closed.
        """
        with self._arrived:
            self._refuse_if_closed()
            self._coalescer.widen(root)
            self._arrived.notify()
            self._room.notify_all()

    def post(self, control: object, due: float | None = None) -> None:
        """Post a control: a command, a sweep's marker, a second look.

        Args:
            control: handed out as it is.
            due: the monotonic instant before which it is not handed out; None for none.

        Raises:
            StoppingError: the inbox is closed.
        """
        with self._arrived:
            self._refuse_if_closed()
            place = self._coalescer.mark()
            if due is None:
                heappush(self._posted, (place, control))
            else:
                heappush(self._scheduled, (due, place, control))
            self._arrived.notify()

    def take(self, timeout: float | None = None) -> Batch | None:
        """Wait for something to do.

        Args:
            timeout: seconds after which an empty batch is returned; None waits for ever.

        Returns:
            The next batch, or None once the inbox is closed and empty.
        """
        with self._arrived:
            give_up = math.inf if timeout is None else self._clock.monotonic() + timeout
            while True:
                now = self._clock.monotonic()
                batch = self._take_now(math.inf if self._closed else now)
                if batch:
                    return batch
                if self._closed:
                    return None
                if now >= give_up:
                    return batch
                until = min(give_up, self._next_due())
                self._arrived.wait(None if until == math.inf else max(until - now, 0.0))

    def close(self) -> None:
        """Take nothing more in, wake everybody, and let `take` hand out what is there."""
        with self._arrived:
            self._closed = True
            self._arrived.notify_all()
            self._room.notify_all()

    def _take_now(self, now: float) -> Batch:
        """Return what may be handed out at `now`."""
        hints, widened = self._coalescer.take(now, self._limit)
        while self._scheduled and self._scheduled[0][0] <= now:
            _, place, control = heappop(self._scheduled)
            heappush(self._posted, (place, control))
        controls: list[object] = []
        while self._posted and not self._coalescer.owes(self._posted[0][0], now):
            controls.append(heappop(self._posted)[1])
        if hints or widened:
            self._room.notify_all()
        return Batch(hints, widened, tuple(controls), draining=self._closed)

    def _next_due(self) -> float:
        """Return when something may be handed out, inf for never."""
        hint = self._coalescer.next_due()
        control = self._scheduled[0][0] if self._scheduled else math.inf
        return min(control, math.inf if hint is None else hint)

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise StoppingError("the inbox is closed")
