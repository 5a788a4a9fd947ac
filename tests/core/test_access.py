"""Access: which rule decides, and that nothing is allowed by accident."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.core.access import (
    Action,
    Decision,
    ExplicitRules,
    Rule,
    decide,
    reachable_namespaces,
)
from meshd.core.model import Agent, Reason, Status

ALLOW, DENY = Action.ALLOW, Action.DENY


def agent(agent_id: str, namespace: str, **changes: object) -> Agent:
    plain = Agent(
        id=agent_id,
        name=agent_id,
        runtime="other",
        registered_at="2026-02-03T04:05:06Z",
        registered_by="test",
        namespace=namespace,
        scan_root="/code",
        project_path=f"/code/{agent_id}",
        last_path=f"/code/{agent_id}",
    )
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


WEB, SHOP, BANK = agent("w", "web"), agent("s", "web"), agent("b", "bank")


@pytest.mark.parametrize(
    ("target", "rules", "system", "allowed", "rule"),
    [
        pytest.param(SHOP, {}, [], True, "same-namespace", id="same namespace"),
        pytest.param(BANK, {}, [], False, "cross-namespace", id="another namespace"),
        pytest.param(BANK, {("web", "bank"): ALLOW}, [], True, "explicit", id="allowed"),
        pytest.param(
            BANK, {("bank", "web"): ALLOW}, [], False, "cross-namespace", id="one way only"
        ),
        pytest.param(BANK, {("*", "*"): ALLOW}, [], True, "open-mesh", id="open mesh"),
        pytest.param(
            BANK, {("*", "*"): DENY}, [], False, "cross-namespace", id="a mesh that is not open"
        ),
        pytest.param(
            BANK,
            {("*", "*"): ALLOW, ("web", "bank"): DENY},
            [],
            False,
            "explicit",
            id="a rule that names the two goes before the open mesh",
        ),
        pytest.param(
            SHOP,
            {("web", "web"): DENY},
            [],
            True,
            "same-namespace",
            id="100 outranks an explicit 50",
        ),
        pytest.param(
            BANK, {("web", "bank"): DENY}, ["w"], True, "system", id="the caller is a system agent"
        ),
        pytest.param(
            BANK, {("web", "bank"): DENY}, ["b"], True, "system", id="the target is a system agent"
        ),
    ],
)
def test_the_highest_rule_that_applies_decides(
    target: Agent, rules: ExplicitRules, system: list[str], allowed: bool, rule: str
) -> None:
    decision = decide(WEB, target, rules, system, ())

    expected_subject = f"relay.agent.{target.namespace}.{target.id}" if allowed else None
    assert (allowed, expected_subject, rule) == (
        decision.allowed,
        decision.subject,
        decision.rule,
    )


def test_a_manifest_that_calls_itself_system_gains_nothing() -> None:
    caller = agent("w", "web", is_system=True)

    assert not decide(caller, BANK, {}, (), ()).allowed


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"status": Status.UNREACHABLE}, "the target is unreachable"),
        ({"unscanned": Reason.EXCLUDED}, "the target is unscanned"),
        (
            {"status": Status.UNREACHABLE, "unscanned": Reason.EXCLUDED},
            "the target is unreachable",
        ),
    ],
)
def test_a_target_without_an_endpoint_is_reached_by_no_rule(
    changes: dict[str, object], reason: str
) -> None:
    target = dataclasses.replace(SHOP, **changes)  # type: ignore[arg-type]

    expected = Decision(allowed=False, subject=None, rule=None, reason=reason)
    assert expected == decide(WEB, target, {("*", "*"): ALLOW}, ["w"], ())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"status": Status.UNREACHABLE}, "the caller is unreachable"),
        ({"unscanned": Reason.EXCLUDED}, "the caller is unscanned"),
    ],
)
def test_a_caller_that_is_not_live_reaches_nobody(changes: dict[str, object], reason: str) -> None:
    caller = dataclasses.replace(WEB, **changes)  # type: ignore[arg-type]

    expected = Decision(allowed=False, subject=None, rule=None, reason=reason)
    assert expected == decide(caller, SHOP, {("*", "*"): ALLOW}, ["s"], ())


@pytest.mark.parametrize(("pending", "role"), [("s", "target"), ("w", "caller")])
def test_who_has_no_confirmed_endpoint_neither_reaches_nor_is_reached(
    pending: str, role: str
) -> None:
    decision = decide(WEB, SHOP, {("*", "*"): ALLOW}, ["w", "s"], {pending})

    reason = f"the {role}'s endpoint is not confirmed by the relay yet"
    assert Decision(allowed=False, subject=None, rule=None, reason=reason) == decision


@pytest.mark.parametrize(
    ("caller", "rules", "expected"),
    [
        pytest.param("*", {("web", "bank"): DENY}, {"web", "bank", "lab"}, id="the operator"),
        pytest.param("web", {}, {"web"}, id="itself"),
        pytest.param("web", {("web", "lab"): ALLOW}, {"web", "lab"}, id="allowed"),
        pytest.param("web", {("lab", "web"): ALLOW}, {"web"}, id="one way only"),
        pytest.param(
            "web", {("*", "*"): ALLOW, ("web", "lab"): DENY}, {"web", "bank"}, id="open mesh"
        ),
    ],
)
def test_the_namespaces_that_one_may_reach(
    caller: str, rules: ExplicitRules, expected: set[str]
) -> None:
    assert expected == reachable_namespaces(caller, ["web", "bank", "lab"], rules)


def test_the_rules_rank_as_designed() -> None:
    expected = {
        "system": 200,
        "same-namespace": 100,
        "explicit": 50,
        "open-mesh": 50,
        "cross-namespace": 10,
    }

    assert expected == {rule.value: rule.priority for rule in Rule}


NAMES = st.sampled_from(["web", "bank", "lab"])


@given(NAMES, NAMES, st.dictionaries(st.tuples(NAMES, NAMES), st.sampled_from(Action)))
def test_nobody_crosses_namespaces_unless_a_rule_says_so(
    source: str, goal: str, rules: dict[tuple[str, str], Action]
) -> None:
    decision = decide(agent("a", source), agent("t", goal), rules, (), ())

    assert decision.allowed == (source == goal or rules.get((source, goal)) is ALLOW)
    assert decision.allowed == (decision.subject is not None)
