"""The ceiling on what is said one by one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshd.core.allowance import Allowance


def test_what_is_spent_grows_back_and_not_beyond_its_most() -> None:
    allowance = Allowance(10, seconds=5.0)
    assert allowance.spend(10, now=100.0)
    assert not allowance.spend(1, now=100.0)
    assert allowance.spend(2, now=101.0)
    assert not allowance.spend(1, now=101.25)
    assert not allowance.spend(11, now=1000.0)
    assert allowance.spend(10, now=1000.0)


@given(st.lists(st.tuples(st.integers(0, 12), st.floats(0, 3)), max_size=60))
def test_no_span_of_time_has_more_than_its_share(asked: list[tuple[int, float]]) -> None:
    allowance = Allowance(10, seconds=5.0)
    now, spent = 0.0, 0
    for count, pause in asked:
        now += pause
        spent += count if allowance.spend(count, now) else 0
        assert spent <= 10 + now * 2 + 1e-6
