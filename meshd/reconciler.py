"""The reconciler: takes hints, looks, and hands closed batches to the writer.

Owns the thread between the inbox and the writer. Assumes it is the only one that submits
plans. Promises: gains are applied as seen; a cost is applied only after a second look, at
least the settle time later and planned together with its closed set (R7); every future of
a control it takes resolves.
"""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar, cast

from meshd.batch import Decidable, Judged
from meshd.commands import (
    CheckSyncs,
    Heartbeat,
    LookWithin,
    Overdue,
    SecondLook,
    SweepAbandoned,
    SweepBegan,
    SweepEnded,
    SweepResult,
    SweepSettled,
    Sync,
)
from meshd.core.model import Hint, Outcome, Source
from meshd.course import SWEEP_SOURCES
from meshd.errors import MeshdError, StoppingError, StoreError
from meshd.syncs import Syncs

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping, Sequence
    from concurrent.futures import Future

    from meshd.core.model import Observation
    from meshd.core.settling import Settling
    from meshd.course import SweepCourses
    from meshd.inbox import Batch
    from meshd.shared import Shared

Result = TypeVar("Result")


class Act(Protocol):
    """What somebody asks for and waits for."""

    @property
    def future(self) -> Future[Any]:
        """Resolves to what came of it, after the commit."""
        ...


Acts: TypeAlias = "Mapping[type, Callable[[Any], object]]"
"""By the class of an act, what carries it out and returns what its future resolves to.

Heartbeats are many: theirs takes a run of them and returns, for each, its error or None.
"""


# A batch of so many saves, and no more, is part of a burst that is looked at piecemeal, and each
# piece costs a commit. Seconds for which more of it may come before the next batch is taken.
BURST = range(8, 256)
REST = 0.02

# How often it is asked what was dropped of what syncs wait for, in seconds; and for how many paths
# that takes twice as long, because every one of them is asked for.
SYNC_POLL = 0.02
PATHS_PER_POLL = 500


# What the scans in line take when there are hardly any, in seconds: second looks wait for them.
SCAN_SECONDS = 0.01


class Reconciler:
    """Actor: the only way from hints to the registry.

    Attributes:
        settling: what did not parse when an event told of it.

    Args:
        acts: what carries out the acts of the operator.
        sweep_wanted: asks for a sweep that makes up for lost events.
    """

    def __init__(
        self,
        shared: Shared,
        courses: SweepCourses,
        acts: Acts,
        settling: Settling,
        *,
        sweep_wanted: Callable[[], Future[SweepResult]],
    ) -> None:
        self._shared = shared
        self._courses = courses
        self._acts = acts
        self._syncs = Syncs(sweep_wanted)
        self._is_checking = False
        self._stopping = threading.Event()
        self.settling = settling

    def stop(self) -> None:
        """Take nothing more in; `run` returns when what is there is done."""
        self._stopping.set()
        self._shared.inbox.close()

    def run(self) -> None:
        """Reconcile until stopped. The body of the reconciler's thread."""
        while (batch := self._shared.inbox.take()) is not None:
            self.process(batch)
            if len(batch.hints) in BURST and batch.hints[0].source is Source.WATCH:
                self._stopping.wait(REST)

    def process(self, batch: Batch) -> None:
        """Do one batch: hints first, then what was posted behind them."""
        passed = self._courses.marks.passed(self._courses.settle)
        self._shared.looking.pending.passed = passed
        if batch.hints:
            self._take_in([(hint.path, hint.source) for hint in batch.hints])
        if batch.widened:
            self.settling.keep(self._shared.inbox.among(self.settling.paths()))
            self._syncs.lose()
        for kind, run in itertools.groupby(batch.controls, key=type):
            if kind is Heartbeat:
                self._beat(cast("list[Heartbeat]", list(run)))
                continue
            if kind is LookWithin:
                self._look_within(cast("list[LookWithin]", list(run)))
                continue
            for control in run:
                self._handle(control, draining=batch.draining)
        if self._syncs:
            self._syncs.resolve()

    # hints

    def _take_in(self, paths: Sequence[tuple[str, Source]]) -> None:
        try:
            self._look_and_commit(paths)
        except StoreError as error:
            self._fail(error, {source for _, source in paths})

    def _fail(self, error: StoreError, sources: Iterable[Source]) -> None:
        """Go on without what could not be committed.

        Nothing was learnt either, so the next sweep finds the same and tries again. Of what an
        event told, that would be late.
        """
        self._courses.fail(error)
        self._shared.log.error("commit_failed", why=error.message, what_to_do=error.hint)
        if Source.WATCH in sources:
            self._syncs.lose()

    def _look_and_commit(
        self, paths: Iterable[tuple[str, Source]], looked_before: Container[str] = frozenset()
    ) -> None:
        """Look, close, put off what would be a cost at first sight, and commit the rest."""
        view = self._shared.roots.view
        with self._shared.store.reading() as registry:
            version = self._shared.store.writer.version
            circumstances = view.circumstances(
                incumbents=registry.inherited_incumbents(), sweep=self._courses.context()
            )
            looks = self._unsettled_aside(self._shared.looking.look(paths, view))
            if not looks:
                return
            closed = self._shared.looking.close(registry, looks, view, circumstances, looked_before)
        self._shared.looking.pending.settle(closed.verdicts.keys() - closed.costly)
        self._put_off([one for one in closed.observations if one.path in closed.costly])
        rest = tuple(one for one in closed.observations if one.path not in closed.costly)
        if not rest:
            return
        judged = None
        if closed.known is not None and not closed.costly:
            judged = Judged(version, closed.known, closed.verdicts)
        committed = self._shared.committer.carry_out(
            Decidable(rest, circumstances, looked_before, judged=judged)
        )
        if committed.reopened:
            again = {one.path: one.source for one in rest}
            again |= dict.fromkeys(committed.reopened - again.keys(), Source.API)
            self._put_back(again.items())
        else:
            self._courses.note(committed.changes)
            self._syncs.decided(closed.verdicts.keys() - closed.costly)

    def _unsettled_aside(self, looks: list[Observation]) -> list[Observation]:
        """Ask again, later, about what an event told of and what does not parse yet."""
        now = self._shared.clock.monotonic()
        again = []
        for one in looks:
            if one.source is not Source.WATCH or one.outcome is not Outcome.INVALID:
                self.settling.forget(one.path)
            elif self.settling.waits(one.path, now):
                again.append(one)
        if not again or not self._put_back(
            ((one.path, one.source) for one in again), settled=False
        ):
            return looks
        unsettled = {one.path for one in again}
        return [one for one in looks if one.path not in unsettled]

    def _put_off(self, costs: Sequence[Observation]) -> None:
        """Keep costs for a second look: a sweep's for its end, others for the settle time."""
        sweeping = self._courses.current is not None
        of_sweep = [one for one in costs if sweeping and one.source in SWEEP_SOURCES]
        if of_sweep:
            self._courses.put_off(of_sweep, of_sweep=True)
        own = [one for one in costs if not sweeping or one.source not in SWEEP_SOURCES]
        if own:
            due = self._courses.put_off(own, of_sweep=False)
            self._post(SecondLook(tuple(one.path for one in own)), due + SCAN_SECONDS)

    def _put_back(self, paths: Iterable[tuple[str, Source]], *, settled: bool = True) -> bool:
        """Put hints back into the inbox; return whether it still takes any."""
        owner = self._shared.roots.view.scope.owner
        hints = [Hint(path, source) for path, source in paths]
        try:
            self._shared.inbox.put(hints, root_of=lambda path: owner(path) or path, settled=settled)
        except StoppingError:
            why = "the next start's sweep has them"
            self._shared.log.info("hints_left", hints=len(hints), why=why)
            return False
        return True

    def _post(self, control: object, due: float) -> None:
        try:
            self._shared.inbox.post(control, due)
        except StoppingError:
            self._shared.log.info("second_look_left", why="the next start's sweep has it")

    # controls

    def _handle(self, control: object, *, draining: bool) -> None:
        match control:
            case SecondLook():
                if not draining:
                    self._second_look(control)
            case SweepBegan():
                self._syncs.sweep_began()
                self._answer(control.future, lambda: self._courses.begin(control))
            case SweepEnded():
                self._end_of_walk(control, draining=draining)
            case Sync():
                self._syncs.take(control.future, self._waiting())
                self._check_syncs(draining=draining)
            case CheckSyncs():
                self._is_checking = False
                self._check_syncs(draining=draining)
            case Overdue():
                control.future.cancel()
            case SweepAbandoned():
                self._courses.abandon()
            case SweepSettled():
                self._end_of_sweep(control.ended, draining=draining)
            case _:
                self._act(control)

    def _act(self, control: object) -> None:
        """Carry out an act of the operator."""
        act = self._acts.get(type(control))
        if act is None:
            raise TypeError(f"bug: {type(control).__name__} is not a control")
        asked = cast("Act", control)
        self._answer(asked.future, lambda: act(asked))

    def _beat(self, beats: Sequence[Heartbeat]) -> None:
        """Carry out heartbeats that stand next to each other together: a flood is one commit."""
        try:
            errors = cast("list[MeshdError | None]", self._acts[Heartbeat](beats))
        except MeshdError as error:
            if isinstance(error, StoreError):
                self._courses.trouble = error.message
            errors = [error] * len(beats)
        for beat, refusal in zip(beats, errors, strict=True):
            if refusal is None:
                beat.future.set_result(None)
            else:
                beat.future.set_exception(refusal)

    def _second_look(self, control: SecondLook) -> None:
        pending = self._shared.looking.pending
        # What another closed set has taken with it meanwhile has had its second look.
        now = self._shared.clock.monotonic()
        due = pending.due(control.paths, now)
        if unripe := pending.unripe(control.paths, now):
            self._post(SecondLook(unripe), now + self._courses.settle / 4)
        if not due:
            return
        course = self._courses.current
        if course is not None and course.walked > 0:
            # The end of the sweep takes it along, so that the sweep has seen it absent (R8).
            self._post(SecondLook(tuple(due)), now + self._courses.settle)
            return
        try:
            # What cannot be decided yet stays ripe until the rest of its closed set is: began
            # each to wait anew, two parts of one set could keep each other waiting for ever.
            self._look_and_commit(due.items(), pending.ripe_by_itself(now))
        except StoreError as error:
            pending.settle(due)
            self._fail(error, due.values())

    def _look_within(self, controls: Sequence[LookWithin]) -> None:
        """Put hints for what was known at and below directories that were entered."""
        entered = {directory for one in controls for directory in one.directories}
        try:
            with self._shared.store.reading() as registry:
                known = {path for one in entered for path in registry.paths_within(one)}
        except StoreError as error:
            self._fail(error, {Source.WATCH})
            return
        self._put_back((path, Source.WATCH) for path in sorted(known))

    # syncs

    def _waiting(self) -> set[str]:
        """Return every path that waits for anything."""
        return self._shared.inbox.paths().union(
            self.settling.paths(), self._shared.looking.pending.paths()
        )

    def _check_syncs(self, *, draining: bool) -> None:
        """Answer the syncs that wait for nothing any more, and come back for the others."""
        owed = set(self._syncs.owed)
        # What waits nowhere was dropped, and the loss of it noted.
        waiting = self._shared.inbox.among(owed).union(
            self.settling.paths(), self._shared.looking.pending.paths()
        )
        self._syncs.decided(owed - waiting)
        self._syncs.resolve()
        if not self._syncs:
            return
        if draining:
            self._syncs.refuse(StoppingError("the sync was abandoned"))
        elif not self._is_checking:
            wait = SYNC_POLL * (1 + len(self._syncs.owed) / PATHS_PER_POLL)
            try:
                self._shared.inbox.post(CheckSyncs(), self._shared.clock.monotonic() + wait)
                self._is_checking = True
            except StoppingError as error:
                self._syncs.refuse(error)

    def _end_of_walk(self, ended: SweepEnded, *, draining: bool) -> None:
        if self._courses.current is not None:
            self._courses.current.walked = self._shared.clock.monotonic()
        if self._shared.looking.pending and not draining:
            self._settle_sweep(ended)
        else:
            self._end_of_sweep(ended, draining=draining)

    def _end_of_sweep(self, ended: SweepEnded, *, draining: bool) -> None:
        if draining:
            # The settle time was cut short: nothing may be taken away on one look.
            self._courses.abandon()
            ended.future.set_exception(StoppingError("the sweep was abandoned"))
            return
        if self._settles_still():
            self._settle_sweep(ended)
            return
        try:
            result = self._courses.end(ended)
        except MeshdError as error:
            self._courses.abandon()
            self._courses.trouble = error.message
            ended.future.set_exception(error)
            return
        if result is None:
            self._settle_sweep(ended)
        else:
            self._shared.committer.tell_swept(result)
            self._syncs.sweep_ended()
            ended.future.set_result(result)

    def _settles_still(self) -> bool:
        """Whether the sweep has met a file that may only be half written."""
        course = self._courses.current
        now = self._shared.clock.monotonic()
        return course is not None and self.settling.since_before(course.walked, now)

    def _settle_sweep(self, ended: SweepEnded) -> None:
        """Come back to the end of a sweep after the settle time."""
        self._post(SweepSettled(ended), self._shared.clock.monotonic() + self._courses.settle)

    def _answer(self, future: Future[Result], act: Callable[[], Result]) -> None:
        """Resolve a future with what an act returns or with the error it raises."""
        try:
            future.set_result(act())
        except MeshdError as error:
            if isinstance(error, StoreError):
                self._courses.trouble = error.message
            future.set_exception(error)
