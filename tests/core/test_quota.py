"""Ceilings for newcomers: who gets the room that is left (faults 48, 49)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.core.model import ClaimOutcome, Git, Kind, Observation, Reason, RootState
from meshd.core.plan import Plan, plan
from meshd.core.quota import Holdings, Quotas
from meshd.core.scope import Scope
from meshd.core.verdict import Circumstances, Known, judge
from tests.core.batches import R, agent, claim, present

NOTHING = Known({}, {})


def planned(
    looks: list[Observation], quotas: Quotas, holdings: Holdings, known: Known = NOTHING
) -> Plan:
    circumstances = Circumstances(Scope(roots=(R,)), {R: RootState(R, True)}, quotas=quotas)
    known = replace(known, holdings=holdings)
    return plan(known, judge(looks, known, circumstances), circumstances)


def born(result: Plan) -> list[str]:
    return sorted(one.agent_id or "" for one in result.changes if one.kind is Kind.REGISTERED)


@pytest.mark.parametrize(
    ("quotas", "holdings", "reason"),
    [
        (Quotas(agents_per_owner=3), Holdings(of_owner={1000: 1}), Reason.OWNER_LIMIT),
        (Quotas(manifests_per_root=3), Holdings(of_root={R: 1}), Reason.ROOT_LIMIT),
    ],
    ids=["of an owner", "of a root"],
)
def test_newcomers_get_the_room_there_is_and_the_rest_is_refused_with_its_reason(
    quotas: Quotas, holdings: Holdings, reason: Reason
) -> None:
    looks = [present(f"{R}/p{n}", f"n{n}", owner=1000) for n in range(4)]
    result = planned(looks, quotas, holdings)
    assert born(result) == ["n0", "n1"]
    refused = {one.path: one for one in result.claims if one.outcome is ClaimOutcome.REFUSED}
    assert {path: one.reason for path, one in refused.items()} == {
        f"{R}/p2": reason, f"{R}/p3": reason
    }  # fmt: skip
    told = [(one.agent_id, one.after) for one in result.changes if one.kind is Kind.REFUSED]
    assert [agent_id for agent_id, _ in told] == ["n2", "n3"]
    assert all(after is not None and after["reason"] == str(reason) for _, after in told)


def test_a_full_owner_keeps_nobody_else_out() -> None:
    looks = [present(f"{R}/a", "mine", owner=1000), present(f"{R}/b", "theirs", owner=1001)]
    result = planned(looks, Quotas(agents_per_owner=1), Holdings(of_owner={1000: 1}))
    assert born(result) == ["theirs"]


def test_an_id_goes_to_the_best_of_its_claims_for_which_there_is_room() -> None:
    """Otherwise somebody over the ceiling could bar the id of somebody else's new project."""
    looks = [present(f"{R}/a", "x", owner=1000), present(f"{R}/b", "x", owner=1001)]
    result = planned(looks, Quotas(agents_per_owner=1), Holdings(of_owner={1000: 1}))
    assert [row.project_path for row in result.rows] == [f"{R}/b"]


def test_who_is_there_already_stays_however_far_over_the_ceiling() -> None:
    rows = {f"n{n}": agent(f"n{n}", f"{R}/p{n}") for n in range(4)}
    claims = {row.holder_path: claim(row.holder_path, row.id, owner=1000) for row in rows.values()}
    looks = [
        present(f"{R}/p{n}", f"n{n}", owner=1000, look=2_000 + n) for n in range(4)
    ]  # fmt: skip
    holdings = Holdings(of_root={R: 4}, of_owner={1000: 4})
    result = planned(looks, Quotas(1, 1), holdings, Known(rows, claims))
    assert result.changes == ()
    assert result.removed == ()


def test_a_main_checkout_gets_room_before_a_linked_worktree() -> None:
    looks = [
        present(f"{R}/a", "linked", owner=1000, git=Git.WORKTREE),
        present(f"{R}/b", "main", owner=1000, git=Git.MAIN),
    ]
    assert born(planned(looks, Quotas(agents_per_owner=1), Holdings())) == ["main"]


newcomers = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 12), st.integers(0, 3)),
    unique_by=lambda one: one[0], max_size=12,
)  # fmt: skip


@given(newcomers, st.integers(1, 4), st.integers(1, 6), st.data())
def test_who_gets_room_does_not_depend_on_the_order_and_no_ceiling_is_passed(
    some: list[tuple[int, int, int]], per_owner: int, per_root: int, data: st.DataObject
) -> None:
    looks = [present(f"{R}/p{at:02}", f"n{who}", owner=owner) for at, who, owner in some]
    quotas, holdings = Quotas(per_root, per_owner), Holdings({R: 1}, {0: 1})
    result = planned(looks, quotas, holdings)
    assert planned(data.draw(st.permutations(looks)), quotas, holdings) == result
    owners = {f"{R}/p{at:02}": owner for at, _, owner in some}
    got = [owners[row.holder_path] for row in result.rows]
    assert len(got) + 1 <= max(per_root, 1)
    assert all(got.count(owner) + (owner == 0) <= max(per_owner, 1) for owner in set(got))
