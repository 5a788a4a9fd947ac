"""What a plan says beside its outcome: who asked, what changed, what is kept."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from meshd.core.model import (
    Kind,
    Observation,
    Reason,
    Source,
    Status,
)
from meshd.core.snapshot import snapshot
from tests.core.batches import (
    GRACE,
    NOW,
    OTHER_FILESYSTEM,
    R,
    absent,
    agent,
    applied,
    circumstances,
    claim,
    decide,
    invalid,
    known,
    lost,
    manifest,
    present,
    scope,
    sweep,
    unknown,
)
from tests.core.cases import (
    X,
    Y,
)

if TYPE_CHECKING:
    from meshd.core.verdict import Circumstances

DENIED_X = scope(denied=frozenset({X}))


def test_every_change_says_who_asked_and_what_changed() -> None:
    looks = [absent(X, source=Source.WATCH), present(Y, "a", source=Source.START)]
    (change,) = decide([agent("a", X)], [claim(X, "a")], looks).changes

    assert change.source is Source.START
    assert change.before == {"projectPath": X, "lastPath": X, "namespace": "x"}
    assert change.after == {"projectPath": Y, "lastPath": Y, "namespace": "y"}


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        pytest.param(circumstances(sweep=sweep(NOW + GRACE)), Kind.REMOVED, id="removed"),
        pytest.param(circumstances(scope=DENIED_X), Kind.DENIED, id="denied"),
    ],
)
def test_a_row_that_leaves_is_told_of_whole(given: Circumstances, kind: Kind) -> None:
    row = lost("a", X, color="red", mcp_servers=({"name": "files", "enabled": True},))
    (change,) = decide([row], [], [absent(X)], given).changes

    assert (change.kind, change.before, change.after) == (kind, snapshot(row), None)


def test_nothing_of_a_rejected_file_but_fixed_words_is_kept() -> None:
    (kept,) = decide([], [], [invalid(X, Reason.BAD_SCHEMA, detail="budget: our words")]).claims

    assert (kept.agent_id, kept.reason, kept.detail) == (
        None, Reason.BAD_SCHEMA, "budget: our words",
    )  # fmt: skip


@pytest.mark.parametrize("look", [invalid(X), unknown(X)], ids=["invalid", "unknown"])
def test_a_path_that_cannot_be_read_still_claims_what_it_claimed(look: Observation) -> None:
    (kept,) = decide([agent("a", X)], [claim(X, "a")], [look]).claims

    assert kept.agent_id == "a"


def test_where_a_project_never_seen_lay_is_not_guessed_from_what_is_above_it() -> None:
    """Else the row froze for good once the right file system is mounted and it is gone."""
    row = agent("a", X)
    first = applied(known([row]), decide([row], [], [absent(X, filesystem=OTHER_FILESYSTEM)]))
    assert first.claims[X].filesystem is None

    rows, claims = first.rows.values(), first.claims.values()
    given = circumstances(sweep=sweep(NOW))
    assert [row.absent_clock for row in decide(rows, claims, [absent(X)], given).rows] == [NOW]


def test_an_absence_keeps_the_file_system_that_the_project_lay_on() -> None:
    before = known([agent("a", X)], [claim(X, "a")])
    gone = applied(before, decide(before.rows.values(), before.claims.values(), [absent(X)]))
    unmounted = absent(X, filesystem=OTHER_FILESYSTEM)
    given = circumstances(sweep=sweep(NOW + GRACE))

    planned = decide(gone.rows.values(), gone.claims.values(), [unmounted], given)

    assert (planned.rows, planned.removed) == ((), ())


def test_time_that_no_sweep_observed_removes_nobody() -> None:
    """However late it is on any other clock: the plan is given the observed one only."""
    holds = applied(known([agent("a", X)]), decide([agent("a", X)], [], [absent(X)]))
    removed_at = []
    for number, clock in enumerate((0.0, 40.0, 40.0, 80.0, 99.9, 100.0, 140.0)):
        given = circumstances(sweep=sweep(clock, number=number))
        planned = decide(holds.rows.values(), holds.claims.values(), [absent(X)], given)
        holds = applied(holds, planned)
        removed_at += [clock] if planned.removed else []

    assert removed_at == [100.0]


def test_a_return_forgets_the_absence() -> None:
    holds = known([lost("a", X, NOW)])
    for look, clock in ((present(X, "a"), NOW + 99), (absent(X), NOW + 99), (absent(X), NOW + 198)):
        given = circumstances(sweep=sweep(clock))
        planned = decide(holds.rows.values(), holds.claims.values(), [look], given)
        holds = applied(holds, planned)

    assert holds.rows["a"].status is Status.UNREACHABLE
    assert holds.rows["a"].absent_clock == NOW + 99


def test_what_a_manifest_does_not_say_is_kept_when_it_is_read_again() -> None:
    kept = {
        "approver": "someone",
        "last_seen_at": "2026-01-02T00:00:00Z",
        "last_seen_event": "heartbeat",
        "updated_at": "2026-01-03T00:00:00Z",
        "seq": 7,
        "born_sweep": 3,
    }
    row = agent("a", X, **kept)
    looks = [present(Y, "a", manifest=manifest("a", name="new")), absent(X)]
    (after,) = decide([row], [claim(X, "a")], looks).rows

    assert after == agent("a", Y, name="new", **kept)


def test_a_root_may_limit_the_namespaces_its_manifests_claim() -> None:
    look = present(X, "a", manifest=manifest("a", namespace="admin"))
    (row,) = decide([], [], [look], circumstances(namespaces={R: ("work",)})).rows

    assert (row.namespace, row.declared_namespace, row.flags) == (
        "x", "admin", ("namespace-refused",),
    )  # fmt: skip


def test_the_log_tells_plain_values_and_no_bookkeeping() -> None:
    row = lost("a", X, capabilities=("one", "two"))
    told = snapshot(row)

    assert json.loads(json.dumps(told)) == told
    assert {type(value) for value in told.values()} == {str, bool, dict, list, type(None)}
    assert told.keys().isdisjoint(
        {"absentClock", "bornSweep", "lastSeenAt", "seq", "unreachableSince", "updatedAt"}
    )


def test_a_path_whose_root_is_no_longer_configured_stays_in_the_root_it_was_in() -> None:
    row, before = agent("a", "/gone/x", scan_root="/gone"), claim("/gone/x", "a", root="/gone")
    (kept,) = decide([row], [before], [unknown("/gone/x")]).claims

    assert (kept.root, kept.agent_id, kept.filesystem) == ("/gone", None, before.filesystem)
