"""The mass guard: many agents of one root vanishing at once is more often a mount than a wish.

Owns when absences and removals of a sweep are held. Absences that an event reported are not
judged here. Promises: pure; what is held is never lost, a later sweep brings it again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from meshd.core.model import Kind, Reason, Source

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshd.core.plan import Plan

# Over half of a root's agents and at least this many (design: §Mass guard).
AT_LEAST = 5
# How much later another sweep must agree, in seconds.
AGREES_AFTER = 60.0

_MISSING = {str(Reason.MANIFEST_MISSING), str(Reason.PROJECT_MISSING)}


@dataclass(frozen=True, slots=True)
class Hold:
    """What one root's absences or removals wait for.

    Attributes:
        since: by id that would have been taken, monotonic seconds at the sweep that first
            saw it vanished.
    """

    since: Mapping[str, float]

    @property
    def ids(self) -> frozenset[str]:
        """What is held."""
        return frozenset(self.since)


@dataclass(frozen=True, slots=True)
class Holds:
    """What is held now, by root."""

    absences: Mapping[str, Hold] = field(default_factory=dict)
    removals: Mapping[str, Hold] = field(default_factory=dict)

    @property
    def ids(self) -> frozenset[str]:
        """Every id that is held."""
        every = (*self.absences.values(), *self.removals.values())
        return frozenset().union(*(hold.ids for hold in every))


def guard(
    plan: Plan,
    agents_per_root: Mapping[str, tuple[int, int]],
    before: Holds,
    now: float,
) -> Holds:
    """Return what of a sweep's plan must be held.

    Args:
        plan: the plan as it would be with nothing held; relocations are already in it.
        agents_per_root: by root, how many rows are live and how many there are in all.
        before: what the last sweep held.
        now: monotonic seconds.
    """
    absences: dict[str, set[str]] = {}
    removals: dict[str, set[str]] = {}
    roots = {row.id: row.scan_root for row in plan.rows}
    for change in plan.changes:
        if change.agent_id is None or change.source is Source.WATCH:
            continue
        if change.kind is Kind.UNREACHABLE and _is_missing(change.after):
            absences.setdefault(roots[change.agent_id], set()).add(change.agent_id)
        elif change.kind is Kind.REMOVED and change.before is not None:
            removals.setdefault(str(change.before["scanRoot"]), set()).add(change.agent_id)
    live = {root: counts[0] for root, counts in agents_per_root.items()}
    every = {root: counts[1] for root, counts in agents_per_root.items()}
    return Holds(
        _hold(absences, live, before.absences, now), _hold(removals, every, before.removals, now)
    )


def _is_missing(after: Mapping[str, object] | None) -> bool:
    return after is not None and after.get("unreachableReason") in _MISSING


def _hold(
    vanished: Mapping[str, set[str]],
    sizes: Mapping[str, int],
    before: Mapping[str, Hold],
    now: float,
) -> dict[str, Hold]:
    held = {}
    for root, ids in vanished.items():
        since = before[root].since if root in before else {}
        # A later sweep agrees on what an earlier one saw; what is new is judged anew.
        agreed = {one for one, first in since.items() if now - first >= AGREES_AFTER}
        unconfirmed = {one: since.get(one, now) for one in ids - agreed}
        if len(unconfirmed) >= AT_LEAST and 2 * len(unconfirmed) > sizes.get(root, 0):
            held[root] = Hold(unconfirmed)
    return held
