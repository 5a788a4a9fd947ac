"""How what a walk finds reaches the inbox: in parts, and no further ahead than one of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from meshd.commands import CaughtUp
from meshd.core.coalescer import Coalescer
from meshd.core.model import Source
from meshd.gathering import LONGEST, Gathering
from meshd.inbox import LIMIT, Inbox
from tests.harness import SteppedClock

if TYPE_CHECKING:
    from concurrent.futures import Future


class Line:
    """An inbox, and a gathering that puts into it; what is waited for is done at once."""

    def __init__(self) -> None:
        self.clock = SteppedClock()
        self.inbox = Inbox(self.clock, Coalescer(0.2, 2.0, 100_000), capacity=4 * LIMIT)
        self.parts: list[int] = []
        view = SimpleNamespace(scope=SimpleNamespace(owner=lambda _: "/r"))
        shared = SimpleNamespace(clock=self.clock, inbox=self.inbox)
        self.gathering = Gathering(shared, view, Source.SWEEP, self._look)  # type: ignore[arg-type]

    def _look(self, future: Future[None]) -> None:
        batch = self.inbox.take(timeout=0)
        assert batch is not None
        self.parts.append(len(batch.hints))
        (caught_up,) = batch.controls
        assert isinstance(caught_up, CaughtUp)
        assert caught_up.future is future


def paths(count: int, start: int = 0) -> list[str]:
    return [f"/r/{number}" for number in range(start, start + count)]


def test_a_part_is_what_one_batch_takes_and_the_walk_waits_until_it_was_looked_at() -> None:
    line = Line()

    for start in range(0, 2 * LIMIT + 1, 500):
        line.gathering.add(paths(500, start))

    assert line.parts == [LIMIT, LIMIT]


def test_what_is_left_at_the_end_is_put_and_nobody_waits() -> None:
    line = Line()

    line.gathering.add(paths(3))
    line.gathering.put()

    assert line.parts == []
    assert line.inbox.paths() == set(paths(3))


def test_what_was_found_does_not_wait_for_ever_for_a_walk_that_is_slow() -> None:
    line = Line()

    line.gathering.add(paths(3))
    line.clock.step(LONGEST)
    line.gathering.add([])

    assert line.parts == [3]


@pytest.mark.parametrize("seconds", [0.0, LONGEST])
def test_where_nothing_is_found_nothing_is_asked(seconds: float) -> None:
    line = Line()

    line.gathering.add([])
    line.clock.step(seconds)
    line.gathering.add([])
    line.gathering.put()

    assert line.parts == []
    assert len(line.inbox) == 0
