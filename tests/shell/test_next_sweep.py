"""When the next sweep comes where the last one could not say all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from meshd.core.guard import AGREES_AFTER
from meshd.sweeper import CONFIRM_INTERVAL, TICK
from tests.harness import World, delete_project, write_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from meshd.core.model import RootIdentity
    from meshd.looker.health import RootLook

DAY = 86_400
AGENTS = 8


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def world(tmp_path: Path, root: Path) -> Iterator[World]:
    world = World(tmp_path / "state", [root], interval=DAY)
    for number in range(AGENTS):
        write_manifest(root / f"p{number}", f"a{number}")
    world.sweep()
    yield world
    world.stop()


def in_how_long(world: World, jitter: float = 0.0) -> float:
    """Return in how many seconds the next sweep is due."""
    return world.sweeper.next_due(jitter) - world.clock.monotonic()


@pytest.mark.parametrize("jitter", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("sync", [False, True])
def test_what_is_held_is_confirmed_by_a_sweep_of_its_own(
    world: World, root: Path, jitter: float, *, sync: bool
) -> None:
    for number in range(AGENTS):
        delete_project(root / f"p{number}")
    assert world.sweep(sync=sync).held == AGENTS
    for _ in range(1 + sync):  # what a sync has held, the next sweep holds
        assert in_how_long(world, jitter) <= CONFIRM_INTERVAL + 0.001
        world.clock.step(max(in_how_long(world, jitter), 0.0))
        world.sweeper.sweep([])
    assert world.live() == {}
    assert in_how_long(world) == DAY


def test_a_sweep_that_confirms_comes_late_enough_to_agree(world: World, root: Path) -> None:
    for number in range(AGENTS):
        delete_project(root / f"p{number}")
    world.sweep()
    assert in_how_long(world, jitter=0.999) >= AGREES_AFTER


def test_a_root_that_was_sick_for_a_moment_is_swept_within_a_tick(world: World, root: Path) -> None:
    away = root.rename(root.with_name("away"))
    assert world.sweep().sick_roots == (str(root),)
    away.rename(root)
    world.sweeper.tick()
    requests = world.sweeper._wait_for_requests(0.0)
    assert [one.future.done() for one in requests] == [False]
    result = world.sweeper.sweep(requests)
    assert result is not None
    assert result.sick_roots == ()


def test_a_root_that_stays_sick_is_asked_ever_more_seldom_and_nothing_is_said_of_it(
    world: World, root: Path
) -> None:
    root.rename(root.with_name("away"))
    world.sweep()
    looker = world.roots.view.lookers[str(root)]
    check, seq, said = looker.check, world.seq(), len(world.log.calls)
    asked = []

    def checked(known: RootIdentity | None) -> RootLook:
        asked.append(known)
        return check(known)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(looker, "check", checked)
        for _ in range(64):
            world.sweeper.tick()
            world.drain()
            world.clock.step(TICK)
    assert 3 <= len(asked) <= 8
    assert (world.seq(), len(world.log.calls)) == (seq, said)
    assert world.sweeper._requests.empty()
