"""A root, watched."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from meshd.watcher.fanotify import Fanotify
from meshd.watcher.inotify import DIRECTORY_MASK
from tests.watcher import hearing
from tests.watcher.hearing import Watched, watching

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def refusal_of_fanotify(directory: Path) -> str | None:
    """Return why a directory cannot be watched by fanotify."""
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        fanotify = Fanotify()
        try:
            fanotify.add(descriptor, DIRECTORY_MASK)
        finally:
            fanotify.close()
    except OSError as error:
        return error.strerror
    finally:
        os.close(descriptor)
    return None


@pytest.fixture(params=["inotify", "fanotify"], autouse=True)
def backend(request: pytest.FixtureRequest, base: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What watches; every test runs over both, where the kernel grants both."""
    name: str = request.param
    if name == "fanotify" and (why := refusal_of_fanotify(base)) is not None:
        pytest.skip(f"needs root and fanotify: the kernel refuses it here: {why}")
    monkeypatch.setattr(hearing, "BACKEND", name)
    return name


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
