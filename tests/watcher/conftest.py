"""A root, watched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.watcher.hearing import Watched, watching

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path.resolve()


@pytest.fixture
def root(base: Path) -> Path:
    (base / "root").mkdir()
    return base / "root"


@pytest.fixture
def watched(base: Path, root: Path) -> Iterator[Watched]:
    """An empty root, watched."""
    with watching(base, root) as watched:
        yield watched
