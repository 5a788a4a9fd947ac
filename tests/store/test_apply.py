"""Applying a plan: one transaction in which paths change hands without colliding."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import apsw
import pytest

from meshd.core.model import ClaimOutcome, Denial, Kind, Reason, RootState, Status
from meshd.core.plan import Plan
from meshd.store import apply
from meshd.store.transactions import transaction
from tests.store.builders import AT, agent, change, claim

if TYPE_CHECKING:
    from meshd.core.model import Agent
    from meshd.store.registry import Registry

LATER = "2026-03-02T00:00:00.000Z"


def paths(registry: Registry) -> dict[str, str | None]:
    return {record.agent.id: record.agent.project_path for record in registry.records()}


def at(one: Agent, path: str | None) -> Agent:
    return replace(one, project_path=path, last_path=path or one.last_path)


def applied(connection: apsw.Connection, plan: Plan, when: str = AT) -> list[int]:
    with transaction(connection):
        return apply.apply(connection, plan, when)


def test_an_upsert_keeps_one_row_and_brings_every_field_to_what_is_given(
    connection: apsw.Connection, registry: Registry
) -> None:
    apply.upsert_agents(connection, [agent("a", name="old", color="red", flags=("x",))])
    new = agent("a", "/r/elsewhere", name="new", is_system=True)
    apply.upsert_agents(connection, [new])
    apply.upsert_agents(connection, [new])

    assert [record.agent for record in registry.records()] == [new]


def test_two_rows_never_live_at_one_path(connection: apsw.Connection) -> None:
    with pytest.raises(apsw.ConstraintError, match="project_path"):
        apply.upsert_agents(connection, [agent("a", "/r/x"), agent("b", "/r/x")])


def test_many_rows_may_have_no_path_and_the_same_last_path(
    connection: apsw.Connection, registry: Registry
) -> None:
    rows = [agent(one, project_path=None, last_path="/r/x") for one in "abc"]
    apply.upsert_agents(connection, rows)

    assert paths(registry) == {"a": None, "b": None, "c": None}
    assert sorted(row.id for row in registry.agents_at(["/r/x"])) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # a swap: each path is taken by a row that comes before its holder lets go
        ({"a": "/1", "b": "/2"}, {"a": "/2", "b": "/1"}),
        # a chain into a free path
        ({"a": "/1", "b": "/2", "c": "/3"}, {"a": "/2", "b": "/3", "c": "/4"}),
        # a ring of three
        ({"a": "/1", "b": "/2", "c": "/3"}, {"a": "/2", "b": "/3", "c": "/1"}),
        # displaced: one loses the path another takes
        ({"a": "/1", "b": "/2"}, {"a": "/2", "b": None}),
        # a removal frees the path for a row that is new
        ({"b": "/1"}, {"a": "/1"}),
    ],
)
@pytest.mark.parametrize("backwards", [False, True])
def test_paths_change_hands_in_one_plan_whatever_the_order(
    before: dict[str, str],
    after: dict[str, str | None],
    connection: apsw.Connection,
    registry: Registry,
    *,
    backwards: bool,
) -> None:
    apply.upsert_agents(connection, [agent(one, path) for one, path in before.items()])
    rows = [at(agent(one), path) for one, path in after.items()]
    removed = tuple(set(before) - set(after))

    applied(connection, Plan(rows=tuple(rows[::-1] if backwards else rows), removed=removed))

    assert paths(registry) == after


def test_a_path_held_by_a_row_outside_the_plan_refuses_the_whole_plan(
    connection: apsw.Connection, registry: Registry
) -> None:
    apply.upsert_agents(connection, [agent("a"), agent("b")])
    plan = Plan((change("c"),), rows=(agent("c"), agent("d", "/r/b")), removed=("a",))

    with pytest.raises(apsw.ConstraintError):
        applied(connection, plan)

    assert paths(registry) == {"a": "/r/a", "b": "/r/b"}
    assert registry.newest_seq() == 0


def test_a_changed_row_carries_the_number_and_time_of_its_latest_entry(
    connection: apsw.Connection, registry: Registry
) -> None:
    changes = (change("a", Kind.RETURNED), change("b"), change("a"), change(None, Kind.HELD))

    numbers = applied(connection, Plan(changes, rows=(agent("a"), agent("b"), agent("quiet"))))

    assert numbers == [1, 2, 3, 4]
    stamps = {one.agent.id: (one.agent.seq, one.agent.updated_at) for one in registry.records()}
    assert stamps == {"a": (3, AT), "b": (2, AT), "quiet": (0, None)}


def test_unreachable_since_is_set_once_kept_while_it_lasts_and_cleared_on_return(
    connection: apsw.Connection, registry: Registry
) -> None:
    lost = agent("a", status=Status.UNREACHABLE, unreachable_reason=Reason.MANIFEST_MISSING)
    seen = []
    for row, when in ((lost, AT), (lost, LATER), (agent("a"), LATER)):
        known = registry.agent("a")
        since = None if known is None else known.unreachable_since
        plan = Plan((change("a"),), rows=(replace(row, unreachable_since=since),))
        applied(connection, plan, when)
        found = registry.agent("a")
        assert found is not None
        seen.append((found.status, found.unreachable_since))

    assert seen == [(Status.UNREACHABLE, AT), (Status.UNREACHABLE, AT), (Status.ACTIVE, None)]


def test_a_claim_replaces_what_its_path_said_and_a_dropped_one_is_gone(
    connection: apsw.Connection, registry: Registry
) -> None:
    applied(connection, Plan(claims=(claim("/r/a", "a"), claim("/r/\udcff", "b"))))
    newer = claim("/r/a", "b", outcome=ClaimOutcome.DUPLICATE)
    applied(connection, Plan(claims=(newer,), dropped_claims=("/r/\udcff",)))

    assert registry.claims() == [newer]


def test_forgetting_drops_rows_and_the_claims_of_their_paths(
    connection: apsw.Connection, registry: Registry
) -> None:
    displaced = agent("d", project_path=None, last_path="/r/was")
    apply.upsert_agents(connection, [agent("a"), agent("b"), displaced])
    apply.upsert_claims(connection, [claim(f"/r/{one}", one) for one in ("a", "b", "was")])

    apply.forget(connection, [agent("a"), displaced])

    assert paths(registry) == {"b": "/r/b"}
    assert [one.path for one in registry.claims()] == ["/r/b"]


def test_denying_again_renews_the_reason_and_allowing_says_whether_it_was_denied(
    connection: apsw.Connection, registry: Registry
) -> None:
    for reason, denier in (("noise", "me"), (None, "you")):
        apply.add_denial(connection, Denial("/r/\udcff", reason, denier, AT))

    assert registry.denials() == [Denial("/r/\udcff", None, "you", AT)]
    assert apply.remove_denial(connection, "/r/\udcff")
    assert not apply.remove_denial(connection, "/r/\udcff")
    assert registry.denials() == []


def test_a_root_written_again_is_one_root(connection: apsw.Connection, registry: Registry) -> None:
    apply.upsert_roots(connection, [RootState("/r", healthy=True)])
    sick = RootState("/r", healthy=False, reason="root-missing", observed_seconds=7.5)
    apply.upsert_roots(connection, [sick])

    assert registry.roots() == {"/r": sick}


def test_meta_keeps_the_last_value(connection: apsw.Connection, registry: Registry) -> None:
    assert registry.meta("epoch", "none yet") == "none yet"
    for value in ("one", "two"):
        apply.set_meta(connection, "epoch", value)
    assert registry.meta("epoch") == "two"
