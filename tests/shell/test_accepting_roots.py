"""A root that the operator accepts while a sweep is on its way."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from meshd.commands import AcceptRoot, SweepBegan
from meshd.core.model import Source
from tests.harness import World, write_manifest

if TYPE_CHECKING:
    from pathlib import Path


def test_an_accepted_root_is_not_made_sick_by_a_check_that_is_older(tmp_path: Path) -> None:
    """The sweep had checked it against what it was before; it was sick for ever after that."""
    root, copy = tmp_path / "root", tmp_path / "copy"
    write_manifest(root / "p", "a")
    world = World(tmp_path / "state", [root])
    try:
        world.sweep()
        copy.mkdir()
        shutil.rmtree(root)
        copy.rename(root)
        view = world.roots.view
        check = world.sweeper._check(str(root), view)
        assert not check.healthy

        world.act(AcceptRoot(str(root)))
        world.inbox.post(SweepBegan({str(root): check}, Source.SWEEP))
        world.drain()

        assert world.roots.view.states[str(root)].healthy
        assert world.sweep().sick_roots == ()
    finally:
        world.stop()
