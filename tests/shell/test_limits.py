"""Ceilings over real trees: roots with too many directories or manifests, and full owners."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from meshd.answers.mesh import Running, status_document
from meshd.config.settings import LimitSettings
from meshd.core.model import Reason
from meshd.services import DaemonState
from tests.harness import World, delete_project, write_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def limited(world: World, **limits: int) -> None:
    """Reload with other limits."""
    settings = world.settings.model_copy(update={"limits": LimitSettings(**limits)})
    world.parts.configure(settings)
    world.settings = settings


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    root = tmp_path / "root"
    root.mkdir()
    world = World(tmp_path / "state", [root])
    yield world
    world.stop()


@pytest.fixture
def root(tmp_path: Path, world: World) -> Path:
    del world
    return tmp_path / "root"


def events(world: World, name: str) -> list[dict[str, Any]]:
    return [call.kwargs for call in world.log.calls if call.kwargs.get("event") == name]


def root_as_shown(world: World, root: Path) -> tuple[str, str | None]:
    last = world.courses.last
    state = DaemonState(True, "2026-01-01T00:00:00Z", last, 1, True, None, None)
    running = Running(os.getpid(), state, world.roots.view.states)
    with world.store.reading() as registry:
        status = status_document(registry, world.clock.wall_ns(), running)
    return next(
        (one["state"], one["reason"]) for one in status["roots"] if one["path"] == str(root)
    )


def test_a_root_over_its_directories_is_truncated_and_loses_nothing(
    world: World, root: Path
) -> None:
    for name in ("a", "b"):
        write_manifest(root / name, name)
    world.sweep()
    for number in range(20):
        (root / "crowd" / f"d{number:02}").mkdir(parents=True)
    limited(world, directories_per_root=10)
    delete_project(root / "b")
    result = world.sweep()
    assert result.truncated == {str(root): Reason.DIRECTORY_LIMIT}
    assert set(world.live()) == {"a", "b"}, "nothing of a truncated root is absent"
    table = world.roots.view.lookers[str(root)].table  # type: ignore[attr-defined]
    assert table.wanted <= 10
    assert root_as_shown(world, root) == ("truncated", "directory-limit")
    world.sweep()
    assert len(events(world, "root_truncated")) == 1, "said once"

    limited(world)
    result = world.sweep()
    assert (result.truncated, set(world.live())) == ({}, {"a"})
    assert root_as_shown(world, root) == ("healthy", None)
    assert len(events(world, "root_whole")) == 1


def test_a_truncated_root_keeps_no_other_root_waiting(tmp_path: Path) -> None:
    crowded, other = tmp_path / "crowded", tmp_path / "other"
    for number in range(20):
        (crowded / f"d{number:02}").mkdir(parents=True)
    write_manifest(other / "p", "p")
    world = World(
        tmp_path / "state", [crowded, other], limits=LimitSettings(directories_per_root=8)
    )
    try:
        world.sweep()
        delete_project(other / "p")
        result = world.sweep()
        assert set(result.truncated) == {str(crowded)}
        assert (result.unreachable, world.live()) == (1, {})
        world.sweep(after=86_400)
        world.sweep(after=86_400)
        assert world.agents["p"].absent_clock is not None
    finally:
        world.stop()


def test_a_root_over_its_manifests_takes_in_no_more_and_loses_none(
    world: World, root: Path
) -> None:
    for name in ("m", "n"):
        write_manifest(root / name, name)
    world.sweep()
    limited(world, manifests_per_root=3)
    for name in ("a", "b", "z"):  # before those known, and after
        write_manifest(root / name, name)
    delete_project(root / "n")
    result = world.sweep()
    assert result.truncated == {str(root): Reason.MANIFEST_LIMIT}
    live = set(world.live())
    assert {"m", "n"} < live
    assert len(live) == 3
    assert root_as_shown(world, root) == ("truncated", "manifest-limit")


def test_a_newcomer_that_an_event_tells_of_is_held_to_the_ceiling_too(
    world: World, root: Path
) -> None:
    write_manifest(root / "a", "a")
    world.sweep()
    limited(world, manifests_per_root=1)
    write_manifest(root / "b", "b")
    world.hint(root / "b")
    world.settle()
    assert set(world.live()) == {"a"}
    assert world.claims()[str(root / "b")] == ("refused", "root-limit")
    assert [one["why"] for one in events(world, "refused")] == ["root-limit"]


def test_newcomers_of_a_full_owner_are_refused_until_there_is_room(
    world: World, root: Path
) -> None:
    for name in ("a", "b"):
        write_manifest(root / name, name)
    world.sweep()
    limited(world, agents_per_owner=2)
    write_manifest(root / "c", "c")
    world.sweep()
    seq = world.seq()
    assert set(world.live()) == {"a", "b"}
    assert world.claims()[str(root / "c")] == ("refused", "owner-limit")
    world.sweep()
    assert world.seq() == seq, "what is refused is news once"

    limited(world, agents_per_owner=3)
    world.sweep()
    assert set(world.live()) == {"a", "b", "c"}
    assert world.claims()[str(root / "c")] == ("valid", None)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes files of two owners")
def test_the_owner_is_the_projects_and_a_full_one_bars_nobody_else(
    world: World, root: Path
) -> None:
    limited(world, agents_per_owner=1)
    for name, owner in (("a", 1234), ("b", 1234), ("c", 4321)):
        written = write_manifest(root / name, name)
        for path in (written, written.parent, root / name):
            os.chown(path, owner, owner)
    world.sweep()
    assert set(world.live()) == {"a", "c"}
    with world.store.reading() as registry:
        assert dict(registry.holdings().of_owner) == {1234: 1, 4321: 1}
