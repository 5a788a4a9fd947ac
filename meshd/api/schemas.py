"""The shapes of answers, for `/openapi.json`.

Owns the published description of every document; tests hold each answer against its model.
Nothing is converted through these models: they describe, `meshd.answers` decides.
"""

# Annotations here are read at run time by the framework, so they are not postponed.

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from meshd.core.health import HealthStatus
from meshd.core.model import ClaimOutcome, Kind, Source, Status

Members = dict[str, Any]


class Shape(BaseModel):
    """An answer: exactly these keys."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")


class Problem(Shape):
    """What went wrong, and what to do about it."""

    code: str
    message: str
    hint: str | None


class Failure(Shape):
    """A failure, as our own routes tell it."""

    error: Problem


class Detail(Shape):
    """One thing that is wrong with a request."""

    path: str
    message: str


class PeerFailure(Shape):
    """A failure, as the peer's clients know it; our code and hint where there are no details."""

    error: str
    details: list[Detail] | None = None
    code: str | None = None
    hint: str | None = None


# "default" also keeps the framework from describing a 422 that is never sent.
FAILURES: Final[dict[int | str, Members]] = {
    "default": {"model": Failure, "description": "A failure; `code` says which."}
}


class Done(Shape):
    """It is done, and durable."""

    success: Literal[True]


class Healthy(Shape):
    """The writer answers."""

    healthy: Literal[True]


class Ready(Shape):
    """Whether the first sweep is committed."""

    ready: bool


class ManifestAnswer(Shape):
    """A manifest; optional keys are left out when they are absent."""

    id: str
    name: str
    description: str
    runtime: str
    capabilities: list[str]
    behavior: Members
    budget: Members
    registered_at: str
    registered_by: str
    persona_enabled: bool
    is_system: bool
    enabled_tool_groups: Members
    mcp_servers: list[Members]
    display_name: str | None = None
    namespace: str | None = None
    persona: str | None = None
    traits: Members | None = None
    conventions: Members | None = None
    color: str | None = None
    icon: str | None = None
    model: str | None = None
    effort: str | None = None
    account: str | None = None


class ListedAgent(ManifestAnswer):
    """A manifest with its agent's health."""

    health_status: HealthStatus
    last_seen_at: str | None
    last_seen_event: str | None


class AgentsAnswer(Shape):
    """The agents that may be discovered."""

    agents: list[ListedAgent]


class AgentPath(Shape):
    """Where an agent lives, and how it looks."""

    id: str
    name: str
    display_name: str | None
    project_path: str
    icon: str | None
    color: str | None


class PathsAnswer(Shape):
    """The agents that may be discovered, by path."""

    agents: list[AgentPath]


class HealthAnswer(Shape):
    """How lively an agent is."""

    agent_id: str
    name: str
    status: HealthStatus
    last_seen_at: str | None
    last_seen_event: str | None
    registered_at: str
    runtime: str
    capabilities: list[str]


class Row(Shape):
    """What the registry knows of an agent. Every key is present, null when empty."""

    id: str
    name: str
    display_name: str | None
    description: str
    runtime: str
    namespace: str
    capabilities: list[str]
    behavior: Members
    budget: Members
    project_path: str | None
    last_path: str
    scan_root: str
    status: Status
    health_status: HealthStatus
    confirmed: bool = Field(description="Whether the last look could tell, and its root is sound.")
    unreachable_reason: str | None
    unreachable_for: float | None = Field(description="Seconds of observed absence.")
    flags: list[str]
    registered_at: str
    registered_by: str
    updated_at: str | None
    last_seen_at: str | None
    last_seen_event: str | None
    seq: int
    unreachable_since: str | None
    unscanned: str | None = Field(description="Why its path is out of scope.")
    declared_namespace: str | None
    persona: str | None
    persona_enabled: bool
    traits: Members | None
    conventions: Members | None
    color: str | None
    icon: str | None
    model: str | None
    effort: str | None
    account: str | None
    is_system: bool
    enabled_tool_groups: Members
    mcp_servers: list[Members]
    approver: str | None


class RegistryAnswer(Shape):
    """Rows of the registry."""

    agents: list[Row]


class SweepAnswer(Shape):
    """What a sweep did."""

    started_at: str
    seconds: float = Field(description="From the walk's start to the last commit.")
    full: bool
    synced: int
    unreachable: int
    removed: int
    resurrected: int
    discovered: int
    drift: int = Field(description="Changes that events had missed.")
    held: int = Field(description="Disappearances held back until they are confirmed.")
    sick_roots: list[str]


class RootEntry(Shape):
    """One root."""

    path: str
    state: Literal["healthy", "truncated", "sick", "unscanned"]
    reason: str | None
    watch: str
    watched_directories: int
    wanted_directories: int
    watch_shortage: str | None = Field(description="Why directories are not watched.")
    events: int = Field(description="Events that said something, since the daemon started.")
    overflows: int = Field(description="How often events were lost and a sweep made it good.")
    last_overflow: str | None
    agents: int
    last_sweep: str | None = Field(description="When the newest sweep began, if it covered it.")


class RootsAnswer(Shape):
    """The roots."""

    roots: list[RootEntry]


class ClaimCounts(Shape):
    """Claims by how they were judged."""

    valid: int
    duplicate: int
    refused: int
    invalid: int
    unreadable: int


class ConfigState(Shape):
    """The configuration in force."""

    generation: int | None
    last_reload_ok: bool | None
    last_reload_error: str | None


class StatusAnswer(Shape):
    """The state of the mesh."""

    total_agents: int
    active_count: int
    inactive_count: int
    stale_count: int
    unreachable_count: int
    unscanned_count: int
    by_runtime: dict[str, int]
    by_project: dict[str, int]
    pid: int | None
    version: str
    ready: bool
    started_at: str | None
    degraded: str | None
    rebuilt: str | None = Field(description="Why the database was built anew at the opening.")
    epoch: str | None
    seq: int
    roots: list[RootEntry]
    last_sweep: SweepAnswer | None
    claims: ClaimCounts
    unfinished: int
    config: ConfigState


class ClaimEntry(Shape):
    """What one path on disk claims."""

    path: str
    root: str
    outcome: ClaimOutcome
    agent_id: str | None
    reason: str | None
    detail: str | None
    looked_at: str


class ClaimsAnswer(Shape):
    """Claims, by path."""

    claims: list[ClaimEntry]


class DeniedEntry(Shape):
    """A denied path."""

    path: str
    reason: str | None
    denied_by: str
    denied_at: str


class DeniedAnswer(Shape):
    """Denials, by path."""

    denied: list[DeniedEntry]


class EventEntry(Shape):
    """One entry of the change log."""

    seq: int
    epoch: str | None
    at: str
    kind: Kind
    agent_id: str | None
    path: str | None
    source: Source
    before: Members | None = Field(alias="from")
    after: Members | None = Field(alias="to")


class EventsAnswer(Shape):
    """Entries of the change log, oldest first."""

    events: list[EventEntry]
    epoch: str | None
    seq: int = Field(description="The newest number there is.")


class SyncedRoot(Shape):
    """How a root was brought up to date."""

    path: str
    by: Literal["events", "sweep", "sick"]


class SyncAnswer(Shape):
    """What was on disk before the call is in the registry at `seq`."""

    seq: int
    held: int
    roots: list[SyncedRoot]


class ReloadAnswer(Shape):
    """What a reload did."""

    generation: int
    changed: list[str]
    needs_restart: list[str]
    notices: list[str]


class ForgottenRow(Shape):
    """A row that was dropped."""

    id: str
    last_path: str


class ForgetAnswer(Shape):
    """The rows that were dropped."""

    forgotten: list[ForgottenRow]
