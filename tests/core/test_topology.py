"""Topology: what a namespace sees, and the rules that are listed for it."""

from __future__ import annotations

import dataclasses

import pytest

from meshd.core.access import Action, ExplicitRules
from meshd.core.model import Reason, Status
from meshd.core.topology import rules_between, topology
from tests.core.test_access import agent

ALLOW, DENY = Action.ALLOW, Action.DENY
MESH = [agent("w1", "web"), agent("w2", "web"), agent("b1", "bank"), agent("l1", "lab")]


def seen(
    caller: str, rules: ExplicitRules | None = None, system: tuple[str, ...] = ()
) -> dict[str, list[str]]:
    shown = topology(MESH, caller, rules or {}, system)
    return {name: [one.id for one in agents] for name, agents in shown.namespaces.items()}


EVERYTHING = {"bank": ["b1"], "lab": ["l1"], "web": ["w1", "w2"]}


@pytest.mark.parametrize(
    ("caller", "rules", "system", "expected"),
    [
        pytest.param("*", {}, (), EVERYTHING, id="the operator"),
        pytest.param("web", {}, (), {"web": ["w1", "w2"]}, id="itself"),
        pytest.param("nowhere", {}, (), {}, id="a namespace with nobody in it"),
        pytest.param(
            "web", {("web", "bank"): ALLOW}, (), {"bank": ["b1"], "web": ["w1", "w2"]}, id="allowed"
        ),
        pytest.param("bank", {("web", "bank"): ALLOW}, (), {"bank": ["b1"]}, id="one way only"),
        pytest.param("web", {("*", "*"): ALLOW}, (), EVERYTHING, id="open mesh"),
        pytest.param(
            "web",
            {("*", "*"): ALLOW, ("web", "bank"): DENY},
            (),
            {"lab": ["l1"], "web": ["w1", "w2"]},
            id="denied in an open mesh",
        ),
        pytest.param("bank", {}, ("w1",), {"bank": ["b1"], "web": ["w1"]}, id="a system agent"),
        pytest.param("web", {}, ("w1",), {"web": ["w1", "w2"]}, id="its namespace gains nothing"),
    ],
)
def test_a_namespace_sees_what_it_may_reach_and_nothing_else(
    caller: str, rules: ExplicitRules, system: tuple[str, ...], expected: dict[str, list[str]]
) -> None:
    assert expected == seen(caller, rules, system)


def test_nobody_sees_what_is_not_live() -> None:
    gone = dataclasses.replace(MESH[0], status=Status.UNREACHABLE)
    outside = dataclasses.replace(MESH[2], unscanned=Reason.EXCLUDED)

    shown = topology([gone, outside], "*", {("*", "*"): ALLOW}, ("w1", "b1"))

    assert (shown.namespaces, shown.rules) == ({}, [("*", "*", "allow", "explicit")])


def test_the_rules_that_are_listed_name_nothing_that_is_not_seen() -> None:
    rules = {
        ("web", "bank"): ALLOW,
        ("bank", "web"): DENY,
        ("lab", "web"): ALLOW,
        ("web", "lab"): DENY,
        ("web", "empty"): ALLOW,
        ("*", "*"): DENY,
    }

    expected = [
        ("bank", "bank", "allow", "default"),
        ("bank", "*", "deny", "default"),
        ("web", "web", "allow", "default"),
        ("web", "*", "deny", "default"),
        ("*", "*", "deny", "explicit"),
        ("bank", "web", "deny", "explicit"),
        ("web", "bank", "allow", "explicit"),
        ("web", "empty", "allow", "explicit"),
    ]
    assert expected == topology(MESH, "web", rules, ()).rules


def test_a_namespace_of_system_agents_is_listed_as_open_both_ways() -> None:
    rules = topology(MESH, "bank", {}, ("w1", "w2", "b9")).rules

    expected = [
        ("bank", "bank", "allow", "default"),
        ("bank", "*", "deny", "default"),
        ("web", "web", "allow", "default"),
        ("web", "*", "allow", "default"),
        ("*", "web", "allow", "default"),
    ]
    assert expected == rules


def test_one_system_agent_does_not_open_the_namespace_it_shares() -> None:
    rules = topology(MESH, "bank", {}, ("w1",)).rules

    assert ("web", "*", "deny", "default") in rules


def test_no_namespace_has_no_rules() -> None:
    assert rules_between([], {}) == []
