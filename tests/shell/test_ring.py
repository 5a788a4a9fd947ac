"""What can only be decided together is decided, however far apart its parts were seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.harness import World, write_manifest

if TYPE_CHECKING:
    from pathlib import Path


def test_a_ring_of_moves_seen_in_two_parts_is_decided_once_both_have_settled(
    tmp_path: Path,
) -> None:
    root = tmp_path / "root"
    places = [root / name for name in "pqr"]
    for place, agent_id in zip(places, "abc", strict=True):
        write_manifest(place, agent_id)
    world = World(tmp_path / "state", [root])
    try:
        world.sweep()
        for place, agent_id in zip(places, "cab", strict=True):
            write_manifest(place, agent_id)
        world.hint(*places[:2])
        world.drain()
        world.clock.step(0.1)
        world.hint(places[2])
        # The first part settles 0.2 s after it was seen, the second 0.1 s later.
        for _ in range(3):
            world.drain()
            world.clock.step(0.1)
        world.drain()
        found = {agent.id: agent.project_path for agent in world.agents.values()}
        expected = zip("cab", map(str, places), strict=True)
        assert found == dict(expected)
        assert not world.parts.shared.looking.pending
    finally:
        world.stop()
