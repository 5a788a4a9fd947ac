"""A relay outside the database is not told of every flap (fault 156)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tests.harness import World, delete_manifest, write_manifest
from tests.relay.test_outside import A, announce, announcer_of, states

if TYPE_CHECKING:
    from pathlib import Path

    from tests.relay.relays import TestRelay


def flap(world: World, project: Path) -> None:
    """Let an agent go, and come back a tenth of a second later; all that is due is told."""
    delete_manifest(project)
    world.hint(project)
    world.settle()
    announce(world)
    write_manifest(project, "a")
    world.hint(project)
    world.drain()
    announce(world)


def test_156_an_agent_that_flaps_is_let_go_of_at_once_and_announced_ever_later(
    outside: World, relay: TestRelay, root: Path
) -> None:
    announce(outside)
    relay.calls.clear()
    began = outside.clock.monotonic()
    for _ in range(60):
        flap(outside, root / "x/p")
    calls = [call for call in relay.calls if call[1] == A]
    flaps = outside.clock.monotonic() - began
    assert flaps > 60, "the clock moves by the settle time"
    registered = calls.count(("register", A))
    assert 2 <= registered <= 3 + math.log2(flaps / 2)
    assert calls.count(("retire", A)) <= registered + 1
    assert calls[0] == ("retire", A)
    assert calls[1] == ("register", A), "its first return is told at once"
    # Nobody else waits for it.
    write_manifest(root / "x/r", "r")
    outside.hint(root / "x/r")
    outside.drain()
    announce(outside)
    assert "relay.agent.x.r" in relay.endpoints


def test_what_is_held_back_is_told_when_it_is_due(
    outside: World, relay: TestRelay, root: Path
) -> None:
    announce(outside)
    for _ in range(4):
        flap(outside, root / "x/p")
    assert A not in relay.endpoints
    assert states(outside)[A] == "pending"
    wait = announce(outside)
    assert wait is not None
    assert 0 < wait <= 300
    outside.clock.step(wait)
    assert announce(outside) is None
    assert (A in relay.endpoints, states(outside)[A]) == (True, "live")


def test_a_relay_that_is_compared_is_not_told_of_what_is_held_back(
    outside: World, relay: TestRelay, root: Path
) -> None:
    announce(outside)
    for _ in range(4):
        flap(outside, root / "x/p")
    announcer_of(outside).doubt()
    announce(outside)
    assert A not in relay.endpoints
