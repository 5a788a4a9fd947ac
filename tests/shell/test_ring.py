"""What can only be decided together is decided, however far apart its parts were seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.harness import World, write_manifest

if TYPE_CHECKING:
    from pathlib import Path


def test_two_swaps_of_three_projects_are_decided(tmp_path: Path) -> None:
    root = tmp_path / "root"
    places = [root / name for name in "pqr"]
    for place, agent_id in zip(places, "abc", strict=True):
        write_manifest(place, agent_id)
    world = World(tmp_path / "state", [root])
    try:
        world.sweep()
        write_manifest(places[0], "b")
        write_manifest(places[1], "a")
        world.hint(*places[:2])
        world.drain()
        world.clock.step(0.1)
        write_manifest(places[1], "c")
        write_manifest(places[2], "a")
        world.hint(*places[1:])
        # The first part settles 0.2 s after it was seen, the second 0.1 s later; each may be
        # put off once more for the other.
        for _ in range(10):
            world.drain()
            world.clock.step(0.1)
        found = {agent.id: agent.project_path for agent in world.agents.values()}
        expected = zip("bca", map(str, places), strict=True)
        assert found == dict(expected)
        assert not world.parts.shared.looking.pending
    finally:
        world.stop()
