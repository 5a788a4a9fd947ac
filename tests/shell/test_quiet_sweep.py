"""Quiet when converged (R10): a sweep that finds nothing commits nothing and logs one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

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
    write_manifest(root / "p", "a")
    write_manifest(root / "q", "b")
    write_manifest(root / "clone", "a")
    write_bytes(root / "torn", b'{"id":')
    world = World(tmp_path / "state", [root])
    world.sweep()
    yield world
    world.stop()


@pytest.mark.parametrize("full", [False, True])
def test_a_sweep_that_finds_nothing_commits_nothing_and_logs_one_line(
    world: World, full: bool
) -> None:
    commits, lines = world.store.writer.commits, len(world.log.calls)
    world.sweep(full=full, after=300)
    assert world.store.writer.commits == commits
    assert [call.kwargs["event"] for call in world.log.calls[lines:]] == ["swept"]


def test_files_too_young_to_be_trusted_are_read_again_and_commit_nothing(
    tmp_path: Path, root: Path
) -> None:
    write_manifest(root / "p", "a")
    world = World(tmp_path / "other", [root])
    # Every file is younger than the racy window, for ever.
    world.clock.wall_seconds = 0.0
    world.sweep()
    commits = world.store.writer.commits
    world.sweep()
    assert world.store.writer.commits == commits
    world.stop()


def test_clocks_are_written_while_a_row_waits_and_not_otherwise(world: World, root: Path) -> None:
    delete_manifest(root / "q")
    world.sweep()
    commits = world.store.writer.commits
    world.sweep(after=300)
    assert world.store.writer.commits == commits + 1
    write_manifest(root / "q", "b")
    world.sweep(after=300)
    commits = world.store.writer.commits
    # A torn manifest is looked at again when it moves: there is something to do, not to say.
    write_bytes(root / "torn", b'{"id": ')
    world.sweep(after=300)
    touched = world.store.writer.commits
    world.sweep(after=300)
    assert world.store.writer.commits == touched
    assert touched == commits + 1


def test_nothing_is_told_of_a_root_that_stays_sick(world: World, root: Path) -> None:
    root.rename(root.with_name("away"))
    world.sweep()
    seq, lines = world.seq(), len(world.log.calls)
    world.sweep(after=300)
    assert world.seq() == seq
    assert [call.kwargs["event"] for call in world.log.calls[lines:]] == ["swept"]


def test_only_the_clock_of_a_root_where_a_row_waits_is_written(tmp_path: Path, root: Path) -> None:
    other = tmp_path / "second"
    write_manifest(root / "p", "a")
    write_manifest(other / "q", "b")
    world = World(tmp_path / "other", [root, other])
    world.sweep()
    delete_manifest(root / "p")
    world.sweep(after=100)
    world.sweep(after=100)
    with world.store.reading() as registry:
        observed = {path: state.observed_seconds for path, state in registry.roots().items()}
    assert observed[str(root)] > 0
    assert observed[str(other)] == 0
    world.stop()
