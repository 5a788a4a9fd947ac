"""Which endpoints and access rules a relay has to hold.

Owns both as values, and the default and system rules that follow from them (design:
§Namespaces, relay, health). Assumes effective namespaces and valid ids, both safe subject
tokens. Promises: the rules of a namespace are there exactly while an endpoint is in it, because
they are reckoned from the endpoints and kept nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from meshd.core.access import ANY, Action, Rule, subject

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meshd.core.access import ExplicitRules
    from meshd.core.model import Agent

EVERYONE: Final = "relay.agent.>"


class EndpointState(StrEnum):
    """How far a relay outside the database has come with an endpoint.

    The embedded relay knows LIVE only: it is told in the transaction of the row itself.
    """

    PENDING = "pending"  # to be registered: neither discoverable nor routed to
    LIVE = "live"
    RETIRED = "retired"  # to be retired; the row of the agent may be gone already


class Origin(StrEnum):
    """Who made a rule."""

    DEFAULT = "default"
    EXPLICIT = "explicit"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """Where one agent is reached."""

    subject: str
    agent_id: str
    namespace: str


@dataclass(frozen=True, slots=True, order=True)
class AccessRule:
    """What a relay lets through. There is one rule at most between a source and a target.

    Attributes:
        source: pattern of subjects that send; `*` is one token, a last `>` is the rest.
        target: pattern of subjects that are sent to.
        priority: of all rules that match, the highest decides.
    """

    source: str
    target: str
    action: Action
    priority: int
    origin: Origin


def endpoint_of(row: Agent) -> Endpoint | None:
    """Return the endpoint a row has to have; None when it may not be reached."""
    if not row.live:
        return None
    return Endpoint(subject(row.namespace, row.id), row.id, row.namespace)


def rules_for(
    namespaces: Iterable[str], explicit: ExplicitRules, system_ids: Iterable[str]
) -> frozenset[AccessRule]:
    """Return every rule a relay has to hold.

    Args:
        namespaces: those with an endpoint in them.
        explicit: what the operator allowed and denied.
        system_ids: ids of `[relay] system`.
    """
    rules = []
    for name in namespaces:
        own = _everyone_in(name)
        same, cross = Rule.SAME_NAMESPACE.priority, Rule.CROSS_NAMESPACE.priority
        rules += [
            AccessRule(own, own, Action.ALLOW, same, Origin.DEFAULT),
            AccessRule(own, EVERYONE, Action.DENY, cross, Origin.DEFAULT),
        ]
    for (source, target), action in explicit.items():
        priority = Rule.EXPLICIT.priority
        ends = _everyone_in(source), _everyone_in(target)
        rules.append(AccessRule(*ends, action, priority, Origin.EXPLICIT))
    for agent_id in system_ids:
        trusted, priority = subject(ANY, agent_id), Rule.SYSTEM.priority
        rules += [
            AccessRule(trusted, EVERYONE, Action.ALLOW, priority, Origin.SYSTEM),
            AccessRule(EVERYONE, trusted, Action.ALLOW, priority, Origin.SYSTEM),
        ]
    return frozenset(rules)


def _everyone_in(namespace: str) -> str:
    return EVERYONE if namespace == ANY else subject(namespace, ANY)
