"""Who had an agent registered: kept in the row, and told in the change log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshd.commands import Register
from tests.harness import World, write_manifest

if TYPE_CHECKING:
    from pathlib import Path


def test_the_change_log_tells_who_had_an_agent_registered(tmp_path: Path) -> None:
    """Whoever follows the log alone knows each field of a row, as it was and as it is (I8)."""
    new, known = tmp_path / "root" / "new", tmp_path / "root" / "known"
    new.mkdir(parents=True)
    write_manifest(known, "a")
    world = World(tmp_path / "state", [tmp_path / "root"])
    try:
        world.sweep()
        for path, approver in ((new, "ada"), (known, "bob"), (known, "eve")):
            overrides = {} if path == known else {"name": "n", "runtime": "codex"}
            world.act(Register(str(path), overrides, approver, dry_run=False))

        told: dict[str, object] = {}
        with world.store.reading() as registry:
            for entry in registry.changes_since(0):
                if "approver" in (entry.after or {}) and entry.path is not None:
                    told[entry.path] = (entry.after or {})["approver"]
        assert told == {str(new): "ada", str(known): "bob"}
        assert {row.approver for row in world.agents.values()} == {"ada", "bob"}
    finally:
        world.stop()
