"""Health: one word by the age of the last heartbeat, and what turns with time."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.core.health import (
    HealthStatus,
    event_words,
    health,
    health_at,
    last_seen_seconds,
    turn,
    turning_spans,
)

HOUR = 3_600.0


@pytest.mark.parametrize(
    ("live", "age", "expected"),
    [
        pytest.param(True, 0.0, "active", id="just now"),
        pytest.param(True, -90_000.0, "active", id="the wall clock was set back"),
        pytest.param(True, HOUR - 0.001, "active", id="just under an hour"),
        pytest.param(True, HOUR, "inactive", id="an hour"),
        pytest.param(True, 24 * HOUR - 0.001, "inactive", id="just under a day"),
        pytest.param(True, 24 * HOUR, "stale", id="a day"),
        pytest.param(True, None, "stale", id="never heard from"),
        pytest.param(False, 0.0, "unreachable", id="unreachable outranks any heartbeat"),
        pytest.param(False, None, "unreachable", id="unreachable and never heard from"),
    ],
)
def test_health_by_age(live: bool, age: float | None, expected: str) -> None:
    assert HealthStatus(expected) is health(live, age)


MOMENTS = st.floats(min_value=0, max_value=300_000)


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        pytest.param(0.0, HOUR - 1, None, id="still active"),
        pytest.param(0.0, HOUR, ("active", "inactive"), id="an hour without a word"),
        pytest.param(HOUR, 24 * HOUR, ("inactive", "stale"), id="a day without a word"),
        pytest.param(0.0, 24 * HOUR, ("active", "stale"), id="both at once"),
        pytest.param(-9.0, 30.0, None, id="heard from meanwhile"),
        pytest.param(24 * HOUR, 2.0, ("stale", "active"), id="the wall clock was set back"),
        pytest.param(24 * HOUR, 99 * HOUR, None, id="stale for good"),
    ],
)
def test_what_turns_between_two_moments(
    before: float, now: float, expected: tuple[str, str] | None
) -> None:
    assert expected == turn(0.0, before, now)


def test_who_was_never_heard_from_never_turns() -> None:
    assert turn(None, 0.0, 1e9) is None


@given(MOMENTS, MOMENTS, MOMENTS)
def test_all_that_turns_was_last_heard_from_in_one_of_the_spans(
    last_seen: float, before: float, now: float
) -> None:
    spans = turning_spans(before, now)

    if turn(last_seen, before, now) is not None:
        assert any(first <= last_seen <= last for first, last in spans)


@given(MOMENTS, st.lists(MOMENTS, min_size=2))
def test_turns_told_one_after_the_other_lead_to_the_health_of_now(
    last_seen: float, moments: list[float]
) -> None:
    told = health_at(last_seen, moments[0])
    for before, now in itertools.pairwise(moments):
        turned = turn(last_seen, before, now)
        if turned is not None:
            assert told == turned[0]
            told = turned[1]

    assert told is health_at(last_seen, moments[-1])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:01:00.500Z", 60.5),
        ("1970-01-01T01:01:00+01:00", 60.0),
        ("1970-01-01T00:01:00", 60.0),
        ("", None),
        ("yesterday", None),
        (None, None),
    ],
)
def test_a_stored_time_is_read_or_tells_of_nothing(
    text: str | None, expected: float | None
) -> None:
    assert expected == last_seen_seconds(text)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("tool-use", "tool-use"),
        ("", ""),
        ("x" * 101, "x" * 100),
        ("a\x1b[2Jb\nc\u2028d\ud800e", "a\ufffd[2Jb\ufffdc\ufffdd\ufffde"),
        ("müde 🙂", "müde 🙂"),
    ],
)
def test_what_an_agent_says_is_kept_short_and_on_one_line(said: str, kept: str) -> None:
    assert kept == event_words(said)


@given(st.text(st.characters(exclude_categories=[])))
def test_whatever_an_agent_says_can_be_stored(said: str) -> None:
    kept = event_words(said)

    assert len(kept) == len(said[:100])
    assert kept.encode() == event_words(kept).encode()
