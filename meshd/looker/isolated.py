"""The looker of a root that may hang: it works through a process of its own.

Owns at most one worker process per root, and replaces it. Assumes that any system call below
the root may never return (network and FUSE file systems, fault 78). Promises that no call
outlasts its deadline, and that what was not answered in time is told as such: a sick root, an
unknown outcome, a lost walk; never as absence. A root whose walk was late is sick until it can be
walked again, so that one directory that hangs keeps no other root waiting for its absences.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING, Final, TypeVar, cast

from meshd.core.model import Observation, Outcome, Reason, Source
from meshd.errors import MeshdError, StoppingError
from meshd.looker.health import RootInRun, RootLook, Sickness, sick
from meshd.looker.look import NoDescriptorsError
from meshd.looker.messages import Check, Checked, EndWalk, Failed, Looks, NextBatch, Run, StartWalk
from meshd.looker.process import WorkerLateError, WorkerLostError, WorkerProcess
from meshd.looker.walk import RootLostError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from meshd.clock import Clock
    from meshd.core.model import RootIdentity
    from meshd.core.scope import Scope
    from meshd.looker.messages import Request
    from meshd.looker.tasks import Task
    from meshd.looker.walk import Found

Answer = TypeVar("Answer")

LOOKS_PER_REQUEST: Final = 64
"""Few enough that one deadline fits them, and that numbers are taken close to the looks."""


@dataclass(frozen=True, slots=True)
class _LateWalk:
    """A walk that was not answered in time.

    Attributes:
        scope: what it left out.
        is_told: whether a check has said so.
    """

    scope: Scope
    is_told: bool


class IsolatedLooker:
    """All access to one root, through a worker process.

    Args:
        root: absolute, resolved path.
        clock: stamps what was not answered; the worker has the clocks of this machine.
        numbers: returns the next look number; shared by all lookers, safe to call from any
            thread.
        seconds: deadline of each request: one check, 64 looks, or one batch of a walk.
    """

    def __init__(
        self, root: str, *, clock: Clock, numbers: Callable[[], int], seconds: float
    ) -> None:
        self.root = root
        self._clock = clock
        self._numbers = numbers
        self._seconds = seconds
        self._seen: RootInRun | None = None
        self._is_closed = False
        self._asking = Lock()
        self._walking = Lock()
        self._late_walk: _LateWalk | None = None
        self._worker: WorkerProcess | None = None
        self._killed: list[WorkerProcess] = []

    def check(self, known: RootIdentity | None) -> RootLook:
        """Say whether the root can be listed and is the one first seen; see `LocalLooker`.

        After a walk that was late, whether it can be walked, too.
        """
        try:
            _, answer = self._ask(Check(known, self._seen))
        except WorkerLateError:
            return sick(Sickness.TIMED_OUT)
        except WorkerLostError:
            return sick(Sickness.UNREADABLE)
        except NoDescriptorsError:
            return sick(Sickness.NO_DESCRIPTORS)
        checked = cast("Checked", answer)
        self._seen = checked.seen
        if checked.look.healthy and not self._can_be_walked():
            return sick(Sickness.TIMED_OUT, checked.look.identity)
        return checked.look

    def walk(
        self, scope: Scope, *, full: bool, stop: Callable[[], bool]
    ) -> Generator[list[Found], None, None]:
        """Yield what lies in the root, in batches; see `LocalLooker`.

        Raises:
            RootLostError: as there, or a batch was late, or the worker died.
            NoDescriptorsError: EMFILE or ENFILE.
        """
        if not self._walking.acquire(blocking=False):
            raise RuntimeError("bug: two walks of one root at a time")
        try:
            yield from self._batches(scope, full=full, stop=stop)
        finally:
            self._walking.release()

    def look(self, paths: Sequence[str], source: Source) -> list[Observation]:
        """Look at projects, in order; see `LocalLooker`.

        After one late answer the rest is not tried: each would cost another deadline.

        Raises:
            NoDescriptorsError: EMFILE or ENFILE. Nothing that was seen counts.
        """
        observations: list[Observation] = []
        failure: Reason | None = None
        for start in range(0, len(paths), LOOKS_PER_REQUEST):
            looks = tuple(
                (path, self._numbers()) for path in paths[start : start + LOOKS_PER_REQUEST]
            )
            if failure is None:
                try:
                    _, answer = self._ask(Looks(looks, source, self._seen))
                    observations += cast("list[Observation]", answer)
                    continue
                except WorkerLateError:
                    failure = Reason.TIMED_OUT
                except WorkerLostError:
                    failure = Reason.UNREADABLE
            observations += self._not_answered(looks, source, failure)
        return observations

    def run(self, task: Task[Answer]) -> Answer:
        """Do something in the root; see `LocalLooker`.

        Raises:
            RootLostError: as there, or the answer was late, or the worker died: what was asked
                may have been done, or may yet be.
            NoDescriptorsError: EMFILE or ENFILE.
        """
        try:
            _, answer = self._ask(Run(task, self._seen))
        except (WorkerLateError, WorkerLostError) as error:
            raise RootLostError(f"the root did not answer: {error.message}") from error
        return cast("Answer", answer)

    def close(self) -> None:
        """Kill the worker. A request under way ends at once, as if the worker had died."""
        self._is_closed = True
        worker = self._worker
        if worker is not None:
            worker.kill()
        with self._asking:
            self._abandon()
            self._killed = [killed for killed in self._killed if not killed.reap(wait=True)]

    def _ask(
        self, request: Request, expected: WorkerProcess | None = None
    ) -> tuple[WorkerProcess, object]:
        """Ask the worker, or a new one where none is alive.

        Args:
            request: what to do.
            expected: the only worker that can answer it, None for any.

        Raises:
            WorkerLateError: no answer in time.
            WorkerLostError: the worker died, or is another one by now.
            RootLostError, NoDescriptorsError: the answer says so.
        """
        with self._asking:
            worker = self._current()
            if expected not in (None, worker):
                raise WorkerLostError("the worker process was replaced")
            try:
                answer = worker.ask(request)
            except (WorkerLateError, WorkerLostError):
                self._abandon()
                raise
        if isinstance(answer, Failed):
            raise (RootLostError if answer.is_root_lost else NoDescriptorsError)(answer.message)
        return worker, answer

    def _current(self) -> WorkerProcess:
        """Return the worker, after starting one where needed."""
        if self._is_closed:
            raise StoppingError("meshd is stopping")
        self._killed = [worker for worker in self._killed if not worker.reap()]
        if self._worker is None:
            self._worker = WorkerProcess(self.root, seconds=self._seconds)
        return self._worker

    def _abandon(self) -> None:
        """Kill the worker and leave it; it is collected when the kernel lets go of it."""
        if self._worker is not None:
            self._worker.discard()
            self._killed.append(self._worker)
            self._worker = None

    def _batches(
        self, scope: Scope, *, full: bool, stop: Callable[[], bool]
    ) -> Generator[list[Found], None, None]:
        """Walk, while no other walk can begin, and remember whether this one was late."""
        if stop():
            return
        try:
            worker, batch = self._ask_for_batch(StartWalk(scope, full), None)
            try:
                while batch is not None:
                    yield batch
                    if stop():
                        return
                    _, batch = self._ask_for_batch(NextBatch(), worker)
            finally:
                if batch is not None:
                    self._end_walk(worker)
        except RootLostError as error:
            if isinstance(error.__cause__, WorkerLateError):
                self._late_walk = _LateWalk(scope, is_told=self._late_walk is not None)
            raise
        self._late_walk = None

    def _can_be_walked(self) -> bool:
        """Whether a walk that was late is made good by another.

        The first to ask after the late one is told so at once, and does not wait once more.
        """
        late = self._late_walk
        if late is None:
            return True
        if not late.is_told:
            self._late_walk = replace(late, is_told=True)
            return False
        if not self._walking.acquire(blocking=False):
            return False
        try:
            for _ in self._batches(late.scope, full=False, stop=lambda: self._is_closed):
                pass
        except MeshdError:
            return False
        finally:
            self._walking.release()
        return self._late_walk is None

    def _ask_for_batch(
        self, request: Request, expected: WorkerProcess | None
    ) -> tuple[WorkerProcess, list[Found] | None]:
        try:
            worker, batch = self._ask(request, expected)
        except (WorkerLateError, WorkerLostError) as error:
            raise RootLostError(f"the walk was lost: {error.message}") from error
        return worker, cast("list[Found] | None", batch)

    def _end_walk(self, worker: WorkerProcess) -> None:
        """Let the worker close the root; when it cannot, it is replaced anyway."""
        try:
            self._ask(EndWalk(), worker)
        except MeshdError:
            return

    def _not_answered(
        self, looks: tuple[tuple[str, int], ...], source: Source, reason: Reason
    ) -> list[Observation]:
        detail = None if reason is Reason.TIMED_OUT else "the worker process died"
        now_ns = self._clock.wall_ns()
        return [
            Observation(
                path=path,
                look=number,
                source=source,
                outcome=Outcome.UNKNOWN,
                reason=reason,
                detail=detail,
                looked_at_ns=now_ns,
            )
            for path, number in looks
        ]
