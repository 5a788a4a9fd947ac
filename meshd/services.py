"""What the daemon offers to its surfaces.

Owns the list of things that may be asked of a running daemon; the HTTP routes are one to one
with it. Promises: every act goes through the inbox (R3) and returns a future that resolves
after the commit; reading needs none of this and uses the store's readers.
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from meshd.commands import AcceptRoot, Allow, Deny, Forget, SweepResult
from meshd.core.model import Source

if TYPE_CHECKING:
    from collections.abc import Callable

    from meshd.core.model import Agent
    from meshd.shared import Shared
    from meshd.sweeper import Sweeper


@dataclass(frozen=True, slots=True)
class ReloadOutcome:
    """What a reload did.

    Attributes:
        generation: number of the configuration in force; 1 is the one the daemon started with.
        changed: dotted keys that differ from before.
        needs_restart: those of them that take effect at the next start only.
    """

    generation: int
    changed: tuple[str, ...]
    needs_restart: tuple[str, ...]


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
    """

    ready: bool
    started_at: str
    last_sweep: SweepResult | None
    generation: int
    last_reload_ok: bool
    last_reload_error: str | None
    degraded: str | None


@dataclass(frozen=True, slots=True)
class SyncResult:
    """The promise of `sync`: what was on disk before the call is in the registry at `seq`.

    Attributes:
        held: agents whose disappearance the mass guard holds.
        roots: by root, how it was brought up to date: `sweep`, or `sick` when it was not.
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

    def __init__(self, daemon: Self, shared: Shared, sweeper: Sweeper) -> None:
        self.store = shared.store
        self.roots = shared.roots
        self.clock = shared.clock
        self._inbox = shared.inbox
        self._daemon = daemon
        self._sweeper = sweeper

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
        """Bring the registry up to date with the disk as it is now."""
        return _then(self._sweeper.request(Source.SWEEP, sync=True), self._synced)

    def _synced(self, result: SweepResult) -> SyncResult:
        with self.store.reading() as registry:
            seq = registry.newest_seq()
        by = {
            root: "sick" if root in result.sick_roots else "sweep"
            for root in self.roots.view.lookers
        }
        return SyncResult(seq, result.held, by)

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


def _then(
    first: Future[SweepResult], convert: Callable[[SweepResult], SyncResult]
) -> Future[SyncResult]:
    """Return a future of the converted result."""
    second: Future[SyncResult] = Future()

    def resolve(done: Future[SweepResult]) -> None:
        try:
            second.set_result(convert(done.result()))
        except BaseException as error:  # noqa: BLE001 - boundary: raised again by the future
            second.set_exception(error)

    first.add_done_callback(resolve)
    return second
