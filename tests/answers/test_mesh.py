"""Answers about the mesh are complete, with a daemon or without."""

from __future__ import annotations

from meshd import __version__, answers
from meshd.answers import Running
from meshd.core.model import (
    Change,
    ClaimOutcome,
    Denial,
    Kind,
    Reason,
    RootState,
    Source,
)
from meshd.store import apply, changelog, intents
from meshd.store.transactions import transaction
from tests.answers.filled import HOUR, NOW_NS, STATE, SWEEP, Base, agent, ago, claim, unreachable


def test_every_row_is_counted_once_by_how_it_is(base: Base) -> None:
    base.put(
        agent("a", last_seen_at=ago(1)),
        agent("b", last_seen_at=ago(2 * HOUR), runtime="codex"),
        agent("c"),
        unreachable("d", project_path=None),
        agent("e", unscanned=Reason.EXCLUDED),
        unreachable("f", unscanned=Reason.EXCLUDED),
    )

    status = answers.status_document(base.registry, NOW_NS)

    expected = {
        "totalAgents": 6,
        "activeCount": 1,
        "inactiveCount": 1,
        "staleCount": 1,
        "unreachableCount": 2,
        "unscannedCount": 1,
        "byRuntime": {"claude-code": 5, "codex": 1},
        "byProject": {f"/root/{key}": 1 for key in "abcef"},
    }
    assert expected == {key: status[key] for key in expected}
    listed = answers.unreachable_document(base.registry, NOW_NS)["agents"]
    assert status["unreachableCount"] == len(listed)


def test_changes_of_files_that_are_not_finished_are_counted(base: Base) -> None:
    assert answers.status_document(base.registry, NOW_NS)["unfinished"] == 0
    with transaction(base.connection):
        intents.add(base.connection, "data", "/root/a", {"name": ".dork.x.tmp"}, ago(1))
    assert answers.status_document(base.registry, NOW_NS)["unfinished"] == 1


def test_without_a_daemon_what_only_it_knows_is_null(base: Base) -> None:
    base.put(RootState("/root", healthy=False, reason="other-filesystem"), agent("a"))

    status = answers.status_document(base.registry, NOW_NS)

    expected = {
        "pid": None,
        "version": __version__,
        "ready": False,
        "startedAt": None,
        "degraded": None,
        "epoch": base.epoch,
        "seq": 0,
        "lastSweep": None,
        "claims": {"valid": 0, "duplicate": 0, "refused": 0, "invalid": 0, "unreadable": 0},
        "config": {"generation": None, "lastReloadOk": None, "lastReloadError": None},
    }
    assert expected == {key: status[key] for key in expected}
    (root,) = status["roots"]
    assert (root["state"], root["reason"], root["agents"]) == ("sick", "other-filesystem", 1)


def test_a_daemon_adds_its_own_word_and_changes_no_key(base: Base) -> None:
    running = Running(4711, STATE, {})

    status = answers.status_document(base.registry, NOW_NS, running)

    assert list(status) == list(answers.status_document(base.registry, NOW_NS))
    assert (status["pid"], status["ready"]) == (4711, True)
    assert status["lastSweep"] == answers.sweep_document(SWEEP)
    assert status["config"] == {
        "generation": 3,
        "lastReloadOk": False,
        "lastReloadError": "scan.root: unknown key",
    }


def test_a_root_is_shown_while_it_is_configured_or_owns_rows(base: Base) -> None:
    base.put(agent("a"), agent("b", scan_root="/gone"), RootState("/forgotten", healthy=True))
    running = Running(
        1,
        STATE,
        {
            "/new": None,
            "/root": RootState("/root", healthy=True),
            "/sick": RootState("/sick", healthy=False, reason="root-missing"),
        },
    )

    roots = answers.roots_document(base.registry, running)["roots"]

    expected = [
        ("/gone", "unscanned", "no-root", 1, None),
        ("/new", "unscanned", None, 0, None),
        ("/root", "healthy", None, 1, SWEEP.started_at),
        ("/sick", "sick", "root-missing", 0, None),
    ]
    keys = ("path", "state", "reason", "agents", "lastSweep")
    assert expected == [tuple(root[key] for key in keys) for root in roots]


def test_events_show_both_sides_of_a_change(base: Base) -> None:
    changes = [
        Change(Kind.REGISTERED, "a", "/root/a", Source.SWEEP, after={"name": "x"}),
        Change(Kind.UPDATED, "a", "/root/a", Source.WATCH, {"name": "x"}, {"name": "y"}),
    ]
    with transaction(base.connection):
        changelog.append(base.connection, changes, "2026-01-01T00:00:00.000Z")

    document = answers.events_document(base.registry, since=1, limit=10)

    expected = {
        "seq": 2,
        "epoch": base.epoch,
        "at": "2026-01-01T00:00:00.000Z",
        "kind": "updated",
        "agentId": "a",
        "path": "/root/a",
        "source": "watch",
        "from": {"name": "x"},
        "to": {"name": "y"},
    }
    assert document == {"events": [expected], "epoch": base.epoch, "seq": 2}


def test_claims_and_denials_are_listed_by_path(base: Base) -> None:
    base.put(claim("b", ClaimOutcome.INVALID, Reason.BOM), claim("a", ClaimOutcome.VALID))
    with transaction(base.connection):
        apply.add_denial(base.connection, Denial("/root/d", "noisy", "me", ago(0)))

    claims = answers.claims_document(base.registry)["claims"]
    invalid = answers.claims_document(base.registry, ClaimOutcome.INVALID)["claims"]

    assert [one["path"] for one in claims] == ["/root/a", "/root/b"]
    assert [(one["agentId"], one["reason"]) for one in invalid] == [("b", "bom")]
    denied = {"path": "/root/d", "reason": "noisy", "deniedBy": "me", "deniedAt": ago(0)}
    assert answers.denied_document(base.registry) == {"denied": [denied]}
