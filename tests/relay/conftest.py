"""A root with three agents in two namespaces, and worlds over it with and without a relay."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness import World, write_manifest
from tests.relay.relays import TestRelay

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root: `a` and `b` in namespace `x`, `c` in `y`."""
    directory = tmp_path / "root"
    for place, agent_id in (("x/p", "a"), ("x/q", "b"), ("y/p", "c")):
        write_manifest(directory / place, agent_id)
    return directory


@pytest.fixture
def world(tmp_path: Path, root: Path) -> Iterator[World]:
    """A world with the embedded relay, swept once."""
    world = World(tmp_path / "state", [root])
    world.sweep()
    yield world
    world.stop()


@pytest.fixture
def relay() -> TestRelay:
    return TestRelay()


@pytest.fixture
def outside(tmp_path: Path, root: Path, relay: TestRelay) -> Iterator[World]:
    """A world with a relay outside the database, swept once; the relay has heard of nothing."""
    world = World(tmp_path / "state", [root], relay=relay)
    world.sweep()
    yield world
    world.stop()
