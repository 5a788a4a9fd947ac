"""Cadence: when sweeps are due, which are full, and what a sweep observed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.core.cadence import Cadence, observed_advance

FIVE_MINUTES = Cadence(interval=300.0, full_every=12)


def test_the_first_sweep_is_due_at_once() -> None:
    assert FIVE_MINUTES.next_due(None, jitter=0.5) < 0


@pytest.mark.parametrize(
    ("jitter", "failures", "expected"),
    [
        pytest.param(0.0, 0, 1_300.0, id="one interval after the last end"),
        pytest.param(0.5, 0, 1_285.0, id="jitter comes early, never late"),
        pytest.param(0.0, 1, 1_001.0, id="the first failure is tried again after a second"),
        pytest.param(0.0, 4, 1_008.0, id="then the wait doubles"),
        pytest.param(0.0, 10, 1_300.0, id="up to the interval"),
        pytest.param(0.0, 100_000, 1_300.0, id="however often it failed"),
    ],
)
def test_the_next_sweep_is_due(jitter: float, failures: int, expected: float) -> None:
    assert expected == FIVE_MINUTES.next_due(1_000.0, jitter=jitter, failures=failures)


@given(
    st.floats(min_value=0.1, max_value=1e6),
    st.floats(min_value=0, max_value=1, exclude_max=True),
    st.integers(min_value=0, max_value=10_000),
)
def test_no_sweep_is_later_than_the_interval_or_in_the_past(
    interval: float, jitter: float, failures: int
) -> None:
    due = Cadence(interval, 1).next_due(0.0, jitter=jitter, failures=failures)

    assert 0 < due <= interval


def test_the_first_sweep_is_full_and_every_twelfth_after_it() -> None:
    full = [number for number in range(1, 37) if FIVE_MINUTES.is_full(number)]

    expected = [1, 13, 25]
    assert expected == full


def test_every_sweep_may_be_full() -> None:
    assert all(Cadence(1.0, 1).is_full(number) for number in range(1, 5))


@pytest.mark.parametrize(
    ("elapsed", "expected"),
    [
        pytest.param(300.0, 300.0, id="an ordinary sweep"),
        pytest.param(0.0, 0.0, id="two sweeps at once"),
        pytest.param(-5_000.0, 0.0, id="fault 155: a reboot restarts the clock"),
        pytest.param(600.0, 600.0, id="two intervals"),
        pytest.param(3 * 86_400.0, 600.0, id="fault 154: three days of downtime"),
    ],
)
def test_only_observed_time_counts(elapsed: float, expected: float) -> None:
    assert expected == observed_advance(elapsed, 300.0)
