"""The inbox: real threads, a stepped clock, nothing lost and nothing early."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshd.clock import SystemClock
from meshd.core.coalescer import Coalescer
from meshd.core.model import Hint, Source
from meshd.errors import StoppingError
from meshd.inbox import Batch, Inbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshd.clock import Clock

QUIET, LONGEST = 0.2, 2.0
PATIENCE = 30.0


class SteppedClock:
    """A clock that stands still until it is stepped."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    def wall_ns(self) -> int:
        return 0


class WatchedClock(SystemClock):
    """A real clock that tells when it was asked.

    The inbox asks with its lock held, so whoever needs the lock after that gets it only once
    the one who asked waits.
    """

    def __init__(self) -> None:
        self.asked = threading.Event()

    def monotonic(self) -> float:
        self.asked.set()
        return super().monotonic()


def make(clock: Clock, *, capacity: int = 1_000, limit: int = 1_000, most: int = 1_000) -> Inbox:
    return Inbox(clock, Coalescer(QUIET, LONGEST, most), capacity, limit=limit)


def hint(name: str, source: Source = Source.SWEEP) -> Hint:
    return Hint(f"/code/{name}", source)


def root_of(_path: str) -> str:
    return "/code"


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as threads:
        yield threads


def test_what_is_put_is_taken_in_order_up_to_the_limit() -> None:
    inbox = make(SteppedClock(), limit=2)
    inbox.put([hint("c"), hint("a"), hint("b")], root_of=root_of)

    assert inbox.take(0) == Batch(hints=(hint("c"), hint("a")))
    assert inbox.take(0) == Batch(hints=(hint("b"),))
    assert inbox.take(0) == Batch()


def test_what_must_settle_is_not_taken_before_its_time() -> None:
    clock = SteppedClock()
    inbox = make(clock)
    inbox.put([hint("a")], root_of=root_of, settled=False)

    assert inbox.take(0) == Batch()
    clock.now += QUIET
    assert inbox.take(0) == Batch(hints=(hint("a"),))


def test_a_waiting_taker_wakes_when_something_is_put(pool: ThreadPoolExecutor) -> None:
    clock = WatchedClock()
    inbox = make(clock)
    taken = pool.submit(inbox.take)
    clock.asked.wait(PATIENCE)

    inbox.put([hint("a")], root_of=root_of)

    assert taken.result(PATIENCE) == Batch(hints=(hint("a"),))


def test_a_waiting_taker_wakes_when_something_has_settled(pool: ThreadPoolExecutor) -> None:
    clock = WatchedClock()
    inbox = make(clock)
    taken = pool.submit(inbox.take)
    clock.asked.wait(PATIENCE)
    before = clock.monotonic()

    inbox.put([hint("a")], root_of=root_of, settled=False)

    assert taken.result(PATIENCE) == Batch(hints=(hint("a"),))
    assert clock.monotonic() - before >= QUIET


def test_a_waiting_taker_wakes_when_a_control_is_due() -> None:
    clock = SystemClock()
    inbox = make(clock)
    due = clock.monotonic() + 0.05
    inbox.post("second look", due)

    assert inbox.take() == Batch(controls=("second look",))
    assert clock.monotonic() >= due


def test_a_timeout_ends_the_wait_with_an_empty_batch() -> None:
    clock = SystemClock()
    before = clock.monotonic()

    assert make(clock).take(0.02) == Batch()
    assert clock.monotonic() - before >= 0.02


def test_a_control_comes_after_the_hints_put_before_it_and_not_after_later_ones() -> None:
    inbox = make(SteppedClock(), limit=2)
    inbox.put([hint("1"), hint("2"), hint("3")], root_of=root_of)
    inbox.post("swept")
    inbox.put([hint("4"), hint("5")], root_of=root_of)

    assert inbox.take(0) == Batch(hints=(hint("1"), hint("2")))
    assert inbox.take(0) == Batch(hints=(hint("3"), hint("4")), controls=("swept",))
    assert inbox.take(0) == Batch(hints=(hint("5"),))


def test_a_control_waits_for_a_hint_that_has_settled_meanwhile() -> None:
    clock = SteppedClock()
    inbox = make(clock, limit=1)
    inbox.put([hint("first"), hint("second")], root_of=root_of, settled=False)
    inbox.post("swept")
    clock.now += QUIET

    assert inbox.take(0) == Batch(hints=(hint("first"),))
    assert inbox.take(0) == Batch(hints=(hint("second"),), controls=("swept",))


def test_a_control_does_not_wait_for_a_hint_that_still_settles() -> None:
    inbox = make(SteppedClock())
    inbox.put([hint("settling")], root_of=root_of, settled=False)
    inbox.post("command")

    assert inbox.take(0) == Batch(controls=("command",))


def test_controls_keep_their_order_and_are_never_compared() -> None:
    clock = SteppedClock()
    inbox = make(clock)
    first, second, third = object(), object(), object()
    inbox.post(first, clock.now)
    inbox.post(second)
    inbox.post(third, clock.now)

    assert inbox.take(0) == Batch(controls=(first, second, third))


def test_a_control_with_a_time_is_taken_at_its_time_and_not_before() -> None:
    clock = SteppedClock()
    inbox = make(clock)
    inbox.post("later", clock.now + 10)
    inbox.post("sooner", clock.now + 5)
    inbox.post("now")

    assert inbox.take(0) == Batch(controls=("now",))
    clock.now += 5
    assert inbox.take(0) == Batch(controls=("sooner",))
    clock.now += 4.9
    assert inbox.take(0) == Batch()
    clock.now += 0.1
    assert inbox.take(0) == Batch(controls=("later",))


def test_too_many_events_widen_to_the_root() -> None:
    inbox = make(SteppedClock(), most=2)
    inbox.put([hint(name, Source.WATCH) for name in "abc"], root_of=root_of)

    assert inbox.take(0) == Batch(widened=("/code",))


def test_a_watcher_that_overflowed_wakes_the_taker(pool: ThreadPoolExecutor) -> None:
    clock = WatchedClock()
    inbox = make(clock)
    taken = pool.submit(inbox.take)
    clock.asked.wait(PATIENCE)

    inbox.widen("/code")

    assert taken.result(PATIENCE) == Batch(widened=("/code",))


def test_a_sweep_waits_for_room_and_the_taker_makes_it(pool: ThreadPoolExecutor) -> None:
    inbox = make(SystemClock(), capacity=2, limit=1)
    expected = [hint(str(number)) for number in range(50)]
    swept = pool.submit(inbox.put, expected, root_of=root_of, block=True)
    taken: list[Hint] = []
    most = 0

    while len(taken) < len(expected):
        most = max(most, len(inbox))
        batch = inbox.take(PATIENCE)
        assert batch
        taken.extend(batch.hints)
    swept.result(PATIENCE)

    assert expected == taken
    assert most <= 2


def test_a_sweep_that_waits_for_settling_projects_gets_its_room_in_time(
    pool: ThreadPoolExecutor,
) -> None:
    inbox = make(SystemClock(), capacity=1)
    inbox.put([hint("settling", Source.WATCH)], root_of=root_of, settled=False)
    swept = pool.submit(inbox.put, [hint("swept")], root_of=root_of, block=True)

    assert inbox.take(PATIENCE) == Batch(hints=(hint("settling", Source.WATCH),))
    swept.result(PATIENCE)
    assert inbox.take(PATIENCE) == Batch(hints=(hint("swept"),))


def test_an_event_never_waits_for_room() -> None:
    inbox = make(SteppedClock(), capacity=1)
    inbox.put([hint(name, Source.WATCH) for name in "abcdef"], root_of=root_of)

    assert len(inbox) == 6


def test_closing_wakes_a_sweep_that_waits_for_room(pool: ThreadPoolExecutor) -> None:
    clock = WatchedClock()
    inbox = make(clock, capacity=1)
    inbox.put([hint("full")], root_of=root_of)
    clock.asked.clear()
    swept = pool.submit(inbox.put, [hint("more")], root_of=root_of, block=True)
    clock.asked.wait(PATIENCE)

    inbox.close()

    with pytest.raises(StoppingError):
        swept.result(PATIENCE)


def test_closing_wakes_a_waiting_taker(pool: ThreadPoolExecutor) -> None:
    clock = WatchedClock()
    inbox = make(clock)
    taken = pool.submit(inbox.take)
    clock.asked.wait(PATIENCE)

    inbox.close()

    assert taken.result(PATIENCE) is None


def test_after_closing_everything_there_is_handed_out_and_then_none() -> None:
    clock = SteppedClock()
    inbox = make(clock, limit=1)
    inbox.put([hint("settled")], root_of=root_of)
    inbox.put([hint("settling")], root_of=root_of, settled=False)
    inbox.post("second look", clock.now + 3_600)
    inbox.close()

    assert inbox.take() == Batch(hints=(hint("settled"),), draining=True)
    assert inbox.take() == Batch(
        hints=(hint("settling"),), controls=("second look",), draining=True
    )
    assert inbox.take() is None
    assert inbox.take(0) is None


def test_a_closed_inbox_takes_nothing_in() -> None:
    inbox = make(SteppedClock())
    inbox.close()

    with pytest.raises(StoppingError):
        inbox.put([], root_of=root_of)
    with pytest.raises(StoppingError):
        inbox.post("command")
    with pytest.raises(StoppingError):
        inbox.widen("/code")


def test_hints_are_read_before_the_lock_is_taken() -> None:
    """A putter that reads a slow disk while it yields must not hold everybody up."""
    inbox = make(SteppedClock())

    def walk() -> Iterator[Hint]:
        inbox.post("while walking")
        yield hint("a")

    inbox.put(walk(), root_of=root_of)

    assert inbox.take(0) == Batch(hints=(hint("a"),), controls=("while walking",))


def test_many_putters_and_one_taker_lose_nothing_and_add_nothing(
    pool: ThreadPoolExecutor,
) -> None:
    inbox = make(SystemClock(), capacity=10, limit=7)
    names = [f"{putter}-{number}" for putter in range(3) for number in range(200)]
    slow = [f"slow-{number}" for number in range(20)]

    def put(own: list[str], settled: bool) -> None:
        for name in own:
            inbox.put([hint(name)], root_of=root_of, settled=settled, block=True)
            inbox.post(name)

    def take_all() -> tuple[list[str], list[object]]:
        paths: list[str] = []
        controls: list[object] = []
        while (batch := inbox.take()) is not None:
            paths += [taken.path for taken in batch.hints]
            controls += batch.controls
        return paths, controls

    taken = pool.submit(take_all)
    for putter in (
        *(pool.submit(put, names[start : start + 200], True) for start in (0, 200, 400)),
        pool.submit(put, slow, False),
    ):
        putter.result(PATIENCE)
    inbox.close()
    paths, controls = taken.result(PATIENCE)

    expected = sorted(names + slow)
    assert [f"/code/{name}" for name in expected] == sorted(paths)
    assert expected == sorted(map(str, controls))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from("abcd"), st.booleans()),
        st.tuples(st.just("post"), st.sampled_from([0.0, 0.1, 1.0]), st.booleans()),
        st.tuples(st.just("pass"), st.sampled_from([0.05, 0.2, 1.0]), st.booleans()),
        st.tuples(st.just("take"), st.sampled_from([1, 2, 100]), st.booleans()),
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=300)
@given(STEPS)
def test_nothing_is_lost_early_or_later_than_the_longest_wait(
    steps: list[tuple[str, str | float | int, bool]],
) -> None:
    """Hints taken at each step are exactly as early and as late as promised."""
    clock = SteppedClock()
    inbox = make(clock, limit=2)
    since: dict[str, float] = {}
    earliest: dict[str, float] = {}
    due: dict[int, float] = {}

    def settle(batch: Batch | None) -> None:
        assert batch is not None
        for taken in batch.hints:
            assert clock.now >= earliest.pop(taken.path)
            del since[taken.path]
        for control in batch.controls:
            assert isinstance(control, int)
            assert clock.now >= due.pop(control)

    for number, (step, value, flag) in enumerate(steps):
        if step == "put":
            path = f"/code/{value}"
            inbox.put([hint(str(value))], root_of=root_of, settled=flag)
            since.setdefault(path, clock.now)
            wanted = clock.now if flag else min(clock.now + QUIET, since[path] + LONGEST)
            if earliest.get(path, wanted) > clock.now or path not in earliest:
                earliest[path] = wanted
        elif step == "post":
            due[number] = clock.now + float(value)
            inbox.post(number, due[number] if flag or value else None)
        elif step == "pass":
            clock.now += float(value)
        else:
            settle(inbox.take(0))

    clock.now += LONGEST
    while batch := inbox.take(0):
        settle(batch)
    assert (since, due) == ({}, {})
