"""What a written root leads to: as the kernel says, and by a deadline where a server has to."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.config.resolving import Resolver
from meshd.mounts import Mount

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("a", "b", "..", ".", "", "missing")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directories, and symlinks of every kind."""
    top = tmp_path_factory.mktemp("tree").resolve()
    (top / "a" / "b").mkdir(parents=True)
    (top / "a" / "file").touch()
    links = {
        "relative": "a/b",
        "absolute": str(top / "a"),
        "up": "a/../a/b/..",
        "dangling": "nowhere/at/all",
        "to-link": "relative",
        "loop": "loop",
        "a/back": "..",
    }
    for name, target in links.items():
        (top / name).symlink_to(target)
    return top


LINKS = ("relative", "absolute", "up", "dangling", "to-link", "a", "back", "file")


@given(names=st.lists(st.sampled_from((*NAMES, *LINKS)), max_size=6))
def test_a_local_path_is_resolved_as_the_library_does(tree: Path, names: list[str]) -> None:
    path = os.path.normpath("/".join((str(tree), *names)))
    resolved = Resolver().resolve(path)
    assert resolved.path == os.path.realpath(path)
    try:
        status = os.stat(path)  # noqa: PTH116 - as the resolver's own
    except OSError:
        assert resolved.identity == resolved.path
    else:
        assert resolved.identity == (status.st_dev, status.st_ino)


def test_a_loop_is_left_as_it_is_written(tree: Path) -> None:
    assert Resolver().resolve(f"{tree}/loop/x").path == f"{tree}/loop/x"


@pytest.mark.parametrize("written", ["to-link", "a/b", "missing", "a"])
def test_where_a_call_may_hang_another_process_comes_to_the_same(
    tree: Path, written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Resolver().resolve(f"{tree}/{written}")
    monkeypatch.setattr(
        "meshd.config.resolving.mount_of",
        lambda path, _: Mount("/", "nfs4" if path.startswith(str(tree)) else "ext4"),
    )
    assert Resolver().resolve(f"{tree}/{written}") == here
