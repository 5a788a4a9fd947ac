"""Answers about agents.

Owns the two faces of a row: what the registry knows of it, and the manifest it stands for.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from meshd.core.access import ANY, may_see_live
from meshd.core.document import FIELDS, to_document, without_absent
from meshd.core.endpoints import EndpointState
from meshd.core.health import HealthStatus, health_at, last_seen_seconds
from meshd.core.model import ClaimOutcome, Status
from meshd.store import listing
from meshd.store.listing import rows_of

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterator, Sequence

    from meshd.core.model import Agent, Reason
    from meshd.store.listing import Columns, Passing, Row, Selection
    from meshd.store.registry import Registry

Document = dict[str, Any]

_SHOWN: Final = {
    "id": "id",
    "name": "name",
    "displayName": "display_name",
    "description": "description",
    "runtime": "runtime",
    "namespace": "namespace",
    "capabilities": "capabilities",
    "behavior": "behavior",
    "budget": "budget",
    "projectPath": "project_path",
    "lastPath": "last_path",
    "scanRoot": "scan_root",
    "status": "status",
    "healthStatus": "last_seen_at",
    "confirmed": "root_healthy",
    "unreachableReason": "unreachable_reason",
    "unreachableFor": "absent_clock",
    "flags": "flags",
    "registeredAt": "registered_at",
    "registeredBy": "registered_by",
    "updatedAt": "updated_at",
    "lastSeenAt": "last_seen_at",
    "lastSeenEvent": "last_seen_event",
    "seq": "seq",
    "unreachableSince": "unreachable_since",
    "unscanned": "unscanned",
    "declaredNamespace": "declared_namespace",
    "persona": "persona",
    "personaEnabled": "persona_enabled",
    "traits": "traits",
    "conventions": "conventions",
    "color": "color",
    "icon": "icon",
    "model": "model",
    "effort": "effort",
    "account": "account",
    "isSystem": "is_system",
    "enabledToolGroups": "enabled_tool_groups",
    "mcpServers": "mcp_servers",
    "approver": "approver",
}
"""The members of an answer in their order, each with the field it shows or follows from."""

_TOLD_BY: Final = ("claim_outcome", "claim_reason", "root_observed_seconds")
"""Further fields from which members follow; none is shown itself."""

_LOOKS: Final = {
    "id": "id",
    "name": "name",
    "displayName": "display_name",
    "projectPath": "project_path",
    "icon": "icon",
    "color": "color",
}
_HEARD: Final = {"lastSeenAt": "last_seen_at", "lastSeenEvent": "last_seen_event"}


def registry_document(registry: Registry, now_ns: int, passing: Passing = json.loads) -> Document:
    """Return every row, unreachable ones too: the answer of `agents list`.

    Args:
        registry: where to read.
        now_ns: the wall clock, for the health of agents.
        passing: what structured members become, given their JSON text.
    """
    return _listed(registry, listing.ALL, now_ns, passing)


def unreachable_document(
    registry: Registry, now_ns: int, before: str | None = None, passing: Passing = json.loads
) -> Document:
    """Return the unreachable rows.

    Args:
        registry: where to read.
        now_ns: the wall clock, for the health of agents.
        before: only those unreachable since before this RFC 3339 time, in UTC with
            milliseconds (see `instant`).
        passing: what structured members become, given their JSON text.
    """
    return _listed(registry, listing.unreachable(before), now_ns, passing)


def agent_document(
    registry: Registry, reference: str, now_ns: int, passing: Passing = json.loads
) -> Document | None:
    """Return what the registry knows of one agent, None when it knows none.

    Args:
        registry: where to read.
        reference: an id, or the path where the agent lives or lived last.
        now_ns: the wall clock, for its health.
        passing: what structured members become, given their JSON text.
    """
    record = registry.record(reference)
    if record is None:
        return None
    documents = _listed(registry, listing.only(record.agent.id), now_ns, passing)["agents"]
    return documents[0] if documents else None  # it may be gone since it was looked for


def _listed(registry: Registry, selection: Selection, now_ns: int, passing: Passing) -> Document:
    unsettled = registry.unsettled_endpoints()
    pending = {one.endpoint.agent_id for one in unsettled if one.state is EndpointState.PENDING}
    told = registry.columns(
        _SHOWN | {field: field for field in _TOLD_BY}, selection, passing, read_here=("flags",)
    )
    return {"agents": rows_of(_completed(told, now_ns, pending))}


def _completed(told: Columns, now_ns: int, pending: Container[str]) -> Columns:
    """Turn what the registry knows of agents into its answer: every key, null when empty."""
    columns = {key: told[key] for key in _SHOWN}
    columns["healthStatus"] = [
        str(health_now(status is Status.ACTIVE and unscanned is None, heard, now_ns))
        for status, unscanned, heard in _side_by_side(told, "status", "unscanned", "lastSeenAt")
    ]
    # Confirmed is what the last look at its path could tell, where that counts (R4).
    columns["confirmed"] = [
        healthy and outcome is not ClaimOutcome.UNREADABLE and unscanned is None
        for healthy, outcome, unscanned in _side_by_side(
            told, "confirmed", "claim_outcome", "unscanned"
        )
    ]
    # For how long it was observed to be absent (R8), null while it is not.
    columns["unreachableFor"] = [
        None if status is not Status.UNREACHABLE or clock is None else observed - clock
        for status, clock, observed in _side_by_side(
            told, "status", "unreachableFor", "root_observed_seconds"
        )
    ]
    columns["flags"] = [
        _flags(flags, agent_id in pending, outcome, reason, unscanned)
        for flags, agent_id, outcome, reason, unscanned in _side_by_side(
            told, "flags", "id", "claim_outcome", "claim_reason", "unscanned"
        )
    ]
    return columns


def _side_by_side(told: Columns, *keys: str) -> Iterator[tuple[Any, ...]]:
    return zip(*(told[key] for key in keys), strict=True)


def discovery_document(  # noqa: PLR0913 - the last five are options, each by its name
    registry: Registry,
    now_ns: int,
    *,
    runtime: str | None = None,
    capability: str | None = None,
    caller_namespace: str | None = None,
    system_ids: Collection[str],
    passing: Passing = json.loads,
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
        passing: what structured members become, given their JSON text.
    """
    wanted = FIELDS | _HEARD | {"derived": "namespace"}
    rows = registry.listed(wanted, listing.live(runtime, capability), passing)
    caller = ANY if caller_namespace is None else caller_namespace
    rules = registry.explicit_rules()
    return {
        "agents": [
            _discovered(row, now_ns)
            for row in rows
            if may_see_live(caller, row["derived"], row["id"], rules, system_ids)
        ]
    }


def _discovered(row: Row, now_ns: int) -> Document:
    """Turn the row of an agent that may be discovered into its answer."""
    row["healthStatus"] = str(health_now(True, row["lastSeenAt"], now_ns))
    without_absent(row)
    row.pop("namespace", None)
    del row["derived"]
    return row


def health_fields(agent: Agent, now_ns: int) -> Document:
    """Return how lively an agent is, as lists of agents show it."""
    return {
        "healthStatus": str(health_of(agent, now_ns)),
        "lastSeenAt": agent.last_seen_at,
        "lastSeenEvent": agent.last_seen_event,
    }


def paths_document(registry: Registry, passing: Passing = json.loads) -> Document:
    """Return the agents that may be discovered, with where they live and how they look.

    Args:
        registry: where to read.
        passing: what a path that is not UTF-8 becomes, given its JSON text.
    """
    return {"agents": registry.listed(_LOOKS, listing.live(), passing)}


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
    return health_now(agent.live, agent.last_seen_at, now_ns)


def health_now(live: bool, last_seen_at: str | None, now_ns: int) -> HealthStatus:
    """Return the health of an agent, last heard from at a time, at a moment of the wall clock."""
    if not live:
        return HealthStatus.UNREACHABLE
    return health_at(last_seen_seconds(last_seen_at), now_ns / 1e9)


def _flags(
    flags: Sequence[str],
    is_pending: bool,
    outcome: ClaimOutcome | None,
    reason: str | None,
    unscanned: Reason | None,
) -> list[str]:
    shown = list(flags)
    if is_pending:
        shown.append("relay-pending")
    if outcome is ClaimOutcome.INVALID:
        shown.append(f"invalid:{reason}")
    if unscanned is not None:
        shown.append(f"unscanned:{unscanned}")
    return shown
