"""The mass guard: what vanishes together waits for another sweep to agree."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from meshd.core.guard import AGREES_AFTER, Hold, Holds, guard
from meshd.core.model import Agent, Observation, Source
from meshd.core.plan import Plan
from tests.core.batches import (
    GRACE,
    NOW,
    R,
    S,
    absent,
    agent,
    circumstances,
    decide,
    invalid,
    lost,
    present,
    sweep,
)

if TYPE_CHECKING:
    from collections.abc import Callable

NOTHING = Holds()


def ids(first: int, last: int) -> list[str]:
    return [f"a{number}" for number in range(first, last)]


def vanish(names: list[str], root: str = R) -> tuple[Agent, ...]:
    """Return rows whose paths a look finds absent."""
    return tuple(agent(one, f"{root}/{one}") for one in names)


def absences(rows: tuple[Agent, ...], source: Source = Source.SWEEP) -> Plan:
    looks = [absent(row.holder_path, source=source) for row in rows]
    return decide(rows, [], looks, circumstances(sweep=sweep()))


def removals(rows: tuple[Agent, ...]) -> Plan:
    rows = tuple(lost(row.id, row.holder_path, NOW - GRACE) for row in rows)
    looks = [absent(row.holder_path) for row in rows]
    return decide(rows, [], looks, circumstances(sweep=sweep()))


@pytest.mark.parametrize(
    ("vanished", "live", "held"),
    [
        pytest.param(5, 9, True, id="five of nine: over half, and five"),
        pytest.param(5, 10, False, id="exactly half is not over half"),
        pytest.param(6, 10, True, id="one more than half"),
        pytest.param(4, 4, False, id="four are never a mass"),
        pytest.param(5, 5, True, id="all five"),
        pytest.param(50, 101, False, id="just under half of many"),
        pytest.param(51, 101, True, id="just over half of many"),
    ],
)
@pytest.mark.parametrize("make", [absences, removals])
def test_over_half_and_at_least_five_are_held(
    make: Callable[[tuple[Agent, ...]], Plan], vanished: int, live: int, *, held: bool
) -> None:
    planned = make(vanish(ids(0, vanished)))
    counts = {R: (live, live)}

    holds = guard(planned, counts, NOTHING, 0.0)

    assert len(holds.ids) == (vanished if held else 0)


def test_absences_are_measured_by_live_rows_and_removals_by_all() -> None:
    rows = vanish(ids(0, 5))
    counts = {R: (8, 20)}

    assert len(guard(absences(rows), counts, NOTHING, 0.0).ids) == 5
    assert guard(removals(rows), counts, NOTHING, 0.0).ids == frozenset()


def test_absences_and_removals_of_one_sweep_are_held_apart() -> None:
    gone, over = vanish(ids(0, 3)), vanish(ids(3, 6))
    planned = Plan(
        changes=absences(gone).changes + removals(over).changes, rows=absences(gone).rows
    )

    assert guard(planned, {R: (3, 6)}, NOTHING, 0.0) == NOTHING


def test_a_move_is_no_absence() -> None:
    rows = vanish(ids(0, 9))
    looks = [absent(row.holder_path) for row in rows]
    looks += [present(f"{S}/{one}", one) for one in ids(0, 5)]
    planned = decide(rows, [], looks, circumstances(sweep=sweep()))

    assert guard(planned, {R: (9, 9)}, NOTHING, 0.0) == NOTHING


def test_what_an_event_reported_is_not_held() -> None:
    assert guard(absences(vanish(ids(0, 9)), Source.WATCH), {R: (9, 9)}, NOTHING, 0.0) == NOTHING


@pytest.mark.parametrize("source", [Source.SWEEP, Source.START, Source.TIMER, Source.API])
def test_whoever_asked_for_the_sweep_what_it_finds_is_held(source: Source) -> None:
    holds = guard(absences(vanish(ids(0, 9)), source), {R: (9, 9)}, NOTHING, 0.0)

    assert holds.ids == frozenset(ids(0, 9))


def test_a_displacement_is_no_absence() -> None:
    rows = vanish(ids(0, 9))
    looks = [present(row.holder_path, f"new-{row.id}") for row in rows]
    planned = decide(rows, [], looks, circumstances(sweep=sweep()))

    assert guard(planned, {R: (9, 9)}, NOTHING, 0.0) == NOTHING


def test_each_root_is_judged_by_itself() -> None:
    rows = vanish(ids(0, 5), R) + vanish(ids(5, 10), S)
    holds = guard(absences(rows), {R: (9, 9), S: (10, 10)}, NOTHING, 3.0)

    assert holds == Holds(absences={R: Hold(dict.fromkeys(ids(0, 5), 3.0))})


@pytest.mark.parametrize("make", [absences, removals])
@pytest.mark.parametrize(
    ("later", "held"),
    [
        pytest.param(0.0, True, id="at once"),
        pytest.param(AGREES_AFTER - 0.001, True, id="a little too early"),
        pytest.param(AGREES_AFTER, False, id="a minute later"),
        pytest.param(10 * AGREES_AFTER, False, id="much later"),
        pytest.param(-math.inf, True, id="a sync never agrees"),
    ],
)
def test_a_sweep_a_minute_later_agrees(
    make: Callable[[tuple[Agent, ...]], Plan], later: float, *, held: bool
) -> None:
    planned = make(vanish(ids(0, 6)))
    counts = {R: (6, 6)}
    first = guard(planned, counts, NOTHING, 5.0)

    second = guard(planned, counts, first, 5.0 + later)

    assert second == (first if held else NOTHING)


def test_a_sweep_too_early_does_not_put_off_the_agreement() -> None:
    planned, counts = absences(vanish(ids(0, 6))), {R: (6, 6)}
    holds = guard(planned, counts, NOTHING, 0.0)
    for second in (10.0, 30.0, 59.0):
        holds = guard(planned, counts, holds, second)

    assert guard(planned, counts, holds, 60.0) == NOTHING


def test_what_vanishes_later_waits_its_own_minute() -> None:
    counts = {R: (12, 12)}
    first = guard(absences(vanish(ids(0, 7))), counts, NOTHING, 0.0)
    second = guard(absences(vanish(ids(0, 12))), counts, first, 59.0)
    assert second.ids == frozenset(ids(0, 12))

    # The five of second 59 are five of twelve: not a mass of their own.
    assert guard(absences(vanish(ids(0, 12))), counts, second, 61.0) == NOTHING
    # Of nine they are one, two seconds old, whatever was held before them.
    smaller = {R: (9, 9)}
    third = guard(absences(vanish(ids(0, 12))), smaller, second, 61.0)
    assert third == Holds(absences={R: Hold(dict.fromkeys(ids(7, 12), 59.0))})
    assert guard(absences(vanish(ids(7, 12))), smaller, third, 119.0) == NOTHING


def test_what_is_new_when_the_first_is_agreed_on_is_judged_anew() -> None:
    first = guard(absences(vanish(ids(0, 6))), {R: (11, 11)}, NOTHING, 0.0)

    second = guard(absences(vanish(ids(0, 11))), {R: (9, 9)}, first, 100.0)

    assert second == Holds(absences={R: Hold(dict.fromkeys(ids(6, 11), 100.0))})


def test_what_came_back_is_held_no_longer() -> None:
    first = guard(absences(vanish(ids(0, 9))), {R: (9, 9)}, NOTHING, 0.0)

    assert guard(Plan(), {R: (9, 9)}, first, 100.0) == NOTHING


def test_what_is_held_loses_nothing_and_is_asked_about_again() -> None:
    """A held path counts as unreadable, the word by which every sweep looks at it again."""
    rows = vanish(ids(0, 6))
    given = circumstances(sweep=sweep(), held=frozenset(ids(0, 6)))

    planned = decide(rows, [], [absent(row.holder_path) for row in rows], given)

    assert (planned.rows, planned.removed, planned.changes) == ((), (), ())
    assert {str(one.outcome) for one in planned.claims} == {"unreadable"}


def test_a_held_removal_keeps_the_row_as_it_is() -> None:
    rows = tuple(lost(one, f"{R}/{one}", NOW - GRACE) for one in ids(0, 6))
    looks = [absent(row.holder_path) for row in rows]
    given = circumstances(sweep=sweep(), held=frozenset(ids(0, 6)))

    planned = decide(rows, [], looks, given)

    assert (planned.rows, planned.removed, planned.changes) == ((), (), ())


def test_a_hold_does_not_keep_an_id_from_moving_or_a_path_from_being_taken() -> None:
    rows = [agent("a", "/r/x"), lost("b", "/r/y", NOW - GRACE)]
    given = circumstances(sweep=sweep(), held=frozenset("ab"))
    looks: list[Observation] = [absent("/r/x"), present("/s/x", "a"), present("/r/y", "c")]

    planned = decide(rows, [], looks, given)

    assert {row.id: row.project_path for row in planned.rows} == {
        "a": "/s/x",
        "b": None,
        "c": "/r/y",
    }


def test_an_invalid_file_is_neither_absent_nor_held() -> None:
    rows = vanish(ids(0, 6))
    planned = decide(rows, [], [invalid(row.holder_path) for row in rows])

    assert guard(planned, {R: (6, 6)}, NOTHING, 0.0) == NOTHING


def test_the_input_is_left_as_it_was() -> None:
    planned = absences(vanish(ids(0, 6)))
    before = Holds(absences={R: Hold({"a0": 1.0})})

    guard(planned, {R: (6, 6)}, before, 2.0)

    assert before == Holds(absences={R: Hold({"a0": 1.0})})
