"""Costs wait for a second look (R7): what is seen in pieces never flickers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness import World, delete_manifest, write_manifest

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
    """Return (kind, id) of every change to an agent after `since`; endpoints follow of themselves."""
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
