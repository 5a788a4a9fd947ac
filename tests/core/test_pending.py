"""Costs wait under the path and under the id they claim."""

from __future__ import annotations

import pytest

from meshd.core.model import Observation, Outcome, Source
from meshd.core.pending import LONGEST_SCAN, PendingCosts
from tests.core.batches import present


def absent(path: str, source: Source = Source.WATCH) -> Observation:
    return Observation(path=path, look=1, source=source, outcome=Outcome.ABSENT)


def test_a_cost_is_due_at_its_time_and_not_before() -> None:
    pending = PendingCosts()
    pending.add([absent("/r/p")], due=10.0)
    assert pending.due(["/r/p", "/r/q"], now=9.9) == {}
    assert pending.due(["/r/p", "/r/q"], now=10.0) == {"/r/p": Source.WATCH}


@pytest.mark.parametrize("sweep_first", [False, True])
def test_a_cost_that_an_event_and_a_sweep_have_met_is_waited_for_by_both(sweep_first: bool) -> None:
    pending = PendingCosts()
    looks = [(absent("/r/p"), False, 10.0), (absent("/r/p", Source.SWEEP), True, 12.0)]
    for seen, of_sweep, due in reversed(looks) if sweep_first else looks:
        pending.add([seen], due=due, of_sweep=of_sweep)
    assert pending.unripe(["/r/p"], now=9.0) == ("/r/p",)
    assert pending.unripe_of_sweep(now=9.0)
    assert not pending.unripe_of_sweep(now=10.0)  # the earlier time is kept
    assert pending.due(["/r/p"], now=10.0).keys() == {"/r/p"}
    assert pending.ripe_by_itself(now=10.0) == {"/r/p"}


def test_a_sweep_that_ends_without_a_cost_leaves_it_to_the_event() -> None:
    pending = PendingCosts()
    pending.add([absent("/r/both"), absent("/r/event")], due=10.0)
    pending.add(
        [absent("/r/both", Source.SWEEP), absent("/r/sweep", Source.SWEEP)], 10.0, of_sweep=True
    )
    pending.leave_sweep(["/r/event", "/r/sweep"])
    assert pending.paths() == {"/r/both", "/r/event"}
    pending.add([absent("/r/sweep", Source.SWEEP)], 10.0, of_sweep=True)
    pending.leave_sweep()
    assert pending.paths() == {"/r/both", "/r/event"}
    assert not pending.unripe_of_sweep(now=9.0)
    assert pending.due(["/r/both"], now=10.0) == {"/r/both": Source.WATCH}


def test_a_cost_of_a_sweep_waits_for_its_end_and_for_its_time() -> None:
    pending = PendingCosts()
    pending.add([absent("/r/sweep", Source.SWEEP)], due=10.0, of_sweep=True)
    assert pending.due(["/r/sweep"], now=10.0) == {}
    assert pending.unripe_of_sweep(now=9.0)
    assert not pending.unripe_of_sweep(now=10.0)


def test_the_end_of_a_sweep_judges_its_own_costs_and_those_that_are_due() -> None:
    pending = PendingCosts()
    pending.add([absent("/r/sweep", Source.SWEEP)], due=10.0, of_sweep=True)
    pending.add([absent("/r/due")], due=10.0)
    pending.add([absent("/r/later")], due=11.0)
    assert pending.ripe(now=10.0) == {"/r/sweep": Source.SWEEP, "/r/due": Source.WATCH}


def test_a_cost_waits_for_the_scans_in_line_and_not_for_ever() -> None:
    pending = PendingCosts()
    pending.add([absent("/r/p")], due=10.0, mark=2)
    pending.add([absent("/r/sweep", Source.SWEEP)], due=10.0, mark=2, of_sweep=True)
    pending.passed = 1
    assert pending.due(["/r/p"], now=11.0) == pending.ripe(now=11.0) == {}
    assert pending.unripe(["/r/p", "/r/sweep", "/r/q"], now=11.0) == ("/r/p",)
    assert pending.unripe_of_sweep(now=11.0)
    pending.passed = 2
    assert pending.due(["/r/p"], now=11.0) == {"/r/p": Source.WATCH}
    assert pending.ripe(now=11.0).keys() == {"/r/p", "/r/sweep"}
    assert not pending.unripe_of_sweep(now=11.0)
    pending.passed = 0
    assert pending.ripe_by_itself(now=10.0 + LONGEST_SCAN) == {"/r/p"}


def test_a_cost_that_is_seen_again_waits_for_the_newer_scans_but_no_longer_in_all() -> None:
    pending = PendingCosts(passed=1)
    pending.add([absent("/r/p")], due=10.0, mark=1)
    pending.add([absent("/r/p")], due=12.0, mark=2)
    assert pending.due(["/r/p"], now=12.0) == {}
    assert pending.due(["/r/p"], now=10.0 + LONGEST_SCAN) == {"/r/p": Source.WATCH}


def test_a_claim_is_found_by_its_id_until_it_is_settled_or_claims_another() -> None:
    pending = PendingCosts()
    pending.add([present("/r/p", "a"), present("/r/q", "a"), absent("/r/s")], due=10.0)
    assert pending.claims(["a", "b"]) == {"/r/p", "/r/q"}
    pending.add([present("/r/q", "b")], due=10.0)
    assert pending.claims(["a"]) == {"/r/p"}
    pending.settle(["/r/p", "/r/q", "/r/s", "/r/unheard-of"])
    assert pending.claims(["a", "b"]) == set()
    assert not pending
