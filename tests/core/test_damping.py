"""How soon an endpoint that comes and goes is announced again (fault 156)."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from meshd.core.damping import CALM, FIRST_WAIT, LONGEST_WAIT, Damping

SUBJECT = "relay.agent.x.a"


def test_an_announcement_and_the_first_return_are_at_once_and_each_further_one_waits_longer() -> (
    None
):
    damping, now, waits = Damping(), 100.0, []
    assert damping.due(SUBJECT) == -math.inf
    for _ in range(12):
        damping.announced(SUBJECT, now)
        due = damping.due(SUBJECT)
        waits.append(max(due - now, 0.0))
        now = max(due, now)
    assert waits[:5] == [0.0, FIRST_WAIT, 2 * FIRST_WAIT, 4 * FIRST_WAIT, 8 * FIRST_WAIT]
    assert waits[-2:] == [LONGEST_WAIT, LONGEST_WAIT]


def test_a_subject_that_was_calm_is_told_at_once_again() -> None:
    damping = Damping()
    for _ in range(5):
        damping.announced(SUBJECT, 100.0)
    damping.announced(SUBJECT, 100.0 + CALM)
    assert damping.due(SUBJECT) == -math.inf


def test_one_that_flaps_holds_no_other_back() -> None:
    damping = Damping()
    for _ in range(5):
        damping.announced(SUBJECT, 100.0)
    assert damping.due("relay.agent.x.b") == -math.inf


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0.0, 400.0)), max_size=200))
def test_only_what_was_announced_lately_is_remembered(steps: list[tuple[int, float]]) -> None:
    damping, now, latest = Damping(), 0.0, {}
    for who, later in steps:
        now += later
        damping.announced(f"s{who}", now)
        latest[who] = now
        assert len(damping) == sum(now - at < CALM for at in latest.values())


@given(st.lists(st.floats(0.0, 50.0), max_size=300))
def test_in_ten_minutes_of_flapping_there_are_few_announcements(gaps: list[float]) -> None:
    """Ten minutes: at once, at once, then after 2, 4, ... 256 and 300 s."""
    damping, now, told = Damping(), 0.0, 0
    for gap in gaps:
        now += gap
        if now < CALM and now >= damping.due(SUBJECT):
            damping.announced(SUBJECT, now)
            told += 1
    assert told <= 11
