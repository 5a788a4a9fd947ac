"""A world with one healthy root, and how its files look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from meshd.commands import Register, Removal, Unregister, Update
from tests.harness import World

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from meshd.commands import Registered, Unregistered

NEW = {"name": "ada", "runtime": "claude-code"}


class Acting:
    """Acts on a world as the daemon's surfaces do, one after the other."""

    def __init__(self, world: World) -> None:
        self.world = world

    def register(
        self, project: Path, overrides: Mapping[str, Any] = NEW, *, dry_run: bool = False
    ) -> Registered:
        result: Registered = self._act(Register(str(project), overrides, "mesh", dry_run))
        return result

    def update(
        self,
        agent_id: str,
        changes: Mapping[str, Any],
        *,
        seq: int | None = None,
        dry_run: bool = False,
    ) -> Registered:
        result: Registered = self._act(Update(agent_id, changes, seq, dry_run))
        return result

    def unregister(
        self, agent_id: str, removal: Removal = Removal.MANIFEST, *, dry_run: bool = False
    ) -> Unregistered:
        result: Unregistered = self._act(Unregister(agent_id, removal, dry_run))
        return result

    def _act(self, act: Register | Update | Unregister) -> Any:  # noqa: ANN401 - each its own
        self.world.inbox.post(act)
        self.world.drain()
        return act.future.result(timeout=0)

    def intents(self) -> int:
        """Return how many calls are unfinished."""
        count = self.world.store.writer.submit(
            lambda one: one.execute("SELECT count(*) FROM intents").fetchall()[0][0]
        )
        return int(count.result(timeout=10))  # type: ignore[arg-type]


def files_in(directory: Path) -> dict[str, bytes]:
    """Return every file below a directory, by its relative path."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def manifest_path(project: Path) -> Path:
    return project / ".dork" / "agent.json"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def project(root: Path) -> Path:
    (root / "p").mkdir()
    return root / "p"


@pytest.fixture
def acting(tmp_path: Path, root: Path) -> Iterator[Acting]:
    world = World(tmp_path / "state", [root])
    world.sweep()
    yield Acting(world)
    world.stop()
