"""Heartbeats, and what their want turns with time.

Owns when an agent was last heard from, and the change-log entries of kind `health_changed`.
Used by the reconciler's thread alone, which is the only one to change rows. Promises: a
heartbeat can be read at once after its commit; every turn of a live agent's health is told
once, in its order, over restarts and steps of the wall clock; nothing turned, nothing written.

What was told reaches up to one moment, the mark: the health of every live agent, as the log
tells it, is its health at the mark. The mark is stored only with an entry, because up to a
later one nothing turned, and when the wall clock has stepped back behind it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from meshd.batch import Committed
from meshd.clock import timestamp
from meshd.core.health import (
    HealthStatus,
    event_words,
    health_at,
    last_seen_seconds,
    turn,
    turning_spans,
)
from meshd.core.model import Change, Kind, Source
from meshd.errors import NotFoundError
from meshd.store import apply, changelog

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import apsw

    from meshd.commands import Heartbeat, TellTurns
    from meshd.core.model import Agent
    from meshd.errors import MeshdError
    from meshd.shared import Shared
    from meshd.store.registry import Registry

# Where the mark is kept in the `meta` table: nanoseconds since the epoch.
MARK: Final = "health_told"

# Agents that one entry names, so that it stays small; how many more there are is counted.
MOST_NAMED: Final = 1_000

# Stored times may be cut to whole seconds, so a span is searched with as much around it.
_ROUNDED_NS: Final = 1_000_000_000


class Heartbeats:
    """Carries out what tells how lively agents are."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        with shared.store.reading() as registry:
            stored = registry.meta(MARK, "0")
        # A mark that cannot be read tells nothing of the past.
        self._mark_ns = int(stored) if stored.isdecimal() else shared.clock.wall_ns()

    def beat(self, acts: Sequence[Heartbeat]) -> list[MeshdError | None]:
        """Note heartbeats, all in one commit.

        Returns:
            For each act its error: `NotFoundError` for an agent that is not known.

        Raises:
            StoreError: nothing was written.
        """
        now_ns = self._shared.clock.wall_ns()
        if now_ns < self._mark_ns:
            # Reckoned from a mark ahead of it, a heartbeat of now would look like an old one.
            self._tell_until(now_ns)
        with self._shared.store.reading() as registry:
            agents = _agents(registry, {act.agent_id for act in acts})
        heard = {
            agents[act.agent_id].id: event_words(act.event)
            for act in acts
            if act.agent_id in agents
        }
        told = [
            change
            for agent in {agent.id: agent for agent in agents.values()}.values()
            for change in _turned_by_heartbeat(agent, self._mark_ns, now_ns)
        ]
        at = timestamp(now_ns)

        def operation(connection: apsw.Connection) -> Committed:
            numbers = changelog.append(connection, told, at)
            apply.note_heartbeats(connection, heard, at)
            return Committed(tuple(zip(numbers, told, strict=True)))

        if heard:
            self._shared.committer.tell(self._shared.committer.commit(operation).changes)
        return [None if act.agent_id in agents else _unknown(act.agent_id) for act in acts]

    def tell_turns(self, _: TellTurns) -> int:
        """Tell, in one entry, whose health turned by time alone; return how many.

        Raises:
            StoreError: nothing was written; the next tick tells it.
        """
        return self._tell_until(self._shared.clock.wall_ns())

    def _tell_until(self, now_ns: int) -> int:
        """Move the mark to now, and tell what turned in between."""
        turned = self._turned_until(now_ns)
        told = [_aggregated(turned)] if turned else []

        def operation(connection: apsw.Connection) -> Committed:
            numbers = changelog.append(connection, told, timestamp(now_ns))
            apply.set_meta(connection, MARK, str(now_ns))
            return Committed(tuple(zip(numbers, told, strict=True)))

        if told or now_ns < self._mark_ns:
            committed = self._shared.committer.commit(operation)
            for seq, _ in committed.changes:
                self._shared.log.info(
                    "health_changed", seq=seq, agents=len(turned), why="time has passed"
                )
        self._mark_ns = now_ns
        return len(turned)

    def _turned_until(self, now_ns: int) -> dict[str, tuple[HealthStatus, HealthStatus]]:
        """Return, by id, what turned between the mark and now."""
        before, now = _seconds(self._mark_ns), _seconds(now_ns)
        candidates: dict[str, str] = {}
        with self._shared.store.reading() as registry:
            for first, last in turning_spans(before, now):
                candidates |= registry.heard_between(
                    timestamp(int(first * 1e9) - _ROUNDED_NS),
                    timestamp(int(last * 1e9) + _ROUNDED_NS),
                )
        turns = (
            (agent_id, turn(last_seen_seconds(at), before, now))
            for agent_id, at in sorted(candidates.items())
        )
        return {agent_id: turned for agent_id, turned in turns if turned is not None}


def _agents(registry: Registry, references: Iterable[str]) -> dict[str, Agent]:
    """Return the agents that are known, by what they were called."""
    found = ((reference, registry.record(reference)) for reference in references)
    return {reference: record.agent for reference, record in found if record is not None}


def _turned_by_heartbeat(agent: Agent, mark_ns: int, now_ns: int) -> list[Change]:
    """Return what a heartbeat turns, after what time had turned until then."""
    if not agent.live:
        return []
    last_seen = last_seen_seconds(agent.last_seen_at)
    now = health_at(last_seen, _seconds(now_ns))
    by_time = turn(last_seen, _seconds(mark_ns), _seconds(now_ns))
    told = [] if by_time is None else [_changed(agent, Source.TIMER, *by_time)]
    if now is not HealthStatus.ACTIVE:
        told.append(_changed(agent, Source.API, now, HealthStatus.ACTIVE))
    return told


def _changed(agent: Agent, source: Source, before: HealthStatus, after: HealthStatus) -> Change:
    return Change(
        Kind.HEALTH_CHANGED, agent.id, agent.project_path, source,
        before={"healthStatus": str(before)}, after={"healthStatus": str(after)},
    )  # fmt: skip


def _aggregated(turned: dict[str, tuple[HealthStatus, HealthStatus]]) -> Change:
    named = list(turned.items())[:MOST_NAMED]
    after: dict[str, Any] = {
        "turned": [
            {"id": agent_id, "from": str(before), "to": str(now)}
            for agent_id, (before, now) in named
        ],
        "more": len(turned) - len(named),
    }
    return Change(Kind.HEALTH_CHANGED, None, None, Source.TIMER, after=after)


def _seconds(nanoseconds: int) -> float:
    return nanoseconds / 1e9


def _unknown(reference: str) -> NotFoundError:
    return NotFoundError(f"no agent {reference!a}", hint="`meshd agents list` shows all")
