"""Costs wait for a second look (R7): what is seen in pieces never flickers."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING

import pytest

from meshd.core.model import Hint, Source
from meshd.core.pending import LONGEST_SCAN
from tests.harness import World, delete_manifest, write_bytes, write_manifest

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


def told(world: World, since: int) -> list[tuple[str, str | None]]:
    """Return (kind, id) of every change after `since`, but for the endpoints that follow."""
    return [one for one in world.kinds(since) if one[0] != "endpoint"]


def test_a_manifest_that_is_back_within_the_settle_time_was_never_gone(
    world: World, root: Path
) -> None:
    write_manifest(root / "p", "a")
    world.sweep()
    before = world.seq()
    delete_manifest(root / "p")
    world.hint(root / "p")
    world.drain()
    write_manifest(root / "p", "a")
    world.settle()
    assert world.kinds(before) == []


def test_an_absence_costs_nothing_before_the_settle_time_is_over(world: World, root: Path) -> None:
    write_manifest(root / "p", "a")
    world.sweep()
    delete_manifest(root / "p")
    world.hint(root / "p")
    world.drain()
    assert world.live() == {"a": str(root / "p")}
    world.settle()
    assert world.live() == {}


def test_a_move_seen_from_its_old_path_first_is_one_relocation(world: World, root: Path) -> None:
    write_manifest(root / "p", "a")
    world.sweep()
    before = world.seq()
    (root / "p").rename(root / "q")
    world.hint(root / "p")
    world.drain()
    world.hint(root / "q")
    world.settle()
    # Its namespace is its place, so its endpoint moves along.
    assert world.kinds(before) == [("relocated", "a"), ("endpoint", "a")]


def scanning(world: World) -> list[Future[None]]:
    """Have scans in line that take their time; return the marks behind them."""
    marks: list[Future[None]] = []

    def put() -> Future[None]:
        marks.append(Future())
        return marks[-1]

    world.courses.marks.put = put
    return marks


def test_a_move_whose_other_half_is_still_in_the_line_of_scans_is_one_relocation(
    world: World, root: Path
) -> None:
    write_manifest(root / "p", "a")
    world.sweep()
    before = world.seq()
    marks = scanning(world)
    (root / "p").rename(root / "q")
    world.hint(root / "p")
    world.drain()
    for _ in range(50):  # ten seconds, in which something else is scanned
        world.clock.step(0.2)
        world.drain()
    # What a scan has found settles before it is looked at.
    world.inbox.put(
        [Hint(str(root / "q"), Source.WATCH)], root_of=lambda _: str(root), settled=False
    )
    world.courses.marks.put = None  # nothing is in line any more
    for mark in marks:
        mark.set_result(None)
    for _ in range(20):
        world.clock.step(0.05)
        world.drain()
    assert told(world, before) == [("relocated", "a")]


@pytest.mark.parametrize("sweeping", [False, True])
def test_scans_without_end_do_not_put_a_second_look_off_for_ever(
    world: World, root: Path, *, sweeping: bool
) -> None:
    write_manifest(root / "p", "a")
    world.sweep()
    scanning(world)
    delete_manifest(root / "p")
    if sweeping:
        world.sweep()
    else:
        world.hint(root / "p")
        world.drain()
        world.clock.step(LONGEST_SCAN)
        world.settle()
    assert world.live() == {}


def test_a_swap_seen_in_two_pieces_never_passes_through_unreachable(
    world: World, root: Path
) -> None:
    write_manifest(root / "p", "a")
    write_manifest(root / "q", "b")
    world.sweep()
    before = world.seq()
    write_manifest(root / "p", "b")
    world.hint(root / "p")
    world.drain()
    write_manifest(root / "q", "a")
    world.hint(root / "q")
    world.settle()
    assert world.live() == {"a": str(root / "q"), "b": str(root / "p")}
    moved = [("relocated", "a"), ("relocated", "b"), ("endpoint", "a"), ("endpoint", "b")]
    assert world.kinds(before) == moved


def test_a_checkout_that_takes_the_manifest_away_for_a_moment_hands_no_id_to_a_clone(
    world: World, root: Path
) -> None:
    write_manifest(root / "p", "a")
    world.sweep()
    write_manifest(root / "clone", "a")
    world.sweep()
    before = world.seq()
    delete_manifest(root / "p")
    world.hint(root / "p")
    world.drain()
    write_manifest(root / "p", "a")
    world.settle()
    assert world.kinds(before) == []
    assert world.claims()[str(root / "clone")] == ("duplicate", None)


def test_a_claim_that_comes_late_relocates_the_unreachable_row(world: World, root: Path) -> None:
    write_manifest(root / "p", "a")
    world.sweep()
    delete_manifest(root / "p")
    world.sweep()
    write_manifest(root / "q", "a")
    world.hint(root / "q")
    world.settle()
    assert world.live() == {"a": str(root / "q")}


def test_a_torn_manifest_where_an_agent_was_displaced_is_recorded(world: World, root: Path) -> None:
    """Its second look must not let it settle anew, or that would never end."""
    for agent_id in ("a", "b"):
        write_manifest(root / "p", agent_id)
        world.sweep()
    write_bytes(root / "p", b"{")
    world.hint(root / "p")
    for _ in range(5):
        world.settle()
    assert world.claims()[str(root / "p")][0] == "invalid"
    assert not world.parts.shared.looking.pending


def test_a_second_look_left_at_the_stop_takes_nothing(tmp_path: Path, root: Path) -> None:
    world = World(tmp_path / "other", [root])
    write_manifest(root / "p", "a")
    world.sweep()
    delete_manifest(root / "p")
    world.hint(root / "p")
    world.drain()
    world.inbox.close()
    world.drain()
    assert world.live() == {"a": str(root / "p")}
    world.stop()


def test_an_event_about_a_project_that_is_as_it_was_says_nothing(world: World, root: Path) -> None:
    """Events are hints (R2): what happened is what a look finds."""
    write_manifest(root / "p", "a")
    world.sweep()
    before = world.seq()
    world.hint(root / "p", root / "never-was")
    world.settle()
    assert world.kinds(before) == []
    assert world.live() == {"a": str(root / "p")}
