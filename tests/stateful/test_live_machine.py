"""Any program of edits, losses of events and kills, on a live daemon: after a sync it is right.

The whole daemon in its own process, told of changes by events alone: its sweep is a day away.
What was done one thing at a time has one outcome, the oracle's; of what was done in a hurry the
daemon may have seen stations, so more than one outcome is right.
"""

from __future__ import annotations

import os
import random
import signal
import tempfile
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.stateful import saying
from tests.stateful.estate import PLACES, ROOTS, Estate
from tests.stateful.oracle import Look, Oracle, Row
from tests.system.daemon import Daemon
from tests.system.live import NO_SWEEP

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.system.daemon import Document

# Read at import: a test runs in a cleared environment. Give others to search on.
SEEDS: Final = tuple(map(int, os.environ.get("MESHD_LIVE_SEEDS", "1 2 3").split()))
STEPS: Final = int(os.environ.get("MESHD_LIVE_STEPS", "60"))


class LiveMachine:
    """A hostile user, an operator and a power switch, against one daemon."""

    def __init__(self, estate: Estate, daemon: Daemon) -> None:
        self.estate = estate
        self.daemon = daemon
        self.chance = estate.chance

    def step(self) -> None:
        """Do something, sync, and compare."""
        (kind,) = self.chance.choices(
            [self.one_thing, self.a_hurry, self.an_overflow, self.a_kill, self.a_denial],
            [12, 6, 1, 1, 2],
        )
        self.estate.trail.append(kind.__name__.upper())
        kind()

    def one_thing(self) -> None:
        """One thing is done; there is one outcome."""
        oracle = Oracle(grace=86_400, interval=86_400, rows=self.rows())
        self.estate.act()
        self.sync()
        disk, roots = self.estate.looks(), self.estate.root_of_paths()
        oracle.sweep(disk, roots, set(ROOTS), now=0.0)
        expected = {row.agent_id: told(row) for row in oracle.rows.values()}
        assert {row.agent_id: told(row) for row in self.rows().values()} == expected
        self.expect_what_is_there()

    def a_hurry(self) -> None:
        """Many things are done before anybody asks."""
        self.act_often()
        self.sync()
        self.expect_what_is_there()

    def an_overflow(self) -> None:
        """More happens than the kernel keeps, while the daemon has no time to read."""
        before = self.overflows()
        self.daemon.process.send_signal(signal.SIGSTOP)
        try:
            self.act_often()
            self.estate.flood()
            self.act_often()
        finally:
            self.daemon.process.send_signal(signal.SIGCONT)
        self.sync()
        assert self.overflows() > before
        self.expect_what_is_there()

    def a_kill(self) -> None:
        """The daemon is killed at work, and starts again after more was done."""
        self.act_often()
        self.daemon.kill()
        self.act_often()
        self.daemon.start()
        self.act_often()
        self.sync()
        self.expect_what_is_there()

    def a_denial(self) -> None:
        """A place is denied, or allowed again, while things are done."""
        place = self.chance.choice(PLACES)
        self.act_often()
        with self.daemon.client() as client:
            if place in self.estate.denied:
                client.allow(str(self.estate.base / place))
                self.estate.denied.discard(place)
            else:
                client.deny(str(self.estate.base / place))
                self.estate.denied.add(place)
        self.estate.trail.append(f"denied: {sorted(self.estate.denied)}")
        self.act_often()
        self.sync()
        self.expect_what_is_there()

    def aftermath(self) -> str:
        """Return whether what is wrong comes right by itself, or by another sync, or a sweep."""
        if not self.daemon.running:
            return "the daemon does not run"
        helps: dict[str, Callable[[], object]] = {
            "time": partial(threading.Event().wait, 3.0),
            "a sync": self.daemon.client().sync,
            "a sweep": self.daemon.client().sweep,
            "a full sweep": partial(self.daemon.client().sweep, full=True),
        }
        for name, help_along in helps.items():
            help_along()
            try:
                self.expect_what_is_there()
            except (AssertionError, KeyError):
                continue
            return f"it came right by {name}"
        return "it does not come right"

    def act_often(self) -> None:
        for _ in range(self.chance.randint(1, 12)):
            self.estate.act()

    def sync(self) -> None:
        with self.daemon.client() as client:
            answer = client.sync()
        by = {root["by"] for root in answer["roots"]}
        self.estate.trail.append(f"sync by {by}")
        assert by <= {"events", "sweep"}

    def rows(self) -> dict[str, Row]:
        return {agent["id"]: row_of(agent) for agent in self.daemon.agents().values()}

    def overflows(self) -> int:
        return sum(root["overflows"] for root in self.daemon.status()["roots"])

    def expect_what_is_there(self) -> None:
        """Expect what holds whatever the daemon has seen on the way."""
        disk, rows, claims = self.estate.looks(), self.rows(), self.daemon.claims()
        live = {row.path: row for row in rows.values() if row.status == "active"}
        claimed = {look.agent_id for look in disk.values() if look.outcome == "present"}
        assert len(live) == sum(row.status == "active" for row in rows.values())
        for agent_id in claimed:
            row = rows[agent_id]
            assert row.status == "active" or disk[row.holder].outcome == "invalid", row
        for path, row in live.items():
            assert path is not None
            look = disk[path]
            assert look.outcome == "invalid" or look == Look(
                "present", row.agent_id, row.name, look.worktree, row.about
            ), row
        for path, look in disk.items():
            if look.outcome == "present":
                mine = path in live and live[path].agent_id == look.agent_id
                assert claims[path][0] == ("valid" if mine else "duplicate"), path
            elif look.outcome == "invalid":
                assert claims[path][0] == "invalid", path
        for row in rows.values():
            assert disk[row.holder].outcome != "denied", row


def row_of(agent: Document) -> Row:
    """Return a row as the oracle knows it."""
    return Row(
        agent["id"],
        agent["name"],
        agent["projectPath"],
        agent["lastPath"],
        agent["status"],
        about=saying.about(agent),
    )


def told(row: Row) -> tuple[str, str | None, str, str, str]:
    """Return what is to be seen of a row; how long it is absent is for sweeps to say."""
    return (row.name, row.path, row.last_path, row.status, row.about)


@pytest.mark.parametrize("seed", SEEDS)
def test_any_program_of_changes_and_one_sync(seed: int) -> None:
    memory = Path("/dev/shm")
    place = memory if memory.is_dir() else None
    with tempfile.TemporaryDirectory(dir=place, prefix="meshd-live-") as directory:
        estate = Estate(Path(directory).resolve(), random.Random(seed))
        home = estate.base / "h"
        home.mkdir()
        roots = [estate.base / root for root in ROOTS]
        with Daemon(home, *roots, config=NO_SWEEP) as daemon:
            machine = LiveMachine(estate, daemon)
            try:
                for _ in range(STEPS):
                    machine.step()
            except BaseException as error:
                error.add_note(f"seed {seed}:\n" + "\n".join(estate.trail[-80:]))
                error.add_note(machine.aftermath())
                raise
            # Nothing was lost on the way that a full sweep would have to find.
            assert daemon.sweep("--full")["drift"] == 0
