"""The coalescer: each project at its time, nothing before it, nothing lost."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from meshd.core import coalescer as coalescing
from meshd.core.coalescer import Coalescer
from meshd.core.model import Hint, Source

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from _typeshed import TraceFunction

QUIET, LONGEST, MOST = 0.2, 2.0, 3
ROOT = "/code"
EVERYTHING = 1_000_000


def coalescer() -> Coalescer:
    return Coalescer(QUIET, LONGEST, MOST)


def paths(hints: tuple[Hint, ...]) -> list[str]:
    return [hint.path for hint in hints]


def test_a_project_is_due_once_it_was_quiet() -> None:
    waiting = coalescer()
    waiting.add("/code/a", ROOT, Source.WATCH, 10.0, settled=False)
    waiting.add("/code/a", ROOT, Source.WATCH, 10.1, settled=False)

    assert waiting.next_due() == pytest.approx(10.3)
    assert waiting.take(10.29, EVERYTHING) == ((), ())
    assert ((Hint("/code/a", Source.WATCH),), ()) == waiting.take(10.31, EVERYTHING)
    assert waiting.next_due() is None


def test_a_project_that_is_never_quiet_is_due_after_the_longest_wait() -> None:
    waiting = coalescer()
    for tick in range(20):
        waiting.add("/code/a", ROOT, Source.WATCH, tick / 10, settled=False)

    assert waiting.take(1.99, EVERYTHING) == ((), ())
    assert paths(waiting.take(2.0, EVERYTHING)[0]) == ["/code/a"]


def test_a_time_that_has_come_is_not_put_off() -> None:
    waiting = coalescer()
    waiting.add("/code/a", ROOT, Source.WATCH, 1.0, settled=False)
    waiting.add("/code/a", ROOT, Source.WATCH, 1.0 + QUIET, settled=False)

    assert paths(waiting.take(1.0 + QUIET, EVERYTHING)[0]) == ["/code/a"]


def test_a_storm_on_one_project_is_kept_once() -> None:
    waiting = coalescer()
    for tick in range(1_000):
        waiting.add("/code/a", ROOT, Source.WATCH, tick / 1_000, settled=False)
        waiting.next_due()

    assert len(waiting._by_time) == 1


def test_a_settled_project_is_due_at_once_and_stays_due() -> None:
    waiting = coalescer()
    waiting.add("/code/a", ROOT, Source.WATCH, 10.0, settled=False)
    waiting.add("/code/a", ROOT, Source.WATCH, 10.1, settled=True)
    waiting.add("/code/a", ROOT, Source.WATCH, 10.1, settled=False)

    assert paths(waiting.take(10.1, EVERYTHING)[0]) == ["/code/a"]
    assert waiting.take(20.0, EVERYTHING) == ((), ())


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        pytest.param([Source.SWEEP, Source.API], Source.API, id="a caller waits"),
        pytest.param([Source.WATCH, Source.SWEEP], Source.WATCH, id="an event saw it: no drift"),
        pytest.param([Source.SWEEP, Source.START], Source.START, id="start-up before a sweep"),
        pytest.param([Source.TIMER, Source.SWEEP], Source.SWEEP, id="the timer is last"),
        pytest.param(list(Source), Source.API, id="all of them"),
    ],
)
def test_the_most_urgent_source_is_kept(sources: list[Source], expected: Source) -> None:
    for order in (sources, sources[::-1]):
        waiting = coalescer()
        for source in order:
            waiting.add("/code/a", ROOT, source, 1.0, settled=True)
        assert ((Hint("/code/a", expected),), ()) == waiting.take(1.0, EVERYTHING)


def test_projects_that_are_due_go_out_in_the_order_they_came_up_to_the_limit() -> None:
    waiting = coalescer()
    names = [f"/code/{name}" for name in "zebra"]
    for name in names:
        waiting.add(name, ROOT, Source.SWEEP, 1.0, settled=True)

    assert names[:2] == paths(waiting.take(1.0, 2)[0])
    assert len(waiting) == 3
    assert names[2:] == paths(waiting.take(1.0, EVERYTHING)[0])


def test_too_many_projects_widen_to_their_root_and_no_other() -> None:
    waiting = coalescer()
    waiting.add("/other/a", "/other", Source.WATCH, 1.0, settled=True)
    for number in range(MOST):
        waiting.add(f"/code/{number}", ROOT, Source.WATCH, 1.0, settled=True)
    assert len(waiting) == MOST + 1

    waiting.add("/code/one-more", ROOT, Source.WATCH, 1.0, settled=False)
    waiting.add("/code/later", ROOT, Source.WATCH, 1.0, settled=True)

    assert ((Hint("/other/a", Source.WATCH),), (ROOT,)) == waiting.take(1.0, EVERYTHING)


def test_events_count_anew_once_the_widened_root_is_handed_out() -> None:
    waiting = coalescer()
    waiting.widen(ROOT)
    assert waiting.take(0.0, EVERYTHING) == ((), (ROOT,))

    waiting.add("/code/a", ROOT, Source.WATCH, 1.0, settled=True)

    assert ((Hint("/code/a", Source.WATCH),), ()) == waiting.take(1.0, EVERYTHING)


def test_a_project_that_comes_back_after_widening_has_its_own_time() -> None:
    """What the queues still hold of its first life neither hurries nor loses the second."""
    waiting = coalescer()
    waiting.add("/code/first", ROOT, Source.SWEEP, 0.95, settled=False)
    waiting.add("/code/caller", ROOT, Source.API, 1.0, settled=True)
    waiting.add("/code/was-settled", ROOT, Source.WATCH, 1.0, settled=True)
    waiting.add("/code/was-settling", ROOT, Source.WATCH, 1.0, settled=False)
    waiting.widen(ROOT)
    assert paths(waiting.take(1.0, 1)[0]) == ["/code/caller"]

    waiting.add("/code/was-settled", ROOT, Source.WATCH, 1.1, settled=False)
    waiting.add("/code/was-settling", ROOT, Source.WATCH, 1.1, settled=False)

    assert paths(waiting.take(1.25, EVERYTHING)[0]) == ["/code/first"]
    expected = ["/code/was-settled", "/code/was-settling"]
    assert expected == paths(waiting.take(1.35, EVERYTHING)[0])


def test_taken_projects_count_no_more() -> None:
    waiting = coalescer()
    for number in range(10 * MOST):
        waiting.add(f"/code/{number}", ROOT, Source.WATCH, 1.0, settled=True)
        assert ((Hint(f"/code/{number}", Source.WATCH),), ()) == waiting.take(1.0, EVERYTHING)


def test_widening_keeps_what_a_sweep_or_a_caller_asked_for() -> None:
    waiting = coalescer()
    waiting.add("/code/event", ROOT, Source.WATCH, 1.0, settled=True)
    waiting.add("/code/both", ROOT, Source.WATCH, 1.0, settled=True)
    waiting.add("/code/both", ROOT, Source.SWEEP, 1.0, settled=True)
    waiting.widen(ROOT)
    waiting.add("/code/caller", ROOT, Source.API, 1.0, settled=True)

    hints, widened = waiting.take(1.0, EVERYTHING)

    assert paths(hints) == ["/code/both", "/code/caller"]
    assert widened == (ROOT,)


def test_a_sweep_of_any_size_does_not_widen_the_root_it_sweeps() -> None:
    waiting = coalescer()
    for number in range(10 * MOST):
        waiting.add(f"/code/{number}", ROOT, Source.SWEEP, 1.0, settled=True)

    hints, widened = waiting.take(1.0, EVERYTHING)

    assert (len(hints), widened) == (10 * MOST, ())


def test_a_mark_is_owed_what_came_before_it_and_is_due() -> None:
    waiting = coalescer()
    waiting.add("/code/settling", ROOT, Source.WATCH, 1.0, settled=False)
    waiting.add("/code/before", ROOT, Source.WATCH, 1.0, settled=True)
    mark = waiting.mark()
    waiting.add("/code/after", ROOT, Source.WATCH, 1.0, settled=True)

    assert waiting.owes(mark, 1.0)
    waiting.take(1.0, 1)
    assert not waiting.owes(mark, 1.1)
    assert waiting.owes(mark, 1.2)


def test_ten_times_the_projects_and_a_storm_on_one_take_little_more_than_ten_times() -> None:
    """Two heaps make it some thirteen times; a quadratic step makes it a hundred."""
    few, many = _steps(1_000), _steps(10_000)
    assert {kind: many[kind] < 15 * few[kind] for kind in few} == {"lines": True, "compared": True}


def _steps(projects: int) -> Counter[str]:
    """Return the lines that the coalescer runs, and how often paths and places are compared."""
    steps: Counter[str] = Counter()

    def note_line(frame: FrameType, _event: str, _argument: object) -> TraceFunction | None:
        if frame.f_code.co_filename != coalescing.__file__:
            return None
        steps["lines"] += 1
        return note_line

    def note_comparison() -> None:
        steps["compared"] += 1

    path = _comparing(str, note_comparison)
    waiting = Coalescer(QUIET, LONGEST, 2 * projects)
    waiting._places = map(_comparing(int, note_comparison), count())  # type: ignore[assignment]
    tracing = sys.gettrace()
    sys.settrace(note_line)
    try:
        for number in range(projects):
            settled = number >= projects // 2  # once one of them is due, nobody asks when
            waiting.add(path(f"/code/{number}"), ROOT, Source.WATCH, 0.0, settled=settled)
            waiting.add(path("/code/0"), ROOT, Source.WATCH, 0.0, settled=False)
            waiting.next_due()
        taken = 0
        while hints := waiting.take(LONGEST, 2_048)[0]:
            taken += len(hints)
    finally:
        sys.settrace(tracing)
    assert projects == taken
    return steps


def _comparing(kind: type, note: Callable[[], None]) -> type:
    """Return a kind of value that notes each comparison, also those that are made in C."""

    def noting(name: str) -> Callable[[object, object], bool]:
        compare = getattr(kind, name)

        def compared(one: object, other: object) -> bool:
            note()
            result: bool = compare(one, other)
            return result

        return compared

    names = ("__lt__", "__le__", "__eq__", "__ne__", "__gt__", "__ge__")
    return type(
        "Compared", (kind,), {name: noting(name) for name in names} | {"__hash__": kind.__hash__}
    )


@dataclass
class Expected:
    """What the model knows of one project that waits."""

    root: str
    since: float
    last: float
    settled: bool
    sources: set[Source] = field(default_factory=set)

    @property
    def due(self) -> float:
        return self.since if self.settled else min(self.last + QUIET, self.since + LONGEST)


class CoalescerMachine(RuleBasedStateMachine):
    """Against a model that keeps everything in one dictionary and sorts nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.real = Coalescer(QUIET, LONGEST, MOST)
        self.now = 0.0
        self.model: dict[str, Expected] = {}
        self.widened: set[str] = set()

    @rule(seconds=st.sampled_from([0.0, 0.05, 0.1, 0.2, 0.5, 2.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(
        name=st.sampled_from("abcdefg"),
        root=st.sampled_from(["/r1", "/r2"]),
        source=st.sampled_from([Source.WATCH, Source.WATCH, *Source]),
        settled=st.booleans(),
    )
    def add(self, name: str, root: str, source: Source, settled: bool) -> None:
        path = f"{root}/{name}"
        self.real.add(path, root, source, self.now, settled=settled)
        if source is Source.WATCH and root in self.widened:
            return
        entry = self.model.setdefault(path, Expected(root, self.now, self.now, settled))
        # A time that has come cannot be put off again.
        entry.settled |= settled or entry.due <= self.now
        entry.last = self.now
        entry.sources.add(source)
        events = [
            path
            for path, waiting in self.model.items()
            if waiting.root == root and waiting.sources == {Source.WATCH}
        ]
        if len(events) > MOST:
            self.widen(root)

    @rule(root=st.sampled_from(["/r1", "/r2"]))
    def overflow(self, root: str) -> None:
        self.real.widen(root)
        self.widen(root)

    def widen(self, root: str) -> None:
        self.widened.add(root)
        self.model = {
            path: waiting
            for path, waiting in self.model.items()
            if waiting.root != root or waiting.sources != {Source.WATCH}
        }

    @rule(limit=st.sampled_from([1, 2, EVERYTHING]))
    def take(self, limit: int) -> None:
        due = {path for path, waiting in self.model.items() if waiting.due <= self.now}

        hints, widened = self.real.take(self.now, limit)

        assert self.widened == set(widened)
        assert set(paths(hints)) <= due
        assert min(limit, len(due)) == len(hints) == len(set(hints))
        for hint in hints:
            assert hint.source in self.model.pop(hint.path).sources
        self.widened.clear()

    @invariant()
    def the_next_time_is_the_earliest(self) -> None:
        expected = min((waiting.due for waiting in self.model.values()), default=None)
        real = self.real.next_due()
        if self.widened or (expected is not None and expected <= self.now):
            assert real is not None
            assert real <= self.now
        else:
            assert expected == real

    @invariant()
    def nothing_is_lost(self) -> None:
        assert len(self.model) == len(self.real)


TestCoalescerMachine = CoalescerMachine.TestCase
TestCoalescerMachine.settings = settings(deadline=None, max_examples=200, stateful_step_count=40)
