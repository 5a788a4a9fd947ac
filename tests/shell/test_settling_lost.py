"""A file that was torn when events were lost, and that nobody looks at again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshd.commands import Sync
from meshd.core.model import Hint, Source
from tests.harness import World, delete_project, write_bytes

if TYPE_CHECKING:
    from pathlib import Path


def test_a_torn_file_that_is_gone_when_events_were_lost_holds_no_sync_up(tmp_path: Path) -> None:
    """The sweep that makes up for the loss knows nothing of it: it is neither there nor known."""
    root = tmp_path / "root"
    root.mkdir()
    world = World(tmp_path / "state", [root])
    try:
        world.sweep()
        write_bytes(root / "torn", b'{"id":')
        hint = Hint(str(root / "torn"), Source.WATCH)
        world.inbox.put([hint], root_of=lambda _: str(root), settled=False)
        world.clock.step(0.2)
        world.drain()  # it does not parse, and is to be looked at again

        world.inbox.widen(str(root))
        world.drain()
        delete_project(root / "torn")
        world.sweep()
        sync = Sync()
        world.inbox.post(sync)
        world.settle()

        assert sync.future.done()
    finally:
        world.stop()
