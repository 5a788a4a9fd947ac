"""A root, watched."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.watcher import hearing
from tests.watcher.hearing import Watched, mounted, watching

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["inotify", "fanotify"], autouse=True)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What watches; every test runs over both."""
    name: str = request.param
    if name == "fanotify" and os.geteuid() != 0:
        pytest.skip("needs root: a mark on a file system")
    monkeypatch.setattr(hearing, "BACKEND", name)
    return name


@pytest.fixture
def base(backend: str, tmp_path: Path) -> Iterator[Path]:
    """A directory above the roots; for fanotify on a file system where nobody else makes events."""
    base = tmp_path.resolve()
    if backend == "inotify":
        yield base
    else:
        with mounted(base, "-t", "tmpfs", "tmpfs"):
            yield base


@pytest.fixture
def root(base: Path) -> Path:
    (base / "root").mkdir()
    return base / "root"


@pytest.fixture
def watched(base: Path, root: Path) -> Iterator[Watched]:
    """An empty root, watched."""
    with watching(base, root) as watched:
        yield watched


@pytest.fixture
def refusing(base: Path) -> Iterator[Path]:
    """A directory on a file system that the kernel refuses to mark: it has no handles."""
    place = base / "refusing"
    place.mkdir()
    with mounted(place, "-t", "ramfs", "ramfs"):
        yield place
