"""The peer's known faults, each as what meshd does instead.

One test for each row of the peer's behaviour table; the name or the docstring is the row. Rows
about writing manifests use the same acts that the API uses.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from meshd.commands import Deny, Register, Update
from meshd.deciding import Deciding
from meshd.errors import StoreError
from tests.harness import (
    World,
    delete_manifest,
    delete_project,
    manifest,
    write_bytes,
    write_manifest,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GRACE = 86_400
INTERVAL = 300


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    return root


@pytest.fixture
def world(tmp_path: Path, root: Path) -> Iterator[World]:
    world = World(tmp_path / "state", [root], grace=GRACE, interval=INTERVAL)
    yield world
    world.stop()


def test_manifest_deleted_directory_kept(world: World, root: Path) -> None:
    write_manifest(root / "project", "a")
    world.sweep()
    delete_manifest(root / "project")
    world.sweep()
    assert world.live() == {}
    assert world.agents["a"].unreachable_reason == "manifest-missing"


def test_manifest_corrupted(world: World, root: Path) -> None:
    """The row stays with its last good fields, flagged; it is told once, not by every scan."""
    write_manifest(root / "project", "a")
    world.sweep()
    since = world.seq()
    write_bytes(root / "project", b"{")
    world.sweep()
    world.sweep()
    assert world.live() == {"a": str(root / "project")}
    assert world.claims()[str(root / "project")] == ("invalid", "not-json")
    assert world.kinds(since) == [("invalid", "a")]


def test_directory_deleted_and_25_hours_later(world: World, root: Path) -> None:
    """Unreachable at once, removed after a day in which sweeps have seen it absent."""
    write_manifest(root / "project", "a")
    world.sweep()
    delete_project(root / "project")
    world.sweep()
    assert world.agents["a"].unreachable_reason == "project-missing"
    world.sweep(after=25 * 3600)  # one sweep observes two intervals at most: no day has passed
    assert "a" in world.agents
    for _ in range(GRACE // INTERVAL):
        world.sweep(after=INTERVAL)
    assert world.agents == {}


@pytest.mark.parametrize("place", ["moved", "one/two/three/four/moved"])
def test_directory_moved(world: World, root: Path, place: str) -> None:
    """Relocated wherever it went below a root, however deep."""
    write_manifest(root / "project", "a")
    world.sweep()
    since = world.seq()
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    (root / "project").rename(root / place)
    world.sweep()
    assert world.live() == {"a": str(root / place)}
    # Its namespace is its place, so its endpoint moves along.
    assert world.kinds(since) == [("relocated", "a"), ("endpoint", "a")]


def test_directory_comes_back(world: World, root: Path) -> None:
    write_manifest(root / "project", "a")
    world.sweep()
    (root / "project").rename(root.parent / "elsewhere")
    world.sweep()
    assert world.live() == {}
    (root.parent / "elsewhere").rename(root / "project")
    world.sweep()
    assert world.live() == {"a": str(root / "project")}


def test_same_id_in_two_directories(world: World, root: Path) -> None:
    """The first holds it, whichever is visited last; the second is told of once."""
    write_manifest(root / "z", "a")
    world.sweep()
    since = world.seq()
    write_manifest(root / "b", "a")
    world.sweep()
    world.sweep()
    assert world.live() == {"a": str(root / "z")}
    assert world.kinds(since) == [("refused", "a")]


def test_id_changed_in_place(world: World, root: Path) -> None:
    """The old id is displaced, the new one registered, and no endpoint of the old one is left."""
    write_manifest(root / "project", "a")
    world.sweep()
    write_manifest(root / "project", "b")
    world.sweep()
    assert world.live() == {"b": str(root / "project")}
    assert world.agents["a"].unreachable_reason == "displaced"
    with world.store.reading() as registry:
        subjects = [row.endpoint.subject for row in registry.endpoints()]
    assert subjects == ["relay.agent.project.b"]


@pytest.mark.parametrize("depth", [0, 1, 2, 3, 5])
def test_new_manifest_found_by_the_sweep(world: World, root: Path, depth: int) -> None:
    project = root.joinpath(*"abcde"[:depth])
    world.sweep()
    write_manifest(project, "a")
    world.sweep()
    assert world.live() == {"a": str(project)}


def test_database_deleted_sweep_only(tmp_path: Path, root: Path) -> None:
    for name in ("a", "b"):
        write_manifest(root / name, name)
    first = World(tmp_path / "state", [root])
    first.sweep()
    first.stop()
    for file in (tmp_path / "state").glob("*.db*"):
        file.unlink()
    second = World(tmp_path / "state", [root])
    second.sweep()
    try:
        assert second.live() == {"a": str(root / "a"), "b": str(root / "b")}
    finally:
        second.stop()


def test_agent_at_the_scan_root_itself_then_edited(world: World, root: Path) -> None:
    write_manifest(root, "a")
    write_manifest(root / "neighbour", "b")
    world.sweep()
    write_manifest(root, "a", description="edited")
    world.sweep()
    assert world.agents["a"].description == "edited"
    assert set(world.live()) == {"a", "b"}


def test_denied_directory_with_a_manifest(world: World, root: Path) -> None:
    write_manifest(root / "project", "a")
    world.act(Deny(str(root / "project"), None, "mesh"))
    world.sweep()
    assert world.agents == {}


def test_update_keeps_unknown_keys(world: World, root: Path) -> None:
    """`update()` drops nothing of the user's file, and the file is where it happens."""
    path = write_manifest(root / "project", "a", ours={"kept": [1, 2]}, description="before")
    world.sweep()
    world.act(Update("a", {"description": "after"}))
    said = json.loads(path.read_text())
    assert (said["description"], said["ours"]) == ("after", {"kept": [1, 2]})
    assert world.agents["a"].description == "after"


def test_registering_the_same_path_again(world: World, root: Path) -> None:
    """It is the same agent: the same id, and no second entry of the log."""
    (root / "project").mkdir()
    world.sweep()
    given = {"name": "a", "runtime": "codex"}
    first = world.act(Register(str(root / "project"), given, "mesh"))
    since = world.seq()
    again = world.act(Register(str(root / "project"), given, "mesh"))
    assert (again.agent.id, again.created, again.changed) == (first.agent.id, False, False)
    assert world.kinds(since) == []


def test_failed_registration(world: World, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manifest that was there before is there again, and file and row agree."""
    path = write_manifest(root / "project", "a", description="before")
    world.sweep()
    before = path.read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Deciding, "decide", fail)
        with pytest.raises(StoreError):
            world.act(Register(str(root / "project"), {"description": "after"}, "mesh"))
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["agent.json"]
    world.sweep()
    assert world.agents["a"].description == "before"


def test_100_000_agents_no_walk_is_cut_off(
    world: World, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long a walk takes, it reaches the end; here a day passes in each batch."""
    for number in range(1_200):
        write_bytes(root / f"{number:04}", json.dumps(manifest(f"a{number}")).encode())
    looker = world.roots.view.lookers[str(root)]
    walk, batches = looker.walk, 0

    def slow_walk(*arguments: object, **keywords: object) -> object:
        nonlocal batches
        for batch in walk(*arguments, **keywords):  # type: ignore[arg-type]
            batches += 1
            world.clock.step(86_400)
            yield batch

    monkeypatch.setattr(looker, "walk", slow_walk)
    world.sweep()
    assert batches > 1
    assert len(world.live()) == 1_200


def test_change_visible_after(world: World, root: Path) -> None:
    """An event is enough; the daemon's own test of it is `tests/system/test_watching.py`."""
    write_manifest(root / "project", "a")
    world.sweep()
    write_manifest(root / "project", "a", description="edited")
    world.hint(root / "project")
    world.settle()
    assert world.agents["a"].description == "edited"
