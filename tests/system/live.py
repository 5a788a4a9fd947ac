"""A daemon that nothing but events tells of changes, and a tree for it to watch.

Owns how a step of a day is done and judged where no sweep helps. Promises: what is not named
has not changed, what has changed is told by the watch, and it is told promptly.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.system.difference import changed
from tests.system.trees import commit_project, save

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.system.daemon import Daemon, Document
    from tests.system.trees import Project

NO_SWEEP: Final = '[sweep]\ninterval = "24h"\n'
VISIBLE: Final = 5.0
"""Seconds until what was done is given up as unseen."""
BACKENDS: Final = (
    "inotify",
    pytest.param(
        "fanotify",
        marks=pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a mark on a file system"),
    ),
)
"""What may watch; what is promised holds for both."""
PROMPT: Final = 1.0
"""Seconds from an act to its commit that are promised."""
TURNS_AT_REST: Final = 100
"""How often a second a daemon at rest may wait or read; one that spins does so by the thousand."""

_TURNS: Final = re.compile(r"^(?:voluntary_ctxt_switches|syscr):\s+(\d+)", re.MULTILINE)

Difference = dict[str, dict[str, Any] | None]


@dataclass
class Live:
    """A tree and the daemon that watches it.

    Attributes:
        unused: projects no step has touched yet, none of which holds another.
    """

    root: Path
    daemon: Daemon
    unused: list[Project]

    def take(self) -> Project:
        """Return a project for one step to use up."""
        return self.unused.pop()

    def after(
        self, act: Callable[[], object], expected: Mapping[str, Mapping[str, object]]
    ) -> list[str]:
        """Do something, and wait until the list of agents shows it and nothing else.

        Returns:
            The kinds of change the log tells of it, oldest first.
        """
        before, seq = self.daemon.agents(), self.daemon.status()["seq"]
        began = time.time()
        act()
        ended = time.time()
        shown: Difference = {}

        def shows() -> bool:
            shown.clear()
            shown.update(changed(before, self.daemon.agents()))
            return shown == expected

        try:
            self.daemon.wait_until(shows, "change in the list", VISIBLE)
        finally:
            assert shown == expected
        entries = self.entries(seq)
        assert entries
        for entry in entries:
            at = datetime.fromisoformat(entry["at"]).timestamp()
            # The log's times are cut to milliseconds.
            assert began - 0.001 <= at <= ended + PROMPT, entry
            assert entry["source"] == "watch", entry
        return [entry["kind"] for entry in entries]

    def entries(self, since: int) -> list[Document]:
        """Return the change log after `since`."""
        with self.daemon.client() as client:
            events: list[Document] = client.events(since)["events"]
        return events

    def new(self, path: Path, agent_id: str) -> Project:
        """Create a project, and wait until it is listed."""
        project = save(path, agent_id)
        self.daemon.wait_until(lambda: agent_id in self.daemon.agents(), "new agent", VISIBLE)
        return project

    def new_checkout(self, path: Path, agent_id: str) -> Project:
        """Create a checkout, and wait until it is listed."""
        project = commit_project(path, agent_id)
        self.daemon.wait_until(lambda: agent_id in self.daemon.agents(), "new agent", VISIBLE)
        return project


def configured(*roots: Path) -> str:
    """Return a configuration with these roots and no sweep but the first."""
    return f"[scan]\nroots = {json.dumps([str(root) for root in roots])}\n{NO_SWEEP}"


def is_watched(daemon: Daemon, root: Path) -> bool:
    """Whether events tell of all that happens below a root."""
    known = {one["path"]: one for one in daemon.status()["roots"]}
    return str(root) in known and (
        0 < known[str(root)]["wantedDirectories"] == known[str(root)]["watchedDirectories"]
    )


def is_asleep(daemon: Daemon) -> bool:
    """Whether every thread of the daemon waits for something, and none for a processor.

    Threads are seen one after another, and meanwhile one that spins may hand the interpreter's
    lock on: so they are looked at five times.
    """
    return all(state == "S" for _ in range(5) for state in _states(daemon))


def _states(daemon: Daemon) -> list[str]:
    """Return the kernel's letter for what each thread of the daemon does."""
    stats = (task / "stat" for task in Path(f"/proc/{daemon.process.pid}/task").iterdir())
    return [stat.read_text().rpartition(")")[2].split()[0] for stat in stats]


def turns_per_second(daemon: Daemon, seconds: float) -> float:
    """Return how often the daemon begins to wait, or reads, while nobody asks it for anything.

    These are counts: a busy machine makes a turn longer and does not add one.
    """
    began = time.monotonic()
    before = _turns(daemon)
    threading.Event().wait(seconds)  # a measurement over a time, not a wait for something
    return (_turns(daemon) - before) / (time.monotonic() - began)


def _turns(daemon: Daemon) -> int:
    """Return how often the daemon's threads have begun to wait, and how often they have read."""
    process = Path(f"/proc/{daemon.process.pid}")
    told = [(task / "status").read_text() for task in (process / "task").iterdir()]
    counted = [*told, (process / "io").read_text()]
    return sum(int(number) for text in counted for number in _TURNS.findall(text))
