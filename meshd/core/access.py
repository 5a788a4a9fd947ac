"""Which agent may reach which, at which subject, and by which rule.

Owns the rules between namespaces and their order. Assumes effective namespaces and valid ids,
both safe subject tokens. Promises one answer for every pair: the rule of the highest priority
that says anything decides, and what no rule allows is refused. What a namespace may see is
what an ordinary agent of it may reach.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeAlias

from meshd.core.model import Status

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from meshd.core.model import Agent

ANY: Final = "*"


class Action(StrEnum):
    """What an explicit rule says."""

    ALLOW = "allow"
    DENY = "deny"


class Rule(StrEnum):
    """The rule that decided (design: §Namespaces, relay, health)."""

    SYSTEM = "system"
    SAME_NAMESPACE = "same-namespace"
    EXPLICIT = "explicit"
    OPEN_MESH = "open-mesh"
    CROSS_NAMESPACE = "cross-namespace"

    @property
    def priority(self) -> int:
        """The rule's rank: the highest that applies decides."""
        return _PRIORITIES[self]


# OPEN_MESH is the explicit rule `* -> *`; a rule that names the two namespaces goes before it.
_PRIORITIES: Final = {
    Rule.SYSTEM: 200,
    Rule.SAME_NAMESPACE: 100,
    Rule.EXPLICIT: 50,
    Rule.OPEN_MESH: 50,
    Rule.CROSS_NAMESPACE: 10,
}

ExplicitRules: TypeAlias = Mapping[tuple[str, str], Action]
"""The operator's rules by (source, target) namespace, one way each; `("*", "*")` is the mesh."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether one agent may reach another.

    Attributes:
        subject: where to send; None exactly when it may not.
        rule: what decided; None when the target has no endpoint and no rule was asked.
        reason: for a person; fixed words and namespaces.
    """

    allowed: bool
    subject: str | None
    rule: Rule | None
    reason: str


def subject(namespace: str, agent_id: str) -> str:
    """Return the endpoint of an agent."""
    return f"relay.agent.{namespace}.{agent_id}"


def decide(
    caller: Agent,
    target: Agent,
    rules: ExplicitRules,
    system_ids: Collection[str],
    pending: Collection[str],
) -> Decision:
    """Say whether `caller` may reach `target`.

    Args:
        caller: who asks; unless it has an endpoint it reaches nobody.
        target: whom it wants to reach; unless it has an endpoint nobody reaches it.
        rules: what the operator allowed and denied.
        system_ids: ids of `[relay] system`. What a manifest says of itself counts for nothing.
        pending: ids whose endpoint the relay has yet to confirm.
    """
    for role, agent in (("target", target), ("caller", caller)):
        if agent.status is not Status.ACTIVE:
            return refusal(f"the {role} is unreachable")
        if not agent.live:
            return refusal(f"the {role} is unscanned")
        if agent.id in pending:
            return refusal(f"the {role}'s endpoint is not confirmed by the relay yet")
    rule, action, reason = _judge(caller, target, rules, system_ids)
    if action is Action.DENY:
        return Decision(False, None, rule, reason)
    return Decision(True, subject(target.namespace, target.id), rule, reason)


def refusal(reason: str) -> Decision:
    """Return the decision about two of which one has no endpoint: no rule is asked."""
    return Decision(False, None, None, reason)


def may_see(caller: str, target: Agent, rules: ExplicitRules, system_ids: Collection[str]) -> bool:
    """Say whether a namespace may see an agent.

    Args:
        caller: a namespace, or `*` for the operator, who sees everything that is live.
        target: the agent; unless it is live nobody sees it.
        rules: what the operator allowed and denied.
        system_ids: ids of `[relay] system`; everyone sees them.
    """
    return target.live and may_see_live(caller, target.namespace, target.id, rules, system_ids)


def may_see_live(
    caller: str,
    namespace: str,
    agent_id: str,
    rules: ExplicitRules,
    system_ids: Collection[str],
) -> bool:
    """Say whether a namespace may see a live agent, as `may_see` does, by what decides it."""
    return agent_id in system_ids or _reaches(caller, namespace, rules)


def reachable_namespaces(
    caller: str, namespaces: Iterable[str], rules: ExplicitRules
) -> frozenset[str]:
    """Return those of `namespaces` that a namespace, or `*`, may reach."""
    return frozenset(one for one in namespaces if _reaches(caller, one, rules))


def is_open(rules: ExplicitRules) -> bool:
    """Whether the operator let every namespace reach every other."""
    return rules.get((ANY, ANY)) is Action.ALLOW


def _reaches(caller: str, namespace: str, rules: ExplicitRules) -> bool:
    return caller == ANY or _judge_namespaces(caller, namespace, rules)[1] is Action.ALLOW


def _judge(
    caller: Agent, target: Agent, rules: ExplicitRules, system_ids: Collection[str]
) -> tuple[Rule, Action, str]:
    """Return the first rule that says anything, highest priority first."""
    if caller.id in system_ids or target.id in system_ids:
        return Rule.SYSTEM, Action.ALLOW, "one of the two is a system agent"
    return _judge_namespaces(caller.namespace, target.namespace, rules)


def _judge_namespaces(source: str, goal: str, rules: ExplicitRules) -> tuple[Rule, Action, str]:
    """Return the first rule between two namespaces that says anything."""
    if source == goal:
        return Rule.SAME_NAMESPACE, Action.ALLOW, f"both are in namespace {source}"
    explicit = rules.get((source, goal))
    if explicit is not None:
        return Rule.EXPLICIT, explicit, f"a rule says {explicit} from {source} to {goal}"
    if is_open(rules):
        return Rule.OPEN_MESH, Action.ALLOW, "the mesh is open"
    return Rule.CROSS_NAMESPACE, Action.DENY, f"no rule allows {source} to reach {goal}"
