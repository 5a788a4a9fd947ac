"""What the tests of the whole program share: a home, a root, and mounts that end."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HERE = os.path.dirname(__file__)  # noqa: PTH120 - compared as text

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts, devices")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave what starts whole daemons out of the quick run."""
    for item in items:
        if str(item.path).startswith(f"{HERE}/"):
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home directory without anything of meshd in it."""
    directory = tmp_path / "h"  # short: the path of a socket has 107 bytes
    directory.mkdir()
    return directory


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty directory to scan."""
    directory = tmp_path / "root"
    directory.mkdir()
    return directory


@pytest.fixture
def mount() -> Iterator[Callable[..., None]]:
    """What mounts, given the words of mount; everything is unmounted after the test."""
    targets: list[Path] = []

    def run(*words: str | Path) -> None:
        subprocess.run(["mount", *words], check=True)
        targets.append(words[-1])  # type: ignore[arg-type] # the target is a path

    yield run
    for target in reversed(targets):
        subprocess.run(["umount", target], check=False, stderr=subprocess.DEVNULL)
