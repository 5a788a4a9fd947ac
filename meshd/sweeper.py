"""The anti-entropy sweep: the timer that makes what was missed come right.

Owns when a sweep runs and what it asks, and the tick by which time alone is told. It walks
every healthy root and puts hints for what moved, for what the registry knows and the walk did
not meet, and for what every sweep asks anew. It never writes: whether anything changed is the
reconciler's to say (R3). Promises: one sweep at a time, and a sweep asked for begins after the
asking.
"""

from __future__ import annotations

import contextlib
import math
import queue
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from meshd.clock import timestamp
from meshd.commands import (
    RootCheck,
    SweepAbandoned,
    SweepBegan,
    SweepEnded,
    SweepResult,
    TellTurns,
)
from meshd.core.cadence import JITTER
from meshd.core.guard import AGREES_AFTER
from meshd.core.model import Source
from meshd.core.recognition import recognises
from meshd.errors import MeshdError, StoppingError
from meshd.gathering import Gathering
from meshd.looker import RootLostError, Sighting, Unreadable
from meshd.looker.findings import Ceiling, Met
from meshd.looker.health import CHANGED
from meshd.tidying import seek_leftovers

if TYPE_CHECKING:
    from collections.abc import Callable

    from meshd.core.cadence import Cadence
    from meshd.core.model import Reason, RootIdentity, RootState
    from meshd.looker import Looker
    from meshd.roots import RootsView
    from meshd.shared import Shared

Result = TypeVar("Result")

# Seconds between sweeps while a root that should be watched is not, or not wholly.
BLIND_INTERVAL = 60.0

# Seconds from a sweep by which something is held to the one that may agree with it, whatever the
# jitter takes from them.
CONFIRM_INTERVAL = AGREES_AFTER / (1 - JITTER)

# Seconds between the ticks that tell which healths turned by time alone.
TICK = 60.0

# How often a wait for the reconciler looks whether the daemon is stopping, in seconds.
STOP_POLL = 0.2


@dataclass(frozen=True, slots=True)
class SweepRequest:
    """Somebody asks for a sweep and waits for its result."""

    source: Source
    full: bool = False
    confirm: bool = False
    sync: bool = False
    future: Future[SweepResult] = field(default_factory=Future)


class Sweeper:
    """Actor: sweeps when it is time and when it is asked.

    Args:
        jitter: returns a number in [0, 1) that moves a sweep a little forward in time.

    Attributes:
        cadence: when sweeps are due.
        is_blind: asked whether a root that should be watched is not watched wholly.
    """

    def __init__(self, shared: Shared, cadence: Cadence, jitter: Callable[[], float]) -> None:
        self._shared = shared
        self._jitter = jitter
        self.is_blind: Callable[[], bool] = lambda: False
        self._requests: queue.SimpleQueue[SweepRequest | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._count = 0
        self._failures = 0
        self._last_end: float | None = None
        self._tick_due = -math.inf
        self._is_held = False
        # Of the sweep under way: roots with more than they may have, and of what.
        self._truncated: dict[str, Reason] = {}
        # How long sick roots are left alone; None while all are healthy.
        self._sick_wait: float | None = None
        self._sick_due = -math.inf
        self.cadence = cadence

    def request(
        self, source: Source, *, full: bool = False, confirm: bool = False, sync: bool = False
    ) -> Future[SweepResult]:
        """Ask for a sweep that begins after now; resolves when it is committed.

        Args:
            source: who asks.
            full: list and read everything.
            confirm: the operator says that held disappearances are meant.
            sync: only bring the registry up to date (see `SweepEnded`).
        """
        request = SweepRequest(source, full, confirm, sync)
        self._requests.put(request)
        if self._stopping.is_set():
            self._refuse_the_rest()
        return request.future

    def keep(self, cadence: Cadence) -> None:
        """Keep another cadence, from now on: a wait under way is reckoned anew."""
        self.cadence = cadence
        self._requests.put(None)

    def stop(self) -> None:
        """End soon: a walk under way is abandoned, and takes nothing away."""
        self._stopping.set()
        self._requests.put(None)

    def run(self) -> None:
        """Sweep until stopped. The body of the sweeper's thread; the first sweep is at once."""
        jitter = self._jitter()
        try:
            while not self._stopping.is_set():
                due = self.next_due(jitter)
                requests = self._wait_for_requests(min(due, self._tick_due))
                if self._stopping.is_set():
                    self._refuse(requests)
                elif requests or self._shared.clock.monotonic() >= due:
                    self.sweep(requests)
                    jitter = self._jitter()
                self.tick()
        finally:
            self._refuse_the_rest()

    def next_due(self, jitter: float) -> float:
        """Return the monotonic second of the next sweep, if nobody asks for one before."""
        return self._cadence_now().next_due(self._last_end, jitter=jitter, failures=self._failures)

    def tick(self) -> None:
        """Let it be told what time has turned, once every `TICK` seconds.

        The first tick comes after the first sweep: until then nobody knows who is live.
        """
        now = self._shared.clock.monotonic()
        if now >= self._tick_due:
            self._tick_due = now + TICK
            with contextlib.suppress(StoppingError):  # the next start's tick tells it
                self._shared.inbox.post(TellTurns())
            if self._has_recovered(now):
                self._requests.put(SweepRequest(Source.TIMER))

    def _has_recovered(self, now: float) -> bool:
        """Whether a sick root is healthy again, of which no event may tell.

        Asked ever more seldom, up to the interval of sweeps: whatever is behind a root that stays
        sick is left in peace, and nothing is written of it (R10).
        """
        view = self._shared.roots.view
        states = {root: view.states[root] for root in view.lookers if root in view.states}
        sick = [root for root, state in states.items() if not state.healthy]
        if not sick:
            self._sick_wait = None
            return False
        if self._sick_wait is not None and now < self._sick_due:
            return False
        self._sick_wait = min(2 * (self._sick_wait or TICK / 2), self.cadence.interval)
        self._sick_due = now + self._sick_wait
        return any(view.lookers[root].check(states[root].identity).healthy for root in sick)

    def _cadence_now(self) -> Cadence:
        """Return the cadence to keep: a shorter one while events cannot tell of everything.

        Or while a sweep that agrees with the last one is missing.
        """
        interval = self.cadence.interval
        if self.is_blind():
            interval = min(interval, BLIND_INTERVAL)
        if self._is_held:
            interval = min(interval, CONFIRM_INTERVAL)
        return replace(self.cadence, interval=interval)

    def _wait_for_requests(self, due: float) -> list[SweepRequest]:
        """Return what was asked, waiting for it until the next sweep is due."""
        requests = []
        wait = 0.0 if due == -math.inf else max(due - self._shared.clock.monotonic(), 0.0)
        try:
            # None wakes without asking for anything.
            request = self._requests.get(timeout=wait)
            while True:
                if request is not None:
                    requests.append(request)
                request = self._requests.get_nowait()
        except queue.Empty:
            pass
        return requests

    def sweep(self, requests: list[SweepRequest]) -> SweepResult | None:
        """Sweep once and answer every request; None when the sweep failed."""
        source = requests[0].source if requests else Source.TIMER
        if self._last_end is None and not requests:
            source = Source.START
        # A sync before the first sweep of a run waits for that one.
        sync = bool(requests) and self._last_end is not None and all(one.sync for one in requests)
        self._count += not sync
        full = any(one.full for one in requests) or self.cadence.is_full(self._count)
        confirm = any(one.confirm for one in requests)
        try:
            result = None
            while result is None:
                result = self._sweep(source, full=full, confirm=confirm, sync=sync)
        except MeshdError as error:
            self._failures += 1
            self._last_end = self._shared.clock.monotonic()
            with contextlib.suppress(StoppingError):
                self._shared.inbox.post(SweepAbandoned())
            if not self._stopping.is_set():
                self._shared.log.error(  # noqa: TRY400 - the message says it; a traceback would not help
                    "sweep_failed", why=error.message, what_to_do=error.hint
                )
            for request in requests:
                request.future.set_exception(error)
            return None
        except BaseException:
            # The daemon ends by this; whoever waits for the sweep must not wait for ever.
            self._refuse(requests)
            raise
        self._is_held = result.held > 0
        if not sync:
            self._failures = 0
            self._last_end = self._shared.clock.monotonic()
        for request in requests:
            request.future.set_result(result)
        return result

    def _sweep(
        self, source: Source, *, full: bool, confirm: bool, sync: bool
    ) -> SweepResult | None:
        """Sweep what is configured now; None when that changed under way and nothing was ended."""
        started, started_at = (
            self._shared.clock.monotonic(),
            timestamp(self._shared.clock.wall_ns()),
        )
        self._shared.roots.remount()
        view = self._shared.roots.view
        checks = {root: self._check(root, view) for root in view.lookers}
        # Looks count only under the states of the roots that were checked for them.
        began = SweepBegan(checks, source)
        self._shared.inbox.post(began)
        self._await(began.future)
        self._truncated = {}
        anew, unmet = self._known_paths()
        walked = {
            root: self._walk(root, view, source, Met(anew, unmet), full=full)
            for root, check in checks.items()
            if check.healthy
        }
        whole = {root for root, is_whole in walked.items() if is_whole}
        truncated = {root: why for root, why in self._truncated.items() if root in whole}
        completed = frozenset(whole - truncated.keys())
        if self._stopping.is_set():
            raise StoppingError("the sweep was abandoned")
        if self._shared.roots.view.scope != view.scope:
            return None
        rest = Gathering(self._shared, view, source, self._await)
        rest.add(path for path in sorted(unmet) if _is_asked(path, view, completed))
        rest.put()
        broken = frozenset(walked.keys() - whole)
        ended = SweepEnded(completed, broken, confirm, full, started_at, started, sync, truncated)
        self._shared.inbox.post(ended)
        return self._await(ended.future)

    def _walk(self, root: str, view: RootsView, source: Source, met: Met, *, full: bool) -> bool:
        """Walk a root and hint at what moved; return whether the walk reached its end.

        Raises:
            NoDescriptorsError: the whole sweep is off, and takes nothing away (fault 80).
        """

        def is_over() -> bool:
            return self._stopping.is_set() or self._shared.roots.view.scope != view.scope

        ceiling = Ceiling(view.quotas.manifests_per_root, self._shared.signatures.knows)
        moved = Gathering(self._shared, view, source, self._await)
        try:
            for everything in view.lookers[root].walk(view.scope, full=full, stop=is_over):
                batch = ceiling.within(everything)
                met.add(found.path for found in batch)
                if full and self._last_end is not None:  # the first sweep of a run is not held up
                    projects = [found.path for found in batch if isinstance(found, Sighting)]
                    seek_leftovers(self._shared, view.lookers[root], projects)
                moved.add(
                    found.path
                    for found in batch
                    # A directory that cannot be listed may still hold a manifest.
                    if full
                    or isinstance(found, Unreadable)
                    or not self._shared.signatures.unchanged(found.path, found.signature)
                )
            moved.put()
        except StoppingError:
            return False  # the root left the configuration meanwhile
        except RootLostError as error:
            self._shared.log.warning("walk_abandoned", path=root, why=error.message)
            moved.put()  # what was seen holds all the same
            return False
        if ceiling.exceeded is not None:
            self._truncated[root] = ceiling.exceeded
        return not is_over()

    def _known_paths(self) -> tuple[set[str], set[str]]:
        """Return the paths that every sweep looks at, and all the registry knows."""
        quotas = self._shared.roots.view.quotas
        with self._shared.store.reading() as registry:
            anew = {*registry.unconfirmed_looks(), *registry.refused_with_room(quotas)}
        return anew, self._shared.signatures.paths() | anew

    def _check(self, root: str, view: RootsView) -> RootCheck:
        """Check a root against what it was; a changed one that holds our agents is taken."""
        looker, state = view.lookers[root], view.states.get(root)
        known = state or self._stored_state(root)
        identity = None if known is None else known.identity
        seen = looker.check(identity)
        if (
            seen.reason in CHANGED
            and identity is not None
            and self._holds_our_agents(root, looker, identity)
        ):
            seen = looker.check(None)
            self._shared.log.warning(
                "root_recognised", path=root, why="most known manifests are there"
            )
        kept = seen.identity if seen.healthy else identity
        return RootCheck(seen.healthy, seen.reason, kept, identity)

    def _stored_state(self, root: str) -> RootState | None:
        with self._shared.store.reading() as registry:
            return registry.roots().get(root)

    def _holds_our_agents(self, root: str, looker: Looker, identity: RootIdentity) -> bool:
        """Whether what lies at a root now is the root we knew, by the agents in it."""
        with self._shared.store.reading() as registry:
            ids = registry.ids_below(root)
        # Until it is known for ours nothing there is believed; so it is taken, and looked at.
        if ids and looker.check(None).healthy:
            if recognises(ids, looker.look(list(ids), Source.SWEEP)):
                return True
            looker.check(identity)
        return False

    def _await(self, future: Future[Result]) -> Result:
        """Wait for the reconciler, and for no longer than the daemon runs."""
        while True:
            try:
                return future.result(timeout=STOP_POLL)
            except TimeoutError:
                if future.done():
                    raise
                if self._stopping.is_set():
                    raise StoppingError("the sweep was abandoned") from None

    def _refuse(self, requests: list[SweepRequest]) -> None:
        for request in requests:
            request.future.set_exception(StoppingError("the daemon is stopping"))

    def _refuse_the_rest(self) -> None:
        while True:
            try:
                request = self._requests.get_nowait()
            except queue.Empty:
                return
            if request is not None:
                self._refuse([request])


def _is_asked(path: str, view: RootsView, completed: frozenset[str]) -> bool:
    """Whether a known path that no walk met is looked at in this sweep.

    A path below a root whose walk did not finish proves nothing. One that is out of scope
    needs no look, but the plan must hear of it.
    """
    judgement = view.scope.judge(path)
    return judgement.refusal is not None or judgement.root in completed
