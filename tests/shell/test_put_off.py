"""What is put off is decided, whoever met it first and however the sweep under way ends.

A loss that an event has reported has a second look of its own (R7), is not judged by the mass
guard, and a sync that owes it does not answer before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import meshd.course
from meshd.commands import LookWithin, SweepAbandoned, SweepBegan, SweepEnded, Sync
from meshd.core.model import Source
from tests.harness import World, delete_manifest, delete_project, write_manifest
from tests.shell.test_second_look import scanning

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def world(tmp_path: Path, root: Path) -> Iterator[World]:
    world = World(tmp_path / "state", [root])
    yield world
    world.stop()


def begin(world: World) -> None:
    """Begin a sweep whose walk the test makes, hint by hint."""
    view = world.roots.view
    checks = {root: world.sweeper._check(root, view) for root in view.lookers}
    world.act(SweepBegan(checks, Source.TIMER))


def end(world: World, *, whole: bool = True) -> SweepEnded:
    """End that sweep; the walk of a root broke off, unless it is whole."""
    roots = frozenset(world.roots.view.lookers)
    ended = SweepEnded(
        completed=roots if whole else frozenset(),
        broken=frozenset() if whole else roots,
        confirm=False,
        full=False,
        started_at="2026-01-01T00:00:00Z",
        started=world.clock.monotonic(),
    )
    world.inbox.post(ended)
    world.drain()
    return ended


def wait(world: World, seconds: float) -> None:
    for _ in range(int(seconds / 0.2)):
        world.clock.step(0.2)
        world.drain()


def meet(world: World, *projects: Path, source: Source = Source.WATCH) -> None:
    """Let an event or the sweep meet projects."""
    world.hint(*projects, source=source)
    world.drain()


@pytest.mark.parametrize("abandoned", [False, True])
def test_a_loss_that_shares_a_batch_with_the_sweeps_has_its_own_second_look(
    world: World, root: Path, abandoned: bool
) -> None:
    for agent_id in "ab":
        write_manifest(root / agent_id, agent_id)
    world.sweep()
    begin(world)
    delete_manifest(root / "a")
    delete_manifest(root / "b")
    world.hint(root / "a")
    meet(world, root / "b", source=Source.TIMER)
    sync = Sync()
    world.inbox.post(sync)
    world.drain()
    assert not sync.future.done()
    if abandoned:
        world.inbox.post(SweepAbandoned())
    else:
        end(world, whole=False)
    wait(world, 4)
    assert sync.future.done()
    assert world.live() == {"b": str(root / "b")}


def test_a_loss_whose_second_look_came_too_early_is_not_left_behind(
    world: World, root: Path
) -> None:
    write_manifest(root / "p", "a")
    write_manifest(root / "q", "c")
    world.sweep()
    begin(world)
    delete_manifest(root / "p")
    meet(world, root / "p")
    world.clock.step(0.15)
    write_manifest(root / "q", "a")  # over another agent: a cost of the sweep, in one closed set
    meet(world, root / "q", source=Source.TIMER)
    world.clock.step(0.08)
    world.drain()
    world.inbox.post(SweepAbandoned())
    sync = Sync()
    world.inbox.post(sync)
    wait(world, 10)
    assert sync.future.done()
    assert not world.parts.shared.looking.pending


def test_the_last_round_of_a_sweep_leaves_a_loss_to_the_event_that_told_of_it(
    world: World, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path, agent_id in {"p": "a", "q": "c", "s": "s"}.items():
        write_manifest(root / path, agent_id)
    world.sweep()
    begin(world)
    monkeypatch.setattr(meshd.course, "MOST_ROUNDS", 1)  # in place of ten rounds of flapping
    delete_manifest(root / "s")
    meet(world, root / "s", source=Source.TIMER)
    delete_manifest(root / "p")
    meet(world, root / "p")
    world.clock.step(0.15)
    ended = end(world)
    world.clock.step(0.1)
    write_manifest(root / "q", "a")
    meet(world, root / "q")
    world.clock.step(0.1)  # the sweep's end has its turn before the second look of `q`
    world.drain()
    wait(world, 6)
    assert ended.future.done()
    assert world.live() == {"a": str(root / "q")}


@pytest.mark.parametrize("in_line", [False, True])
def test_the_mass_guard_holds_nothing_that_events_have_reported(
    world: World, root: Path, in_line: bool
) -> None:
    for number in range(6):
        write_manifest(root / f"p{number}", f"a{number}")
    world.sweep()
    gone = [root / f"p{number}" for number in range(5)]
    marks = scanning(world) if in_line else []
    begin(world)
    for project in gone:
        delete_project(project)
    meet(world, *gone)
    meet(world, *gone, source=Source.TIMER)
    ended = end(world)
    wait(world, 1)
    for mark in marks:
        mark.set_result(None)
    wait(world, 6)
    assert ended.future.result(timeout=0).held == 0
    assert world.live() == {"a5": str(root / "p5")}


def test_what_was_known_in_a_directory_that_is_entered_is_looked_at_and_nothing_else(
    world: World, root: Path
) -> None:
    """What a look to an older event has seen may be gone since, and no other event tells of it."""
    for path, agent_id in {"x": "x", "x/below": "b", "xy": "y", "z": "z"}.items():
        write_manifest(root / path, agent_id)
    world.sweep()
    for path in ("x/below", "x", "xy"):
        delete_project(root / path)
    world.inbox.post(LookWithin((str(root / "x"),)))
    sync = Sync()
    world.inbox.post(sync)
    world.drain()
    assert not sync.future.done()
    world.settle()
    world.settle()
    assert sync.future.done()
    assert world.live() == {"y": str(root / "xy"), "z": str(root / "z")}
