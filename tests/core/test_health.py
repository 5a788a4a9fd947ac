"""Health: one word by the age of the last heartbeat."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.core.health import HealthStatus, health, next_turn_seconds

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


@given(st.floats(min_value=-1e6, max_value=1e6))
def test_health_turns_when_foretold_and_not_before(age: float) -> None:
    turn = next_turn_seconds(age)

    if turn is None:
        assert health(True, age) is health(True, age + 1e9) is HealthStatus.STALE
    else:
        assert health(True, age + turn * 0.999) is health(True, age)
        assert health(True, age + turn + 1e-6) is not health(True, age)
