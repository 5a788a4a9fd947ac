"""The observer: raw events become batches of hints, and batches go to the inbox.

Owns how watchdog is used, by its public extension points only: an observer whose own loop reads
for all roots, an emitter for each root that starts no thread, events that carry
a whole batch, and a handler that puts hints and nothing else. watchdog's own inotify classes are
not used: they watch what is excluded, lose events without a word, and recover by losing more
(faults 85, 86, 88, 89, 91, 92).
"""

from __future__ import annotations

import os
import select
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers.api import BaseObserver, EventEmitter

from meshd.clock import timestamp
from meshd.commands import LookWithin
from meshd.core.model import Hint, Source
from meshd.errors import StoppingError
from meshd.watcher import inotify as kernel
from meshd.watcher.coverage import Counts
from meshd.watcher.mounts import CHANGED
from meshd.watcher.scans import Passed, Remounted
from meshd.watcher.watches import REMOVALS_PER_READ

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from structlog.typing import FilteringBoundLogger
    from watchdog.observers.api import EventQueue, ObservedWatch

    from meshd.clock import Clock
    from meshd.inbox import Inbox
    from meshd.looker import LocalLooker
    from meshd.looker.table import NodeTable
    from meshd.watcher.backend import Backend
    from meshd.watcher.canary import Canary
    from meshd.watcher.inotify import RawEvent
    from meshd.watcher.mounts import Mounts
    from meshd.watcher.scans import Scans
    from meshd.watcher.translator import Heard, Translator
    from meshd.watcher.watches import Watches

HINTED: Final = "hinted"
LOST: Final = "lost"

REST_SECONDS: Final = 0.002
"""Pause after a reading in which nothing happened where anybody watches: fanotify hears a whole
file system, and who writes to it all the time would else be read all the time. Less than the three
milliseconds in which half of all saves reach their rows (design: speed)."""


@dataclass(unsafe_hash=True)
class HintedEvent(FileSystemEvent):
    """Something happened to these projects; `src_path` is their root."""

    event_type = HINTED
    paths: tuple[str, ...] = ()
    settled: bool = True


@dataclass(unsafe_hash=True)
class LostEvent(FileSystemEvent):
    """Anything may have happened below `src_path`, a root: events were lost."""

    event_type = LOST


class InboxHandler(FileSystemEventHandler):
    """Puts hints, and nothing else."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    def on_hinted(self, event: HintedEvent) -> None:
        """Take a batch of projects."""
        self.hint(os.fsdecode(event.src_path), event.paths, settled=event.settled)

    def on_lost(self, event: LostEvent) -> None:
        """Take a root of which nothing is certain."""
        self.lose(os.fsdecode(event.src_path))

    def hint(self, root: str, paths: Iterable[str], *, settled: bool) -> None:
        """Hint at projects of a root; once the inbox is closed, the next start's sweep has them."""
        try:
            self._inbox.put(
                [Hint(path, Source.WATCH) for path in paths],
                root_of=lambda _path: root,
                settled=settled,
            )
        except StoppingError:
            return

    def look_within(self, directories: Iterable[str]) -> None:
        """Ask for what is known at and below directories, after all that was hinted so far."""
        try:
            self._inbox.post(LookWithin(tuple(directories)))
        except StoppingError:
            return

    def lose(self, root: str) -> None:
        """Ask for all of a root."""
        try:
            self._inbox.widen(root)
        except StoppingError:
            return


class RootEmitter(EventEmitter):
    """The events of one root. It has no thread: the observer reads for all roots."""

    def __init__(
        self,
        event_queue: EventQueue,
        watch: ObservedWatch,
        *,
        lookers: Mapping[str, LocalLooker],
        watches: Watches,
        **options: Any,  # noqa: ANN401 - watchdog's own, handed on
    ) -> None:
        super().__init__(event_queue, watch, **options)
        self.looker = lookers[watch.path]
        self.counts = Counts()
        self._watches = watches
        self.looker.watched(watches)

    def start(self) -> None:
        """Start nothing."""

    def on_thread_stop(self) -> None:
        """Detach the root, watches included, unless all watches are gone already."""
        if self._watches.is_open:
            self.looker.watched(None)

    def emit(self, heard: Heard) -> None:
        """Hand on what was heard: at most one batch of each kind."""
        root = self.looker.root
        self.counts.events += heard.events
        self.counts.failures += heard.failures
        unsettled = [path for path in heard.unsettled if path not in heard.settled]
        if heard.settled:
            self.queue_event(HintedEvent(root, paths=tuple(heard.settled), settled=True))
        if unsettled:
            self.queue_event(HintedEvent(root, paths=tuple(unsettled), settled=False))
        if heard.is_lost:
            self.queue_event(LostEvent(root))

    def lose(self, at: str) -> None:
        """Count an overflow, distrust every watch, and have the root swept."""
        self.counts.overflows += 1
        self.counts.last_overflow = at
        self.looker.table.distrusted = True
        self.queue_event(LostEvent(self.looker.root))


class RootsObserver(BaseObserver):
    """Reads for all roots, in whatever thread calls `run`.

    Attributes:
        handler: takes what is heard of every root.
        before_read: called between the wait for events and their reading; a test stalls here.
        heard_at: monotonic instant at which the canary was heard last.
    """

    def __init__(  # noqa: PLR0913 - the parts that meet here
        self,
        *,
        handler: InboxHandler,
        lookers: Mapping[str, LocalLooker],
        watches: Watches,
        translator: Translator,
        scans: Scans,
        canary: Canary,
        mounts: Mounts,
        clock: Clock,
        log: FilteringBoundLogger,
    ) -> None:
        super().__init__(RootEmitter, lookers=lookers, watches=watches)
        self._placed = watches
        self._mounts = mounts
        self.handler = handler
        self._translator = translator
        self._scans = scans
        self._canary = canary
        self._clock = clock
        self._log = log
        self._backend: Backend | None = None
        self._wakeup = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.before_read: Callable[[], None] = _nothing
        self.heard_at = clock.monotonic()

    def emitter_of(self, table: NodeTable) -> RootEmitter | None:
        """Return the emitter of a root, None once it is taken out."""
        for emitter in self.root_emitters():
            if emitter.looker.table is table:
                return emitter
        return None

    def root_emitters(self) -> list[RootEmitter]:
        """Return the emitters of all roots."""
        return [one for one in self.emitters.copy() if isinstance(one, RootEmitter)]

    def read_from(self, backend: Backend) -> None:
        """Read this backend from now on."""
        self._backend = backend
        self.wake()

    def wake(self) -> None:
        """End the wait for events."""
        if self._wakeup >= 0:
            os.eventfd_write(self._wakeup, 1)

    def ask_to_stop(self) -> None:
        """Have `run` return soon; from any thread."""
        self.stopped_event.set()
        self.wake()

    def close(self) -> None:
        """Let go of the wake-up descriptor, after `run` has returned."""
        wakeup, self._wakeup = self._wakeup, -1
        os.close(wakeup)

    def dispatch_events(self, event_queue: EventQueue) -> None:
        """Wait for events, read what is there, and hand it on."""
        if not self._wait() or self._backend is None:
            events: list[RawEvent] = []
        else:
            self.before_read()
            events = self._backend.read(self._canary.watch)
        self._emit(events)
        failed = False
        while not event_queue.empty():
            failed = not self._dispatch_one(event_queue) or failed
        if failed:
            self._lose_all()
        self._pass_cookies(events)
        if len(events) < REMOVALS_PER_READ:
            self._placed.was_read()
        if events and not self._is_ours(events):
            self._rest()

    def _wait(self) -> bool:
        """Return whether there is something to read, or it is time to give departures up."""
        poll = select.poll()
        poll.register(self._wakeup, select.POLLIN)
        poll.register(self._mounts.descriptor, CHANGED)
        descriptors = () if self._backend is None else self._backend.descriptors
        for descriptor in descriptors:
            poll.register(descriptor, select.POLLIN)
        deadline = self._translator.next_deadline()
        seconds = None if deadline is None else max(deadline - self._clock.monotonic(), 0.0)
        if self._placed.is_removing:
            seconds = 0.0
        ready = {one for one, _ in poll.poll(None if seconds is None else 1000 * seconds + 1)}
        if self._wakeup in ready:
            os.eventfd_read(self._wakeup)
        if self._mounts.descriptor in ready:
            self._see_mounts()
        return not ready.isdisjoint(descriptors)

    def _is_ours(self, events: list[RawEvent]) -> bool:
        """Whether anything happened where somebody watches."""
        return any(
            watch == self._canary.watch or self._placed.nodes_of(watch) for watch, _, _, _ in events
        )

    def _rest(self) -> None:
        """Let what others do on the same file system gather, rather than wake for each of it."""
        poll = select.poll()
        poll.register(self._wakeup, select.POLLIN)
        poll.poll(1000 * REST_SECONDS)

    def _see_mounts(self) -> None:
        """Have looked into what was mounted or unmounted, marks that ended with it included."""
        self._scans.put(Remounted())
        if self._backend is not None and self._backend.remounted():
            self._lose_events("a file system was unmounted, and its mark with it", None)

    def _emit(self, events: list[RawEvent]) -> None:
        for table, heard in self._translator.translate(events).items():
            emitter = self.emitter_of(table)
            if emitter is not None:
                emitter.emit(heard)
        if any(mask & kernel.OVERFLOW for _, mask, _, _ in events):
            limit = None if self._backend is None else self._backend.queue_limit()
            self._lose_events("the queue of the kernel was full", limit)

    def _lose_events(self, why: str, limit: int | None) -> None:
        """Say that events were lost. Nothing is torn down: the sweep mends what is wrong."""
        emitters = self.root_emitters()
        self._log.warning(
            "events_lost", roots=len(emitters), why=f"{why}; every root is swept", limit=limit
        )
        at = timestamp(self._clock.wall_ns())
        for emitter in emitters:
            emitter.lose(at)
        self._canary.lose("events were lost")

    def _dispatch_one(self, event_queue: EventQueue) -> bool:
        """Hand one event to its handler, by watchdog's own way; False when the handler failed."""
        try:
            super().dispatch_events(event_queue)
        except Exception:  # noqa: BLE001 - the boundary of a handler: logged, counted, then swept for
            self._log.exception("handler_failed")
            return False
        return True

    def _lose_all(self) -> None:
        for emitter in self.root_emitters():
            emitter.counts.failures += 1
            self.handler.lose(emitter.looker.root)

    def _pass_cookies(self, events: list[RawEvent]) -> None:
        """Let cookies follow, through the scans, what was heard before them."""
        told = [(mask, name) for watch, mask, _, name in events if watch == self._canary.watch]
        if not told:
            return
        self.heard_at = self._clock.monotonic()
        waiters = self._canary.passed(name for _, name in told)
        if waiters:
            if self._mounts.has_changed():  # since the wait ended
                self._see_mounts()
            self._scans.put(Passed(waiters, is_checked=True))
        if any(mask & kernel.IGNORED for mask, _ in told):
            self._canary.lose("the canary directory was removed", is_blind=True)


def _nothing() -> None:
    return
