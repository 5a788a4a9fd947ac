"""Closing a batch, and telling what costs from what gains."""

from __future__ import annotations

from collections import UserDict
from typing import TYPE_CHECKING

import pytest

from meshd.core.closing import costly_paths, touched_ids, unlooked
from meshd.core.verdict import Circumstances, Known, judge
from tests.core.batches import (
    GRACE,
    NOW,
    WELL,
    Disk,
    R,
    absent,
    agent,
    circumstances,
    claim,
    displaced,
    duplicate,
    invalid,
    known,
    lost,
    present,
    scope,
    sweep,
    unknown,
    unscanned,
)

if TYPE_CHECKING:
    from meshd.core.model import Agent, Claim, Observation

X, Y, Z, FAR = "/r/x", "/r/y", "/r/z", "/s/far"
MANY = 10_000


def asked(
    rows: list[Agent], claims: list[Claim], looks: list[Observation], given: Circumstances = WELL
) -> set[str]:
    holds = known(rows, claims)
    return unlooked(holds, judge(looks, holds, given), given)


def costs(
    rows: list[Agent], claims: list[Claim], looks: list[Observation], given: Circumstances = WELL
) -> set[str]:
    holds = known(rows, claims)
    return costly_paths(holds, judge(looks, holds, given), given)


@pytest.mark.parametrize(
    ("rows", "claims", "looks", "expected"),
    [
        pytest.param([], [], [], set(), id="nothing asks nothing"),
        pytest.param([], [], [present(X, "a")], set(), id="a new id at a free path is closed"),
        pytest.param(
            [agent("a", X)], [], [present(Y, "a")], {X}, id="its incumbent's path is asked"
        ),
        pytest.param(
            [displaced("a", X)], [], [present(Y, "a")], {X}, id="also where it lived last"
        ),
        pytest.param(
            [agent("a", X)],
            [duplicate(Y, "a"), duplicate(Z, "a")],
            [absent(X)],
            {Y, Z},
            id="it is gone: every claim of it is asked",
        ),
        pytest.param(
            [agent("a", X)],
            [duplicate(Y, "a")],
            [present(X, "b")],
            {Y},
            id="its path says something else: every claim of it is asked",
        ),
        pytest.param(
            [agent("a", X)], [duplicate(Y, "a")], [present(X, "a")], set(), id="it is there"
        ),
        pytest.param([agent("a", X)], [duplicate(Y, "a")], [invalid(X)], set(), id="it is torn"),
        pytest.param([agent("a", X)], [duplicate(Y, "a")], [unknown(X)], set(), id="unreadable"),
        pytest.param(
            [],
            [duplicate(Y, "a")],
            [present(X, "a")],
            {Y},
            id="nobody holds it: every claim of it is asked",
        ),
        pytest.param(
            [unscanned("a", "/r/excluded/x")],
            [duplicate(Y, "a")],
            [unknown("/r/excluded/x")],
            {Y},
            id="out of scope lets go",
        ),
    ],
)
def test_what_could_change_the_outcome_is_asked(
    rows: list[Agent], claims: list[Claim], looks: list[Observation], expected: set[str]
) -> None:
    assert asked(rows, claims, looks) == expected


def test_the_path_that_held_an_id_before_a_rebuild_is_asked() -> None:
    given = circumstances(incumbents={"a": Y})

    assert asked([], [], [present(X, "a")], given) == {Y}
    assert asked([agent("a", X)], [], [present(X, "a")], given) == set()
    # It holds the id still, but no row does: the others are told that they are refused.
    assert asked([], [duplicate(Z, "a")], [present(Y, "a")], given) == {Z}


def test_a_look_older_than_what_the_registry_rests_on_is_taken_again() -> None:
    """An older look at a path never overrides a newer one (R4)."""
    claims = [claim(X, "a", look=5)]

    assert asked([agent("a", X)], claims, [absent(X, look=4)]) == {X}
    assert asked([agent("a", X)], claims, [absent(X, look=5)]) == set()


def test_an_id_is_touched_by_what_claims_it_and_by_a_look_at_its_holder() -> None:
    holds = known([agent("a", X), displaced("b", Y), agent("c", Z)])
    verdicts = judge([present(X, "d"), invalid(Y)], holds, WELL)

    assert touched_ids(holds, verdicts) == {"a", "b", "d"}


# A row A at x, refused at z, with the paths that a batch found.
HELD = ([agent("a", X), agent("b", Y)], [claim(X, "a"), claim(Y, "b")])


@pytest.mark.parametrize(
    ("rows", "claims", "looks", "given", "expected"),
    [
        pytest.param(*HELD, [present(X, "a"), present(Z, "c")], WELL, set(), id="gains"),
        pytest.param(*HELD, [present(X, "a"), present(Z, "a")], WELL, set(), id="a refusal"),
        pytest.param(*HELD, [invalid(X)], WELL, set(), id="a torn file"),
        pytest.param(*HELD, [unknown(X)], WELL, set(), id="could not tell"),
        pytest.param(*HELD, [absent(X)], circumstances(R), set(), id="a sick root"),
        pytest.param(*HELD, [absent(X), present(Z, "c")], WELL, {X}, id="an absence"),
        pytest.param(
            *HELD, [absent(X), present(Z, "a"), present(Y, "b")], WELL, {X, Z}, id="a move"
        ),
        pytest.param(*HELD, [present(X, "c"), present(Y, "b")], WELL, {X}, id="displaced"),
        pytest.param(*HELD, [present(X, "b"), present(Y, "a")], WELL, {X, Y}, id="a swap"),
        pytest.param(
            *HELD, [present(X, "b"), present(Y, "b")], WELL, {X, Y}, id="a chain by a refused id"
        ),
        pytest.param(
            [lost("a", X)], [], [absent(X)], WELL, {X}, id="an absence that may expire"
        ),
        pytest.param(
            [agent("a", X)],
            [],
            [unknown(X)],
            circumstances(scope=scope(denied=frozenset({X}))),
            set(),
            id="a denial is an act of the operator",
        ),
        pytest.param(
            [agent("a", "/r/excluded")], [], [unknown("/r/excluded")], WELL, set(),
            id="so is a change of scope",
        ),
        pytest.param(
            [agent("a", Y, born_sweep=7)],
            [claim(Y, "a")],
            [present(X, "a"), present(Y, "a")],
            circumstances(sweep=sweep()),
            {X, Y},
            id="yielding to a better claim of the sweep",
        ),
        pytest.param(
            [agent("a", Y, born_sweep=6)],
            [claim(Y, "a")],
            [present(X, "a"), present(Y, "a")],
            circumstances(sweep=sweep()),
            set(),
            id="no yielding to a later sweep's claim",
        ),
    ],
)  # fmt: skip
def test_costs_are_the_closed_sets_in_which_something_is_taken(
    rows: list[Agent],
    claims: list[Claim],
    looks: list[Observation],
    given: Circumstances,
    expected: set[str],
) -> None:
    assert costs(rows, claims, looks, given) == expected


def test_a_gain_that_rests_on_a_costly_path_waits_with_it() -> None:
    """Parted from it the gain would not be closed: it would be looked at for ever."""
    # Before the rebuild A was at x, where C is now, whose row is at y, which let go of it.
    looks = [present(Z, "a"), present(X, "c"), absent(Y)]
    given = circumstances(incumbents={"a": X})
    assert costs([agent("c", Y)], [claim(Y, "c")], looks, given) == {X, Y, Z}

    # The same through a claim of A that is C's now.
    claims = [claim(Y, "c"), duplicate(X, "a")]
    assert costs([agent("c", Y)], claims, looks) == {X, Y, Z}


def test_an_unrelated_gain_does_not_wait() -> None:
    looks = [absent(X), present(Z, "c"), present(FAR, "d"), present(Y, "b")]

    assert costs(*HELD, looks) == {X}


def test_closing_ends_and_asks_for_nothing_twice() -> None:
    """A chain in which every look leads to the next: as many rounds as there are links."""
    links = 50
    names = [f"a{number}" for number in range(links)]
    places = [f"/r/{number:03}" for number in range(links + 1)]
    rows = [agent(one, place) for one, place in zip(names, places, strict=False)]
    moved = {place: present(place, one) for one, place in zip(names, places[1:], strict=True)}
    disk = Disk(moved, known(rows))

    looks = disk.close([places[-1]], WELL)

    assert {look.path for look in looks} == set(places)
    assert disk.looked == len(places)
    assert disk.costly(looks, WELL) == set(places)
    disk.commit(looks, WELL)
    assert {row.project_path for row in disk.holds.rows.values()} == set(places[1:])


def test_closing_is_monotone() -> None:
    """More looks never make a path unneeded that was needed, but by having looked at it."""
    rows, claims = [agent("a", X), agent("b", Y)], [duplicate(Z, "a"), duplicate(FAR, "b")]
    looks = [present(X, "b"), present(Z, "c"), absent(Y), present(FAR, "b")]
    for size in range(len(looks)):
        fewer, more = looks[:size], looks[: size + 1]
        still = asked(rows, claims, fewer) - {look.path for look in more}
        assert still <= asked(rows, claims, more)
    assert asked(rows, claims, looks) == set()


class CountingDict(UserDict[str, object]):
    """A mapping that counts how often it is asked for one value and walked whole."""

    def __init__(self, values: object) -> None:
        self.asked = self.walked = 0
        super().__init__(values)  # type: ignore[call-overload]

    def __getitem__(self, key: str) -> object:
        self.asked += 1
        return super().__getitem__(key)

    def values(self):  # type: ignore[no-untyped-def]  # noqa: ANN201 - as the base
        self.walked += 1
        return self.data.values()


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(lambda n: present(f"/r/{n}", f"a{n}"), id="all there"),
        pytest.param(lambda n: absent(f"/r/{n}"), id="all gone"),
        pytest.param(lambda n: present(f"/r/{n}", f"a{(n + 1) % MANY}"), id="one ring of all"),
        pytest.param(lambda n: present(f"/r/{n}", "a0"), id="all claim one id"),
    ],
)
def test_the_work_grows_with_the_batch_and_not_with_its_square(found) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - a lambda
    rows = {f"a{n}": agent(f"a{n}", f"/r/{n}") for n in range(MANY)}
    claims = {f"/r/{n}": claim(f"/r/{n}", f"a{n}") for n in range(MANY)}
    looks = [found(n) for n in range(MANY)]
    verdicts = judge(looks, Known(rows, claims), WELL)
    counted = CountingDict(rows), CountingDict(claims), CountingDict(verdicts)
    holds = Known(counted[0], counted[1])  # type: ignore[arg-type]

    assert unlooked(holds, counted[2], WELL) == set()  # type: ignore[arg-type]
    costly_paths(holds, counted[2], WELL)  # type: ignore[arg-type]

    assert sum(one.walked for one in counted) <= 10
    assert sum(one.asked for one in counted) <= 20 * MANY


def test_an_overdue_row_waits_for_its_second_look_like_any_cost() -> None:
    given = circumstances(sweep=sweep(NOW + GRACE))

    assert costs([lost("a", X)], [], [absent(X), present(Y, "b")], given) == {X}
