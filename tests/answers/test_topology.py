"""Who reaches whom, as answers say it; and that no two answers disagree."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshd import answers
from meshd.core.model import Agent, Claim, ClaimOutcome, Denial, Reason, Status
from meshd.errors import NotFoundError
from meshd.store import apply
from meshd.store.transactions import transaction
from tests.answers.filled import NOW_NS, Base, agent, ago, claim, unreachable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ALL = "*"
Rules = dict[tuple[str, str], str]


def set_rules(base: Base, rules: Mapping[tuple[str, str], str]) -> None:
    with transaction(base.connection):
        base.connection.execute("DELETE FROM rules")
        base.connection.executemany(
            "INSERT INTO rules (source_namespace, target_namespace, action, created_at)"
            " VALUES (?, ?, ?, '2026-01-02T03:04:05.000Z')",
            [(*pair, action) for pair, action in rules.items()],
        )


def set_pending(base: Base, agents: Iterable[Agent]) -> None:
    """Let endpoints wait for a relay outside the database."""
    with transaction(base.connection):
        base.connection.execute("DELETE FROM endpoints")
        base.connection.executemany(
            "INSERT INTO endpoints (subject, agent_id, namespace, state, created_at)"
            " VALUES (?, ?, ?, 'pending', '2026-01-02T03:04:05.000Z')",
            [(f"relay.agent.{one.namespace}.{one.id}", one.id, one.namespace) for one in agents],
        )


def topology(base: Base, caller: str = ALL, system: Iterable[str] = ()) -> dict[str, Any]:
    return answers.topology_document(base.registry, NOW_NS, caller, frozenset(system))


def route(base: Base, source: str, target: str, system: Iterable[str] = ()) -> dict[str, Any]:
    return answers.route_document(base.registry, source, target, frozenset(system))


def test_a_topology_shows_each_agent_as_the_peer_does(base: Base) -> None:
    base.put(agent("a", namespace="web", last_seen_at=ago(5), last_seen_event="tool-use"))
    set_rules(base, {("web", "bank"): "allow"})

    shown = topology(base)

    (namespace,) = shown["namespaces"]
    (member,) = namespace["agents"]
    assert (shown["callerNamespace"], shown["openMesh"]) == ("*", False)
    assert (namespace["namespace"], namespace["agentCount"]) == ("web", 1)
    assert answers.manifest_document(agent("a")).items() <= member.items()
    # fmt: off
    expected = {
        "namespace": "web", "projectPath": "/root/a", "healthStatus": "active",
        "lastSeenAt": ago(5), "lastSeenEvent": "tool-use", "relayAdapters": [],
        "relaySubject": "relay.agent.web.a", "taskCount": 0,
    }
    # fmt: on
    assert expected.items() <= member.items()
    rule = {"sourceNamespace": "web", "targetNamespace": "bank", "action": "allow"}
    assert {**rule, "origin": "explicit"} == shown["accessRules"][-1]
    assert json.loads(json.dumps(shown)) == shown


def test_an_open_mesh_is_said_to_be_open(base: Base) -> None:
    set_rules(base, {("*", "*"): "allow"})

    assert topology(base, "web")["openMesh"] is True


def test_every_rule_is_listed_with_who_made_it_and_when(base: Base) -> None:
    base.put(agent("a", namespace="web"), unreachable("b", namespace="bank"))
    set_rules(base, {("bank", "web"): "deny"})

    keys = ("sourceNamespace", "targetNamespace", "action", "origin", "createdAt")
    expected = [
        ("web", "web", "allow", "default", None),
        ("web", "*", "deny", "default", None),
        ("bank", "web", "deny", "explicit", "2026-01-02T03:04:05.000Z"),
    ]
    rules = answers.rules_document(base.registry, system_ids=())["rules"]
    assert [dict(zip(keys, rule, strict=True)) for rule in expected] == rules


@pytest.mark.parametrize(
    ("rules", "system", "expected"),
    [
        pytest.param(
            {}, [], (False, None, "cross-namespace", "no rule allows web to reach bank"), id="no"
        ),
        pytest.param(
            {("web", "bank"): "allow"},
            [],
            (True, "relay.agent.bank.b", "explicit", "a rule says allow from web to bank"),
            id="by a rule",
        ),
        pytest.param(
            {},
            ["a"],
            (True, "relay.agent.bank.b", "system", "one of the two is a system agent"),
            id="by the configuration",
        ),
    ],
)
def test_a_route_names_the_rule_that_decided(
    base: Base, rules: Rules, system: list[str], expected: tuple[object, ...]
) -> None:
    base.put(agent("a", namespace="web"), agent("b", namespace="bank"))
    set_rules(base, rules)

    answer = dict(zip(("allowed", "subject", "rule", "reason"), expected, strict=True))
    assert answer == route(base, "a", "b", system) == route(base, "/root/a", "/root/b", system)


DUPLICATE = Claim("/root/copy", "/root", ClaimOutcome.DUPLICATE, "lost")


@pytest.mark.parametrize(
    ("rows", "reference", "why"),
    [
        pytest.param([unreachable("x")], "x", "is unreachable", id="unreachable"),
        pytest.param([unreachable("x", project_path=None)], "/root/x", "is unreachable", id="last"),
        pytest.param(
            [agent("x", unscanned=Reason.EXCLUDED)], "x", "is unscanned", id="out of scope"
        ),
        pytest.param(
            [DUPLICATE], "/root/copy", "is refused: another path holds its id", id="refused"
        ),
        pytest.param(
            [DUPLICATE], "lost", "is refused: another path holds its id", id="refused, by its id"
        ),
        pytest.param(
            [claim("x", ClaimOutcome.ALIAS)],
            "/root/x",
            "is an alias of the path that holds its id",
            id="alias",
        ),
        pytest.param(
            [claim("x", ClaimOutcome.INVALID, Reason.NOT_JSON)],
            "/root/x",
            "has a manifest that is not valid",
            id="invalid",
        ),
        pytest.param(
            [claim("x", ClaimOutcome.UNREADABLE)], "/root/x", "could not be read", id="unreadable"
        ),
        pytest.param([], "/denied/x", "is denied", id="below a denied path"),
    ],
)
def test_what_has_no_endpoint_is_not_reached_and_reaches_nobody(
    base: Base, rows: list[Agent | Claim], reference: str, why: str
) -> None:
    base.put(agent("a"), *rows)
    with transaction(base.connection):
        apply.add_denial(base.connection, Denial("/denied", None, "test", "2026-01-01T00:00:00Z"))
    set_rules(base, {("*", "*"): "allow"})

    refused = {"allowed": False, "subject": None, "rule": None}
    assert refused | {"reason": f"the target {why}"} == route(base, "a", reference)
    assert refused | {"reason": f"the caller {why}"} == route(base, reference, "a")


def test_an_endpoint_that_the_relay_has_not_confirmed_is_of_no_use_yet(base: Base) -> None:
    base.put(agent("a"), agent("b"))
    set_pending(base, [agent("b")])

    why = "endpoint is not confirmed by the relay yet"
    assert f"the target's {why}" == route(base, "a", "b")["reason"]
    assert f"the caller's {why}" == route(base, "b", "a")["reason"]
    assert answers.access_document(base.registry, "b", frozenset()) == {"agents": []}
    assert {key: row["flags"] for key, row in base.listed().items()} == {
        "a": [],
        "b": ["relay-pending"],
    }


@pytest.mark.parametrize("reference", ["nobody", "/root/nobody", "/", "", "\udcff", "/\udcff"])
def test_what_nobody_has_heard_of_is_not_found(base: Base, reference: str) -> None:
    base.put(agent("a"))

    with pytest.raises(NotFoundError):
        route(base, "a", reference)
    with pytest.raises(NotFoundError):
        route(base, reference, "a")
    with pytest.raises(NotFoundError):
        answers.access_document(base.registry, reference, frozenset())


def test_access_shows_where_the_agents_are(base: Base) -> None:
    base.put(agent("a", namespace="web"), agent("b", namespace="web"))

    (other,) = answers.access_document(base.registry, "a", frozenset())["agents"]

    expected = {"id": "b", "namespace": "web", "projectPath": "/root/b"}
    assert expected.items() <= other.items()


# Agreement: one decides, all agree.

NAMES = st.sampled_from(["web", "bank", "lab"])
CALLERS = ["web", "bank", "lab", "nowhere"]
IDS = "abcdef"


@st.composite
def rows(draw: st.DrawFn) -> list[Agent]:
    ids = draw(st.lists(st.sampled_from(IDS), unique=True))
    return [
        agent(
            one,
            namespace=draw(NAMES),
            status=draw(st.sampled_from([Status.ACTIVE, Status.ACTIVE, Status.UNREACHABLE])),
            unscanned=draw(st.sampled_from([None, None, Reason.EXCLUDED])),
        )
        for one in ids
    ]


RULES = st.dictionaries(
    st.one_of(st.tuples(NAMES, NAMES), st.just((ALL, ALL))), st.sampled_from(["allow", "deny"])
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(rows(), RULES, st.frozensets(st.sampled_from(IDS)), st.frozensets(st.sampled_from(IDS)))
def test_discovery_topology_access_and_route_agree(
    base: Base, mesh: list[Agent], rules: Rules, system: frozenset[str], pending: frozenset[str]
) -> None:
    with transaction(base.connection):
        base.connection.execute("DELETE FROM agents")
    base.put(*mesh)
    set_rules(base, rules)
    set_pending(base, [one for one in mesh if one.id in pending])
    discoverable = {one.id for one in mesh if one.live} - pending

    discovered = {name: _discovered(base, name, system) for name in (None, *CALLERS)}

    assert discoverable == discovered[None] == _listed(topology(base, ALL, system))
    for name in CALLERS:
        assert discovered[name] == _listed(topology(base, name, system))
        _assert_names_only_what_is_seen(topology(base, name, system), name, rules)
    for caller in mesh:
        reached = {one["id"] for one in _access(base, caller.id, system)}
        routed = {one.id for one in mesh if route(base, caller.id, one.id, system)["allowed"]}
        assert reached == routed - {caller.id}
        if caller.id in discoverable:
            expected = discoverable if caller.id in system else discovered[caller.namespace]
            assert reached == expected - {caller.id}
        else:
            assert reached == set()


def _discovered(base: Base, caller: str | None, system: frozenset[str]) -> set[str]:
    document = answers.discovery_document(
        base.registry, NOW_NS, caller_namespace=caller, system_ids=system
    )
    return {one["id"] for one in document["agents"]}


def _listed(document: dict[str, Any]) -> set[str]:
    agents = [one for namespace in document["namespaces"] for one in namespace["agents"]]
    assert len(agents) == sum(one["agentCount"] for one in document["namespaces"])
    return {one["id"] for one in agents}


def _access(base: Base, agent_id: str, system: frozenset[str]) -> list[dict[str, Any]]:
    agents: list[dict[str, Any]] = answers.access_document(base.registry, agent_id, system)[
        "agents"
    ]
    return agents


def _assert_names_only_what_is_seen(document: dict[str, Any], caller: str, rules: Rules) -> None:
    """No rule gives a namespace away that the caller may not reach."""
    seen = {ALL, caller} | {one["namespace"] for one in document["namespaces"]}
    for rule in document["accessRules"]:
        for name in (rule["sourceNamespace"], rule["targetNamespace"]):
            is_open = rules.get((ALL, ALL)) == "allow" and rules.get((caller, name)) != "deny"
            assert name in seen or is_open or rules.get((caller, name)) == "allow"
