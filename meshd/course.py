"""The course of one sweep on the reconciler's side: begun, deferred, settled, ended.

Owns the roots' states, the costs a sweep has put off until every root is walked (R7), the
mass guard's memory and the observed clocks (R8). Used by the reconciler's thread alone.
Promises: a sweep that finds nothing commits nothing (R10), and only a root that was healthy
when the walk began, whose walk ended, and that is healthy still, loses anything.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from meshd.batch import Committed, GuardedSweep, Rider, commit_operation
from meshd.commands import SweepResult
from meshd.core.cadence import observed_advance
from meshd.core.guard import Holds
from meshd.core.model import Change, Kind, RootState, Source
from meshd.core.verdict import SweepContext
from meshd.store import apply, changelog
from meshd.store.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import apsw

    from meshd.commands import SweepBegan, SweepEnded
    from meshd.core.model import Claim
    from meshd.core.plan import Plan
    from meshd.errors import StoreError
    from meshd.shared import Shared


@dataclass(slots=True)
class Course:
    """One sweep under way.

    Attributes:
        number: rows registered now are born in this sweep.
        changes: what was committed so far, with log numbers.
        failure: why something of it could not be committed, None while all was.
        born: whether a row was born, so that the next sweep takes a new number.
    """

    number: int
    source: Source
    changes: list[tuple[int, Change]] = field(default_factory=list)
    born: bool = False
    failure: StoreError | None = None

    def note(self, committed: Committed) -> None:
        """Remember what a batch of this sweep changed."""
        self.changes.extend(committed.changes)
        self.born |= tells_a_birth(change for _, change in committed.changes)


def tells_a_birth(changes: Iterable[Change]) -> bool:
    """Whether a row was born by these changes."""
    return any(change.kind is Kind.REGISTERED for change in changes)


class SweepCourses:
    """Takes one sweep after the other from its beginning to its result.

    Attributes:
        interval: seconds between sweeps; bounds what one sweep can observe.
        grace: seconds of observed absence before a removal.
        current: the sweep under way, None between sweeps.
        last: result of the last sweep that ended.
        holds: what the mass guard holds.
        trouble: why the newest thing that could not be committed was not; None again once a
            sweep is committed whole.
    """

    def __init__(self, shared: Shared, *, interval: float, grace: float) -> None:
        self._shared = shared
        self.interval = interval
        self.grace = grace
        self.current: Course | None = None
        self.last: SweepResult | None = None
        self.holds = Holds()
        self.trouble: str | None = None
        # Monotonic seconds at the end of the last completed healthy sweep of each root.
        self._observed: dict[str, float] = {}

    def begin(self, began: SweepBegan) -> int:
        """Commit what the checks said of the roots, and open a course."""
        with self._shared.store.reading() as registry:
            number = int(registry.meta("sweep", "1"))
            stored = registry.roots()
            # Rows of a sweep that did not end still yield: this sweep takes its number.
            born = registry.has_rows_born_in(number)
        states = {}
        for root, check in began.checks.items():
            known = (
                self._shared.roots.view.states.get(root)
                or stored.get(root)
                or RootState(root, True)
            )
            states[root] = replace(
                known, healthy=check.healthy, reason=check.reason, identity=check.identity
            )
        self.current = Course(number, began.source, born=born)
        self.set_states(states, stored, began.source)
        return number

    def set_states(
        self, states: Mapping[str, RootState], stored: Mapping[str, RootState], source: Source
    ) -> None:
        """Commit states of roots that differ from the stored ones, and take them."""
        changed = [state for root, state in states.items() if stored.get(root) != state]
        told = [
            Change(
                Kind.ROOT_HEALTHY if state.healthy else Kind.ROOT_SICK,
                None,
                state.path,
                source,
                after={"reason": state.reason},
            )
            for state in changed
            if state.healthy != (stored[state.path].healthy if state.path in stored else True)
        ]
        if changed:

            def operation(connection: apsw.Connection) -> Committed:
                at = self._shared.committer.now()
                apply.upsert_roots(connection, changed)
                apply.upsert_claims(
                    connection, _on_exchanged_disks(Registry(connection), stored, changed)
                )
                numbers = changelog.append(connection, told, at)
                return Committed(tuple(zip(numbers, told, strict=True)))

            self._shared.committer.tell(self._shared.committer.commit(operation).changes)
        self._shared.roots.learn(states)

    def context(self) -> SweepContext | None:
        """Return what a batch of gains needs to know of the sweep under way."""
        return None if self.current is None else SweepContext(self.current.number)

    def fail(self, error: StoreError) -> None:
        """Remember that a batch could not be committed; the sweep under way fails by it."""
        self.trouble = error.message
        if self.current is not None:
            self.current.failure = error

    def end(self, ended: SweepEnded) -> SweepResult:
        """Give the deferred costs their second look, commit, and sum the sweep up.

        Raises:
            StoreError: not all of the sweep could be committed.
        """
        course = self.current
        assert course is not None, "bug: a sweep ended that never began"
        if course.failure is not None:
            raise course.failure
        clocks = self._clocks(self._still_healthy(ended.completed, course.source))
        if ended.sync:
            clocks = {}
        holds = Holds()
        costs = self._take_costs()
        if costs or course.born:
            committed = self._commit_rest(course, ended, clocks, costs)
            course.note(committed)
            holds = committed.holds
        now = self._shared.clock.monotonic()
        self.current, self.trouble = None, None
        result = self._sum_up(course, ended, now, holds)
        if not ended.sync:
            self._observed.update(dict.fromkeys(clocks, now))
            self.holds, self.last = holds, result
        self._shared.committer.tell(course.changes)
        return result

    def abandon(self) -> None:
        """Drop the sweep under way with its costs; what it had gained stays."""
        self._take_costs()
        if self.current is not None:
            self._shared.committer.tell(self.current.changes)
        self.current = None

    def _take_costs(self) -> dict[str, Source]:
        """Return the costs whose second look is now, and let them wait no more."""
        pending = self._shared.looking.pending
        costs = pending.at_end_of_sweep(self._shared.clock.monotonic())
        pending.settle(costs)
        return costs

    def _still_healthy(self, completed: frozenset[str], source: Source) -> set[str]:
        """Check the walked roots once more, just before anything is taken away."""
        states = self._shared.roots.view.states
        healthy = set()
        sick = {}
        for root in completed & self._shared.roots.view.lookers.keys():
            check = self._shared.roots.view.lookers[root].check(states[root].identity)
            if check.healthy:
                healthy.add(root)
            else:
                sick[root] = replace(states[root], healthy=False, reason=check.reason)
        if sick:
            self.set_states(sick, states, source)
        return healthy

    def _clocks(self, roots: Iterable[str]) -> dict[str, float]:
        """Return the observed clock of each root with this sweep's advance."""
        now = self._shared.clock.monotonic()
        return {
            root: self._shared.roots.view.states[root].observed_seconds
            + observed_advance(now - self._observed.get(root, now), self.interval)
            for root in roots
        }

    def _commit_rest(
        self,
        course: Course,
        ended: SweepEnded,
        clocks: Mapping[str, float],
        costs: Mapping[str, Source],
    ) -> Committed:
        with self._shared.store.reading() as registry:
            incumbents = registry.inherited_incumbents()
        looks = self._shared.looking.look(costs.items(), self._shared.roots.view)
        context = SweepContext(course.number, clocks, self.grace)
        # A sync never comes late enough to agree with a sweep that held something.
        now = -math.inf if ended.sync else self._shared.clock.monotonic()
        guarded = GuardedSweep(self.holds, now, ended.confirm, silent=ended.sync)
        advanced: dict[str, RootState] = {}

        def also(connection: apsw.Connection, planned: Plan) -> None:
            advanced.update(self._advance(connection, clocks))
            if course.born or tells_a_birth(planned.changes):
                apply.set_meta(connection, "sweep", str(course.number + 1))

        while True:
            view = self._shared.roots.view
            circumstances = view.circumstances(incumbents=incumbents, sweep=context)
            if looks:
                with self._shared.store.reading() as registry:
                    looks = list(
                        self._shared.looking.close(
                            registry, looks, view, circumstances
                        ).observations
                    )
            committed = self._shared.committer.commit(
                commit_operation(
                    looks,
                    circumstances,
                    self._shared.clock,
                    costs_allowed=True,
                    guarded=guarded,
                    rider=Rider(act=also),
                )
            )
            if not committed.reopened:
                self._shared.roots.learn(advanced)
                return committed
            looks += self._shared.looking.look(
                ((path, course.source) for path in committed.reopened), view
            )

    def _advance(
        self, connection: apsw.Connection, clocks: Mapping[str, float]
    ) -> dict[str, RootState]:
        """Write the observed clocks of the roots that have rows waiting for them."""
        waiting = Registry(connection).waiting_roots()
        states = self._shared.roots.view.states
        advanced = {
            root: replace(states[root], observed_seconds=clock)
            for root, clock in clocks.items()
            if root in waiting and states[root].observed_seconds != clock
        }
        apply.upsert_roots(connection, advanced.values())
        return advanced

    def _sum_up(self, course: Course, ended: SweepEnded, now: float, holds: Holds) -> SweepResult:
        kinds = Counter(change.kind for _, change in course.changes)
        about_agents = sum(change.agent_id is not None for _, change in course.changes)
        states = self._shared.roots.view.states
        return SweepResult(
            started_at=ended.started_at,
            seconds=round(now - ended.started, 3),
            full=ended.full,
            synced=kinds[Kind.UPDATED] + kinds[Kind.RELOCATED],
            unreachable=kinds[Kind.UNREACHABLE] + kinds[Kind.DISPLACED],
            removed=kinds[Kind.REMOVED],
            resurrected=kinds[Kind.RETURNED],
            discovered=kinds[Kind.REGISTERED],
            drift=0 if course.source is Source.START else about_agents,
            held=len(holds.ids),
            sick_roots=tuple(sorted(root for root, one in states.items() if not one.healthy)),
        )


def _on_exchanged_disks(
    registry: Registry, stored: Mapping[str, RootState], states: Iterable[RootState]
) -> list[Claim]:
    """Return the claims of roots that are taken for another file system, as lying on it.

    What lay on the old one is missing now. Left as it was, it would be out of sight for ever.
    """
    exchanged: dict[tuple[str, str | None], str] = {
        (state.path, before.filesystem): state.identity.filesystem
        for state in states
        if state.identity is not None
        and state.path in stored
        and (before := stored[state.path].identity) is not None
        and before.filesystem != state.identity.filesystem
    }
    return [
        replace(claim, filesystem=exchanged[claim.root, claim.filesystem])
        for claim in (registry.claims() if exchanged else ())
        if (claim.root, claim.filesystem) in exchanged
    ]
