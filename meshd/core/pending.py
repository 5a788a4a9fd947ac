"""Costs that wait for their second look (R7).

Owns which paths wait, since their first look said that something would be lost or handed
over, and which id each of them claimed then: a loss is planned together with every pending
claim of the id, so that a move seen in two pieces is one relocation. Pure; the reconciler
says what time it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meshd.core.model import Observation, Source

# The time of a cost that waits until every root of the sweep under way is walked.
END_OF_SWEEP = math.inf


@dataclass(frozen=True, slots=True)
class Pending:
    """One path that waits.

    Attributes:
        source: who asked for the first look.
        due: monotonic seconds of the second, or `END_OF_SWEEP`.
        agent_id: what the path claimed at the first look.
    """

    source: Source
    due: float
    agent_id: str | None


@dataclass(slots=True)
class PendingCosts:
    """The paths that wait, by path and by the id they claim."""

    _waiting: dict[str, Pending] = field(default_factory=dict)
    _claims: dict[str, set[str]] = field(default_factory=dict)

    def add(self, observations: Iterable[Observation], due: float) -> None:
        """Let paths wait until `due`; what waits already keeps its earlier time."""
        for seen in observations:
            before = self._take(seen.path)
            agent_id = None if seen.manifest is None else seen.manifest.id
            first = due if before is None else min(due, before.due)
            self._waiting[seen.path] = Pending(seen.source, first, agent_id)
            if agent_id is not None:
                self._claims.setdefault(agent_id, set()).add(seen.path)

    def claims(self, agent_ids: Iterable[str]) -> set[str]:
        """Return the waiting paths that claimed one of these ids."""
        return {path for agent_id in agent_ids for path in self._claims.get(agent_id, ())}

    def due(self, paths: Iterable[str], now: float) -> dict[str, Source]:
        """Return those of `paths` that still wait and whose time has come, with their source."""
        found = ((path, self._waiting.get(path)) for path in paths)
        return {path: one.source for path, one in found if one is not None and one.due <= now}

    def at_end_of_sweep(self, now: float) -> dict[str, Source]:
        """Return every path the end of a sweep judges: its own, and those that are due."""
        return {
            path: one.source
            for path, one in self._waiting.items()
            if one.due == END_OF_SWEEP or one.due <= now
        }

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._waiting)

    def settle(self, paths: Iterable[str]) -> None:
        """These paths have had their second look."""
        for path in paths:
            self._take(path)

    def _take(self, path: str) -> Pending | None:
        before = self._waiting.pop(path, None)
        if before is not None and before.agent_id is not None:
            claiming = self._claims[before.agent_id]
            claiming.discard(path)
            if not claiming:
                del self._claims[before.agent_id]
        return before
