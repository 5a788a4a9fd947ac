"""Costs that wait for their second look (R7).

Owns which paths wait, since their first look said that something would be lost or handed
over, and which id each of them claimed then: a loss is planned together with every pending
claim of the id, so that a move seen in two pieces is one relocation. Pure; the reconciler
says what time it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from meshd.core.model import Observation, Source

LONGEST_SCAN: Final = 60.0
"""Seconds a second look waits for scans, which may have no end, after its time has come."""


@dataclass(frozen=True, slots=True)
class Pending:
    """One path that waits.

    Attributes:
        source: who asked for the first look; an event, where one has reported it.
        due: monotonic seconds before which the second look does not count.
        mark: number of the mark before which it does not count either: what was in the line
            of scans at the first look may hold the other half of a move.
        latest: monotonic seconds from which it counts whatever is still in line.
        of_event: whether it has a second look of its own.
        of_sweep: whether the sweep under way has met it, and does not end without it.
        agent_id: what the path claimed at the first look.
    """

    source: Source
    due: float
    of_event: bool
    of_sweep: bool
    agent_id: str | None
    mark: int
    latest: float


@dataclass(slots=True)
class PendingCosts:
    """The paths that wait, by path and by the id they claim.

    Attributes:
        passed: number of the newest mark in the line of scans that has passed.
    """

    passed: int = 0
    _waiting: dict[str, Pending] = field(default_factory=dict)
    _claims: dict[str, set[str]] = field(default_factory=dict)

    def add(
        self,
        observations: Iterable[Observation],
        due: float,
        *,
        of_sweep: bool = False,
        mark: int = 0,
    ) -> None:
        """Let paths wait until `due` and for a mark; what waits already keeps its earlier time.

        Args:
            observations: the first looks.
            due: monotonic seconds before which the second look does not count.
            of_sweep: a sweep has met them, no event.
            mark: number of the mark before which it does not count either.
        """
        for seen in observations:
            before = self._take(seen.path)
            agent_id = None if seen.manifest is None else seen.manifest.id
            source = seen.source
            if before is not None:
                if before.of_event and of_sweep:
                    source = before.source  # no sweep has found what an event has reported
                first, latest = min(due, before.due), before.latest
                of_event = before.of_event or not of_sweep
                in_sweep = before.of_sweep or of_sweep
            else:
                first, latest = due, due + LONGEST_SCAN
                of_event, in_sweep = not of_sweep, of_sweep
            self._waiting[seen.path] = Pending(
                source, first, of_event, in_sweep, agent_id, mark, latest
            )
            if agent_id is not None:
                self._claims.setdefault(agent_id, set()).add(seen.path)

    def claims(self, agent_ids: Iterable[str]) -> set[str]:
        """Return the waiting paths that claimed one of these ids."""
        return {path for agent_id in agent_ids for path in self._claims.get(agent_id, ())}

    def due(self, paths: Iterable[str], now: float) -> dict[str, Source]:
        """Return those of `paths` that wait for nothing but this moment, with their source."""
        found = ((path, self._waiting.get(path)) for path in paths)
        return {
            path: one.source
            for path, one in found
            if one is not None and one.of_event and self._is_ripe(one, now)
        }

    def unripe(self, paths: Iterable[str], now: float) -> tuple[str, ...]:
        """Return those of `paths` whose own second look must wait longer than until this moment."""
        found = ((path, self._waiting.get(path)) for path in paths)
        return tuple(
            path
            for path, one in found
            if one is not None and one.of_event and not self._is_ripe(one, now)
        )

    def ripe(self, now: float) -> dict[str, Source]:
        """Return every path whose time has come, with its source; a sweep ends with these."""
        return {path: one.source for path, one in self._waiting.items() if self._is_ripe(one, now)}

    def ripe_by_itself(self, now: float) -> set[str]:
        """Return every path whose time has come and that has a second look of its own."""
        return {
            path for path, one in self._waiting.items() if one.of_event and self._is_ripe(one, now)
        }

    def unripe_of_sweep(self, now: float) -> bool:
        """Whether a cost of the sweep must wait longer for its second look."""
        return any(one.of_sweep and not self._is_ripe(one, now) for one in self._waiting.values())

    def leave_sweep(self, paths: Collection[str] | None = None) -> None:
        """The sweep under way ends without these paths, or without any.

        What an event told of too keeps its second look; the rest waits for the next sweep.
        """
        met = {path: one for path, one in self._waiting.items() if one.of_sweep}
        for path in met if paths is None else met.keys() & set(paths):
            if met[path].of_event:
                self._waiting[path] = replace(met[path], of_sweep=False)
            else:
                self._take(path)

    def paths(self) -> Collection[str]:
        """Return every path that waits."""
        return self._waiting.keys()

    def settle(self, paths: Iterable[str]) -> None:
        """These paths have had their second look."""
        for path in list(paths):
            self._take(path)

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._waiting)

    def _is_ripe(self, one: Pending, now: float) -> bool:
        return one.due <= now and (one.mark <= self.passed or one.latest <= now)

    def _take(self, path: str) -> Pending | None:
        before = self._waiting.pop(path, None)
        if before is not None and before.agent_id is not None:
            claiming = self._claims[before.agent_id]
            claiming.discard(path)
            if not claiming:
                del self._claims[before.agent_id]
        return before
