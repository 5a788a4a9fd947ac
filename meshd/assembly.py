"""The stations of the flow, joined: one place that knows how the parts fit.

Owns the order in which the parts are built and nothing of what they do. No thread is
started and nothing is looked at.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from meshd.acts import OperatorActs
from meshd.announcer import Announcer
from meshd.batch import Looking
from meshd.commands import (
    AcceptRoot,
    Allow,
    CaughtUp,
    ClearOn,
    Confirmation,
    Deny,
    Forget,
    Heartbeat,
    Reap,
    Register,
    SetRule,
    TellTurns,
    Unregister,
    Update,
)
from meshd.committer import Committer
from meshd.confirmations import Confirmations
from meshd.core.cadence import Cadence
from meshd.core.coalescer import Coalescer
from meshd.core.model import Source
from meshd.core.settling import Settling
from meshd.course import SweepCourses
from meshd.deciding import Deciding
from meshd.discovery import Discovery
from meshd.heartbeats import Heartbeats
from meshd.inbox import Inbox
from meshd.looker import make_looker
from meshd.reconciler import Reconciler
from meshd.registration import Registration
from meshd.roots import Roots
from meshd.shared import Shared, Trust
from meshd.signatures import Signatures
from meshd.sweeper import Sweeper
from meshd.watcher import Watcher

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from meshd.clock import Clock
    from meshd.config.settings import Settings
    from meshd.reconciler import Acts
    from meshd.relay import Relay
    from meshd.store.store import Store

# Hints that may wait before a sweep does: four batches keep the reconciler busy.
INBOX_CAPACITY: Final = 8_192
# Paths of one root that wait before the question widens to the whole root.
WIDEN_AT: Final = 100_000


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything between the files and the database."""

    shared: Shared
    courses: SweepCourses
    reconciler: Reconciler
    sweeper: Sweeper
    watcher: Watcher | None
    discovery: Discovery
    announcer: Announcer | None = None

    @property
    def is_watched(self) -> bool:
        """Whether events tell of everything that changes below every root that is not sick."""
        if self.watcher is None:
            return False
        coverage, view = self.watcher.coverage(), self.shared.roots.view
        return all(
            root in coverage and coverage[root].is_full
            for root in view.lookers
            if root not in view.states or view.states[root].healthy
        )

    def configure(self, settings: Settings) -> None:
        """Take a new configuration; a walk of roots that changed starts over. No row is dropped."""
        self.shared.roots.configure(settings.scan, settings.limits)
        self.shared.trust.system = frozenset(settings.relay.system)
        if self.announcer is not None:
            self.announcer.wake()
        self.courses.interval = settings.sweep.interval
        self.courses.grace = settings.sweep.grace
        self.courses.settle = settings.watch.settle
        self.reconciler.settling = Settling(settings.watch.settle, settings.watch.settle_max)
        self.sweeper.keep(Cadence(settings.sweep.interval, settings.sweep.full_every))


def _acts(shared: Shared, courses: SweepCourses) -> Acts:
    """Return what carries out each act of the operator."""
    deciding = Deciding(shared, courses.context)
    operator = OperatorActs(shared, courses, deciding)
    registration = Registration(shared, courses, deciding, operator)
    courses.begun = registration.finish
    heartbeats = Heartbeats(shared)
    return {
        Deny: operator.deny,
        Allow: operator.allow,
        Forget: operator.forget,
        AcceptRoot: operator.accept_root,
        SetRule: operator.set_rule,
        Register: registration.register,
        Update: registration.update,
        Unregister: registration.unregister,
        ClearOn: registration.clear_on,
        Reap: registration.reap,
        Confirmation: Confirmations(shared).take,
        Heartbeat: heartbeats.beat,
        TellTurns: heartbeats.tell_turns,
        CaughtUp: lambda _: None,  # its turn is all it asks for
    }


def _announcer(shared: Shared, courses: SweepCourses, relay: Relay) -> Announcer:
    """Return what tells the relay, woken by every commit and made to doubt by every sweep."""
    announcer = Announcer(shared, relay, random.random)
    shared.committer.committed = announcer.wake
    courses.swept = announcer.doubt
    return announcer


def assemble(
    settings: Settings,
    store: Store,
    clock: Clock,
    log: FilteringBoundLogger,
    *,
    relay: Relay | None = None,
) -> Parts:
    """Build the parts over an open store.

    Args:
        settings: the configuration to start with.
        store: the open database.
        clock: the time.
        log: one event per decision.
        relay: who carries messages outside the database; None leaves it to the embedded one.
    """
    with store.reading() as registry:
        looks = itertools.count(registry.highest_look() + 1)
        signatures = Signatures(registry.signatures())
        denied = [denial.path for denial in registry.denials()]

    def next_look() -> int:
        # One C call: threads cannot take the same number.
        return next(looks)

    watch = settings.watch
    inbox = Inbox(
        clock, Coalescer(watch.settle, watch.settle_max, WIDEN_AT), capacity=INBOX_CAPACITY
    )
    roots = Roots(
        settings.scan,
        denied,
        lambda root, isolated: make_looker(root, isolated=isolated, clock=clock, numbers=next_look),
        settings.limits,
    )
    shared = Shared(
        roots=roots,
        inbox=inbox,
        store=store,
        signatures=signatures,
        looking=Looking(clock, next_look),
        committer=Committer(store, signatures, clock, log, is_outbox=relay is not None),
        clock=clock,
        log=log,
        trust=Trust(frozenset(settings.relay.system)),
    )
    sweep = settings.sweep
    courses = SweepCourses(shared, interval=sweep.interval, grace=sweep.grace, settle=watch.settle)
    sweeper = Sweeper(shared, Cadence(sweep.interval, sweep.full_every), random.random)
    reconciler = Reconciler(
        shared,
        courses,
        _acts(shared, courses),
        Settling(watch.settle, watch.settle_max),
        # Its absences are a sweep's: the mass guard judges them.
        sweep_wanted=lambda: sweeper.request(Source.SWEEP),
    )
    watcher = None
    if watch.backend != "none":
        watcher = Watcher(shared, store.path.parent, prefers_fanotify=watch.backend == "fanotify")
        roots.changed = watcher.configure
        courses.marks.put = watcher.mark
    announcer = None if relay is None else _announcer(shared, courses, relay)
    parts = Parts(shared, courses, reconciler, sweeper, watcher, Discovery(shared), announcer)
    if watcher is not None:
        sweeper.is_blind = lambda: not parts.is_watched
    return parts
