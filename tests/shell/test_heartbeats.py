"""Heartbeats, and what time turns: what is told, how often, and what it costs."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from meshd.commands import Heartbeat, TellTurns
from meshd.core.cadence import Cadence
from meshd.errors import NotFoundError, StoreError
from meshd.heartbeats import MARK, MOST_NAMED
from meshd.sweeper import TICK
from tests.harness import SteppedClock, World, delete_project, write_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from meshd.store.changelog import Entry

HOUR = 3600.0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "code"
    for agent_id in ("a", "b"):
        write_manifest(root / agent_id, agent_id)
    return root


@pytest.fixture
def world(tmp_path: Path, root: Path) -> Iterator[World]:
    world = World(tmp_path / "state", [root])
    world.sweep()
    yield world
    world.stop()


def beat(world: World, *ids: str, event: str = "heartbeat") -> list[BaseException | None]:
    """Let heartbeats arrive together; return the error of each."""
    acts = [Heartbeat(agent_id, event) for agent_id in ids]
    for act in acts:
        world.inbox.post(act)
    world.drain()
    return [act.future.exception(timeout=0) for act in acts]


def tick(world: World) -> int:
    act = TellTurns()
    world.inbox.post(act)
    world.drain()
    return act.future.result(timeout=0)


def told(world: World, since: int = 0) -> list[Entry]:
    with world.store.reading() as registry:
        return [one for one in registry.changes_since(since) if one.kind == "health_changed"]


def turns(world: World, since: int = 0) -> list[tuple[str, str, str]]:
    """Return (id, from, to) of every turn that was told, in order."""
    found: list[tuple[str, str, str]] = []
    for entry in told(world, since):
        before, after = entry.before or {}, entry.after or {}
        if entry.agent_id is None:
            found += [(one["id"], one["from"], one["to"]) for one in after["turned"]]
        else:
            found.append((entry.agent_id, before["healthStatus"], after["healthStatus"]))
    return found


def stored_mark(world: World) -> str:
    with world.store.reading() as registry:
        return registry.meta(MARK)


def test_a_heartbeat_is_readable_at_once_and_leaves_the_rest_of_the_row(world: World) -> None:
    before = world.agents["a"]

    assert beat(world, "a", event="tool-use") == [None]

    after = world.agents["a"]
    assert (after.last_seen_at, after.last_seen_event) == ("2096-10-02T07:06:40.000Z", "tool-use")
    assert (before.seq, before.updated_at) == (after.seq, after.updated_at)
    assert world.agents["b"].last_seen_at is None


def test_a_heartbeat_that_turns_the_health_is_told_and_one_that_does_not_is_not(
    world: World, root: Path
) -> None:
    beat(world, "a")
    beat(world, "a")
    world.clock.step(HOUR - 1)
    beat(world, "a")

    (entry,) = told(world)
    assert ("a", str(root / "a"), "api") == (entry.agent_id, entry.path, entry.source)
    assert (entry.before, entry.after) == ({"healthStatus": "stale"}, {"healthStatus": "active"})


def test_an_agent_nobody_knows_is_not_found_and_the_others_beat_all_the_same(
    world: World,
) -> None:
    first, second, third = beat(world, "a", "nobody", "b")

    assert (first, third) == (None, None)
    assert isinstance(second, NotFoundError)
    assert None not in {agent.last_seen_at for agent in world.agents.values()}


def test_an_agent_may_be_named_by_its_path(world: World, root: Path) -> None:
    assert beat(world, str(root / "a"), "a") == [None, None]

    assert turns(world) == [("a", "stale", "active")]


def test_a_name_that_is_no_text_is_not_found(world: World) -> None:
    (error,) = beat(world, "\udcff")

    assert isinstance(error, NotFoundError)


def test_what_arrived_together_is_one_commit_and_the_last_word_stays(world: World) -> None:
    commits = world.store.writer.commits
    acts = [Heartbeat("ab"[number % 2], f"step {number}") for number in range(500)]
    for act in acts:
        world.inbox.post(act)
    world.drain()

    assert commits + 1 == world.store.writer.commits
    assert all(act.future.result(timeout=0) is None for act in acts)
    assert tuple(world.agents[one].last_seen_event for one in ("a", "b")) == (
        "step 498",
        "step 499",
    )
    assert sorted(turns(world)) == [("a", "stale", "active"), ("b", "stale", "active")]


def test_other_controls_keep_their_place_between_heartbeats(world: World) -> None:
    beat(world, "a")
    world.clock.step(2 * HOUR)
    controls = [Heartbeat("b", "x"), TellTurns(), Heartbeat("a", "x")]
    for control in controls:
        world.inbox.post(control)
    world.drain()

    expected = [
        ("a", "stale", "active"),
        ("b", "stale", "active"),
        ("a", "active", "inactive"),
        ("a", "inactive", "active"),
    ]
    assert expected == turns(world)


def test_heartbeats_of_agents_that_are_not_live_are_kept_and_turn_nothing(
    world: World, root: Path
) -> None:
    delete_project(root / "a")
    world.sweep()

    assert beat(world, "a") == [None]
    world.clock.step(2 * HOUR)

    assert tick(world) == 0
    assert turns(world) == []
    assert world.agents["a"].last_seen_event == "heartbeat"


def test_a_store_that_refuses_is_the_error_of_every_heartbeat(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr("meshd.store.apply.note_heartbeats", refuse)

    assert [str(error) for error in beat(world, "a", "b")] == ["the disk is full"] * 2
    assert world.courses.trouble == "the disk is full"
    assert world.agents["a"].last_seen_at is None


def test_what_turns_by_time_alone_is_one_entry(world: World) -> None:
    beat(world, "a", "b")
    seq = world.seq()
    world.clock.step(HOUR)

    assert tick(world) == 2

    (entry,) = told(world, seq)
    assert (entry.agent_id, entry.source, entry.before) == (None, "timer", None)
    turned = [{"id": one, "from": "active", "to": "inactive"} for one in ("a", "b")]
    assert {"turned": turned, "more": 0} == entry.after


def test_a_tick_that_turns_nothing_writes_nothing(world: World) -> None:
    beat(world, "a")
    commits = world.store.writer.commits
    for _ in range(59):
        world.clock.step(TICK)
        assert tick(world) == 0

    assert commits == world.store.writer.commits
    assert stored_mark(world) == ""


def test_a_heartbeat_tells_first_what_time_had_turned_and_no_tick_had_told(
    world: World,
) -> None:
    beat(world, "a")
    world.clock.step(2 * HOUR)
    beat(world, "a")
    tick(world)

    expected = [("a", "stale", "active"), ("a", "active", "inactive"), ("a", "inactive", "active")]
    assert expected == turns(world)
    assert [entry.source for entry in told(world)] == ["api", "timer", "api"]


def test_a_restart_tells_once_what_turned_while_nobody_ran(tmp_path: Path, root: Path) -> None:
    clock = SteppedClock()
    first = World(tmp_path / "state", [root], clock=clock)
    first.sweep()
    beat(first, "a")
    first.stop()
    clock.step(25 * HOUR)

    second = World(tmp_path / "state", [root], clock=clock)
    second.sweep()
    assert [tick(second), tick(second)] == [1, 0]
    second.stop()

    third = World(tmp_path / "state", [root], clock=clock)
    assert tick(third) == 0
    assert turns(third) == [("a", "stale", "active"), ("a", "active", "stale")]
    third.stop()


def test_a_clock_that_steps_back_is_told_as_answers_show_it_and_nothing_twice(
    world: World,
) -> None:
    beat(world, "a")
    world.clock.step(2 * HOUR)
    assert [tick(world), tick(world)] == [1, 0]

    world.clock.wall_seconds -= 2 * HOUR
    assert [tick(world), tick(world)] == [1, 0]
    beat(world, "a", "b")
    world.clock.step(TICK)
    assert tick(world) == 0

    expected = [
        ("a", "stale", "active"),
        ("a", "active", "inactive"),
        ("a", "inactive", "active"),
        ("b", "stale", "active"),
    ]
    assert expected == turns(world)


def test_a_heartbeat_after_a_step_back_is_not_taken_for_an_old_one(
    tmp_path: Path, root: Path
) -> None:
    clock = SteppedClock()
    world = World(tmp_path / "state", [root], clock=clock)
    world.sweep()
    beat(world, "a")
    clock.step(5 * HOUR)
    assert tick(world) == 1
    clock.wall_seconds -= 2 * HOUR
    beat(world, "b")
    world.stop()

    world = World(tmp_path / "state", [root], clock=clock)
    clock.step(TICK)
    assert tick(world) == 0
    expected = [("a", "stale", "active"), ("a", "active", "inactive"), ("b", "stale", "active")]
    assert turns(world) == expected
    world.stop()


def test_a_time_in_whole_seconds_is_found_too(world: World) -> None:
    world.store.writer.submit(
        lambda one: one.execute("UPDATE agents SET last_seen_at = '2096-10-02T07:06:40Z'")
    ).result()
    world.clock.wall_seconds = 4_000_000_000.0
    tick(world)
    world.clock.step(HOUR + 0.5)

    assert tick(world) == 2


def test_a_damaged_mark_tells_nothing_of_the_past(tmp_path: Path, root: Path) -> None:
    clock = SteppedClock()
    world = World(tmp_path / "state", [root], clock=clock)
    world.sweep()
    beat(world, "a")
    clock.step(2 * HOUR)
    tick(world)
    world.store.writer.submit(
        lambda one: one.execute("UPDATE meta SET value = 'x' WHERE key = ?", (MARK,))
    ).result()
    world.stop()

    world = World(tmp_path / "state", [root], clock=clock)
    assert tick(world) == 0
    clock.step(24 * HOUR)
    assert tick(world) == 1
    world.stop()


def test_a_damaged_time_tells_of_no_heartbeat(world: World) -> None:
    world.store.writer.submit(
        lambda one: one.execute("UPDATE agents SET last_seen_at = '2096-damaged'")
    ).result()

    assert tick(world) == 0
    assert beat(world, "a") == [None]


def test_an_entry_names_a_thousand_and_counts_the_rest(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MOST_NAMED == 1_000
    monkeypatch.setattr("meshd.heartbeats.MOST_NAMED", 1)
    beat(world, "a", "b")
    seq = world.seq()
    world.clock.step(HOUR)

    assert tick(world) == 2

    (entry,) = told(world, seq)
    assert entry.after == {"turned": [{"id": "a", "from": "active", "to": "inactive"}], "more": 1}


def test_what_could_not_be_told_is_told_by_the_next_tick(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise StoreError("the disk is full")

    beat(world, "a")
    world.clock.step(HOUR)
    with monkeypatch.context() as patched:
        patched.setattr("meshd.store.apply.set_meta", refuse)
        with pytest.raises(StoreError):
            tick(world)

    assert [tick(world), tick(world)] == [1, 0]


def test_the_sweeper_ticks_after_its_first_sweep_and_every_minute(world: World) -> None:
    ticks = threading.Semaphore(0)
    put = world.inbox.post

    def post(control: object, due: float | None = None) -> None:
        if isinstance(control, TellTurns):
            ticks.release()
        else:
            put(control, due)

    world.inbox.post = post  # type: ignore[method-assign]
    thread = threading.Thread(target=world.sweeper.run, daemon=True)
    thread.start()
    assert ticks.acquire(timeout=10)
    assert world.courses.last is not None
    for _ in range(3):
        assert not ticks.acquire(blocking=False)
        world.clock.step(TICK)
        world.sweeper.keep(Cadence(1e6, 1))  # wakes a wait that goes by real time
        assert ticks.acquire(timeout=10)
    world.sweeper.stop()
    thread.join(timeout=10)
    assert not thread.is_alive()
