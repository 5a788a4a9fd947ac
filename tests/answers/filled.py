"""A database that tests fill by hand, and rows to fill it with."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from meshd import answers
from meshd.clock import timestamp
from meshd.commands import SweepResult
from meshd.core.model import (
    Agent,
    Claim,
    ClaimOutcome,
    Reason,
    RootState,
    Status,
)
from meshd.services import DaemonState
from meshd.store import apply
from meshd.store.registry import Registry
from meshd.store.transactions import transaction

if TYPE_CHECKING:
    import apsw

HOUR = 3600.0
NOW_NS = 2_000_000_000_000_000_000


def ago(seconds: float) -> str:
    return timestamp(NOW_NS - int(seconds * 1_000_000_000))


def agent(agent_id: str, **members: Any) -> Agent:  # noqa: ANN401 - any field of an agent
    row = Agent(
        id=agent_id,
        name=f"agent {agent_id}",
        runtime="claude-code",
        registered_at="2026-01-01T00:00:00Z",
        registered_by="test",
        namespace="derived",
        scan_root="/root",
        project_path=f"/root/{agent_id}",
        last_path=f"/root/{agent_id}",
    )
    return replace(row, **members)


def unreachable(agent_id: str, **members: Any) -> Agent:  # noqa: ANN401 - any field of an agent
    gone = {
        "status": Status.UNREACHABLE,
        "unreachable_reason": Reason.MANIFEST_MISSING,
        "unreachable_since": "2026-01-02T00:00:00.000Z",
    }
    return agent(agent_id, **(gone | members))


def claim(agent_id: str, outcome: ClaimOutcome, reason: Reason | None = None) -> Claim:
    return Claim(f"/root/{agent_id}", "/root", outcome, agent_id, reason)


SWEEP = SweepResult(
    "2026-01-03T00:00:00.000Z", 1.5, full=False, discovered=2, sick_roots=("/sick",)
)
STATE = DaemonState(
    ready=True,
    started_at="2026-01-01T00:00:00.000Z",
    last_sweep=SWEEP,
    generation=3,
    last_reload_ok=False,
    last_reload_error="scan.root: unknown key",
    degraded=None,
)


class Base:
    """A database that a test fills by hand."""

    def __init__(self, connection: apsw.Connection, epoch: str) -> None:
        self.connection = connection
        self.epoch = epoch
        self.registry = Registry(connection)

    def put(self, *rows: Agent | Claim | RootState) -> None:
        with transaction(self.connection):
            apply.upsert_agents(self.connection, [row for row in rows if isinstance(row, Agent)])
            apply.upsert_claims(self.connection, [row for row in rows if isinstance(row, Claim)])
            apply.upsert_roots(self.connection, [row for row in rows if isinstance(row, RootState)])

    def listed(self) -> dict[str, Any]:
        document = answers.registry_document(self.registry, NOW_NS)
        return {row["id"]: row for row in document["agents"]}
