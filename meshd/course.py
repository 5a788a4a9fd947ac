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

from meshd.batch import Committed, Decidable, GuardedSweep, Rider
from meshd.commands import SweepResult
from meshd.committer import TOLD_ONE_BY_ONE
from meshd.core.cadence import observed_advance
from meshd.core.guard import Holds
from meshd.core.model import Change, Kind, RootState, Source
from meshd.core.verdict import SweepContext
from meshd.marks import Marks
from meshd.store import apply, changelog
from meshd.store.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import apsw

    from meshd.batch import ClosedBatch
    from meshd.commands import SweepBegan, SweepEnded
    from meshd.core.model import Claim, Observation
    from meshd.errors import StoreError
    from meshd.shared import Shared


# What a sweep asks for carries one of these; its costs wait for the end of the sweep.
SWEEP_SOURCES = frozenset({Source.SWEEP, Source.START, Source.TIMER})

# How often the end of a sweep waits for losses that only its second looks have met.
MOST_ROUNDS = 10


@dataclass(slots=True)
class Course:
    """One sweep under way.

    Attributes:
        number: rows registered now are born in this sweep.
        changes: committed so far, numbered; most of an import's say nothing of their rows.
        failure: why something of it could not be committed, None while all was.
        walked: monotonic seconds when every hint of the sweep had been taken in.
        rounds: how often the end was put off because a loss was seen for the first time.
    """

    number: int
    source: Source
    changes: list[tuple[int, Change]] = field(default_factory=list)
    rounds: int = 0
    walked: float = 0.0
    failure: StoreError | None = None

    def add(self, changes: Iterable[tuple[int, Change]]) -> None:
        """Take what was committed."""
        for seq, one in changes:
            is_told = len(self.changes) <= TOLD_ONE_BY_ONE
            self.changes.append((seq, one if is_told else replace(one, before=None, after=None)))


class SweepCourses:
    """Takes one sweep after the other from its beginning to its result.

    Attributes:
        interval: seconds between sweeps; bounds what one sweep can observe.
        grace: seconds of observed absence before a removal.
        settle: seconds between the first and the second look at a cost.
        current: the sweep under way, None between sweeps.
        last: result of the last sweep that ended.
        holds: what the mass guard holds.
        trouble: why the newest thing that could not be committed was not; None again once a
            sweep is committed whole.
        marks: in the line of scans, for which a second look waits.
        begun: called once a sweep knows how its roots are, before they are walked.
        swept: called after each sweep, for a relay outside the database; must return at once.
    """

    def __init__(self, shared: Shared, *, interval: float, grace: float, settle: float) -> None:
        self._shared = shared
        self.settle = settle
        self.interval = interval
        self.grace = grace
        self.current: Course | None = None
        self.last: SweepResult | None = None
        self.holds = Holds()
        self.marks = Marks(shared.clock)
        self.trouble: str | None = None
        self.swept: Callable[[], None] = lambda: None
        self.begun: Callable[[], None] = lambda: None
        # Monotonic seconds at the end of the last completed healthy sweep of each root.
        self._observed: dict[str, float] = {}

    def begin(self, began: SweepBegan) -> int:
        """Commit what the checks said of the roots, and open a course."""
        with self._shared.store.reading() as registry:
            # A number that rows were born in is never used again: what was registered in a
            # sweep that did not end does not yield to a claim of this one.
            number = int(registry.meta("sweep", "0")) + 1
            stored = registry.roots()
        states = {}
        for root, check in began.checks.items():
            known = (
                self._shared.roots.view.states.get(root)
                or stored.get(root)
                or RootState(root, True)
            )
            if known.identity != check.against:
                continue  # the operator has accepted it meanwhile: the check is of another root
            states[root] = replace(
                known, healthy=check.healthy, reason=check.reason, identity=check.identity
            )
        # A sweep that begins anew, because the scope changed under it, is still one sweep.
        told = [] if self.current is None else self.current.changes
        self.current = Course(number, began.source, changes=told)
        self.set_states(states, stored, began.source)
        self.begun()
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

    def note(self, changes: Sequence[tuple[int, Change]]) -> None:
        """Take what a batch changed: a sweep tells at its end, everything else is told at once."""
        of_sweep = [one for one in changes if one[1].source in SWEEP_SOURCES]
        if self.current is not None:
            self.current.add(of_sweep)
            changes = [one for one in changes if one[1].source not in SWEEP_SOURCES]
        self._shared.committer.tell(changes)

    def fail(self, error: StoreError) -> None:
        """Remember that a batch could not be committed; the sweep under way fails by it."""
        self.trouble = error.message
        if self.current is not None:
            self.current.failure = error

    def end(self, ended: SweepEnded) -> SweepResult | None:
        """Give the deferred costs their second look, commit, and sum the sweep up.

        Returns:
            The result, or None when a cost needs the settle time once more: then this is to
            be called again.

        Raises:
            StoreError: not all of the sweep could be committed.
        """
        course = self.current
        assert course is not None, "bug: a sweep ended that never began"
        if course.failure is not None:
            raise course.failure
        pending = self._shared.looking.pending
        if pending.unripe_of_sweep(self._shared.clock.monotonic()):
            return None
        healthy, whole = self._still_healthy(ended, course.source)
        if not whole:
            # What vanished may have moved to where nobody has walked: nothing is lost yet.
            pending.leave_sweep()
        clocks = {} if ended.sync or not whole else self._clocks(healthy)
        context = SweepContext(course.number, clocks, self.grace)
        with self._shared.store.reading() as registry:
            incumbents = registry.inherited_incumbents()
        closed = self._close_costs(course, context, incumbents)
        if closed is None:
            return None
        holds = Holds()
        if closed.observations or incumbents:
            committed = self._commit_rest(ended, closed, context, incumbents)
            if committed is None:
                return None
            course.add(committed.changes)
            holds = committed.holds
        pending.settle(closed.verdicts.keys() - closed.costly)
        return self._conclude(course, ended, clocks, holds)

    def put_off(self, costs: Iterable[Observation], *, of_sweep: bool) -> float:
        """Let costs wait for their second look; return its monotonic second at the earliest.

        It comes after the settle time, and after all that is in the line of scans now: of a
        move that is seen in pieces, one may lie there.
        """
        due = self._shared.clock.monotonic() + self.settle
        self._shared.looking.pending.add(costs, due, of_sweep=of_sweep, mark=self.marks.add())
        return due

    def abandon(self) -> None:
        """Drop the sweep under way with its costs; what it had gained stays."""
        self._shared.looking.pending.leave_sweep()
        if self.current is not None:
            self._shared.committer.tell(self.current.changes)
        self.current = None

    def _close_costs(
        self, course: Course, context: SweepContext, incumbents: Mapping[str, str]
    ) -> ClosedBatch | None:
        """Look at the ripe costs again; None when their closed sets hold one that is not ripe."""
        pending = self._shared.looking.pending
        now = self._shared.clock.monotonic()
        ripe = pending.ripe(now)
        view = self._shared.roots.view
        circumstances = view.circumstances(incumbents=incumbents, sweep=context)
        looks = self._shared.looking.look(ripe.items(), view)
        with self._shared.store.reading() as registry:
            closed = self._shared.looking.close(registry, looks, view, circumstances, ripe)
        if not closed.costly:
            return closed
        course.rounds += 1
        if course.rounds < MOST_ROUNDS:
            unripe = [one for one in closed.observations if one.path in closed.costly]
            self.put_off(unripe, of_sweep=True)
            return None
        # Something keeps changing faster than it can be looked at twice: the next sweep has it,
        # and what an event told of has a second look of its own.
        pending.leave_sweep(closed.costly)
        rest = tuple(one for one in closed.observations if one.path not in closed.costly)
        return replace(closed, observations=rest)

    def _still_healthy(self, ended: SweepEnded, source: Source) -> tuple[set[str], bool]:
        """Check the walked roots once more, just before anything is taken away.

        Returns:
            The roots that were walked to their end and are healthy still, and whether every
            reachable root was walked to its end.
        """
        view = self._shared.roots.view
        healthy, sick, whole = set(), {}, True
        for root in sorted(ended.completed | ended.broken):
            looker, state = view.lookers.get(root), view.states.get(root)
            if looker is None or state is None:
                continue  # it left the configuration meanwhile
            check = looker.check(state.identity)
            if not check.healthy:
                sick[root] = replace(state, healthy=False, reason=check.reason)
            elif root in ended.broken:
                whole = False
            else:
                healthy.add(root)
        if sick:
            self.set_states(sick, view.states, source)
        return healthy, whole

    def _clocks(self, roots: Iterable[str]) -> dict[str, float]:
        """Return the observed clock of each root with this sweep's advance."""
        now = self._shared.clock.monotonic()
        states = self._shared.roots.view.states
        return {
            root: states[root].observed_seconds
            + observed_advance(now - self._observed.get(root, now), self.interval)
            for root in roots
            if root in states
        }

    def _commit_rest(
        self,
        ended: SweepEnded,
        closed: ClosedBatch,
        context: SweepContext,
        incumbents: Mapping[str, str],
    ) -> Committed | None:
        """Commit the last batch; None when the registry changed under it, to try again."""
        # A sync never comes late enough to agree with a sweep that held something.
        now = -math.inf if ended.sync else self._shared.clock.monotonic()
        advanced: dict[str, RootState] = {}

        def also(connection: apsw.Connection) -> None:
            advanced.update(self._advance(connection, context.clocks))
            if incumbents:
                apply.discharge_incumbents(connection, ended.completed - ended.broken)

        view = self._shared.roots.view
        committed = self._shared.committer.carry_out(
            Decidable(
                closed.observations,
                view.circumstances(incumbents=incumbents, sweep=context),
                {one.path for one in closed.observations},
                GuardedSweep(self.holds, now, ended.confirm, silent=ended.sync),
                Rider(act=also),
            )
        )
        if committed.reopened:
            return None
        self._shared.roots.learn(advanced)
        return committed

    def _conclude(
        self, course: Course, ended: SweepEnded, clocks: Mapping[str, float], holds: Holds
    ) -> SweepResult:
        course.add(self._shared.committer.mend_endpoints(course.source))
        now = self._shared.clock.monotonic()
        self.current, self.trouble = None, None
        result = self._sum_up(course, ended, now, holds)
        if not ended.sync:
            self._observed.update(dict.fromkeys(clocks, now))
            before = {} if self.last is None else self.last.truncated
            self._shared.committer.tell_truncated(before, ended.truncated)
            self._shared.committer.tell_unreadable()
            self.holds, self.last = holds, result
            self.swept()
        self._shared.committer.tell(course.changes)
        return result

    def _advance(
        self, connection: apsw.Connection, clocks: Mapping[str, float]
    ) -> dict[str, RootState]:
        """Write the observed clocks of the roots that have rows waiting for them."""
        waiting = Registry(connection).waiting_roots()
        states = self._shared.roots.view.states
        advanced = {
            root: replace(states[root], observed_seconds=clock)
            for root, clock in clocks.items()
            if root in waiting and root in states and states[root].observed_seconds != clock
        }
        apply.upsert_roots(connection, advanced.values())
        return advanced

    def _sum_up(self, course: Course, ended: SweepEnded, now: float, holds: Holds) -> SweepResult:
        kinds = Counter(change.kind for _, change in course.changes)
        # An endpoint follows its row, which is counted.
        about_agents = sum(
            change.agent_id is not None and change.kind is not Kind.ENDPOINT
            for _, change in course.changes
        )
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
            truncated=ended.truncated,
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
