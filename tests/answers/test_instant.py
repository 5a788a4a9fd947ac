"""Times in questions are checked, and compare as text."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.answers import InvalidTimeError, instant


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-02-03T04:05:06Z", "2026-02-03T04:05:06.000Z"),
        ("2026-02-03t04:05:06.7891z", "2026-02-03T04:05:06.789Z"),
        ("2026-02-03T04:05:06+02:00", "2026-02-03T02:05:06.000Z"),
    ],
)
def test_a_time_is_taken_from_any_offset(text: str, expected: str) -> None:
    assert expected == instant(text)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("yesterday", id="words"),
        pytest.param("2026-02-03", id="a day"),
        pytest.param("2026-02-03T04:05:06", id="no offset"),
        pytest.param("20260203T040506Z", id="the basic form of ISO 8601"),
        pytest.param("2026-W06-2T04:05:06Z", id="a week"),
        pytest.param("2026-02-03T04:05:06+02:00:30", id="an offset of seconds"),
        pytest.param("2026-02-30T04:05:06Z", id="no such day"),
        pytest.param("0001-01-01T00:00:00+23:00", id="before the calendar"),
        pytest.param("2026-02-03T04:05:06Z\n", id="a line end"),
        pytest.param("٢٠٢٦-02-03T04:05:06Z", id="other digits"),
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidTimeError) as caught:
        instant(text)

    assert caught.value.message.isascii()


offsets = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
# Whole milliseconds: the registry keeps no finer times.
moments = st.builds(
    lambda milliseconds, offset: datetime.fromtimestamp(milliseconds / 1000, tz=offset),
    st.integers(-10_000_000_000_000, 100_000_000_000_000),
    offsets,
)


@given(moments, moments)
def test_times_compare_as_text_as_they_do_as_times(one: datetime, other: datetime) -> None:
    assert (one < other) == (instant(one.isoformat()) < instant(other.isoformat()))
    assert (one == other) == (instant(one.isoformat()) == instant(other.isoformat()))
