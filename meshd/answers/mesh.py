"""Answers about the mesh as a whole.

Owns status, roots, claims, denials and the change log as they are shown. What only a running
daemon knows is null without one, and `ready` is false.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from meshd import __version__
from meshd.answers.agents import health_now
from meshd.clock import timestamp
from meshd.core.health import HealthStatus
from meshd.core.model import ClaimOutcome, Reason, Status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshd.commands import SweepResult
    from meshd.core.model import RootState
    from meshd.services import DaemonState
    from meshd.store.changelog import Entry
    from meshd.store.registry import Registry
    from meshd.watcher.coverage import Coverage

Document = dict[str, Any]

_COUNTED_CLAIMS: Final = (
    ClaimOutcome.VALID,
    ClaimOutcome.DUPLICATE,
    ClaimOutcome.REFUSED,
    ClaimOutcome.INVALID,
    ClaimOutcome.UNREADABLE,
)

_COUNTED: Final = {
    field: field for field in ("status", "unscanned", "last_seen_at", "runtime", "project_path")
}
"""Fields of a row by which it is counted."""


@dataclass(frozen=True, slots=True)
class Running:
    """What only a running daemon can say.

    Attributes:
        pid: of its process.
        state: what it knows of itself.
        roots: by path, the configured roots; None is one not checked yet in this run.
        coverage: by path, how the roots are watched.
    """

    pid: int
    state: DaemonState
    roots: Mapping[str, RootState | None]
    coverage: Mapping[str, Coverage] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tally:
    """How many agents there are, by how they are; each is counted once.

    Attributes:
        health: live rows by their health, unreachable rows as unreachable.
        unscanned: active rows whose path is out of scope.
    """

    health: Mapping[HealthStatus, int]
    unscanned: int
    by_runtime: Mapping[str, int]
    by_project: Mapping[str, int]

    @property
    def total(self) -> int:
        """All rows."""
        return sum(self.health.values()) + self.unscanned


def tally(registry: Registry, now_ns: int) -> Tally:
    """Count agents.

    Args:
        registry: where to read.
        now_ns: the wall clock, for the health of agents.
    """
    of_health: Counter[HealthStatus] = Counter()
    unscanned = 0
    by_runtime: Counter[str] = Counter()
    by_project: Counter[str] = Counter()
    for row in registry.listed(_COUNTED):
        live = row["status"] is Status.ACTIVE
        if live and row["unscanned"] is not None:
            unscanned += 1
        else:
            of_health[health_now(live, row["last_seen_at"], now_ns)] += 1
        by_runtime[row["runtime"]] += 1
        if row["project_path"] is not None:
            by_project[row["project_path"]] += 1
    return Tally(of_health, unscanned, dict(by_runtime), dict(by_project))


def status_document(registry: Registry, now_ns: int, running: Running | None = None) -> Document:
    """Return the state of the mesh.

    Args:
        registry: where to read.
        now_ns: the wall clock, for the health of agents.
        running: the daemon's own word, None while none runs.
    """
    seq = registry.newest_seq()
    counts = tally(registry, now_ns)
    claims = registry.claim_counts()
    state = None if running is None else running.state
    return {
        "totalAgents": counts.total,
        "activeCount": counts.health.get(HealthStatus.ACTIVE, 0),
        "inactiveCount": counts.health.get(HealthStatus.INACTIVE, 0),
        "staleCount": counts.health.get(HealthStatus.STALE, 0),
        "unreachableCount": counts.health.get(HealthStatus.UNREACHABLE, 0),
        "unscannedCount": counts.unscanned,
        "byRuntime": counts.by_runtime,
        "byProject": counts.by_project,
        "pid": None if running is None else running.pid,
        "version": __version__,
        "ready": state is not None and state.ready,
        "startedAt": None if state is None else state.started_at,
        "degraded": None if state is None else state.degraded,
        "rebuilt": None if state is None else state.rebuilt,
        "epoch": registry.meta("epoch") or None,
        "seq": seq,
        "roots": _roots(registry, running),
        "lastSweep": _last_sweep(state),
        "claims": {str(outcome): claims.get(outcome, 0) for outcome in _COUNTED_CLAIMS},
        "unfinished": registry.unfinished(),
        "config": {
            "generation": None if state is None else state.generation,
            "lastReloadOk": None if state is None else state.last_reload_ok,
            "lastReloadError": None if state is None else state.last_reload_error,
        },
    }


def _last_sweep(state: DaemonState | None) -> Document | None:
    if state is None or state.last_sweep is None:
        return None
    return sweep_document(state.last_sweep)


def sweep_document(result: SweepResult) -> Document:
    """Return what a sweep did, as `lastSweep` shows it."""
    return {
        "startedAt": result.started_at,
        "seconds": result.seconds,
        "full": result.full,
        "synced": result.synced,
        "unreachable": result.unreachable,
        "removed": result.removed,
        "resurrected": result.resurrected,
        "discovered": result.discovered,
        "drift": result.drift,
        "held": result.held,
        "sickRoots": list(result.sick_roots),
    }


def roots_document(registry: Registry, running: Running | None = None) -> Document:
    """Return the roots and how each is."""
    return {"roots": _roots(registry, running)}


def _roots(registry: Registry, running: Running | None) -> list[Document]:
    """Return one entry per root: the configured ones, and others that still own rows."""
    counts = {root: every for root, (_, every) in registry.agents_per_root().items() if root}
    states: Mapping[str, RootState | None] = registry.roots()
    if running is not None:
        states = running.roots
    return [
        {
            "path": path,
            **_root_state(path, states, _truncated(running)),
            **_watching(path, running),
            "agents": counts.get(path, 0),
            "lastSweep": _last_sweep_of(states.get(path), running),
        }
        for path in sorted({*states, *counts})
    ]


def _watching(path: str, running: Running | None) -> Document:
    """Return how a root is watched; without a daemon it is not."""
    coverage = None if running is None else running.coverage.get(path)
    return {
        "watch": "none" if coverage is None else coverage.by,
        "watchedDirectories": 0 if coverage is None else coverage.watched,
        "wantedDirectories": 0 if coverage is None else coverage.wanted,
        "watchShortage": None if coverage is None else coverage.shortage,
        "events": 0 if coverage is None else coverage.events,
        "overflows": 0 if coverage is None else coverage.overflows,
        "lastOverflow": None if coverage is None else coverage.last_overflow,
    }


def _truncated(running: Running | None) -> Mapping[str, Reason]:
    """Return the roots that have more than they may have, and of what."""
    last = None if running is None else running.state.last_sweep
    return {} if last is None else last.truncated


def _root_state(
    path: str, states: Mapping[str, RootState | None], truncated: Mapping[str, Reason]
) -> Document:
    if path not in states:
        return {"state": "unscanned", "reason": str(Reason.NO_ROOT)}
    state = states[path]
    if state is None:
        return {"state": "unscanned", "reason": None}
    if state.healthy and path in truncated:
        return {"state": "truncated", "reason": str(truncated[path])}
    return {"state": "healthy" if state.healthy else "sick", "reason": state.reason}


def _last_sweep_of(root: RootState | None, running: Running | None) -> str | None:
    """Return when the newest sweep began, if it covered this root."""
    if root is None or running is None or running.state.last_sweep is None:
        return None
    last = running.state.last_sweep
    return None if root.path in last.sick_roots else last.started_at


def claims_document(registry: Registry, outcome: ClaimOutcome | None = None) -> Document:
    """Return what the paths on disk claim, and how each claim was judged."""
    return {
        "claims": [
            {
                "path": claim.path,
                "root": claim.root,
                "outcome": str(claim.outcome),
                "agentId": claim.agent_id,
                "reason": claim.reason and str(claim.reason),
                "detail": claim.detail,
                "lookedAt": timestamp(claim.looked_at_ns),
            }
            for claim in registry.claims(outcome)
        ]
    }


def denied_document(registry: Registry) -> Document:
    """Return the denied paths."""
    return {
        "denied": [
            {
                "path": denial.path,
                "reason": denial.reason,
                "deniedBy": denial.denier,
                "deniedAt": denial.created_at,
            }
            for denial in registry.denials()
        ]
    }


def events_document(registry: Registry, since: int, limit: int) -> Document:
    """Return entries of the change log.

    Args:
        registry: where to read.
        since: number of the last entry the caller has; 0 asks from the oldest that is kept.
        limit: at most so many entries, oldest first.

    Returns:
        `events`, the `epoch` their numbers belong to, and `seq`, the newest number there is:
        the caller has everything once its own has reached it.
    """
    epoch = registry.meta("epoch") or None
    entries = registry.changes_since(since, limit)
    return {
        "events": [_event(entry, epoch) for entry in entries],
        "epoch": epoch,
        "seq": registry.newest_seq(),
    }


def _event(entry: Entry, epoch: str | None) -> Document:
    return {
        "seq": entry.seq,
        "epoch": epoch,
        "at": entry.at,
        "kind": entry.kind,
        "agentId": entry.agent_id,
        "path": entry.path,
        "source": entry.source,
        "from": entry.before,
        "to": entry.after,
    }
