"""Answers about agents.

Owns the two faces of a row: what the registry knows of it, and the manifest it stands for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshd.core.access import ANY, may_see
from meshd.core.document import to_document
from meshd.core.endpoints import EndpointState
from meshd.core.health import HealthStatus, health_at, last_seen_seconds
from meshd.core.model import ClaimOutcome, Status

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from meshd.core.model import Agent
    from meshd.store.registry import Record, Registry

Document = dict[str, Any]


def registry_document(registry: Registry, now_ns: int) -> Document:
    """Return every row, unreachable ones too: the answer of `agents list`.

    Args:
        registry: where to read.
        now_ns: the wall clock, for the health of agents.
    """
    return _listed(registry, registry.records(), now_ns)


def unreachable_document(registry: Registry, now_ns: int, before: str | None = None) -> Document:
    """Return the unreachable rows.

    Args:
        registry: where to read.
        now_ns: the wall clock, for the health of agents.
        before: only those unreachable since before this RFC 3339 time, in UTC with
            milliseconds (see `instant`).
    """
    return _listed(registry, registry.unreachable(before), now_ns)


def _listed(registry: Registry, records: Iterable[Record], now_ns: int) -> Document:
    unsettled = registry.unsettled_endpoints()
    pending = {one.endpoint.agent_id for one in unsettled if one.state is EndpointState.PENDING}
    return {
        "agents": [
            agent_document(record, now_ns, pending=record.agent.id in pending) for record in records
        ]
    }


def agent_document(record: Record, now_ns: int, *, pending: bool = False) -> Document:
    """Return what the registry knows of one agent: every key present, null when empty.

    Args:
        record: the agent.
        now_ns: the wall clock, for its health.
        pending: whether the relay has yet to confirm its endpoint.
    """
    agent = record.agent
    return {
        "id": agent.id,
        "name": agent.name,
        "displayName": agent.display_name,
        "description": agent.description,
        "runtime": agent.runtime,
        "namespace": agent.namespace,
        "capabilities": list(agent.capabilities),
        "behavior": agent.behavior,
        "budget": agent.budget,
        "projectPath": agent.project_path,
        "lastPath": agent.last_path,
        "scanRoot": agent.scan_root,
        "status": str(agent.status),
        "healthStatus": str(health_of(agent, now_ns)),
        "confirmed": _confirmed(record),
        "unreachableReason": agent.unreachable_reason and str(agent.unreachable_reason),
        "unreachableFor": _unreachable_seconds(record),
        "flags": _flags(record, pending=pending),
        "registeredAt": agent.registered_at,
        "registeredBy": agent.registered_by,
        "updatedAt": agent.updated_at,
        "lastSeenAt": agent.last_seen_at,
        "lastSeenEvent": agent.last_seen_event,
        "seq": agent.seq,
        "unreachableSince": agent.unreachable_since,
        "unscanned": agent.unscanned and str(agent.unscanned),
        "declaredNamespace": agent.declared_namespace,
        "persona": agent.persona,
        "personaEnabled": agent.persona_enabled,
        "traits": agent.traits,
        "conventions": agent.conventions,
        "color": agent.color,
        "icon": agent.icon,
        "model": agent.model,
        "effort": agent.effort,
        "account": agent.account,
        "isSystem": agent.is_system,
        "enabledToolGroups": agent.enabled_tool_groups,
        "mcpServers": list(agent.mcp_servers),
        "approver": agent.approver,
    }


def discovery_document(  # noqa: PLR0913 - the last four are filters, each by its name
    registry: Registry,
    now_ns: int,
    *,
    runtime: str | None = None,
    capability: str | None = None,
    caller_namespace: str | None = None,
    system_ids: Collection[str],
) -> Document:
    """Return the agents that may be discovered, as manifests with their health.

    Paths and namespaces are left out, as the peer leaves them out of this answer.

    Args:
        registry: where to read.
        now_ns: the wall clock, for the health of agents.
        runtime: only agents of this runtime.
        capability: only agents that have this capability.
        caller_namespace: only agents that this namespace may reach.
        system_ids: ids of `[relay] system`, which everyone may reach.
    """
    rules = registry.explicit_rules()
    caller = ANY if caller_namespace is None else caller_namespace
    return {
        "agents": [
            _without_namespace(agent) | health_fields(agent, now_ns)
            for agent in (record.agent for record in registry.live_records())
            if (runtime is None or agent.runtime == runtime)
            and (capability is None or capability in agent.capabilities)
            and may_see(caller, agent, rules, system_ids)
        ]
    }


def health_fields(agent: Agent, now_ns: int) -> Document:
    """Return how lively an agent is, as lists of agents show it."""
    return {
        "healthStatus": str(health_of(agent, now_ns)),
        "lastSeenAt": agent.last_seen_at,
        "lastSeenEvent": agent.last_seen_event,
    }


def _without_namespace(agent: Agent) -> Document:
    document = to_document(agent)
    document.pop("namespace", None)
    return document


def paths_document(registry: Registry) -> Document:
    """Return the agents that may be discovered, with where they live and how they look."""
    return {
        "agents": [
            {
                "id": agent.id,
                "name": agent.name,
                "displayName": agent.display_name,
                "projectPath": agent.project_path,
                "icon": agent.icon,
                "color": agent.color,
            }
            for agent in (record.agent for record in registry.live_records())
        ]
    }


def manifest_document(agent: Agent) -> Document:
    """Return the manifest a row stands for."""
    return to_document(agent)


def health_document(agent: Agent, now_ns: int) -> Document:
    """Return how lively an agent is."""
    return {
        "agentId": agent.id,
        "name": agent.name,
        "status": str(health_of(agent, now_ns)),
        "lastSeenAt": agent.last_seen_at,
        "lastSeenEvent": agent.last_seen_event,
        "registeredAt": agent.registered_at,
        "runtime": agent.runtime,
        "capabilities": list(agent.capabilities),
    }


def health_of(agent: Agent, now_ns: int) -> HealthStatus:
    """Return the health of an agent at a moment of the wall clock."""
    if not agent.live:
        return HealthStatus.UNREACHABLE
    return health_at(last_seen_seconds(agent.last_seen_at), now_ns / 1e9)


def _confirmed(record: Record) -> bool:
    """Whether the last look at the agent's path could tell, and counts (R4)."""
    return (
        record.root_healthy
        and record.claim_outcome is not ClaimOutcome.UNREADABLE
        and record.agent.unscanned is None
    )


def _unreachable_seconds(record: Record) -> float | None:
    """Return for how long the agent was observed to be absent (R8), None while it is not."""
    agent = record.agent
    if agent.status is not Status.UNREACHABLE or agent.absent_clock is None:
        return None
    return record.root_observed_seconds - agent.absent_clock


def _flags(record: Record, *, pending: bool) -> list[str]:
    flags = list(record.agent.flags)
    if pending:
        flags.append("relay-pending")
    if record.claim_outcome is ClaimOutcome.INVALID:
        flags.append(f"invalid:{record.claim_reason}")
    if record.agent.unscanned is not None:
        flags.append(f"unscanned:{record.agent.unscanned}")
    return flags
