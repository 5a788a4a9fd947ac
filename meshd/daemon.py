"""The daemon: wiring, supervision, reload, and an ordered end.

Owns the main thread. Assumes Linux. Promises: a signal, a reload or the end of an actor is
answered at once; a refused configuration changes nothing; the first actor that ends stops
all; a database that is lost or damaged under the running daemon is opened again as what it
is, from the files, without the lock being let go.
"""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING, Final

import meshd
from meshd import memory
from meshd.api.loopback import Loopback, Token, address_of, bind_loopback
from meshd.api.server import Server, bind_socket
from meshd.assembly import Parts, assemble
from meshd.banner import Banner
from meshd.clock import SystemClock, timestamp
from meshd.config import socket_path, state_directory
from meshd.errors import ForeignDatabaseError, MeshdError, NewerDatabaseError, StoreError
from meshd.log import Log
from meshd.opening import Opened, locked, open_store
from meshd.reloading import Reloader, Surroundings, check_places, keeping, tell_confined
from meshd.sdnotify import Notifier
from meshd.services import DaemonState, ReloadOutcome, Services
from meshd.store import changelog
from meshd.store.connection import Condition, examine, was_moved
from meshd.supervisor import Actor, Exit, Supervisor, signals, strays

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Future
    from pathlib import Path

    from structlog.typing import FilteringBoundLogger

    from meshd.clock import Clock
    from meshd.config import Settings

TICK: Final = 1.0
"""Seconds between looks at the configuration files, the database file and the watchdog."""

PRUNE_EVERY: Final = 3600.0
OPENING_STEP: Final = 30.0
"""Seconds that the examination of a database may need between two signs of life."""

CANARY_DEADLINE: Final = 15.0
"""Seconds within which the watcher must have heard its own canary; it beats every 2 s."""

SWITCH_INTERVAL: Final = 0.001
"""Seconds after which a computing thread lets others run: the API breathes during a sweep."""

STOP_ORDER: Final = (
    "meshd-watch", "meshd-sweep", "meshd-reconcile", "meshd-relay", "meshd-api", "meshd-writer",
)  # fmt: skip
STOP_DEADLINE: Final = 5.0


def run(
    settings: Settings,
    reload: Callable[[], Settings],
    *,
    config_path: Path | None,
    environ: Mapping[str, str],
) -> int:
    """Run until stopped and return the exit code.

    Args:
        settings: the configuration to start with.
        reload: reads the configuration anew; raises ConfigError.
        config_path: the file it was read from, watched for edits.
        environ: the environment.

    Raises:
        MeshdError: the daemon could not start; the message says what to do.
    """
    state = state_directory(settings, environ)
    check_places(settings, state)
    sys.setswitchinterval(SWITCH_INTERVAL)
    memory.prepare()
    clock = SystemClock()
    log = Log(settings.log.level, settings.log.format, stream=sys.stderr, environ=environ)
    log.adopt("asyncio", "uvicorn.error")
    notifier = Notifier(environ, clock)
    surroundings = Surroundings(reload, config_path, environ, log, clock, notifier)
    try:
        with locked(state):
            is_suspect = False
            moves: Callable[[], None] = partial(notifier.extend_timeout, OPENING_STEP)
            while True:
                opened = open_store(state, clock, _once_a_tick(moves, clock), thorough=is_suspect)
                _tell_opening(opened, log.logger)
                daemon = Daemon(settings, opened, surroundings)
                code = daemon.serve()
                if code is not None:
                    return code
                settings = keeping(daemon.settings, settings)
                del daemon, opened
                memory.let_go()
                # An opening that examines less finds what was lost to be sound.
                is_suspect, moves = True, notifier.watchdog
    finally:
        log.close()


def _once_a_tick(say: Callable[[], None], clock: Clock) -> Callable[[], None]:
    """Return what an examination may call at every move, to have it said once a tick."""
    said = clock.monotonic()

    def beat() -> None:
        nonlocal said
        if clock.monotonic() - said >= TICK:
            said = clock.monotonic()
            say()

    return beat


def _tell_opening(opened: Opened, log: FilteringBoundLogger) -> None:
    if opened.migrated and not opened.created:
        log.info("database_migrated", path=str(opened.store.path), to=opened.migrated[-1])
    if opened.rebuilt is not None:
        log.error(
            "database_rebuilt",
            path=str(opened.store.path),
            why=str(opened.rebuilt),
            kept=[str(path) for path in opened.quarantined],
            what_to_do="nothing, the first sweep fills it from the files; to have the change log of"
            " before back, stop the daemon and put the file or a backup of it in its place",
        )


class Daemon:
    """One life of the actors over one open store."""

    def __init__(self, settings: Settings, opened: Opened, surroundings: Surroundings) -> None:
        self._store = opened.store
        self._rebuilt = None if opened.rebuilt is None else str(opened.rebuilt)
        self._environ = surroundings.environ
        self._log_outlet = surroundings.log
        self._log = surroundings.log.logger
        self._clock = surroundings.clock
        self._notifier = surroundings.notifier
        self._started_at = timestamp(self._clock.wall_ns())
        self._parts: Parts = assemble(settings, self._store, self._clock, self._log)
        self._token = None if settings.api.listen is None else Token(settings.api.token_file)
        self._reloader = Reloader(settings, surroundings, self._parts, self._token)
        self._supervisor = Supervisor(self._log, self._clock)
        self._trouble: str | None = None
        self._next_prune = self._clock.monotonic()
        self._announced = False
        # Commits the writer had made when the service manager was last shown figures.
        self._shown = -1
        self._told_dropped = 0

    @property
    def settings(self) -> Settings:
        """The configuration in force."""
        return self._reloader.settings

    # what surfaces ask (any thread)

    def state(self) -> DaemonState:
        """Return what the daemon knows of itself now."""
        last = self._parts.courses.last
        return DaemonState(
            ready=last is not None,
            started_at=self._started_at,
            last_sweep=last,
            generation=self._reloader.generation,
            last_reload_ok=self._reloader.refused is None,
            last_reload_error=self._reloader.refused,
            degraded=self._trouble,
            log_dropped=self._log_outlet.dropped,
            rebuilt=self._rebuilt,
        )

    def reload(self) -> Future[ReloadOutcome]:
        """Ask the main thread for a reload."""
        future = self._reloader.ask()
        self._supervisor.wakeups.put(signal.SIGHUP)
        return future

    # the main thread

    def serve(self) -> int | None:
        """Run the actors; return the exit code, or None to open the store anew."""
        path = socket_path(self.settings, self._environ)
        server = self._bind(path)
        reconciler, sweeper = self._parts.reconciler, self._parts.sweeper
        actors: tuple[Actor, ...] = (
            Actor("meshd-writer", self._store.writer.run, self._store.writer.stop),
            Actor("meshd-api", server.run, server.stop),
            Actor("meshd-reconcile", reconciler.run, reconciler.stop),
            Actor("meshd-sweep", sweeper.run, sweeper.stop),
        )
        if (watcher := self._parts.watcher) is not None:
            # The watch begins before the first sweep, whose walk places the watches.
            watcher.open()
            actors = (*actors[:-1], Actor("meshd-watch", watcher.run, watcher.stop), actors[-1])
        if (announcer := self._parts.announcer) is not None:
            actors = (*actors, Actor("meshd-relay", announcer.run, announcer.stop))
        with signals(self._supervisor.wakeups), strays(self._supervisor, self._log):
            try:
                memory.settle()
                for actor in actors:
                    self._supervisor.start(actor)
                banner = Banner(self.settings, self._store, path, self._environ)
                banner.started()
                self._log.info(
                    "started",
                    version=meshd.__version__,
                    roots=len(self.settings.scan.roots),
                    socket=str(path),
                    epoch=self._store.epoch,
                )
                tell_confined(self.settings, self._log)
                self._notifier.ready()
                code = self._watch_over(banner)
                if code is not None:
                    # To be told this before a new opening, the manager would end the process.
                    self._notifier.stopping()
                return code
            finally:
                # Whatever ends the main thread's watch ends the actors: nothing is half-alive.
                self._stop()

    def _bind(self, path: Path) -> Server:
        """Take every way in, or none: a socket's file stays only while somebody answers there."""
        loopback = self._loopback()
        try:
            socket = bind_socket(path, int(self.settings.api.socket_mode, 8))
        except BaseException:
            if loopback is not None:
                loopback.listening.close()
            raise
        return Server(Services(self, self._parts), socket, path, loopback)

    def _loopback(self) -> Loopback | None:
        """Return the second way in, when it is asked for."""
        listen = self.settings.api.listen
        if self._token is None or listen is None:
            return None
        listening = bind_loopback(listen)
        self._log.info("listening", at=address_of(listening))
        return Loopback(listening, self._token)

    def _watch_over(self, banner: Banner) -> int | None:
        while True:
            wakeup = self._supervisor.wait(TICK)
            if isinstance(wakeup, Exit):
                why = "it ended" if wakeup.error is None else type(wakeup.error).__name__
                self._log.error("actor_ended", actor=wakeup.actor, why=why)
                return None if wakeup.error is not None and self._is_database_lost() else 1
            if wakeup in (signal.SIGINT, signal.SIGTERM):
                self._log.info("stopping", why=signal.Signals(wakeup).name)
                return 0
            if wakeup is signal.SIGHUP:
                self._reloader.reload()
            elif self._reloader.is_edited():
                # Gathered up with the hangup or the request that often follows an edit.
                self._supervisor.wakeups.put(signal.SIGHUP)
            if not self._tick(banner):
                return None

    def _is_database_lost(self) -> bool:
        """Whether the file is not the database any more: then an actor that died of it is no bug.

        A reader meets a damaged page first when the writer still has it in memory.
        """
        try:
            found = self._examine()
        except StoreError:
            return False
        if found is Condition.OURS:
            return False
        self._log.error("database_lost", path=str(self._store.path), why=str(found))
        return True

    def _tick(self, banner: Banner) -> bool:
        """Do what time alone asks for; False when the store must be opened anew."""
        writer = self._store.writer
        moved = False
        try:
            moved = writer.submit(was_moved).result(timeout=STOP_DEADLINE)
            if not moved and not self._announced and self._parts.courses.last is not None:
                banner.swept(self._parts.courses.last)
                self._announced = True
                memory.settle(self._store.give_back)
            self._prune()
            self._tell_dropped()
            self._notify_status()
        except MeshdError as error:
            # An actor that has ended is the next thing the main thread hears of.
            trouble: str | None = error.message
        except TimeoutError:
            # The watchdog is not fed: a writer that hangs is for the service manager to end.
            trouble = "the writer does not answer"
        else:
            watcher = self._parts.watcher
            deaf = watcher is not None and not watcher.alive(CANARY_DEADLINE)
            trouble = "the watcher does not hear" if deaf else self._parts.courses.trouble
            if not deaf:
                self._notifier.watchdog()
        lost = "a file of it was moved away" if moved else None
        if not moved and (suspicion := writer.suspect) is not None:
            is_lost, trouble = self._look_into(suspicion)
            lost = suspicion if is_lost else None
        self._note_trouble(trouble)
        if lost is None:
            return True
        self._log.error("database_lost", path=str(self._store.path), why=lost)
        return False

    def _look_into(self, suspicion: str) -> tuple[bool, str]:
        """Return whether a database that looks damaged is lost, and what is wrong if it is not.

        SQLite takes one read that the disk refused for damage (fault 104): what is sound in the
        examination stays open, and the connections that met it are replaced by their owners.
        """
        self._store.writer.suspect = None
        try:
            found = self._examine()
        except (ForeignDatabaseError, NewerDatabaseError):
            return True, suspicion  # the opening refuses it
        except StoreError as error:
            # A disk that does not answer says nothing of what is on it: one day it will. Without
            # the files that are open here, no new connection can read anything.
            self._store.writer.suspect = suspicion
            return False, error.message
        return found is not Condition.OURS, suspicion

    def _examine(self) -> Condition:
        """Examine a suspect, its indexes too; the main thread moves as long as that does."""
        beat = _once_a_tick(self._notifier.watchdog, self._clock)
        return examine(self._store.path, expected=True, thorough=True, beat=beat)

    def _prune(self) -> None:
        """Cut the change log at its old end, now and then."""
        now = self._clock.monotonic()
        if now < self._next_prune:
            return
        self._next_prune = now + PRUNE_EVERY
        keep_ns = int(self.settings.store.keep_changes * 1_000_000_000)
        oldest = timestamp(max(self._clock.wall_ns() - keep_ns, 0))
        pruned = self._store.writer.submit(lambda one: changelog.prune(one, oldest))
        pruned.result(timeout=STOP_DEADLINE)

    def _tell_dropped(self) -> None:
        """Log that records are missing, again and again until it is taken."""
        dropped = self._log_outlet.dropped
        if dropped > self._told_dropped:
            self._log.warning("log_dropped", count=dropped)
            self._told_dropped = dropped

    def _note_trouble(self, trouble: str | None) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            if trouble is None:
                self._log.info("recovered")
            else:
                self._log.error(
                    "degraded",
                    why=trouble,
                    what_to_do="remove the cause: it recovers by itself; else restart it",
                )

    def _notify_status(self) -> None:
        """Show the figures to the service manager, when there are new ones."""
        commits = self._store.writer.commits
        if self._shown == commits:
            return
        with self._store.reading() as registry:
            counts = registry.agents_per_root().values()
        live, every = sum(one for one, _ in counts), sum(one for _, one in counts)
        states = self._parts.shared.roots.view.states.values()
        self._notifier.status(
            agents=live,
            unreachable=every - live,
            sick_roots=sum(not state.healthy for state in states),
        )
        self._shown = commits

    def _stop(self) -> None:
        late = self._supervisor.stop(STOP_ORDER, deadline=STOP_DEADLINE)
        self._reloader.cancel()
        if late:
            # A thread stuck in the kernel cannot be joined, and keeps the lock of its looker;
            # what is committed is on disk, and workers end with their daemon.
            self._log.error("stopped_late", actors=late)
            self._log_outlet.close()
            os._exit(1)
        self._store.close_readers()
        self._parts.shared.roots.close()
        self._log.info("stopped")
