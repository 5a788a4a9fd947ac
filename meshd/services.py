"""What the daemon offers to its surfaces.

Owns the list of things that may be asked of a running daemon; the HTTP routes are one to one
with it. Promises: every act goes through the inbox (R3) and returns a future that resolves
after the commit; reading needs none of this and uses the store's readers.
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from meshd.commands import (
    AcceptRoot,
    Allow,
    Deny,
    Forget,
    Heartbeat,
    Overdue,
    Register,
    Removal,
    SetRule,
    SweepResult,
    Sync,
    Unregister,
    Update,
)
from meshd.core.model import Source
from meshd.errors import MeshdError, StoppingError

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Generator, Mapping, Sequence

    from meshd.assembly import Parts
    from meshd.commands import Registered, Unregistered
    from meshd.core.access import Action
    from meshd.core.candidates import SearchEvent
    from meshd.core.model import Agent
    from meshd.watcher import Coverage

LONGEST_COOKIE: Final = 10.0
"""Seconds a sync waits for its cookie, before it sweeps instead."""


@dataclass(frozen=True, slots=True)
class ReloadOutcome:
    """What a reload did.

    Attributes:
        generation: number of the configuration in force; 1 is the one the daemon started with.
        changed: dotted keys that differ from before.
        needs_restart: those of them that take effect at the next start only.
        notices: what keeps the service from a root, and what to do about it.
    """

    generation: int
    changed: tuple[str, ...]
    needs_restart: tuple[str, ...]
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DaemonState:
    """What the daemon knows of itself at one moment.

    Attributes:
        ready: whether the first sweep of every reachable root is committed.
        started_at: wall-clock time, RFC 3339.
        last_sweep: the newest sweep that ended, None before the first.
        generation: number of the configuration in force.
        last_reload_ok: False while the newest configuration was refused.
        last_reload_error: why it was refused.
        degraded: what is wrong with the daemon itself, None when nothing is.
        log_dropped: records that could not be written.
        rebuilt: why the database had to be built anew when it was opened, None when it had not.
    """

    ready: bool
    started_at: str
    last_sweep: SweepResult | None
    generation: int
    last_reload_ok: bool
    last_reload_error: str | None
    degraded: str | None
    log_dropped: int = 0
    rebuilt: str | None = None


@dataclass(frozen=True, slots=True)
class SyncResult:
    """The promise of `sync`: what was on disk before the call is in the registry at `seq`.

    Attributes:
        held: agents whose disappearance the mass guard holds.
        roots: by root, how it was brought up to date: `events`, `sweep`, or `sick` when it
            was not.
    """

    seq: int
    held: int
    roots: dict[str, str]


class Self(Protocol):
    """How the daemon answers for itself."""

    def state(self) -> DaemonState:
        """Return what the daemon knows of itself now."""
        ...

    def reload(self) -> Future[ReloadOutcome]:
        """Ask for a reload; a refused configuration is the future's error."""
        ...


class Services:
    """The daemon, as a surface sees it."""

    def __init__(self, daemon: Self, parts: Parts) -> None:
        shared = parts.shared
        self.store = shared.store
        self.roots = shared.roots
        self.clock = shared.clock
        self._inbox = shared.inbox
        self._daemon = daemon
        self._parts = parts
        self._sweeper = parts.sweeper
        self._watcher = parts.watcher

    @property
    def system_ids(self) -> frozenset[str]:
        """Ids that everyone may reach and that may reach everyone."""
        return self._parts.shared.trust.system

    @property
    def waiting(self) -> int:
        """How many projects wait in the inbox."""
        return len(self._inbox)

    @property
    def relay_failures(self) -> int:
        """How often a relay outside the database failed; 0 without one."""
        announcer = self._parts.announcer
        return 0 if announcer is None else announcer.failures

    def state(self) -> DaemonState:
        """Return what the daemon knows of itself now."""
        return self._daemon.state()

    def reload(self) -> Future[ReloadOutcome]:
        """Reload the configuration; a refused one changes nothing and is the future's error."""
        return self._daemon.reload()

    def sweep(self, *, full: bool = False, confirm: bool = False) -> Future[SweepResult]:
        """Sweep from now; resolves when it is committed."""
        return self._sweeper.request(Source.SWEEP, full=full, confirm=confirm)

    def sync(self) -> Future[SyncResult]:
        """Bring the registry up to date with the disk as it is now.

        By events, where all that could be seen is watched; else by a sweep.
        """
        result: Future[SyncResult] = Future()
        if self._watcher is not None and self._is_healthy():
            cookie = self._watcher.cookie()
            cookie.add_done_callback(lambda cookie: self._heard(cookie, result))
            try:
                self._inbox.post(Overdue(cookie), self.clock.monotonic() + LONGEST_COOKIE)
            except StoppingError:
                cookie.cancel()
        else:
            self._sync_by_sweep(result)
        return result

    def _is_healthy(self) -> bool:
        """Whether every root was in order when it was looked at last.

        Of a sick one events may say nothing; it may be in order by now, which a sweep finds out.
        """
        view = self.roots.view
        states = (view.states.get(root) for root in view.lookers)
        return self.state().ready and all(one is not None and one.healthy for one in states)

    def _heard(self, cookie: Future[None], result: Future[SyncResult]) -> None:
        """Go on when every event before the sync is a hint in the inbox.

        Only now it is asked whether everything is watched: what has just come or gone is known
        by half until the events of it are read.
        """
        is_heard = not cookie.cancelled() and cookie.exception() is None
        if not is_heard or not self._is_healthy() or not self._parts.is_watched:
            self._sync_by_sweep(result)
            return
        self._decide_the_rest(result, self._synced_by_events)

    def _sync_by_sweep(self, result: Future[SyncResult]) -> None:
        swept = self._sweeper.request(Source.SWEEP, sync=True)
        swept.add_done_callback(lambda done: self._swept(done, result))

    def _swept(self, swept: Future[SweepResult], result: Future[SyncResult]) -> None:
        """Go on when the sweep has ended: what an event had put off before may wait longer."""
        if swept.cancelled() or swept.exception() is not None:
            _settle(result, swept, lambda: self._synced_by_sweep(swept.result()))
        else:
            self._decide_the_rest(result, lambda: self._synced_by_sweep(swept.result()))

    def _decide_the_rest(
        self, result: Future[SyncResult], answer: Callable[[], SyncResult]
    ) -> None:
        """Resolve `result` once everything that waits in the inbox or behind it is decided."""
        sync = Sync()
        sync.future.add_done_callback(lambda done: _settle(result, done, answer))
        _settle_if_refused(result, lambda: self._inbox.post(sync))

    def _synced_by_sweep(self, result: SweepResult) -> SyncResult:
        return self._synced("sweep", result.held, result.sick_roots)

    def _synced_by_events(self) -> SyncResult:
        states = self.roots.view.states
        sick = [root for root, state in states.items() if not state.healthy]
        return self._synced("events", len(self._parts.courses.holds.ids), sick)

    def _synced(self, by: str, held: int, sick: Container[str]) -> SyncResult:
        with self.store.reading() as registry:
            seq = registry.newest_seq()
        roots = {root: "sick" if root in sick else by for root in self.roots.view.lookers}
        return SyncResult(seq, held, roots)

    def coverage(self) -> Mapping[str, Coverage]:
        """Return, by root, how much is watched."""
        return {} if self._watcher is None else self._watcher.coverage()

    def deny(self, path: str, reason: str | None, denier: str) -> Future[tuple[str, ...]]:
        """Leave a path alone; resolves to the ids that left."""
        act = Deny(path, reason, denier)
        self._inbox.post(act)
        return act.future

    def allow(self, path: str) -> Future[bool]:
        """Take a denial back, and look at the subtree; resolves to whether there was one."""
        act = Allow(path)
        self._inbox.post(act)
        return act.future

    def forget(self, agent_id: str | None) -> Future[tuple[Agent, ...]]:
        """Drop the row of an id, or every row out of scope (None); resolves to the rows."""
        act = Forget(agent_id)
        self._inbox.post(act)
        return act.future

    def accept_root(self, path: str) -> Future[None]:
        """Take what lies at a root now for the root."""
        act = AcceptRoot(path)
        self._inbox.post(act)
        return act.future

    def discover(
        self, roots: Sequence[str], max_depth: int | None, stop: Callable[[], bool]
    ) -> Generator[SearchEvent, None, None]:
        """Search directories for candidates; see `Discovery.discover`."""
        return self._parts.discovery.discover(roots, max_depth, stop)

    def register(
        self, path: str, overrides: Mapping[str, Any], approver: str, *, dry_run: bool = False
    ) -> Future[Registered]:
        """Give a project a manifest, or take the one it has."""
        act = Register(path, overrides, approver, dry_run)
        self._inbox.post(act)
        return act.future

    def update(
        self,
        agent_id: str,
        changes: Mapping[str, Any],
        *,
        expected_seq: int | None = None,
        dry_run: bool = False,
    ) -> Future[Registered]:
        """Change a manifest where it lies."""
        act = Update(agent_id, changes, expected_seq, dry_run)
        self._inbox.post(act)
        return act.future

    def unregister(
        self, agent_id: str, removal: Removal = Removal.MANIFEST, *, dry_run: bool = False
    ) -> Future[Unregistered]:
        """Take an agent out of the registry for good."""
        act = Unregister(agent_id, removal, dry_run)
        self._inbox.post(act)
        return act.future

    def heartbeat(self, agent_id: str, event: str) -> Future[None]:
        """Note that an agent lives; resolves when it can be read."""
        act = Heartbeat(agent_id, event)
        self._inbox.post(act)
        return act.future

    def set_rule(self, source: str, target: str, action: Action) -> Future[bool]:
        """Let one namespace reach another, or not; resolves to whether that was news."""
        act = SetRule(source, target, action)
        self._inbox.post(act)
        return act.future


def _settle(
    result: Future[SyncResult], done: Future[Any], convert: Callable[[], SyncResult]
) -> None:
    """Resolve `result` by what is done, or with its error."""
    try:
        done.result()
        result.set_result(convert())
    except BaseException as error:  # noqa: BLE001 - boundary: raised again by the future
        result.set_exception(error)


def _settle_if_refused(result: Future[SyncResult], act: Callable[[], None]) -> None:
    """Resolve `result` with the error of an act that is refused."""
    try:
        act()
    except MeshdError as error:
        result.set_exception(error)
