"""A row is shown whole, and a manifest as the peer shows it."""

from __future__ import annotations

from dataclasses import fields

import pytest

from meshd import answers
from meshd.answers import instant
from meshd.core.model import (
    Agent,
    ClaimOutcome,
    Reason,
    RootState,
)
from meshd.core.snapshot import outside_name
from tests.answers.filled import HOUR, NOW_NS, Base, agent, ago, claim, unreachable

# The order of design: Surfaces; what follows these is the rest of the row.
# fmt: off
FIRST_KEYS = [
    "id", "name", "displayName", "description", "runtime", "namespace", "capabilities",
    "behavior", "budget", "projectPath", "lastPath", "scanRoot", "status", "healthStatus",
    "confirmed", "unreachableReason", "unreachableFor", "flags", "registeredAt", "registeredBy",
    "updatedAt", "lastSeenAt", "lastSeenEvent", "seq",
]
# fmt: on


def test_a_row_shows_every_field_of_an_agent_in_the_published_order(base: Base) -> None:
    base.put(agent("a"))

    row = base.listed()["a"]

    assert list(row)[: len(FIRST_KEYS)] == FIRST_KEYS
    # The clock value is shown as unreachableFor; the number of the sweep concerns nobody.
    hidden = {"absent_clock", "born_sweep"}
    expected = {outside_name(one.name) for one in fields(Agent) if one.name not in hidden}
    assert expected == set(row) - {"healthStatus", "confirmed", "unreachableFor"}


def test_what_is_empty_is_null_and_what_is_set_is_shown(base: Base) -> None:
    base.put(agent("a"), agent("b", display_name="B", capabilities=("x",), traits={"chaos": 5}))

    listed = base.listed()

    assert (listed["a"]["displayName"], listed["a"]["traits"]) == (None, None)
    assert (listed["b"]["displayName"], listed["b"]["traits"]) == ("B", {"chaos": 5})
    assert listed["b"]["capabilities"] == ["x"]


@pytest.mark.parametrize(
    ("root", "found", "row", "expected"),
    [
        pytest.param(True, ClaimOutcome.VALID, agent("a"), True, id="seen on a healthy root"),
        pytest.param(False, ClaimOutcome.VALID, agent("a"), False, id="its root is sick"),
        pytest.param(True, ClaimOutcome.UNREADABLE, agent("a"), False, id="could not be told"),
        pytest.param(True, ClaimOutcome.INVALID, agent("a"), True, id="told, although invalid"),
        pytest.param(True, ClaimOutcome.ABSENT, unreachable("a"), True, id="known to be gone"),
        pytest.param(
            True,
            ClaimOutcome.VALID,
            agent("a", unscanned=Reason.EXCLUDED),
            False,
            id="nobody looks there",
        ),
    ],
)
def test_confirmed_says_whether_the_last_look_could_tell(
    base: Base, root: bool, found: ClaimOutcome, row: Agent, expected: bool
) -> None:
    base.put(row, claim("a", found), RootState("/root", healthy=root))

    assert base.listed()["a"]["confirmed"] is expected


def test_a_row_whose_root_was_never_seen_is_not_confirmed(base: Base) -> None:
    base.put(agent("a"), claim("a", ClaimOutcome.VALID))

    assert base.listed()["a"]["confirmed"] is False


def test_absence_is_measured_on_the_observed_clock_of_the_root(base: Base) -> None:
    base.put(
        RootState("/root", healthy=True, observed_seconds=700.0),
        unreachable("gone", absent_clock=100.0),
        unreachable("just-gone"),
        agent("here", absent_clock=100.0),
    )

    expected = {"gone": 600.0, "just-gone": None, "here": None}
    assert expected == {key: row["unreachableFor"] for key, row in base.listed().items()}


def test_flags_tell_what_is_wrong_with_a_row(base: Base) -> None:
    base.put(
        agent("a", flags=("namespace-refused",), unscanned=Reason.EXCLUDED),
        claim("a", ClaimOutcome.INVALID, Reason.NOT_JSON),
        agent("b"),
        claim("b", ClaimOutcome.DUPLICATE),
    )

    expected = {"a": ["namespace-refused", "invalid:not-json", "unscanned:excluded"], "b": []}
    assert expected == {key: row["flags"] for key, row in base.listed().items()}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        pytest.param(agent("a"), "stale", id="never heard from"),
        pytest.param(agent("a", last_seen_at=ago(0.5 * HOUR)), "active", id="lately"),
        pytest.param(agent("a", last_seen_at=ago(2 * HOUR)), "inactive", id="today"),
        pytest.param(agent("a", last_seen_at=ago(25 * HOUR)), "stale", id="long ago"),
        pytest.param(agent("a", last_seen_at=ago(-HOUR)), "active", id="clock stepped back"),
        pytest.param(agent("a", last_seen_at="damaged"), "stale", id="damaged column"),
        pytest.param(unreachable("a", last_seen_at=ago(1)), "unreachable", id="unreachable"),
        pytest.param(
            agent("a", last_seen_at=ago(1), unscanned=Reason.EXCLUDED),
            "unreachable",
            id="unscanned",
        ),
    ],
)
def test_health_is_computed_when_asked(base: Base, row: Agent, expected: str) -> None:
    base.put(row)

    assert base.listed()["a"]["healthStatus"] == expected
    assert answers.health_document(row, NOW_NS)["status"] == expected


def test_discovery_leaves_out_what_is_not_live_and_where_things_lie(base: Base) -> None:
    base.put(
        agent("a", declared_namespace="declared"),
        unreachable("b"),
        agent("c", unscanned=Reason.EXCLUDED),
    )

    (listed,) = answers.discovery_document(base.registry, NOW_NS, system_ids=())["agents"]

    assert listed["id"] == "a"
    hidden = {"projectPath", "lastPath", "namespace", "scanRoot", "status"}
    assert hidden.isdisjoint(listed)
    assert (listed["healthStatus"], listed["lastSeenAt"], listed["lastSeenEvent"]) == (
        "stale",
        None,
        None,
    )


def test_a_manifest_declares_its_namespace_and_not_the_one_derived_for_it() -> None:
    assert "namespace" not in answers.manifest_document(agent("a"))
    declared = answers.manifest_document(agent("a", declared_namespace="declared"))
    assert declared["namespace"] == "declared"


def test_unreachable_rows_are_chosen_by_time(base: Base) -> None:
    base.put(agent("here"), unreachable("gone"))

    def ids(before: str | None) -> list[str]:
        document = answers.unreachable_document(base.registry, NOW_NS, before)
        return [row["id"] for row in document["agents"]]

    assert ids(None) == ["gone"]
    assert ids(instant("2026-01-02T00:00:00Z")) == []
    assert ids(instant("2026-01-02T01:00:00.001+01:00")) == ["gone"]
