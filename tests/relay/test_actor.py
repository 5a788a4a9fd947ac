"""The relay's thread: it alone waits for the relay, and it ends with the daemon."""

from __future__ import annotations

import contextlib
import json
import queue
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from meshd.commands import SetRule
from meshd.core.access import Action
from meshd.core.endpoints import EndpointState
from meshd.store.connection import open_reading
from meshd.store.registry import Registry
from tests.harness import write_manifest
from tests.relay import file_relay
from tests.system.daemon import Daemon

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshd.announcer import Announcer
    from tests.harness import World
    from tests.relay.relays import TestRelay

DEADLINE = 20.0


@contextlib.contextmanager
def running(world: World) -> Iterator[Announcer]:
    """Run reconciler and announcer in threads of their own, as the daemon does."""
    announcer = world.parts.announcer
    assert announcer is not None
    del announcer._await  # the world's own, which is for one thread
    threads = [threading.Thread(target=one) for one in (world.reconciler.run, announcer.run)]
    for thread in threads:
        thread.start()
    try:
        yield announcer
    finally:
        # In the daemon's order.
        for thread, stop in zip(threads, (world.reconciler.stop, announcer.stop), strict=True):
            stop()
            thread.join(DEADLINE)
            assert not thread.is_alive()


def ask(world: World, act: SetRule) -> bool:
    world.inbox.post(act)
    return act.future.result(DEADLINE)


def test_a_commit_wakes_the_relay_and_its_confirmation_comes_back(
    outside: World, relay: TestRelay
) -> None:
    heard: queue.SimpleQueue[str] = queue.SimpleQueue()
    relay.during = lambda: heard.put(relay.calls[-1][0])
    with running(outside):
        first = [heard.get(timeout=DEADLINE) for _ in range(4)]
        assert first == ["reconcile", "register", "register", "register"]
        ask(outside, SetRule("x", "y", Action.ALLOW))
        # By then what was registered before is confirmed.
        assert heard.get(timeout=DEADLINE) == "put_rule"
        with outside.store.reading() as registry:
            assert len(registry.live_records()) == 3


def test_a_relay_that_hangs_holds_up_nobody_else(outside: World, relay: TestRelay) -> None:
    entered, released = threading.Event(), threading.Event()

    def hang() -> None:
        entered.set()
        assert released.wait(DEADLINE)

    relay.during = hang
    with running(outside):
        assert entered.wait(DEADLINE)
        assert ask(outside, SetRule("x", "y", Action.ALLOW)) is True
        released.set()
    assert ("put_rule", "relay.agent.x.* relay.agent.y.*") in relay.calls


def test_a_daemon_with_a_relay_tells_it_on_a_thread_of_its_own_until_it_stops(
    tmp_path: Path,
) -> None:
    home, root, calls = tmp_path / "h", tmp_path / "root", tmp_path / "calls"
    home.mkdir()
    write_manifest(root / "x" / "p", "a")
    through = (sys.executable, str(Path(file_relay.__file__)), str(calls))
    with Daemon(home, root, through=through) as daemon:

        def confirmed() -> bool:
            with contextlib.closing(open_reading(daemon.database)) as connection:
                return Registry(connection).endpoint_states() == {"a": EndpointState.LIVE}

        daemon.wait_until(confirmed, "confirmation")
        assert daemon.stop() == 0
    heard = [json.loads(line) for line in calls.read_text().splitlines()]
    assert ["register", "relay.agent.x.a", "meshd-relay"] in heard
    assert {thread for _, _, thread in heard} == {"meshd-relay"}
