"""A relay outside the database: told in time, told again, and never believed before it answers."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from meshd.commands import Confirmation, SetRule
from meshd.core.access import Action
from meshd.core.endpoints import EndpointState, rules_for
from meshd.errors import StoreError
from tests.harness import SteppedClock, World, delete_manifest, write_manifest
from tests.relay.relays import TestRelay

if TYPE_CHECKING:
    from pathlib import Path

    from meshd.announcer import Announcer

A, B, C = "relay.agent.x.a", "relay.agent.x.b", "relay.agent.y.c"


def announcer_of(world: World) -> Announcer:
    announcer = world.parts.announcer
    assert announcer is not None
    # No jitter: a test says when it is time.
    announcer._jitter = lambda: 0.0
    return announcer


def announce(world: World) -> float | None:
    return announcer_of(world).announce()


def states(world: World) -> dict[str, str]:
    with world.store.reading() as registry:
        return {row.endpoint.subject: str(row.state) for row in registry.endpoints()}


def discoverable(world: World) -> list[str]:
    with world.store.reading() as registry:
        return sorted(record.agent.id for record in registry.live_records())


def told(world: World, since: int = 0) -> list[tuple[str | None, Any, Any]]:
    """Return agent, from and to of every `endpoint` entry after `since`."""
    with world.store.reading() as registry:
        entries = registry.changes_since(since)
    return [(one.agent_id, one.before, one.after) for one in entries if one.kind == "endpoint"]


def logged(world: World) -> list[str]:
    """Return the events that the log has of the relay."""
    events = [str(call.kwargs["event"]) for call in world.log.calls]
    return [event for event in events if event.startswith("relay")]


# what is pending


def test_nothing_is_discoverable_before_the_relay_has_confirmed_it(
    outside: World, relay: TestRelay
) -> None:
    assert states(outside) == dict.fromkeys([A, B, C], "pending")
    assert discoverable(outside) == []
    assert sorted(outside.live()) == ["a", "b", "c"]  # and shown all the same
    with outside.store.reading() as registry:
        assert registry.endpoint_states() == dict.fromkeys("abc", EndpointState.PENDING)
        assert registry.namespaces() == []

    assert announce(outside) is None
    assert states(outside) == dict.fromkeys([A, B, C], "live")
    assert discoverable(outside) == ["a", "b", "c"]
    assert sorted(relay.endpoints) == [A, B, C]


def test_a_confirmation_is_told_once_with_the_path(outside: World, root: Path) -> None:
    before = outside.seq()
    announce(outside)
    assert told(outside, before) == [
        (
            agent_id,
            {"subject": subject, "state": "pending"},
            {"subject": subject, "state": "live"},
        )
        for agent_id, subject in (("a", A), ("b", B), ("c", C))
    ]
    with outside.store.reading() as registry:
        assert registry.changes_since(before)[0].path == str(root / "x" / "p")


def test_a_relay_that_is_new_is_given_everything_in_one_call_and_then_what_is_pending(
    outside: World, relay: TestRelay
) -> None:
    announce(outside)
    assert relay.names() == ["reconcile", "register", "register", "register"]
    with outside.store.reading() as registry:
        rules = rules_for(registry.namespaces(), registry.explicit_rules(), ())
    assert set(relay.rules.values()) == rules


# quiet


def test_a_quiet_mesh_is_compared_once_a_sweep_and_told_nothing(
    outside: World, relay: TestRelay
) -> None:
    announce(outside)
    seq, calls = outside.seq(), len(relay.calls)
    for _ in range(3):
        announce(outside)
    assert len(relay.calls) == calls
    for _ in range(3):
        outside.sweep(after=300)
        announce(outside)
    assert relay.names(calls) == ["reconcile"] * 3
    assert outside.seq() == seq


def test_a_sync_compares_nothing(outside: World, relay: TestRelay) -> None:
    announce(outside)
    calls = len(relay.calls)
    outside.sweep(sync=True)
    announce(outside)
    assert len(relay.calls) == calls


def test_what_the_relay_has_lost_is_there_again_after_a_sweep_and_told(
    outside: World, relay: TestRelay
) -> None:
    announce(outside)
    before = outside.seq()
    relay.endpoints.clear()
    relay.rules.clear()
    outside.sweep(after=300)
    announce(outside)
    assert sorted(relay.endpoints) == [A, B, C]
    assert len(relay.rules) == 4
    assert [(agent_id, was["state"]) for agent_id, was, _ in told(outside, before)] == [
        ("a", "lost"),
        ("b", "lost"),
        ("c", "lost"),
    ]


# what moves


def test_another_namespace_registers_the_new_endpoint_before_it_retires_the_old_one(
    outside: World, relay: TestRelay, root: Path
) -> None:
    announce(outside)
    before, calls = outside.seq(), len(relay.calls)
    (root / "x" / "p").rename(root / "y" / "q")
    outside.sweep()
    assert states(outside) == {
        A: "retired", B: "live", C: "live", "relay.agent.y.a": "pending",
    }  # fmt: skip
    assert discoverable(outside) == ["b", "c"]
    announce(outside)
    assert relay.calls[calls + 1 :] == [("register", "relay.agent.y.a"), ("retire", A)]
    assert states(outside) == dict.fromkeys([B, "relay.agent.y.a", C], "live")
    assert told(outside, before) == [
        ("a", {"subject": A}, {"subject": "relay.agent.y.a"}),
        (
            "a",
            {"subject": "relay.agent.y.a", "state": "pending"},
            {"subject": "relay.agent.y.a", "state": "live"},
        ),
    ]


def test_the_last_agent_out_takes_the_rules_of_its_namespace_along(
    outside: World, relay: TestRelay, root: Path
) -> None:
    announce(outside)
    calls = len(relay.calls)
    delete_manifest(root / "y" / "p")
    outside.hint(root / "y" / "p")
    outside.settle()
    announce(outside)
    assert relay.calls[calls:] == [
        ("retire", C),
        ("remove_rule", "relay.agent.y.* relay.agent.>"),
        ("remove_rule", "relay.agent.y.* relay.agent.y.*"),
    ]
    assert states(outside) == {A: "live", B: "live"}


def test_the_first_agent_in_finds_the_rules_of_its_namespace_there(
    outside: World, relay: TestRelay, root: Path
) -> None:
    announce(outside)
    calls = len(relay.calls)
    write_manifest(root / "z" / "p", "d")
    outside.hint(root / "z" / "p")
    outside.settle()
    announce(outside)
    assert relay.names(calls) == ["put_rule", "put_rule", "register"]


def test_rules_are_told_by_difference(outside: World, relay: TestRelay) -> None:
    announce(outside)
    calls = len(relay.calls)
    outside.act(SetRule("x", "y", Action.ALLOW))
    announce(outside)
    outside.act(SetRule("x", "y", Action.DENY))
    announce(outside)
    outside.act(SetRule("*", "*", Action.ALLOW))
    announce(outside)
    outside.act(SetRule("*", "*", Action.DENY))
    announce(outside)
    announce(outside)
    outside.act(SetRule("*", "*", Action.ALLOW))
    announce(outside)
    pair, mesh = "relay.agent.x.* relay.agent.y.*", "relay.agent.> relay.agent.>"
    assert relay.calls[calls:] == [
        ("put_rule", pair), ("put_rule", pair),
        ("put_rule", mesh), ("remove_rule", mesh), ("put_rule", mesh),
    ]  # fmt: skip
    assert relay.rules["relay.agent.x.*", "relay.agent.y.*"].action is Action.DENY


def test_a_reload_tells_the_relay_whom_the_operator_trusts(
    outside: World, relay: TestRelay
) -> None:
    announce(outside)
    announcer_of(outside)._woken.clear()
    trusting = outside.settings.relay.model_copy(update={"system": ("a",)})
    outside.parts.configure(outside.settings.model_copy(update={"relay": trusting}))
    assert announcer_of(outside)._woken.is_set()
    announce(outside)
    assert relay.rules["relay.agent.*.a", "relay.agent.>"].priority == 200
    outside.parts.configure(outside.settings)
    announce(outside)
    assert ("relay.agent.*.a", "relay.agent.>") not in relay.rules


# what fails


@pytest.mark.parametrize("takes_effect", [False, True])
@pytest.mark.parametrize("number", range(6))
def test_a_relay_that_fails_at_any_call_ends_with_the_same(
    number: int, takes_effect: bool, outside: World, relay: TestRelay, root: Path
) -> None:
    """A first announcement, a move and an end are six calls; after each, some more are due."""
    relay.takes_effect = takes_effect
    relay.failing = itertools.chain([False] * number, [True])
    announce(outside)
    outside.clock.step(1)
    announce(outside)
    (root / "x" / "p").rename(root / "y" / "q")
    delete_manifest(root / "x" / "q")
    outside.sweep()
    announce(outside)
    outside.clock.step(1)
    announce(outside)

    assert sorted(relay.endpoints) == ["relay.agent.y.a", C]
    assert states(outside) == {"relay.agent.y.a": "live", C: "live"}
    assert set(relay.rules.values()) == rules_for(["y"], {}, ())
    assert logged(outside) == ["relay_failed", "relay_recovered"]
    assert announcer_of(outside).failures == 1


def test_what_was_registered_before_a_failure_is_discoverable(
    outside: World, relay: TestRelay
) -> None:
    relay.failing = iter([False, False, True])
    assert announce(outside) == 1.0
    assert discoverable(outside) == ["a"]
    assert states(outside) == {A: "live", B: "pending", C: "pending"}


def test_a_relay_that_is_down_is_tried_ever_later_and_told_of_once(
    outside: World, relay: TestRelay
) -> None:
    relay.failing = itertools.repeat(True)
    waits = []
    for _ in range(11):
        wait = announce(outside)
        assert wait is not None
        waits.append(wait)
        # Woken meanwhile by commits, it leaves the relay alone.
        calls = len(relay.calls)
        outside.clock.step(wait / 2)
        assert announce(outside) == pytest.approx(wait / 2)
        assert len(relay.calls) == calls
        outside.clock.step(wait / 2)
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert logged(outside) == ["relay_failed"]
    assert announcer_of(outside).failures == 11
    relay.failing = iter(())
    assert announce(outside) is None
    assert discoverable(outside) == ["a", "b", "c"]
    assert logged(outside) == ["relay_failed", "relay_recovered"]


def test_a_comparison_that_failed_is_made_again(outside: World, relay: TestRelay) -> None:
    announce(outside)
    outside.sweep(after=300)
    relay.endpoints.clear()
    relay.failing = iter([True])
    assert announce(outside) == 1.0
    outside.clock.step(1)
    assert announce(outside) is None
    assert sorted(relay.endpoints) == [A, B, C]


def test_many_daemons_do_not_come_back_in_step(outside: World, relay: TestRelay) -> None:
    relay.failing = itertools.repeat(True)
    announcer = announcer_of(outside)
    announcer._jitter = lambda: 0.5
    assert announcer.announce() == 0.75


def test_a_confirmation_that_cannot_be_committed_is_asked_for_again(
    outside: World, relay: TestRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(confirmation: Confirmation) -> None:
        raise StoreError("the disk is full")

    announcer = announcer_of(outside)
    with monkeypatch.context() as patched:
        patched.setattr(announcer, "_confirm", refuse)
        assert announcer.announce() == 1.0
    assert discoverable(outside) == []
    outside.clock.step(1)
    assert announcer.announce() is None
    assert discoverable(outside) == ["a", "b", "c"]
    assert sorted(relay.endpoints) == [A, B, C]


# what changes meanwhile


def test_an_agent_that_leaves_while_it_is_being_registered_is_retired(
    outside: World, relay: TestRelay, root: Path
) -> None:
    def leave() -> None:
        if relay.calls[-1] == ("register", C):
            relay.during = lambda: None
            delete_manifest(root / "y" / "p")
            outside.sweep()

    relay.during = leave
    announce(outside)
    assert states(outside) == {A: "live", B: "live", C: "retired"}
    assert discoverable(outside) == ["a", "b"]
    announce(outside)
    assert C not in relay.endpoints
    assert C not in states(outside)


def test_an_agent_that_returns_while_it_is_being_retired_is_registered_again(
    outside: World, relay: TestRelay, root: Path
) -> None:
    announce(outside)
    delete_manifest(root / "y" / "p")
    outside.sweep()

    def come_back() -> None:
        if relay.calls[-1] == ("retire", C):
            relay.during = lambda: None
            write_manifest(root / "y" / "p", "c")
            outside.sweep()

    relay.during = come_back
    announce(outside)
    assert states(outside)[C] == "pending"
    announce(outside)
    assert C in relay.endpoints
    assert states(outside)[C] == "live"
    assert set(relay.rules.values()) == rules_for(["x", "y"], {}, ())


@pytest.mark.parametrize(
    "late",
    [
        Confirmation(registered=(A,)),  # a second answer
        Confirmation(retired=(A,)),
        Confirmation(registered=("relay.agent.x.nobody",), retired=("relay.agent.x.nobody",)),
        Confirmation(lost=("relay.agent.x.nobody",)),
    ],
)
def test_a_confirmation_that_is_late_or_comes_twice_changes_nothing(
    late: Confirmation, outside: World
) -> None:
    announce(outside)
    before, seq = states(outside), outside.seq()
    commits = outside.store.writer.commits
    assert outside.act(late) == 0
    assert (states(outside), outside.seq()) == (before, seq)
    assert outside.store.writer.commits == commits


# restarts


def test_what_was_pending_or_to_be_retired_goes_on_after_a_restart(
    outside: World, relay: TestRelay, root: Path, tmp_path: Path
) -> None:
    announce(outside)
    write_manifest(root / "x" / "new", "d")
    delete_manifest(root / "y" / "p")
    outside.sweep()
    outside.stop()

    again = World(tmp_path / "state", [root], relay=relay)
    assert states(again) == {A: "live", B: "live", C: "retired", "relay.agent.x.d": "pending"}
    assert discoverable(again) == ["a", "b"]
    announce(again)
    assert sorted(relay.endpoints) == [A, B, "relay.agent.x.d"]
    assert discoverable(again) == ["a", "b", "d"]
    assert "relay.agent.y.* relay.agent.y.*" not in [" ".join(ends) for ends in relay.rules]
    again.stop()


def test_a_relay_that_comes_to_a_mesh_that_had_none_is_given_what_is_live(
    world: World, root: Path, tmp_path: Path
) -> None:
    world.stop()
    relay = TestRelay()
    again = World(tmp_path / "state", [root], relay=relay)
    seq = again.seq()
    again.sweep()
    assert again.seq() == seq
    assert discoverable(again) == ["a", "b", "c"]  # they were, and stay so
    announce(again)
    assert sorted(relay.endpoints) == [A, B, C]
    again.stop()


# the end


def test_at_the_stop_the_relay_hears_what_is_left_and_the_next_start_asks_anew(
    outside: World, relay: TestRelay
) -> None:
    announcer = announcer_of(outside)
    outside.inbox.close()
    announcer.stop()
    announcer.run()
    assert sorted(relay.endpoints) == [A, B, C]
    assert states(outside) == dict.fromkeys([A, B, C], "pending")


def test_at_the_stop_a_slow_relay_has_so_long_and_no_longer(
    outside: World, relay: TestRelay
) -> None:
    clock: SteppedClock = outside.clock
    relay.during = lambda: clock.step(1)
    announcer = announcer_of(outside)
    announcer.stop()
    announcer.run()
    assert relay.names() == ["reconcile", "register", "register"]
    assert announcer.failures == 0
