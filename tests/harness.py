"""A registry over real directories and a real database, without a daemon around it.

What is faked: the clock, which the test steps; and the inbox's waiting, because the world
drains it itself instead of running the reconciler in a thread of its own forever. The writer
runs in its own thread, as always. Everything else is what the daemon wires.
"""

from __future__ import annotations

import json
import math
import shutil
import threading
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from meshd.assembly import assemble
from meshd.config.settings import (
    LimitSettings,
    ScanSettings,
    Settings,
    SweepSettings,
    WatchSettings,
)
from meshd.core.model import Hint, Source
from meshd.opening import open_store

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Future
    from pathlib import Path

    from meshd.commands import SweepResult
    from meshd.core.model import Agent
    from meshd.reconciler import Act
    from meshd.relay import Relay
    from meshd.store.registry import Record

Result = TypeVar("Result")

MANIFEST = {
    "id": "a",
    "name": "agent a",
    "runtime": "claude-code",
    "registeredAt": "2026-01-01T00:00:00Z",
    "registeredBy": "test",
}


class SteppedClock:
    """A clock that moves only when told; wall and monotonic time are set apart on purpose."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        # Far ahead of every file, so that no signature is racy unless a test wants it.
        self.wall_seconds = 4_000_000_000.0

    def monotonic(self) -> float:
        return self.seconds

    def wall_ns(self) -> int:
        return int(self.wall_seconds * 1_000_000_000)

    def step(self, seconds: float) -> None:
        self.seconds += seconds
        self.wall_seconds += seconds

    def set_wall(self, seconds: float) -> None:
        """Set the wall clock forth or back, as an operator does; the monotonic one goes on."""
        self.wall_seconds += seconds


def manifest(agent_id: str, **fields: object) -> dict[str, Any]:
    return {**MANIFEST, "id": agent_id, "name": f"agent {agent_id}", **fields}


def write_manifest(project: Path, agent_id: str, **fields: object) -> Path:
    """Write a manifest as an editor saves: a new file, renamed over the old one."""
    return write_bytes(project, json.dumps(manifest(agent_id, **fields)).encode())


def write_bytes(project: Path, data: bytes) -> Path:
    directory = project / ".dork"
    directory.mkdir(parents=True, exist_ok=True)
    temporary = directory / ".agent.json.tmp"
    temporary.write_bytes(data)
    return temporary.rename(directory / "agent.json")


def delete_manifest(project: Path) -> None:
    (project / ".dork" / "agent.json").unlink()


def delete_project(project: Path) -> None:
    shutil.rmtree(project)


class World:
    """One state directory over some roots; `stop` and a new World are a restart."""

    def __init__(
        self,
        state: Path,
        roots: Iterable[Path],
        *,
        clock: SteppedClock | None = None,
        interval: int = 300,
        grace: int = 86_400,
        full_every: int = 1_000_000,
        relay: Relay | None = None,
        limits: LimitSettings | None = None,
        **scan: Any,  # noqa: ANN401 - whatever ScanSettings takes
    ) -> None:
        state.mkdir(exist_ok=True, mode=0o700)
        self.clock = clock or SteppedClock()
        self.log = structlog.testing.CapturingLogger()
        log = structlog.wrap_logger(self.log, processors=[])
        self.opened = open_store(state, self.clock)
        self.store = self.opened.store
        self.settings = Settings(
            scan=ScanSettings(roots=tuple(str(root) for root in roots), **scan),
            sweep=SweepSettings(interval=f"{interval}s", full_every=full_every, grace=f"{grace}s"),
            watch=WatchSettings(backend="none"),
            limits=limits or LimitSettings(),
        )
        # A daemon thread: a test that fails before `stop` must fail, not hang.
        self._writer = threading.Thread(
            target=self.store.writer.run, name="meshd-writer", daemon=True
        )
        self._writer.start()
        parts = assemble(self.settings, self.store, self.clock, log, relay=relay)
        self.parts = parts
        self.inbox, self.roots, self.courses = parts.shared.inbox, parts.shared.roots, parts.courses
        self.reconciler, self.sweeper = parts.reconciler, parts.sweeper
        # Waiting for the reconciler means running it: here, now, in this thread.
        self.sweeper._await = self._await  # type: ignore[method-assign]
        if parts.announcer is not None:
            parts.announcer._await = self._await  # type: ignore[method-assign]
        # The first sweep of a run is full; the worlds of tests begin after it.
        self.sweeper._count = 1

    def _await(self, future: Future[Result]) -> Result:
        while not future.done():
            self.drain()
            if not future.done():
                self.clock.step(0.2)
        return future.result()

    def drain(self) -> None:
        """Let the reconciler do all that is due."""
        while batch := self.inbox.take(timeout=0.0):
            self.reconciler.process(batch)

    def settle(self) -> None:
        """Let the settle time pass, second looks included."""
        for _ in range(6):
            self.drain()
            self.clock.step(0.2)
        self.drain()

    def sweep(
        self, *, full: bool = False, confirm: bool = False, sync: bool = False, after: float = 0.0
    ) -> SweepResult:
        """Sweep once, `after` seconds later."""
        self.clock.step(after)
        future = self.sweeper.request(Source.SWEEP, full=full, confirm=confirm, sync=sync)
        self.sweeper.sweep(self.sweeper._wait_for_requests(-math.inf))
        return future.result(timeout=0)

    def hint(self, *projects: Path, source: Source = Source.WATCH) -> None:
        """Put hints, as a watcher would."""
        owner = self.roots.view.scope.owner
        self.inbox.put(
            [Hint(str(project), source) for project in projects],
            root_of=lambda path: owner(path) or path,
        )

    def act(self, act: Act) -> Any:  # noqa: ANN401 - each act resolves to its own type
        self.inbox.post(act)
        self.drain()
        return act.future.result(timeout=0)

    @property
    def records(self) -> dict[str, Record]:
        with self.store.reading() as registry:
            return {record.agent.id: record for record in registry.records()}

    @property
    def agents(self) -> dict[str, Agent]:
        return {agent_id: record.agent for agent_id, record in self.records.items()}

    def live(self) -> dict[str, str]:
        """Return, by id, the path of every live agent."""
        return {
            agent_id: agent.project_path or ""
            for agent_id, agent in self.agents.items()
            if agent.live
        }

    def claims(self) -> dict[str, tuple[str, str | None]]:
        with self.store.reading() as registry:
            return {
                claim.path: (str(claim.outcome), claim.reason and str(claim.reason))
                for claim in registry.claims()
            }

    def kinds(self, since: int = 0) -> list[tuple[str, str | None]]:
        """Return (kind, id) of every change after `since`."""
        with self.store.reading() as registry:
            return [(entry.kind, entry.agent_id) for entry in registry.changes_since(since)]

    def seq(self) -> int:
        with self.store.reading() as registry:
            return registry.newest_seq()

    def stop(self) -> None:
        self.inbox.close()
        self.store.writer.stop()
        self._writer.join(timeout=10)
        assert not self._writer.is_alive()
        self.store.close_readers()
        self.roots.close()
