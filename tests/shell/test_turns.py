"""Whatever heartbeats, ticks, restarts and clocks do, each turn of health is told once."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshd import answers
from tests.harness import SteppedClock, World, write_manifest
from tests.shell.test_heartbeats import beat, tick, turns

AGENTS: Final = ("a", "b", "c")
HOUR: Final = 3600.0

STEPS = st.one_of(
    st.tuples(st.just("tick"), st.none()),
    st.tuples(st.just("beat"), st.sets(st.sampled_from(AGENTS), min_size=1)),
    st.tuples(st.just("pass"), st.sampled_from([0.4, 60.0, HOUR - 60, HOUR, 5 * HOUR, 30 * HOUR])),
    st.tuples(st.just("back"), st.sampled_from([0.4, 60.0, HOUR, 30 * HOUR])),
    st.tuples(st.just("restart"), st.none()),
)


class Follower:
    """Somebody who knows of healths only what the change log tells."""

    def __init__(self, state: Path, root: Path) -> None:
        self.clock = SteppedClock()
        self.state, self.root = state, root
        self.world = World(state, [root], clock=self.clock)
        self.world.sweep()
        self.known = dict.fromkeys(AGENTS, "stale")
        self.seq = self.world.seq()

    def do(self, step: str, value: object) -> None:
        """Do one step."""
        if step == "tick":
            self.tick()
        elif step == "beat":
            assert isinstance(value, set)
            assert [None] * len(value) == beat(self.world, *sorted(value))
            self.read()
            assert {"active"} == {self.known[one] for one in value}
        elif step == "pass":
            assert isinstance(value, float)
            self.clock.step(value)
        elif step == "back":
            assert isinstance(value, float)
            self.clock.wall_seconds -= value
        else:
            self.world.stop()
            self.world = World(self.state, [self.root], clock=self.clock)

    def tick(self) -> None:
        """Tick: what was told and what is answered are the same after it, and only then told."""
        commits = self.world.store.writer.commits
        known = dict(self.known)

        count = tick(self.world)

        self.read()
        assert count == sum(known[one] != self.known[one] for one in AGENTS)
        assert self.known == self.answered()
        assert tick(self.world) == 0
        assert self.world.store.writer.commits <= commits + 1

    def read(self) -> None:
        """Follow the log: every turn begins where the one before it ended."""
        for agent_id, before, after in turns(self.world, self.seq):
            assert before == self.known[agent_id] != after
            self.known[agent_id] = after
        self.seq = self.world.seq()

    def answered(self) -> dict[str, str]:
        now_ns = self.clock.wall_ns()
        return {
            agent_id: answers.health_document(agent, now_ns)["status"]
            for agent_id, agent in self.world.agents.items()
        }


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEPS, max_size=14))
def test_each_turn_is_told_once_and_the_log_says_what_answers_say(
    steps: list[tuple[str, object]],
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory) / "code"
        for agent_id in AGENTS:
            write_manifest(root / agent_id, agent_id)
        follower = Follower(Path(directory) / "state", root)
        try:
            for step, value in steps:
                follower.do(step, value)
            follower.tick()
        finally:
            follower.world.stop()
