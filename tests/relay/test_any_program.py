"""Any program of edits, moves, acts, sweeps, failures and restarts: endpoints are the live rows.

With the embedded relay that holds after every step. With a relay outside the database the table
holds it after every step, nothing is discoverable that the relay does not hold, and once the
relay answers and a sweep is over it holds exactly the live rows and the rules that follow.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from meshd.commands import Allow, Deny, Forget, SetRule
from meshd.core.access import Action
from meshd.core.endpoints import EndpointState, endpoint_of, rules_for
from tests.harness import SteppedClock, World, write_manifest
from tests.relay.relays import TestRelay

PLACES = ("x/p", "x/q", "y/p", "y/p/inner", "z")
IDS = ("a", "b", "c")
NAMESPACES = (None, "x", "y", "w")

places = st.sampled_from(PLACES)


class Embedded(RuleBasedStateMachine):
    """A user, an operator and a power switch, against the endpoints of one registry."""

    def __init__(self) -> None:
        super().__init__()
        # A memory file system where there is one: thousands of commits wait for no disk.
        memory = Path("/dev/shm")
        self.base = Path(
            tempfile.mkdtemp(prefix="meshd-relay-", dir=memory if memory.is_dir() else None)
        )
        self.root = self.base / "root"
        self.root.mkdir()
        self.clock = SteppedClock()
        self.world: World | None = None

    relay: TestRelay | None = None

    def new_world(self) -> World:
        return World(
            self.base / "state",
            [self.root],
            clock=self.clock,
            interval=300,
            grace=900,
            relay=self.relay,
        )

    @initialize()
    def start(self) -> None:
        self.world = self.new_world()

    @property
    def now(self) -> World:
        assert self.world is not None
        return self.world

    def teardown(self) -> None:
        if self.world is not None:
            self.world.stop()
        shutil.rmtree(self.base)

    # the user

    @rule(place=places, agent_id=st.sampled_from(IDS), namespace=st.sampled_from(NAMESPACES))
    def write(self, place: str, agent_id: str, namespace: str | None) -> None:
        fields = {} if namespace is None else {"namespace": namespace}
        write_manifest(self.root / place, agent_id, **fields)

    @rule(place=places)
    def delete(self, place: str) -> None:
        (self.root / place / ".dork" / "agent.json").unlink(missing_ok=True)

    @rule(place=places, other=places)
    def move(self, place: str, other: str) -> None:
        source, target = self.root / place / ".dork", self.root / other / ".dork"
        if source.exists() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            source.rename(target)

    # the operator

    @rule(place=places)
    def deny(self, place: str) -> None:
        self.now.act(Deny(str(self.root / place), None, "test"))

    @rule(place=places)
    def allow(self, place: str) -> None:
        self.now.act(Allow(str(self.root / place)))

    @rule(excluded=st.sampled_from(((), ("x",), ("y", "z"))))
    def exclude(self, excluded: tuple[str, ...]) -> None:
        scan = self.now.settings.scan.model_copy(update={"exclude": excluded})
        self.now.roots.configure(scan)

    @rule()
    def forget(self) -> None:
        self.now.act(Forget(None))

    @rule(open_=st.booleans(), action=st.sampled_from(Action))
    def set_rule(self, open_: bool, action: Action) -> None:
        ends = ("*", "*") if open_ else ("x", "y")
        self.now.act(SetRule(*ends, action))

    # the daemon

    @rule(place=places)
    def events(self, place: str) -> None:
        self.now.hint(self.root / place)
        self.now.settle()

    @rule(seconds=st.sampled_from((0, 300, 2000)))
    def sweep(self, seconds: int) -> None:
        self.now.sweep(confirm=True, after=seconds)

    @rule()
    def restart(self) -> None:
        self.now.stop()
        self.world = self.new_world()

    @rule()
    def quiet(self) -> None:
        """What has converged is left alone (R10)."""
        self.now.sweep(confirm=True)
        seq, commits = self.now.seq(), self.now.store.writer.commits
        self.now.sweep(confirm=True)
        assert self.now.seq() == seq
        if not any(row.status == "unreachable" for row in self.now.agents.values()):
            assert self.now.store.writer.commits == commits

    @precondition(lambda self: self.world is not None)
    @invariant()
    def endpoints_are_the_live_rows(self) -> None:
        wanted = {endpoint_of(row) for row in self.now.agents.values()} - {None}
        with self.now.store.reading() as registry:
            rows = registry.endpoints()
            namespaces = registry.namespaces(pending=True)
            assert not registry.endpoints_differ(self.settled)
        assert {row.endpoint for row in rows if row.state in self.settled} == wanted
        assert {row.state for row in rows} <= self.possible
        assert set(namespaces) == {row.namespace for row in self.now.agents.values() if row.live}

    settled = frozenset({EndpointState.LIVE})
    possible = frozenset({EndpointState.LIVE})


class Outside(Embedded):
    """The same, with a relay outside the database that fails and loses things."""

    settled = frozenset({EndpointState.LIVE, EndpointState.PENDING})
    possible = frozenset(EndpointState)

    def __init__(self) -> None:
        super().__init__()
        self.relay = TestRelay()
        # Subjects that the relay has lost since it was last compared.
        self.lost: set[str] = set()

    @property
    def told(self) -> TestRelay:
        assert self.relay is not None
        return self.relay

    @rule(failing=st.lists(st.booleans(), max_size=6), takes_effect=st.booleans())
    def announce(self, failing: list[bool], takes_effect: bool) -> None:
        self.told.failing, self.told.takes_effect = iter(failing), takes_effect
        announcer = self.now.parts.announcer
        assert announcer is not None
        announcer.announce()
        self.told.failing = iter(())

    @rule(seconds=st.sampled_from((1, 300)))
    def wait(self, seconds: int) -> None:
        self.clock.step(seconds)

    @rule()
    def lose(self) -> None:
        self.lost |= self.told.endpoints.keys()
        self.told.endpoints.clear()
        self.told.rules.clear()

    @rule()
    def converge(self) -> None:
        """I18: at quiescence the relay holds the live rows and nothing else."""
        self.now.sweep(confirm=True, after=300)
        announcer = self.now.parts.announcer
        assert announcer is not None
        assert announcer.announce() is None
        self.lost.clear()
        live = {endpoint_of(row) for row in self.now.agents.values()} - {None}
        with self.now.store.reading() as registry:
            assert {row.endpoint for row in registry.endpoints()} == live
            assert {row.state for row in registry.endpoints()} <= {EndpointState.LIVE}
            rules = rules_for(registry.namespaces(), registry.explicit_rules(), ())
        assert set(self.told.endpoints.values()) == live
        assert set(self.told.rules.values()) == rules

        calls = len(self.told.calls)
        announcer.announce()
        assert len(self.told.calls) == calls

    @precondition(lambda self: self.world is not None)
    @invariant()
    def nothing_is_discoverable_that_the_relay_does_not_hold(self) -> None:
        with self.now.store.reading() as registry:
            found = [registry.endpoint_of(one.agent.id) for one in registry.live_records()]
        subjects = {row.endpoint.subject for row in found if row is not None}
        assert len(subjects) == len(found)
        assert subjects <= self.told.endpoints.keys() | self.lost


def run(machine: type[RuleBasedStateMachine], examples: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_endpoints_of_the_embedded_relay_are_the_live_rows_after_any_program() -> None:
    run(Embedded, 40)


def test_a_relay_outside_comes_to_hold_the_live_rows_after_any_program() -> None:
    run(Outside, 35)
