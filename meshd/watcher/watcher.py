"""The actor that watches all roots.

Owns the backend, the observer that runs in the actor's own thread, and the scanner's
thread. Assumes that `open` is called before the first sweep, so that its walks place the watches.
Promises: two threads whatever the number of roots; the end of either ends the actor, with its
error (R11); where nothing can be watched, that is said, tried again, and left to the sweep.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final

from meshd.looker import LocalLooker
from meshd.watcher.backend import Backend, backend_of
from meshd.watcher.canary import NO_CANARY, Canary, NotWatchingError
from meshd.watcher.coverage import Coverage
from meshd.watcher.inotify import limit
from meshd.watcher.mounts import Mounts
from meshd.watcher.observer import InboxHandler, RootsObserver
from meshd.watcher.scanner import Scanner
from meshd.watcher.scans import Passed, Remounted, Rescope, Scans
from meshd.watcher.translator import Translator
from meshd.watcher.watches import FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS, Watches

if TYPE_CHECKING:
    from pathlib import Path

    from watchdog.observers.api import ObservedWatch

    from meshd.roots import RootsView
    from meshd.shared import Shared

__all__ = ["NotWatchingError", "Watcher"]

LONGEST_SILENCE: Final = 5.0
"""Seconds without a beat, of which there is one every two, after which the canary directory may
be another one than is watched."""


class Watcher:
    """Actor: hints at what changes below the roots.

    Args:
        shared: whose roots are watched, and whose inbox is told.
        state_directory: where the canary lives; never below a root that is scanned.
        prefers_fanotify: whether fanotify watches where it is granted.
    """

    def __init__(
        self, shared: Shared, state_directory: Path, *, prefers_fanotify: bool = False
    ) -> None:
        self._shared = shared
        self.prefers_fanotify = prefers_fanotify
        self._canary = Canary(state_directory / "canary")
        self._backend: Backend | None = None
        self._configuring = threading.Lock()
        self._shortage: str | None = None
        self._canary_failed = False
        self._retry_at = -float("inf")
        self._retry_seconds = 0.0
        self._scope = shared.roots.view.scope
        self._lookers: dict[str, LocalLooker] = {}
        self._schedules: dict[str, ObservedWatch] = {}
        self._scanner_error: BaseException | None = None
        self._watches = Watches(shared.clock, shared.log)
        self._scans = Scans()
        self._translator = Translator(
            self._watches, self._scans, self._scope, clock=shared.clock, log=shared.log
        )
        self._mounts = Mounts()
        handler = InboxHandler(shared.inbox)
        self.observer = RootsObserver(
            handler=handler,
            lookers=self._lookers,
            watches=self._watches,
            translator=self._translator,
            scans=self._scans,
            canary=self._canary,
            mounts=self._mounts,
            clock=shared.clock,
            log=shared.log,
        )
        self._scanner = Scanner(
            shared,
            watches=self._watches,
            scans=self._scans,
            handler=handler,
            mounts=self._mounts,
            tick=self._tick,
        )

    def open(self) -> None:
        """Have the walks place watches from now on; where that fails, it is tried again later."""
        self._open_backend()
        self.configure()

    def run(self) -> None:
        """Watch until stopped. The body of the thread `meshd-watch`.

        Raises:
            BaseException: whatever ended the scanner.
        """
        scanner = threading.Thread(target=self._scan, name="meshd-scan", daemon=False)
        scanner.start()
        try:
            self.observer.run()
        finally:
            self._scanner.stop()
            scanner.join()
            self._close()
        if self._scanner_error is not None:
            raise self._scanner_error

    def stop(self) -> None:
        """Have `run` return soon."""
        self.observer.ask_to_stop()

    def configure(self) -> None:
        """Take the roots and the scope as they are now: after a reload, a denial, an approval."""
        # A reload and a denial come from different threads.
        with self._configuring:
            self._take(self._shared.roots.view)

    def _take(self, view: RootsView) -> None:
        local = {
            root: looker for root, looker in view.lookers.items() if isinstance(looker, LocalLooker)
        }
        for root, watch in list(self._schedules.items()):
            if local.get(root) is not self._lookers[root]:
                del self._schedules[root]
                self.observer.unschedule(watch)
                del self._lookers[root]
        for root, looker in local.items():
            if root not in self._schedules:
                self._lookers[root] = looker
                self._schedules[root] = self.observer.schedule(
                    self.observer.handler, root, recursive=True
                )
        self._scanner.lookers = {looker.table: looker for looker in local.values()}
        self._scans.put(Remounted())
        before, self._scope = self._scope, view.scope
        self._translator.scope = view.scope
        if before != view.scope:
            self._scans.put(Rescope(before, view.scope))

    def cookie(self) -> Future[None]:
        """Return what resolves once everything written before this call is in the inbox.

        It ends with NotWatchingError where events cannot tell: sweep instead. It is cancelled
        when the watcher stops.
        """
        return self._canary.cookie()

    def mark(self) -> Future[None]:
        """Return what resolves once all that stands in the line of scans now is in the inbox.

        It is cancelled when the watcher stops.
        """
        passed: Future[None] = Future()
        self._scans.put(Passed((passed,)))
        return passed

    def alive(self, max_age: float) -> bool:
        """Whether the canary was heard within so many seconds, or nothing can be watched."""
        return self._shared.clock.monotonic() - self.observer.heard_at <= max_age

    def coverage(self) -> dict[str, Coverage]:
        """Return, by root, how much is watched."""
        found = {root: Coverage("none") for root in self._shared.roots.view.lookers}
        for emitter in self.observer.root_emitters():
            table, counts = emitter.looker.table, emitter.counts
            turns = self._scans.turns
            found[table.root] = Coverage(
                by="none" if self._backend is None else backend_of(table.top.watch),
                watched=table.watched,
                wanted=table.wanted,
                overflows=counts.overflows,
                last_overflow=counts.last_overflow,
                events=counts.events,
                failures=counts.failures,
                shortage=self._shortage or self._watches.shortage(table),
                # Last: what was looked into while this was read was still on its way.
                arriving=table.has_detached
                or self._scans.concern(table)
                or turns != self._scans.turns,
            )
        return found

    def _scan(self) -> None:
        """Be the scanner's thread. What it raises is kept here, and raised by `run`."""
        try:
            self._scanner.run()
        except BaseException as error:  # noqa: BLE001 - the boundary of a thread: kept and told
            self._scanner_error = error
        finally:
            self.observer.ask_to_stop()

    def _tick(self) -> None:
        """Prove life, or try again to begin it. Runs in the scanner's thread."""
        if self._backend is None:
            self.observer.heard_at = self._shared.clock.monotonic()
            if self._shared.clock.monotonic() >= self._retry_at and self._open_backend():
                for looker in self._scanner.lookers.values():
                    self.observer.handler.lose(looker.root)
            return
        try:
            self._beat(self._backend)
        except OSError as error:
            # A full disk says nothing about the watching.
            self.observer.heard_at = self._shared.clock.monotonic()
            if not self._canary_failed:
                self._shared.log.warning("canary_failed", why=error.strerror)
            self._canary_failed = True
        else:
            self._canary_failed = False

    def _beat(self, backend: Backend) -> None:
        """Make a beat be heard, in another directory when the one that was watched is not there.

        Raises:
            OSError: the state directory cannot be written to.
        """
        silence = self._shared.clock.monotonic() - self.observer.heard_at
        if self._canary.watch == NO_CANARY or silence > LONGEST_SILENCE:
            self._canary.open(backend)
        try:
            self._canary.beat()
        except FileNotFoundError:
            self._canary.open(backend)
            self._canary.beat()

    def _open_backend(self) -> bool:
        """Open the backend; return whether there is one."""
        try:
            backend = Backend(self._shared.log, prefers_fanotify=self.prefers_fanotify)
        except OSError as error:
            self._fall_short(error)
            return False
        try:
            self._canary.open(backend)
            self._canary.clear()
        except OSError as error:
            backend.close()
            self._fall_short(error)
            return False
        self._backend, self._shortage = backend, None
        self._watches.open(backend)
        self.observer.read_from(backend)
        return True

    def _fall_short(self, error: OSError) -> None:
        if self._shortage is None:
            self._shared.log.warning(
                "nothing_watched",
                why=error.strerror,
                limit=limit("max_user_instances"),
                what_to_do="raise fs.inotify.max_user_instances; the sweep sees all meanwhile",
            )
        self._shortage = "instance-limit"
        self._retry_seconds = min(
            max(2 * self._retry_seconds, FIRST_RETRY_SECONDS), LONGEST_RETRY_SECONDS
        )
        self._retry_at = self._shared.clock.monotonic() + self._retry_seconds

    def _close(self) -> None:
        """Close the backend, and with it every watch, before anybody takes them one by one."""
        self._watches.close()
        self._canary.lose("meshd is stopping", is_blind=True)
        if self._backend is not None:
            self._backend.close()
            self._backend = None
        self.observer.stop()
        self.observer.close()
        self._mounts.close()
