"""Any program of edits, moves, losses, acts and crashes, then one sweep: registry equals disk.

Real files, real SQLite, the parts the daemon wires. The clock is stepped. After every sweep
the rows must be the oracle's; after every step the invariants must hold.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from meshd.commands import Allow, Deny, SweepBegan
from meshd.core.model import ClaimOutcome, Hint, Source
from tests.harness import SteppedClock, World, write_bytes, write_manifest
from tests.stateful import saying
from tests.stateful.footprint import lies_below
from tests.stateful.oracle import Look, Oracle, Row

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from meshd.core.model import Agent

ROOTS = ("one", "two")
PLACES = tuple(f"{root}/{place}" for root in ROOTS for place in ("p", "q", "r", "deep/s"))
IDS = ("a", "b", "c", "d")
TEAM = tuple(f"{number:02}" for number in range(12))
"""In each root, agents whom nobody touches, but that they vanish and come back together."""
TEAMS = tuple(f"{root}/team/{name}" for root in ROOTS for name in TEAM)
HALF_HELD, AGREES_AFTER = 5, 60.0
INTERVAL, GRACE = 300, 900

# Read at import: a test runs in a cleared environment. Raise it to search longer.
EXAMPLES = int(os.environ.get("MESHD_MACHINE_EXAMPLES", "60"))

places = st.sampled_from(PLACES)
ids = st.sampled_from(IDS)


def of(root: str, rows: Mapping[str, Agent]) -> list[Agent]:
    """Return those rows that are of a root."""
    return [row for row in rows.values() if row.scan_root.endswith(f"/{root}")]


def rounded(row: Row) -> Row:
    """Return a row whose seconds can be compared: sums of floats differ by their order."""
    return row if row.waited is None else replace(row, waited=round(row.waited, 3))


class RegistryMachine(RuleBasedStateMachine):
    """A hostile user, an operator and a power switch, against one registry.

    Attributes:
        held: what the mass guard was told to have held: absences, removals.
        vanished: by id, when a sweep first missed who has not gone since.
    """

    held: ClassVar[set[str]] = set()

    def __init__(self) -> None:
        super().__init__()
        # A memory file system where there is one: thousands of commits wait for no disk.
        memory = Path("/dev/shm")
        self.base = Path(
            tempfile.mkdtemp(prefix="meshd-machine-", dir=memory if memory.is_dir() else None)
        )
        self.clock = SteppedClock()
        self.names = 0
        self.denied: set[str] = set()
        self.away: set[str] = set()
        self.vanished: dict[str, float] = {}

    @initialize()
    def start(self) -> None:
        for place in TEAMS:
            (self.base / place).mkdir(parents=True)
            write_manifest(self.base / place, place.replace("/", "-"))
        self.world = self.new_world()
        self.oracle = Oracle(GRACE, INTERVAL)
        self.sweep(full=False, minutes=0)

    def new_world(self) -> World:
        return World(
            self.base / "state",
            [self.base / root for root in ROOTS],
            clock=self.clock,
            interval=INTERVAL,
            grace=GRACE,
        )

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.stop()
        shutil.rmtree(self.base)

    # where things are

    def real(self, place: str) -> Path:
        """Return where a place is now: below its root, or below the root's hiding place."""
        root, _, rest = place.partition("/")
        return self.base / (f"{root}-away" if root in self.away else root) / rest

    def path(self, place: str) -> str:
        return str(self.base / place)

    def look(self, place: str) -> Look:
        root = place.partition("/")[0]
        if any(place == one or place.startswith(one + "/") for one in self.denied):
            return Look("denied")
        if root in self.away:
            return Look("frozen")
        project = self.real(place)
        file = project / ".dork" / "agent.json"
        if not file.exists():
            return Look("absent")
        text = file.read_text()
        if not text.startswith("{") or not text.endswith("}"):
            return Look("invalid")
        said = json.loads(text)
        worktree = (project / ".git").is_file()
        return Look("present", said["id"], said["name"], worktree, saying.about(said))

    # the user

    @rule(place=places, agent_id=ids)
    def write(self, place: str, agent_id: str) -> None:
        self.names += 1
        self.real(place).mkdir(parents=True, exist_ok=True)
        said = saying.fields(self.names)
        write_manifest(self.real(place), agent_id, name=f"name {self.names}", **said)

    @rule(place=places)
    def tear(self, place: str) -> None:
        if (self.real(place) / ".dork").is_dir():
            self.names += 1
            write_bytes(self.real(place), b'{"id": "a' + b" " * self.names)

    @rule(place=places)
    def delete_manifest(self, place: str) -> None:
        (self.real(place) / ".dork" / "agent.json").unlink(missing_ok=True)

    @rule(place=places)
    def delete_project(self, place: str) -> None:
        shutil.rmtree(self.real(place), ignore_errors=True)

    @rule(source=places, to=places)
    def move(self, source: str, to: str) -> None:
        if self.real(source).is_dir() and not self.real(to).exists():
            self.real(to).parent.mkdir(parents=True, exist_ok=True)
            self.real(source).rename(self.real(to))

    @rule(source=places, to=places, worktree=st.booleans())
    def clone(self, source: str, to: str, worktree: bool) -> None:
        if self.real(source).is_dir() and not self.real(to).exists():
            shutil.copytree(self.real(source), self.real(to))
            if worktree and not (self.real(to) / ".git").exists():
                (self.real(to) / ".git").write_text("gitdir: elsewhere\n")

    @rule(one=places, other=places)
    def swap(self, one: str, other: str) -> None:
        files = [self.real(place) / ".dork" / "agent.json" for place in (one, other)]
        if one != other and all(file.exists() for file in files):
            aside = files[0].with_name("aside")
            files[0].rename(aside)
            files[1].rename(files[0])
            aside.rename(files[1])

    @rule(root=st.sampled_from(ROOTS), seconds=st.sampled_from((None, 0, 61)))
    def vanish_or_return(self, root: str, seconds: int | None = None) -> None:
        """The team of a root vanishes, or comes back; a sweep may be next."""
        here, away = self.real(f"{root}/team"), self.base / f"team-of-{root}"
        if here.exists():
            here.rename(away)
        else:
            away.rename(here)
        if seconds is not None:
            self.careful_sweep(sync=False, seconds=seconds)

    # faults

    @rule(root=st.sampled_from(ROOTS))
    def unmount(self, root: str) -> None:
        if root not in self.away:
            (self.base / root).rename(self.base / f"{root}-away")
            self.away.add(root)

    @rule(root=st.sampled_from(ROOTS))
    def mount(self, root: str) -> None:
        if root in self.away:
            (self.base / f"{root}-away").rename(self.base / root)
            self.away.remove(root)

    @rule()
    def restart(self) -> None:
        self.world.stop()
        self.world = self.new_world()
        self.oracle.last_sweep.clear()
        self.vanished.clear()

    @rule(some=st.sets(places))
    def crash_in_sweep(self, some: set[str]) -> None:
        """A sweep dies after some of its gains were committed, and the daemon starts again."""
        view = self.world.roots.view
        checks = {root: self.world.sweeper._check(root, view) for root in view.lookers}
        self.world.inbox.post(SweepBegan(checks, Source.SWEEP))
        self.world.drain()
        self.world.inbox.put(
            [Hint(self.path(place), Source.SWEEP) for place in sorted(some)],
            root_of=lambda path: view.scope.owner(path) or path,
        )
        self.world.drain()
        self.restart()
        self.believe_the_rows()

    # events and the operator

    @rule(some=st.sets(places, min_size=1))
    def events(self, some: set[str]) -> None:
        """Events about some places arrive, and settle; the rest of what happened is missed."""
        with self.untouched():
            self.world.hint(*(Path(self.path(place)) for place in sorted(some)))
            self.world.settle()
        self.believe_the_rows()

    @rule(place=places)
    def deny(self, place: str) -> None:
        with self.untouched():
            self.world.act(Deny(self.path(place), None, "test"))
        self.denied.add(place)
        self.believe_the_rows()

    @rule(place=places)
    def allow(self, place: str) -> None:
        self.world.act(Allow(self.path(place)))
        self.denied.discard(place)

    @rule(sync=st.booleans(), seconds=st.sampled_from((0, 30, 61, 600)))
    def careful_sweep(self, sync: bool, seconds: int) -> None:
        """A sweep of the timer, or a sync: the mass guard may hold what it would take (I13)."""
        self.clock.step(seconds)
        # A sync before the first sweep of a run is that sweep.
        counts = not sync or self.world.sweeper._last_end is None
        before, seq = dict(self.world.agents), self.world.seq()
        self.world.sweep(sync=sync)
        if counts:
            self.oracle.observe(set(ROOTS) - self.away, self.clock.monotonic())
        self.believe_the_rows()
        self.expect_guarded(before, counts=counts)
        with self.world.store.reading() as registry:
            entries = registry.changes_since(seq, 1_000_000)
        self.held.update(*(one.after or () for one in entries if one.kind == "held"))

    def expect_guarded(self, before: dict[str, Agent], *, counts: bool) -> None:
        """Expect no half of a root to go before another sweep agreed a minute later (I13)."""
        after, now = self.world.agents, self.clock.monotonic()
        went = {
            agent_id: row
            for agent_id, row in before.items()
            if agent_id not in after or (row.live and not after[agent_id].live)
        }
        for root in ROOTS:
            for is_live in (True, False):
                size = sum(row.live or not is_live for row in of(root, before))
                lost = [row.id for row in of(root, went) if row.live is is_live]
                fresh = [one for one in lost if now - self.vanished.get(one, now) < AGREES_AFTER]
                many = len(fresh) >= HALF_HELD and 2 * len(fresh) > size
                assert not many, f"I13: {sorted(fresh)} of {root} at once"
        if counts:
            waiting = {row.agent_id for row in self.oracle.rows.values() if self.is_due(row)}
            self.vanished = {one: self.vanished.get(one, now) for one in waiting}

    def is_due(self, row: Row) -> bool:
        """Whether a row would be lost, or removed, if nothing held it."""
        gone = self.look(row.holder.removeprefix(f"{self.base}/")).outcome == "absent"
        return gone and (row.status == "active" or (row.waited or 0.0) >= GRACE)

    @rule(full=st.booleans(), minutes=st.sampled_from((0, 1, 5, 15, 10_000)))
    def sweep(self, full: bool, minutes: int) -> None:
        self.clock.step(minutes * 60)
        # The sweep looks twice, the second time after the settle time, and its clocks count
        # to its end; the oracle is told of the same moment.
        with self.untouched():
            self.world.sweep(full=full, confirm=True)
        self.vanished.clear()
        disk = {self.path(place): self.look(place) for place in (*PLACES, *TEAMS)}
        roots = {self.path(place): place.partition("/")[0] for place in (*PLACES, *TEAMS)}
        self.oracle.sweep(disk, roots, set(ROOTS) - self.away, self.clock.monotonic())
        found = {row.agent_id: rounded(row) for row in self.rows().values()}
        assert found == {row.agent_id: rounded(row) for row in self.oracle.rows.values()}

    @precondition(lambda self: hasattr(self, "world"))
    @rule()
    def sweep_again_changes_nothing(self) -> None:
        """I2: a second sweep over an unchanged disk finds nothing to tell."""
        self.sweep(full=False, minutes=0)
        seq = self.world.seq()
        self.sweep(full=False, minutes=0)
        assert self.world.seq() == seq

    @rule()
    def reload_the_same(self) -> None:
        """I19: the configuration that is in force already changes nothing."""
        seq = self.world.seq()
        with self.untouched():
            self.world.parts.configure(self.world.settings)
            self.world.settle()
        # What was put off before settles meanwhile; a reload itself tells nothing.
        assert not {kind for kind, _ in self.world.kinds(seq)} & {"unscanned", "root_sick"}
        self.believe_the_rows()

    @rule()
    def lose_the_database(self) -> None:
        """I12: what a sweep finds without it is what one found with it, but for what it waits."""
        if self.away:
            return
        self.sweep(full=False, minutes=0)
        before = self.world.live()
        self.world.stop()
        for file in (self.base / "state").glob("meshd.db*"):
            file.unlink()
        self.world = self.new_world()
        self.oracle.last_sweep.clear()
        self.vanished.clear()
        with self.untouched():
            self.world.sweep(confirm=True)
        invalid = {self.path(one) for one in PLACES if self.look(one).outcome == "invalid"}
        kept = {agent_id: path for agent_id, path in before.items() if path not in invalid}
        assert self.world.live() == kept
        self.oracle.observe(set(ROOTS), self.clock.monotonic())
        self.believe_the_rows()

    @contextlib.contextmanager
    def untouched(self) -> Iterator[None]:
        """I10: nothing on the disk is changed meanwhile."""
        roots = [path for path in self.base.iterdir() if path.name != "state"]
        before = lies_below(*roots)
        yield
        assert lies_below(*roots) == before

    # what is

    def rows(self) -> dict[str, Row]:
        with self.world.store.reading() as registry:
            clocks = {root: state.observed_seconds for root, state in registry.roots().items()}
        return {
            agent.id: Row(
                agent.id,
                agent.name,
                agent.project_path,
                agent.last_path,
                str(agent.status),
                None
                if agent.absent_clock is None
                else clocks[agent.scan_root] - agent.absent_clock,
                about=saying.about(
                    {
                        "description": agent.description,
                        "runtime": agent.runtime,
                        "capabilities": agent.capabilities,
                        "budget": agent.budget,
                    }
                ),
            )
            for agent in self.world.agents.values()
        }

    def believe_the_rows(self) -> None:
        """Take the rows as they are for what the next sweep starts from.

        What a part of the events does to the registry is for the invariants to judge; the
        oracle knows whole disks only.
        """
        self.oracle.rows = self.rows()

    @invariant()
    def one_live_row_per_path(self) -> None:
        """No path has two rows (I4); that no id has two is the primary key."""
        if hasattr(self, "world"):
            paths = [agent.project_path for agent in self.world.agents.values()]
            held = [path for path in paths if path is not None]
            assert len(held) == len(set(held))

    @invariant()
    def the_relay_has_the_live_rows(self) -> None:
        """I18: an endpoint for everybody who is live, and for nobody else."""
        if not hasattr(self, "world"):
            return
        with self.world.store.reading() as registry:
            endpoints = {one.endpoint.subject: str(one.state) for one in registry.endpoints()}
        live = [agent for agent in self.world.agents.values() if agent.live]
        assert endpoints == {f"relay.agent.{one.namespace}.{one.id}": "live" for one in live}

    @invariant()
    def valid_claims_and_live_rows_agree(self) -> None:
        if not hasattr(self, "world"):
            return
        with self.world.store.reading() as registry:
            valid = {claim.path: claim.agent_id for claim in registry.claims(ClaimOutcome.VALID)}
        owners = {
            agent.project_path: agent.id
            for agent in self.world.agents.values()
            if agent.project_path is not None
        }
        for path, agent_id in valid.items():
            assert owners.get(path) == agent_id

    @invariant()
    def the_log_replays_to_the_rows(self) -> None:
        """I8: every row is what the change log says it is, and none went without an entry."""
        if not hasattr(self, "world"):
            return
        told: dict[str, dict[str, object]] = {}
        with self.world.store.reading() as registry:
            entries = registry.changes_since(0, 1_000_000)
        for entry in entries:
            if entry.kind in ("removed", "denied", "forgotten"):
                if entry.agent_id is not None:
                    del told[entry.agent_id]
            elif entry.kind in ("refused", "invalid", "valid"):
                continue
            elif entry.agent_id is not None:
                told.setdefault(entry.agent_id, {}).update(entry.after or {})
        assert {
            agent_id: (row["name"], row["projectPath"], row["status"])
            for agent_id, row in told.items()
        } == {
            agent.id: (agent.name, agent.project_path, str(agent.status))
            for agent in self.world.agents.values()
        }


@pytest.mark.slow
def test_any_program_of_changes_and_one_sweep() -> None:
    class Machine(RegistryMachine):
        held: ClassVar[set[str]] = set()

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert "absences" in Machine.held


def test_a_team_that_vanishes_is_held_and_so_is_its_removal() -> None:
    class Machine(RegistryMachine):
        held: ClassVar[set[str]] = set()

    machine = Machine()
    try:
        machine.start()
        machine.vanish_or_return("one")
        machine.careful_sweep(sync=True, seconds=0)
        machine.careful_sweep(sync=False, seconds=30)
        assert machine.held == {"absences"}
        assert len(machine.world.live()) == len(TEAMS)
        machine.careful_sweep(sync=False, seconds=61)
        assert len(machine.world.live()) == len(TEAM)
        machine.careful_sweep(sync=False, seconds=600)
        machine.careful_sweep(sync=False, seconds=600)
        assert machine.held == {"absences", "removals"}
        assert len(machine.world.agents) == len(TEAMS)
        machine.careful_sweep(sync=False, seconds=61)
        assert len(machine.world.agents) == len(TEAM)
    finally:
        machine.teardown()
