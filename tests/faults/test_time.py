"""Clocks that jump, stand still and begin anew: no agent expires but by time that was observed."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import pytest

from tests.faults.tools import needs_tool
from tests.harness import SteppedClock, World, delete_project, write_manifest
from tests.system.daemon import Daemon
from tests.system.trees import save

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HOUR: Final = 3600.0
INTERVAL: Final = 300
GRACE: Final = 86_400
SETTLED: Final = 5.0
"""More seconds than a sweep of a world waits for second looks."""
LEAST_SWEEPS: Final = GRACE // (2 * INTERVAL)
"""One sweep counts for two intervals at most, so the grace takes so many (design: R8)."""


# a wall clock that is set, under a live daemon


@dataclass(frozen=True)
class Timed:
    """A daemon whose wall clock a file says; the monotonic clock is the machine's."""

    daemon: Daemon
    offset: Path
    root: Path

    def set_back_or_forth(self, offset: str) -> None:
        """Let the wall clock differ from the machine's from now on, as in `+25h`."""
        fresh = self.offset.with_suffix(".new")
        fresh.write_text(offset, "ascii")
        fresh.rename(self.offset)


def faketime_library() -> str:
    """Return the library that the `faketime` command preloads."""
    asked = subprocess.run(
        ["faketime", "-f", "+0", "printenv", "LD_PRELOAD"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return asked.stdout.strip()


@pytest.fixture
def timed(home: Path, root: Path) -> Iterator[Timed]:
    """A daemon that sweeps every second; `gone` is unreachable, `here` is live."""
    save(root / "here", "here")
    gone = save(root / "gone", "gone")
    offset = home / "offset"
    offset.write_text("+0", "ascii")
    environ = {
        "LD_PRELOAD": faketime_library(),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "MESHD_SWEEP__INTERVAL": "1s",
        "MESHD_SWEEP__GRACE": "24h",
    }
    with Daemon(home, root, environ=environ) as daemon:
        gone.manifest.unlink()
        daemon.wait_until(lambda: status_of(daemon, "gone") == "unreachable", "absence")
        yield Timed(daemon, offset, root)


def status_of(daemon: Daemon, agent_id: str) -> str | None:
    agent = daemon.agents().get(agent_id)
    return None if agent is None else str(agent["status"])


def sweeps(daemon: Daemon) -> int:
    return len(daemon.logged("swept"))


def await_sweeps(daemon: Daemon, count: int) -> None:
    enough = sweeps(daemon) + count
    daemon.wait_until(lambda: sweeps(daemon) >= enough, f"{count} more sweeps of the timer")


@pytest.mark.slow
@needs_tool("faketime")
def test_151_152_a_wall_clock_set_forth_and_back_removes_nobody_and_stalls_nothing(
    timed: Timed,
) -> None:
    daemon = timed.daemon
    before = daemon.status()["lastSweep"]["startedAt"]
    timed.set_back_or_forth("+25h")
    await_sweeps(daemon, 3)
    daemon.ask("sweep", "--full")
    ahead = daemon.status()["lastSweep"]["startedAt"]
    moved = datetime.fromisoformat(ahead) - datetime.fromisoformat(before)
    assert moved > timedelta(hours=25), "the daemon's wall clock was really set"
    assert status_of(daemon, "gone") == "unreachable"

    timed.set_back_or_forth("-24h")
    await_sweeps(daemon, 3)
    assert status_of(daemon, "gone") == "unreachable"
    assert daemon.agents()["gone"]["unreachableFor"] >= 0, "no negative age"
    save(timed.root / "new", "new")
    daemon.wait_until(lambda: status_of(daemon, "new") == "active", "event after the step")
    with daemon.client() as client:
        entries = client.events(0)["events"]
    assert [one["seq"] for one in entries] == sorted(one["seq"] for one in entries)
    assert not [one for one in entries if one["kind"] == "removed"]


# a clock that jumps, or begins anew


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[Callable[[SteppedClock], World]]:
    """What starts a world over the same state, as a daemon that is started again."""
    (tmp_path / "root").mkdir()
    running: list[World] = []

    def make(clock: SteppedClock) -> World:
        for world in running:
            world.stop()
        running[:] = [
            World(
                tmp_path / "state", [tmp_path / "root"],
                clock=clock, interval=INTERVAL, grace=GRACE,
            )
        ]  # fmt: skip
        return running[0]

    yield make
    for world in running:
        world.stop()


@pytest.fixture
def absent(
    tmp_path: Path, make_world: Callable[[SteppedClock], World]
) -> tuple[World, SteppedClock]:
    """A world in which a sweep has just seen that `gone` is absent."""
    clock = SteppedClock()
    world = make_world(clock)
    for name in ("here", "gone"):
        write_manifest(tmp_path / "root" / name, name)
    world.sweep()
    delete_project(tmp_path / "root" / "gone")
    assert world.sweep(after=INTERVAL).unreachable == 1
    return world, clock


def sweeps_until_removed(world: World) -> int:
    """Return after how many sweeps, one each interval, `gone` is removed."""
    for count in range(1, 2 * GRACE // INTERVAL):
        if world.sweep(after=INTERVAL).removed:
            return count
    raise AssertionError("it is never removed")


def observed(world: World) -> float:
    (state,) = world.roots.view.states.values()
    return state.observed_seconds


@pytest.mark.parametrize("step", [25 * HOUR, -24 * HOUR], ids=["151-forth", "152-back"])
def test_151_152_what_was_observed_is_told_by_the_monotonic_clock_alone(
    absent: tuple[World, SteppedClock], step: float
) -> None:
    world, clock = absent
    world.sweep(after=INTERVAL)
    before = observed(world)
    clock.set_wall(step)
    assert world.sweep().removed == 0
    # The settle time of each sweep, and nothing else, has passed.
    assert observed(world) == pytest.approx(before, abs=SETTLED)
    clock.set_wall(step)
    assert world.sweep(after=INTERVAL).removed == 0
    assert observed(world) == pytest.approx(before + INTERVAL, abs=SETTLED)


def test_153_a_suspend_counts_for_two_intervals_at_most(
    absent: tuple[World, SteppedClock],
) -> None:
    """Where the clock goes on in a suspend, as after the resume of a snapshot."""
    world, _ = absent
    before = observed(world)
    assert world.sweep(after=30 * 24 * HOUR).removed == 0
    assert observed(world) - before <= 2 * INTERVAL
    for _ in range(LEAST_SWEEPS - 2):
        assert world.sweep(after=30 * 24 * HOUR).removed == 0
    assert "gone" in world.agents


def test_154_three_days_without_a_daemon_are_no_observed_absence(
    absent: tuple[World, SteppedClock], make_world: Callable[[SteppedClock], World]
) -> None:
    world, clock = absent
    world.sweep(after=INTERVAL)
    before = world.agents["gone"].absent_clock
    clock.step(3 * 24 * HOUR)
    world = make_world(clock)
    assert world.sweep().removed == 0
    assert world.agents["gone"].absent_clock == before
    assert LEAST_SWEEPS <= sweeps_until_removed(world) <= GRACE // INTERVAL + 1


def test_155_after_a_reboot_the_counting_goes_on_from_where_it_was(
    absent: tuple[World, SteppedClock], make_world: Callable[[SteppedClock], World]
) -> None:
    """The monotonic clock begins anew, far below what it was."""
    world, clock = absent
    for _ in range(10):
        world.sweep(after=INTERVAL)
    counted = observed(world)
    rebooted = SteppedClock()
    rebooted.seconds = 3.0
    rebooted.wall_seconds = clock.wall_seconds + 60
    world = make_world(rebooted)
    assert world.sweep().removed == 0
    assert observed(world) == counted
    assert LEAST_SWEEPS - 11 <= sweeps_until_removed(world) <= GRACE // INTERVAL - 9


def test_an_agent_that_is_seen_again_begins_its_grace_anew(
    tmp_path: Path, absent: tuple[World, SteppedClock]
) -> None:
    world, _ = absent
    for _ in range(200):
        world.sweep(after=INTERVAL)
    write_manifest(tmp_path / "root" / "gone", "gone")
    assert world.sweep(after=INTERVAL).resurrected == 1
    delete_project(tmp_path / "root" / "gone")
    world.sweep(after=INTERVAL)
    assert sweeps_until_removed(world) >= LEAST_SWEEPS
