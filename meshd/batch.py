"""From hints to a closed batch, and from a closed batch to a commit.

Owns looking, closing and the one operation by which looks become changes. Used by the
reconciler alone. Promises: nothing outside the scope, denied or under a sick root is touched
on disk; what is committed was planned on the rows of its own transaction, or on rows that
nothing was written to since, and a batch that is not closed over them, or would cost something
without a second look, writes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from meshd.core.closing import costly_paths, touched_ids, unlooked
from meshd.core.guard import Holds, guard
from meshd.core.model import Change, Kind, Observation, Outcome, Reason, Source
from meshd.core.pending import PendingCosts
from meshd.core.plan import Plan, plan
from meshd.core.verdict import Known, Verdict, judge
from meshd.errors import StoppingError
from meshd.looker.look import NoDescriptorsError
from meshd.relay.embedded import EmbeddedRelay, follow, mend
from meshd.store import apply, changelog
from meshd.store.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping, Sequence

    import apsw

    from meshd.clock import Clock
    from meshd.core.verdict import Circumstances
    from meshd.roots import RootsView


@dataclass(frozen=True, slots=True)
class ClosedBatch:
    """Looks that leave no path unasked, with what they count for.

    Attributes:
        observations: every look of the batch.
        verdicts: by path.
        costly: paths of closed sets in which something is lost or handed over at a first look.
        known: what it was closed over; None when it was read in several steps.
    """

    observations: tuple[Observation, ...]
    verdicts: Mapping[str, Verdict]
    costly: frozenset[str]
    known: Known | None


@dataclass(frozen=True, slots=True)
class GuardedSweep:
    """What the last batch of a sweep needs besides its looks.

    Attributes:
        before: what the mass guard held after the last sweep.
        now: monotonic seconds.
        confirm: the operator says that disappearances are meant.
        silent: nothing is told of what is held; a later sweep does.
    """

    before: Holds
    now: float
    confirm: bool
    silent: bool = False


@dataclass(frozen=True, slots=True)
class Rider:
    """What goes into the transaction of a plan besides the plan.

    Attributes:
        told: changes to log before the plan's.
        act: further statements.
    """

    told: tuple[Change, ...] = ()
    act: Callable[[apsw.Connection], None] = lambda _: None


NO_RIDER = Rider()


@dataclass(frozen=True, slots=True)
class Judged:
    """A closed batch that costs nothing, as a reader of the registry judged it.

    Attributes:
        version: of the registry, taken before anything of it was read (`Writer.version`).
        known: what the registry held about the batch.
        verdicts: by path.
    """

    version: int
    known: Known
    verdicts: Mapping[str, Verdict]


@dataclass(frozen=True, slots=True)
class Decidable:
    """What is to be decided and written in one transaction.

    Attributes:
        observations: the looks of a closed batch.
        circumstances: what the plan rests on.
        looked_before: paths whose loss may cost a row something (see `costly_paths`).
        guarded: for the last batch of a sweep: the mass guard's part.
        rider: what else goes into the transaction.
        judged: holds in the transaction too, unless something was written since.
    """

    observations: Sequence[Observation]
    circumstances: Circumstances
    looked_before: Container[str]
    guarded: GuardedSweep | None = None
    rider: Rider = NO_RIDER
    judged: Judged | None = None


@dataclass(frozen=True, slots=True)
class Committed:
    """What a commit wrote.

    Attributes:
        changes: with their numbers in the change log.
        verdicts: by path, as judged in the transaction.
        reopened: paths that must be looked at (again) first; nothing was written.
        holds: what the mass guard holds now, when it was asked.
    """

    changes: tuple[tuple[int, Change], ...] = ()
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    reopened: frozenset[str] = frozenset()
    holds: Holds = field(default_factory=Holds)


def load(registry: Registry, paths: Iterable[str], ids: Iterable[str]) -> Known:
    """Load everything the registry holds about some paths and ids."""
    paths = list(paths)
    rows = {row.id: row for row in registry.agents_at(paths)}
    missing = set(ids) - rows.keys()
    rows |= {row.id: row for row in registry.agents_with(sorted(missing))}
    claims = registry.claims_about(paths, rows.keys() | missing)
    return Known(rows, {claim.path: claim for claim in claims})


def load_for(registry: Registry, observations: Iterable[Observation]) -> Known:
    """Load everything the registry holds about what was looked at."""
    observations = list(observations)
    return load(
        registry,
        {one.path for one in observations},
        {one.manifest.id for one in observations if one.manifest is not None},
    )


class Looking:
    """Looks for the reconciler.

    Args:
        numbers: returns the next look number, for answers that need no look.

    Attributes:
        pending: the costs that wait for their second look.
    """

    def __init__(self, clock: Clock, numbers: Callable[[], int]) -> None:
        self._clock = clock
        self._numbers = numbers
        self.pending = PendingCosts()

    def look(self, paths: Iterable[tuple[str, Source]], view: RootsView) -> list[Observation]:
        """Look at every path that may be looked at; the others are answered without a look."""
        wanted: dict[tuple[str, Source], list[str]] = defaultdict(list)
        observations = []
        for path, source in paths:
            judgement = view.scope.judge(path)
            state = view.states.get(judgement.root or "")
            if judgement.refusal is not None or state is None or not state.healthy:
                observations.append(self._unlooked(path, source))
            else:
                assert judgement.root is not None, "bug: in scope of no root"
                wanted[judgement.root, source].append(path)
        for (root, source), group in wanted.items():
            try:
                observations += view.lookers[root].look(group, source)
            except NoDescriptorsError:
                observations += [self._unlooked(path, source, "EMFILE") for path in group]
            except StoppingError:
                # The root left the configuration meanwhile; the reload's sweep judges anew.
                observations += [self._unlooked(path, source) for path in group]
        return observations

    def close(
        self,
        registry: Registry,
        observations: Sequence[Observation],
        view: RootsView,
        circumstances: Circumstances,
        looked_before: Container[str] = frozenset(),
    ) -> ClosedBatch:
        """Look on until nothing is left that could change the outcome (R5).

        Claims that wait for their second look are claims like those the registry has.
        `looked_before` names the paths whose loss was seen before (see `costly_paths`).
        """
        looked = list(observations)
        source = looked[0].source if looked else Source.SWEEP
        verdicts: dict[str, Verdict] = {}
        new = looked
        known = Known({}, {})
        while new:
            known = load_for(registry, new)
            added = judge(new, known, circumstances)
            verdicts |= added
            missing = unlooked(known, verdicts, circumstances, added)
            missing |= self.pending.claims(touched_ids(known, added)) - verdicts.keys()
            new = self.look(((path, source) for path in sorted(missing)), view)
            looked += new
        if len(looked) > len(observations):  # the rows of the last step are not all
            known = load_for(registry, looked)
            verdicts = judge(looked, known, circumstances)
        costly = costly_paths(known, verdicts, circumstances, looked_before)
        whole = known if len(looked) == len(observations) else None
        return ClosedBatch(tuple(looked), verdicts, frozenset(costly), whole)

    def _unlooked(self, path: str, source: Source, detail: str | None = None) -> Observation:
        return Observation(
            path=path,
            look=self._numbers(),
            source=source,
            outcome=Outcome.UNKNOWN,
            reason=Reason.UNREADABLE if detail else Reason.ROOT_SICK,
            detail=detail,
            looked_at_ns=self._clock.wall_ns(),
        )


def commit_operation(
    decidable: Decidable, version: Callable[[], int], now: Callable[[], str], *, is_outbox: bool
) -> Callable[[apsw.Connection], Committed]:
    """Return the operation that turns looks into changes, for the writer to run.

    Args:
        decidable: what to decide.
        version: returns the registry's version now (`Writer.version`).
        now: returns the wall-clock time that is stamped on what changed, RFC 3339.
        is_outbox: whether a relay outside the database has to confirm endpoints.
    """
    circumstances, guarded = decidable.circumstances, decidable.guarded

    def operation(connection: apsw.Connection) -> Committed:
        registry = Registry(connection)
        judged = decidable.judged
        if judged is not None and judged.version == version():
            known, verdicts = judged.known, judged.verdicts
        else:
            known = load_for(registry, decidable.observations)
            verdicts = judge(decidable.observations, known, circumstances)
            reopened = unlooked(known, verdicts, circumstances)
            reopened |= costly_paths(known, verdicts, circumstances, decidable.looked_before)
            if reopened:
                return Committed(reopened=frozenset(reopened))
        if circumstances.quotas.is_limiting:
            known = replace(known, holdings=registry.holdings())
        sweep = circumstances.sweep
        planned, holds = _guarded(registry, known, verdicts, circumstances, guarded)
        at = now()
        told = (*decidable.rider.told, *_told_of_holds(guarded, holds))
        numbers = changelog.append(connection, told, at)
        numbers += apply.apply(connection, planned, at)
        moved = follow(EmbeddedRelay(connection, at, is_outbox), known.rows, planned)
        numbers += changelog.append(connection, moved, at)
        if sweep is not None and any(one.kind is Kind.REGISTERED for one in planned.changes):
            # Its number is used up: no row of this sweep yields in a later one.
            apply.set_meta(connection, "sweep", str(sweep.number))
        decidable.rider.act(connection)
        changes = zip(numbers, (*told, *planned.changes, *moved), strict=True)
        return Committed(tuple(changes), verdicts, holds=holds)

    return operation


def mend_operation(
    source: Source, now: Callable[[], str], *, is_outbox: bool
) -> Callable[[apsw.Connection], Committed]:
    """Return the operation that brings endpoints to what the rows ask for."""

    def operation(connection: apsw.Connection) -> Committed:
        at = now()
        relay = EmbeddedRelay(connection, at, is_outbox)
        changes = mend(relay, Registry(connection).wanted_endpoints(), source)
        numbers = changelog.append(connection, changes, at)
        return Committed(tuple(zip(numbers, changes, strict=True)))

    return operation


def _guarded(
    registry: Registry,
    known: Known,
    verdicts: Mapping[str, Verdict],
    circumstances: Circumstances,
    guarded: GuardedSweep | None,
) -> tuple[Plan, Holds]:
    """Plan; in a sweep, plan again without what the mass guard holds."""
    planned = plan(known, verdicts, circumstances)
    if guarded is None or guarded.confirm:
        return planned, Holds()
    # What the sweep itself has registered does not make what vanished a smaller part.
    born = None if circumstances.sweep is None else circumstances.sweep.number
    sizes = registry.agents_per_root(but_born_in=born)
    holds = guard(planned, sizes, guarded.before, guarded.now)
    if holds.ids:
        planned = plan(known, verdicts, replace(circumstances, held=holds.ids))
    return planned, holds


def _told_of_holds(guarded: GuardedSweep | None, holds: Holds) -> list[Change]:
    """Log a hold when it begins, and when the operator ends it."""
    told: list[Change] = []
    if guarded is None or guarded.silent:
        return told
    for name in ("absences", "removals"):
        before, now = getattr(guarded.before, name), getattr(holds, name)
        for root in sorted(now.keys() | before.keys()):
            if root in now and root not in before:
                after = {name: len(now[root].ids)}
                told.append(Change(Kind.HELD, None, root, Source.SWEEP, after=after))
            elif root in before and root not in now and guarded.confirm:
                after = {name: len(before[root].ids)}
                told.append(Change(Kind.CONFIRMED, None, root, Source.API, after=after))
    return told
