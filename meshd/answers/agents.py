"""Answers about agents.

Owns the two faces of a row: what the registry knows of it, and the manifest it stands for.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from meshd.core.document import to_document
from meshd.core.health import HealthStatus, health
from meshd.core.model import ClaimOutcome, Status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meshd.core.model import Agent
    from meshd.store.registry import Record, Registry

Document = dict[str, Any]


def registry_document(registry: Registry, now_ns: int) -> Document:
    """Return every row, unreachable ones too: the answer of `agents list`.

    Args:
        registry: where to read.
        now_ns: the wall clock, for the health of agents.
    """
    return _listed(registry.records(), now_ns)


def unreachable_document(registry: Registry, now_ns: int, before: str | None = None) -> Document:
    """Return the unreachable rows.

    Args:
        registry: where to read.
        now_ns: the wall clock, for the health of agents.
        before: only those unreachable since before this RFC 3339 time, in UTC with
            milliseconds (see `instant`).
    """
    return _listed(registry.unreachable(before), now_ns)


def _listed(records: Iterable[Record], now_ns: int) -> Document:
    return {"agents": [agent_document(record, now_ns) for record in records]}


def agent_document(record: Record, now_ns: int) -> Document:
    """Return what the registry knows of one agent: every key present, null when empty."""
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
        "flags": _flags(record),
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


def discovery_document(
    registry: Registry,
    now_ns: int,
    *,
    runtime: str | None = None,
    capability: str | None = None,
) -> Document:
    """Return the agents that may be discovered, as manifests with their health.

    Paths and namespaces are left out, as the peer leaves them out of this answer.
    """
    agents = [record.agent for record in registry.live_records()]
    return {
        "agents": [
            _without_namespace(agent)
            | {
                "healthStatus": str(health_of(agent, now_ns)),
                "lastSeenAt": agent.last_seen_at,
                "lastSeenEvent": agent.last_seen_event,
            }
            for agent in agents
            if (runtime is None or agent.runtime == runtime)
            and (capability is None or capability in agent.capabilities)
        ]
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
    return health(agent.live, _seconds_since(agent.last_seen_at, now_ns))


def _seconds_since(moment: str | None, now_ns: int) -> float | None:
    if moment is None:
        return None
    try:
        return now_ns / 1e9 - datetime.fromisoformat(moment).timestamp()
    except ValueError:  # a damaged column tells of no heartbeat (fault 55)
        return None


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


def _flags(record: Record) -> list[str]:
    flags = list(record.agent.flags)
    if record.claim_outcome is ClaimOutcome.INVALID:
        flags.append(f"invalid:{record.claim_reason}")
    if record.agent.unscanned is not None:
        flags.append(f"unscanned:{record.agent.unscanned}")
    return flags
