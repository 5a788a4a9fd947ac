"""Acts of the operator go the way of everything else, and are free of second looks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from meshd.commands import Allow, Deny, Forget
from meshd.errors import NotFoundError, StillLiveError
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
    write_manifest(root / "p", "a")
    write_manifest(root / "p" / "inner", "b")
    write_manifest(root / "q", "c")
    world = World(tmp_path / "state", [root])
    world.sweep()
    yield world
    world.stop()


def test_a_denied_path_loses_its_agents_at_once_with_all_below_it(world: World, root: Path) -> None:
    before = world.seq()
    assert world.act(Deny(str(root / "p"), "being rewritten", "test")) == ("a", "b")
    assert world.live() == {"c": str(root / "q")}
    assert world.kinds(before) == [("denied", None), ("denied", "a"), ("denied", "b")]


def test_a_denied_path_hands_its_id_to_another_claim_of_it(world: World, root: Path) -> None:
    write_manifest(root / "clone", "a")
    world.sweep()
    world.act(Deny(str(root / "p"), None, "test"))
    assert world.live()["a"] == str(root / "clone")


def test_what_is_allowed_again_is_back_after_the_next_sweep(world: World, root: Path) -> None:
    world.act(Deny(str(root / "p"), None, "test"))
    assert world.act(Allow(str(root / "p"))) is True
    assert world.act(Allow(str(root / "p"))) is False
    world.sweep()
    assert sorted(world.live()) == ["a", "b", "c"]


def test_a_denial_survives_a_restart(world: World, root: Path, tmp_path: Path) -> None:
    world.act(Deny(str(root / "p"), None, "test"))
    world.stop()
    again = World(tmp_path / "state", [root])
    again.sweep(full=True)
    assert sorted(again.live()) == ["c"]
    again.stop()


def test_a_live_agent_is_not_forgotten_and_an_unknown_one_is_not_found(world: World) -> None:
    with pytest.raises(StillLiveError):
        world.act(Forget("a"))
    with pytest.raises(NotFoundError):
        world.act(Forget("nobody"))
    assert sorted(world.live()) == ["a", "b", "c"]


def test_a_forgotten_agent_is_gone_and_comes_back_with_its_file(world: World, root: Path) -> None:
    delete_manifest(root / "q")
    world.sweep()
    (row,) = world.act(Forget("c"))
    assert row.id == "c"
    assert "c" not in world.agents
    write_manifest(root / "q", "c")
    world.sweep()
    assert world.live()["c"] == str(root / "q")


def test_rows_out_of_scope_are_forgotten_together(world: World, root: Path) -> None:
    world.roots.configure(world.settings.scan.model_copy(update={"exclude": ("p",)}))
    world.sweep()
    assert {row.id for row in world.act(Forget(None))} == {"a", "b"}
    assert sorted(world.agents) == ["c"]
