"""The ladder opens the directory that was meant, and holds few."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from meshd.looker.foothold import Foothold
from meshd.looker.ladder import MOST_HELD, Ladder
from meshd.looker.nodes import Node

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


@contextlib.contextmanager
def standing(root: int) -> Iterator[Ladder]:
    with contextlib.closing(Ladder(Foothold(root), is_strict=True)) as ladder:
        yield ladder


def listed(name: str, parent: Node | None, directory: Path) -> Node:
    """Return a node as a listing leaves it."""
    node = Node(name, parent)
    node.remember(directory.stat(), 0)
    return node


def opened(ladder: Ladder, node: Node, relative: str) -> tuple[int, int]:
    """Return which directory was opened."""
    descriptor = ladder.open(node, relative)
    status = os.fstat(descriptor)
    os.close(descriptor)
    return status.st_dev, status.st_ino


def held_below(directory: Path) -> list[Path]:
    """Return the directories that this process has open, at or below one."""
    links = list(Path("/proc/self/fd").iterdir())
    targets = [link.readlink() for link in links if link.is_symlink()]
    return sorted(one for one in targets if one.is_relative_to(directory))


def test_a_child_is_opened_in_the_directory_that_was_listed(tmp_path: Path, root: int) -> None:
    """Another directory lies at the path by then; taken for the child, it would be watched."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    meant = (tmp_path / "a" / "b").stat()
    above = listed("a", None, tmp_path / "a")
    with standing(root) as ladder:
        ladder.hold(above, ladder.open(above, "a"))
        (tmp_path / "a").rename(tmp_path / "elsewhere")
        (tmp_path / "a" / "b").mkdir(parents=True)
        assert opened(ladder, Node("b", above), "a/b") == (meant.st_dev, meant.st_ino)


def test_by_path_another_directory_is_refused(tmp_path: Path, root: int) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    above = listed("a", None, tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "elsewhere")
    (tmp_path / "a" / "b").mkdir(parents=True)
    with standing(root) as ladder, pytest.raises(FileNotFoundError, match="another directory"):
        ladder.open(Node("b", above), "a/b")
    assert held_below(tmp_path / "a") == []


def test_a_symlink_is_not_followed(tmp_path: Path, root: int) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "target").mkdir()
    (tmp_path / "a" / "b").symlink_to(tmp_path / "target")
    above = listed("a", None, tmp_path / "a")
    with standing(root) as ladder:
        ladder.hold(above, ladder.open(above, "a"))
        with pytest.raises(NotADirectoryError):
            ladder.open(Node("b", above), "a/b")


def test_what_a_server_has_forgotten_is_found_by_its_path(
    tmp_path: Path, root: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the root of a network file system: another client has made the directory anew."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    above = listed("a", None, tmp_path / "a")

    def stale(*_: object, **__: object) -> int:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    with standing(root) as ladder:
        ladder.hold(above, ladder.open(above, "a"))
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", stale)
            found = opened(ladder, Node("b", above), "a/b")
    status = (tmp_path / "a" / "b").stat()
    assert found == (status.st_dev, status.st_ino)


def test_what_does_not_lie_above_the_next_is_let_go(tmp_path: Path, root: int) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "c").mkdir()
    top = listed("", None, tmp_path)
    first, last = listed("a", top, tmp_path / "a"), Node("c", top)
    with standing(root) as ladder:
        ladder.hold(top, ladder.open(top, ""))
        ladder.hold(first, ladder.open(first, "a"))
        status = (tmp_path / "c").stat()
        assert opened(ladder, last, "c") == (status.st_dev, status.st_ino)
        assert held_below(tmp_path) == [tmp_path, tmp_path]  # the root's own, and the ladder's
    assert held_below(tmp_path) == [tmp_path]


def test_no_more_than_a_few_are_held(tmp_path: Path, root: int) -> None:
    node = listed("", None, tmp_path)
    directory = tmp_path
    with standing(root) as ladder:
        ladder.hold(node, ladder.open(node, ""))
        for _ in range(2 * MOST_HELD):
            directory /= "d"
            directory.mkdir()
            node = listed("d", node, directory)
            descriptor = ladder.open(node, str(directory.relative_to(tmp_path)))
            assert os.fstat(descriptor).st_ino == directory.stat().st_ino
            ladder.hold(node, descriptor)
        assert len(held_below(tmp_path)) == 1 + MOST_HELD
    assert held_below(tmp_path) == [tmp_path]
