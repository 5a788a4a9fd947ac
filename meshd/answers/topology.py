"""Answers about who can reach whom.

Owns how namespaces, rules and single decisions are shown. What decides is `core.access`;
nothing here decides anew, so that topology, discovery, access and route never disagree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshd.answers.agents import health_fields
from meshd.core.access import decide, is_open, refusal, subject
from meshd.core.document import to_document
from meshd.core.endpoints import EndpointState
from meshd.core.model import Agent, ClaimOutcome
from meshd.core.scope import self_and_above
from meshd.core.topology import rules_between, system_namespaces, topology
from meshd.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Collection

    from meshd.core.topology import ListedRule
    from meshd.store.registry import Registry

Document = dict[str, Any]

# Why what lies at a path, or claims an id, is no agent.
_REFUSALS = {
    ClaimOutcome.DUPLICATE: "is refused: another path holds its id",
    ClaimOutcome.REFUSED: "is refused: its owner or its root has all the agents it may have",
    ClaimOutcome.ALIAS: "is an alias of the path that holds its id",
    ClaimOutcome.INVALID: "has a manifest that is not valid",
    ClaimOutcome.UNREADABLE: "could not be read",
}


def topology_document(
    registry: Registry, now_ns: int, caller: str, system_ids: Collection[str]
) -> Document:
    """Return the mesh as a namespace sees it.

    Args:
        registry: where to read.
        now_ns: the wall clock, for the health of agents.
        caller: the namespace that asks, or `*` for the operator, who sees everything.
        system_ids: ids of `[relay] system`.
    """
    explicit = registry.explicit_rules()
    seen = topology(_discoverable(registry), caller, explicit, system_ids)
    return {
        "callerNamespace": caller,
        "namespaces": [
            {
                "namespace": name,
                "agentCount": len(agents),
                "agents": [_member(agent, now_ns) for agent in agents],
            }
            for name, agents in seen.namespaces.items()
        ],
        "accessRules": [_rule(rule) for rule in seen.rules],
        "openMesh": is_open(explicit),
    }


def _member(agent: Agent, now_ns: int) -> Document:
    return (
        _placed(agent)
        | health_fields(agent, now_ns)
        | {
            "relayAdapters": [],
            "relaySubject": subject(agent.namespace, agent.id),
            "taskCount": 0,
        }
    )


def _placed(agent: Agent) -> Document:
    """Return the manifest of an agent, with where it lives and the namespace it is in."""
    where = {"namespace": agent.namespace, "projectPath": agent.project_path}
    return to_document(agent) | where


def access_document(registry: Registry, agent_id: str, system_ids: Collection[str]) -> Document:
    """Return the agents that one agent may reach; none, unless it is live itself.

    Raises:
        NotFoundError: there is no such agent.
    """
    record = registry.record(agent_id)
    if record is None:
        raise _unknown(agent_id)
    caller, rules, pending = record.agent, registry.explicit_rules(), _pending(registry)
    return {
        "agents": [
            _placed(agent)
            for agent in _discoverable(registry)
            if agent.id != caller.id and decide(caller, agent, rules, system_ids, pending).allowed
        ]
    }


def route_document(
    registry: Registry, from_ref: str, to_ref: str, system_ids: Collection[str]
) -> Document:
    """Say whether one agent may reach another, at which subject, and by which rule.

    Args:
        registry: where to read.
        from_ref: id or path of the agent that wants to send.
        to_ref: id or path of the one it wants to reach.
        system_ids: ids of `[relay] system`.

    Raises:
        NotFoundError: one of them is neither an agent nor anything that claims to be one.
    """
    target, caller = _party(registry, to_ref), _party(registry, from_ref)
    if isinstance(target, str):
        decision = refusal(f"the target {target}")
    elif isinstance(caller, str):
        decision = refusal(f"the caller {caller}")
    else:
        rules, pending = registry.explicit_rules(), _pending(registry)
        decision = decide(caller, target, rules, system_ids, pending)
    return {
        "allowed": decision.allowed,
        "subject": decision.subject,
        "rule": decision.rule and str(decision.rule),
        "reason": decision.reason,
    }


def _pending(registry: Registry) -> frozenset[str]:
    """Return the ids whose endpoint the relay has yet to confirm."""
    return frozenset(
        one.endpoint.agent_id
        for one in registry.unsettled_endpoints()
        if one.state is EndpointState.PENDING
    )


def _party(registry: Registry, reference: str) -> Agent | str:
    """Return an agent by id or path, or why what is meant is none.

    Raises:
        NotFoundError: nothing is known of it.
    """
    record = registry.record(reference)
    if record is not None:
        return record.agent
    if reference.startswith("/"):
        denied = {denial.path for denial in registry.denials()}
        if not denied.isdisjoint(self_and_above(reference)):
            return "is denied"
        claims = registry.claims_about(paths=[reference])
    else:
        # An id is ASCII; what is not need not even be text that can be asked for.
        claims = registry.claims_about(ids=[reference]) if reference.isascii() else []
    reasons = [_REFUSALS[one.outcome] for one in claims if one.outcome in _REFUSALS]
    if not reasons:
        raise _unknown(reference)
    return reasons[0]


def rules_document(registry: Registry, system_ids: Collection[str]) -> Document:
    """Return every rule between namespaces: the default ones, and those the operator made.

    Args:
        registry: where to read.
        system_ids: ids of `[relay] system`, whose namespaces all may reach.
    """
    agents = _discoverable(registry)
    created = {(source, target): at for source, target, _, at in registry.rules()}
    listed = rules_between(
        {agent.namespace for agent in agents},
        registry.explicit_rules(),
        system_namespaces(agents, system_ids),
    )
    return {
        "rules": [
            _rule(rule)
            | {"createdAt": created.get(rule[:2]) if rule.origin == "explicit" else None}
            for rule in listed
        ]
    }


def _rule(rule: ListedRule) -> Document:
    return {
        "sourceNamespace": rule.source,
        "targetNamespace": rule.target,
        "action": str(rule.action),
        "origin": str(rule.origin),
    }


def _discoverable(registry: Registry) -> list[Agent]:
    return [record.agent for record in registry.live_records()]


def _unknown(reference: str) -> NotFoundError:
    return NotFoundError(f"no agent {reference!a}", hint="`meshd agents list` shows all")
