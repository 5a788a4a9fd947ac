"""Every pair of rows that can meet in one batch, over paths and ids that they share."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import pytest

from meshd.core.model import Agent, FileIdentity, Kind, Observation, Status
from tests.core.batches import (
    GRACE,
    NOW,
    S,
    absent,
    agent,
    applied,
    circumstances,
    claim,
    decide,
    displaced,
    duplicate,
    invalid,
    kinds,
    known,
    lost,
    present,
    sweep,
    unknown,
    unscanned,
)
from tests.core.invariants import check_everything

if TYPE_CHECKING:
    from meshd.core.verdict import Circumstances

X, Y, Z, FAR = "/r/x", "/r/y", "/r/z", "/s/far"
BIND = FileIdentity(5, 5)

FIRST: dict[str, Agent | None] = {
    "A is unknown": None,
    "A lives at x": agent("a", X),
    "A was born at x in this sweep": agent("a", X, born_sweep=7),
    "A is unreachable at x": lost("a", X),
    "A is overdue at x": lost("a", X, NOW - GRACE),
    "A is displaced from x": displaced("a", X),
    "A is unscanned at x": unscanned("a", X),
}
SECOND: dict[str, Agent | None] = {
    "B is unknown": None,
    "B lives at x": agent("b", X),
    "B lives at y": agent("b", Y),
    "B is overdue at y": lost("b", Y, NOW - GRACE),
    "B is displaced from x": displaced("b", X),
    "B is displaced from y": displaced("b", Y),
    "B is unscanned at y": unscanned("b", Y),
    "B lives far": agent("b", FAR),
}
# What a look may find at each of the paths that the two share.
FOUND = {
    X: (present(X, "a"), present(X, "b"), absent(X), invalid(X), unknown(X)),
    Y: (present(Y, "a"), present(Y, "b"), absent(Y), invalid(Y), unknown(Y)),
    FAR: (present(FAR, "a"), present(FAR, "b"), absent(FAR), present(FAR, "c")),
}
GIVEN: dict[str, Circumstances] = {
    "outside of a sweep": circumstances(),
    "at the end of a sweep": circumstances(sweep=sweep(NOW)),
    "at the end of a sweep that holds both": circumstances(
        sweep=sweep(NOW), held=frozenset({"a", "b"})
    ),
    "with the far root sick": circumstances(S, sweep=sweep(NOW)),
}
# A path has one owner row, so two rows that live at x never meet.
MEETINGS = [
    pytest.param(first, second, id=f"{one}, {other}")
    for (one, first), (other, second) in product(FIRST.items(), SECOND.items())
    if not (second is SECOND["B lives at x"] and first is not None and first.project_path == X)
]


@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN.keys())
@pytest.mark.parametrize(("first", "second"), MEETINGS)
def test_every_invariant_holds_whatever_two_rows_meet(
    first: Agent | None, second: Agent | None, given: Circumstances
) -> None:
    rows = [row for row in (first, second) if row is not None]
    claims = [
        claim(row.project_path, row.id) for row in rows if row.live and row.project_path is not None
    ]
    before = known(rows, claims)
    for looks in product(*FOUND.values()):
        check_everything(before, looks, given)


def paths(rows: list[Agent], looks: list[Observation], *refused: str) -> dict[str, str | None]:
    """Return where every row lives after a batch; `refused` paths claimed A before."""
    claims = [claim(row.project_path, row.id) for row in rows if row.project_path is not None]
    before = known(rows, [*claims, *(duplicate(path, "a") for path in refused)])
    _, after = check_everything(before, looks, circumstances())
    return {
        agent_id: row.project_path if row.status is Status.ACTIVE else f"gone from {row.last_path}"
        for agent_id, row in after.rows.items()
    }


def test_a_swap_is_one_step() -> None:
    rows = [agent("a", X), agent("b", Y)]

    assert paths(rows, [present(X, "b"), present(Y, "a")]) == {"a": Y, "b": X}


def test_a_swap_is_two_relocations_and_nothing_else() -> None:
    rows = [agent("a", X), agent("b", Y)]
    claims = [claim(X, "a"), claim(Y, "b")]
    planned = decide(rows, claims, [present(X, "b"), present(Y, "a")])

    assert kinds(planned) == [(Kind.RELOCATED, "a", Y), (Kind.RELOCATED, "b", X)]


def test_a_swap_of_which_one_half_is_torn_keeps_the_torn_path_and_releases_the_other() -> None:
    rows = [agent("a", X), agent("b", Y)]

    # Whether B is at y still cannot be told, so it stays; A is nowhere to be found.
    assert paths(rows, [present(X, "b"), invalid(Y)]) == {"a": f"gone from {X}", "b": Y}


def test_the_torn_half_of_a_swap_completes_it() -> None:
    rows = [agent("a", X), agent("b", Y)]
    before = known(rows, [claim(X, "a"), claim(Y, "b")])
    half = applied(before, decide(rows, before.claims.values(), [present(X, "b"), unknown(Y)]))

    planned, after = check_everything(half, [present(X, "b"), present(Y, "a")], circumstances())

    assert {one: row.project_path for one, row in after.rows.items()} == {"a": Y, "b": X}
    assert kinds(planned) == [(Kind.RELOCATED, "a", Y), (Kind.RELOCATED, "b", X)]


def test_a_chain_of_three_moves_along() -> None:
    rows = [agent("a", X), agent("b", Y), agent("c", Z)]
    looks = [absent(X), present(Y, "a"), present(Z, "b"), present(FAR, "c")]

    assert paths(rows, looks) == {"a": Y, "b": Z, "c": FAR}


def test_a_chain_that_ends_nowhere_displaces_its_last() -> None:
    rows = [agent("a", X), agent("b", Y), agent("c", Z)]
    looks = [absent(X), present(Y, "a"), present(Z, "b")]

    assert paths(rows, looks) == {"a": Y, "b": Z, "c": f"gone from {Z}"}


def test_a_cycle_of_three_turns() -> None:
    rows = [agent("a", X), agent("b", Y), agent("c", Z)]

    assert paths(rows, [present(Y, "a"), present(Z, "b"), present(X, "c")]) == {
        "a": Y, "b": Z, "c": X,
    }  # fmt: skip


def test_a_cycle_through_a_sick_root_turns_only_where_it_can_be_seen() -> None:
    rows = [agent("a", X), agent("b", FAR)]
    before = known(rows, [claim(X, "a"), claim(FAR, "b")])

    planned, after = check_everything(
        before, [present(X, "b"), present(FAR, "a")], circumstances(S)
    )

    assert {one: row.project_path for one, row in after.rows.items()} == {"a": None, "b": FAR}
    assert kinds(planned) == [(Kind.DISPLACED, "a", X), (Kind.REFUSED, "b", X)]


def test_a_clone_whose_original_is_deleted_in_the_same_batch_is_a_move() -> None:
    assert paths([agent("a", X)], [absent(X), present(Y, "a")]) == {"a": Y}


def test_a_move_beside_a_clone_goes_to_the_better_path_and_refuses_the_other() -> None:
    assert paths([agent("a", X)], [absent(X), present(Z, "a"), present(Y, "a")]) == {"a": Y}


def test_a_clone_of_a_clone_does_not_take_over_while_the_first_is_there() -> None:
    assert paths([agent("a", Z)], [present(Z, "a"), present(X, "a")], Y) == {"a": Z}


def test_the_claim_refused_before_takes_over_by_rank_and_not_by_age() -> None:
    looks = [absent(Z), present(Y, "a"), present(X, "a")]

    assert paths([agent("a", Z)], looks, Y) == {"a": X}


def test_a_displaced_row_returns_when_the_path_lets_the_other_go() -> None:
    rows = [displaced("a", X), agent("b", X)]

    assert paths(rows, [present(X, "a"), present(Y, "b")]) == {"a": X, "b": Y}


def test_a_displaced_row_returns_and_displaces_in_turn() -> None:
    rows = [displaced("a", X), agent("b", X)]

    assert paths(rows, [present(X, "a")]) == {"a": X, "b": f"gone from {X}"}


def test_an_id_changed_in_place_with_the_old_one_found_elsewhere_moves_the_old() -> None:
    assert paths([agent("a", X)], [present(X, "c"), present(Y, "a")]) == {"a": Y, "c": X}


def test_an_id_changed_in_place_to_one_that_another_path_holds_is_refused() -> None:
    rows = [agent("a", X), agent("b", Y)]

    assert paths(rows, [present(X, "b"), present(Y, "b")]) == {"a": f"gone from {X}", "b": Y}


def test_a_path_taken_while_its_owner_moves_under_the_path_of_a_third() -> None:
    rows = [agent("a", X), agent("b", Y), lost("c", Z)]
    looks = [present(X, "b"), present(Y, "c"), present(Z, "a")]

    assert paths(rows, looks) == {"a": Z, "b": X, "c": Y}


def test_a_move_of_a_bind_mount_is_one_relocation_and_an_alias() -> None:
    rows = [agent("a", X)]
    looks = [absent(X), present(Y, "a", dork=BIND), present(FAR, "a", dork=BIND)]
    planned = decide(rows, [claim(X, "a")], looks)

    assert kinds(planned) == [(Kind.RELOCATED, "a", Y)]
    assert [str(one.outcome) for one in planned.claims] == ["valid", "alias"]


def test_costs_are_told_before_gains() -> None:
    """A reader of the log never sees a path with two owners."""
    rows = [agent("a", Z), agent("b", X), agent("c", Y), lost("d", "/r/d", NOW - GRACE)]
    looks = [
        present(X, "z"), present(Y, "b"), absent(Z), absent("/r/d"), invalid("/r/e"),
        present("/r/f", "z"),
    ]  # fmt: skip
    planned = decide(rows, [], looks, circumstances(sweep=sweep(NOW)))

    assert [kind for kind, _, _ in kinds(planned)] == [
        Kind.REMOVED,
        Kind.DISPLACED,
        Kind.UNREACHABLE,
        Kind.RELOCATED,
        Kind.REGISTERED,
        Kind.REFUSED,
        Kind.INVALID,
    ]
