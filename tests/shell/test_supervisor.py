"""Actors end together, in order, within their deadlines, and never unnoticed."""

from __future__ import annotations

import io
import json
import os
import queue
import signal
import subprocess
import sys
import textwrap
import threading
from typing import TYPE_CHECKING

import pytest

from meshd.errors import StoppingError
from meshd.log import Log
from meshd.supervisor import SIGNALS, Actor, Exit, Supervisor, signals, strays

if TYPE_CHECKING:
    from collections.abc import Callable

LONG = 30.0  # seconds; a wait this long has failed


class Diary:
    """A supervisor whose log and stops can be read."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        self.log = Log(format="json", stream=self.stream, environ={})
        self.supervisor = Supervisor(self.log.logger)
        self.stopped: list[str] = []

    def add(self, name: str) -> None:
        """Start an actor that works until it is asked to stop."""
        asked = threading.Event()

        def stop() -> None:
            self.stopped.append(name)
            asked.set()

        def run() -> None:
            assert asked.wait(LONG)

        self.supervisor.start(Actor(name, run, stop))

    def events(self) -> list[tuple[str, str]]:
        records = [json.loads(line) for line in self.stream.getvalue().splitlines()]
        return [(record["event"], record["actor"]) for record in records]


@pytest.fixture
def diary() -> Diary:
    return Diary()


def nothing() -> None:
    """Return at once, or stop without asking anybody."""


def test_an_actor_runs_in_a_thread_of_its_name_that_keeps_the_process(diary: Diary) -> None:
    found: queue.SimpleQueue[threading.Thread] = queue.SimpleQueue()
    diary.supervisor.start(
        Actor("meshd-watch", lambda: found.put(threading.current_thread()), nothing)
    )
    thread = found.get(timeout=LONG)
    assert (thread.name, thread.daemon) == ("meshd-watch", False)
    assert diary.supervisor.wait(LONG) == Exit("meshd-watch", None)
    assert not thread.is_alive()


def test_an_actor_that_raises_is_told_and_reported_once_with_its_traceback(diary: Diary) -> None:
    diary.add("meshd-writer")
    error = RuntimeError("boom")

    def run() -> None:
        raise error

    diary.supervisor.start(Actor("meshd-sweep", run, nothing))
    assert diary.supervisor.wait(LONG) == Exit("meshd-sweep", error)
    assert diary.supervisor.stop() == []
    assert diary.stopped == ["meshd-writer"]
    assert diary.events() == [("actor_failed", "meshd-sweep")]
    assert "in run" in json.loads(diary.stream.getvalue())["exception"]


def test_an_actor_that_calls_exit_is_told_like_any_other(diary: Diary) -> None:
    diary.supervisor.start(Actor("meshd-api", lambda: sys.exit(3), nothing))
    ended = diary.supervisor.wait(LONG)
    assert isinstance(ended, Exit)
    assert isinstance(ended.error, SystemExit)


def test_a_wait_ends_after_its_timeout(diary: Diary) -> None:
    assert diary.supervisor.wait(0.0) is None


@pytest.mark.parametrize(
    ("order", "expected", "reason"),
    [
        (None, ["c", "b", "a"], "the last started is the first stopped"),
        (["b", "a", "c"], ["b", "a", "c"], "as the daemon says"),
        (["a"], ["a", "c", "b"], "who is not named follows"),
        (["x", "a", "a"], ["a", "c", "b"], "who is not there is skipped"),
    ],
)
def test_actors_are_stopped_in_order(
    diary: Diary, order: list[str] | None, expected: list[str], reason: str
) -> None:
    for name in "abc":
        diary.add(name)
    assert diary.supervisor.stop(order, deadline=LONG) == []
    assert diary.stopped == expected, reason
    assert not [thread for thread in threading.enumerate() if thread.name in "abc"]


def test_each_actor_has_ended_before_the_next_is_asked(diary: Diary) -> None:
    asked = threading.Event()
    ended: list[str] = []

    def slow() -> None:
        assert asked.wait(LONG)
        for _ in range(1000):
            os.sched_yield()
        ended.append("inbox")

    diary.supervisor.start(Actor("writer", nothing_until(asked), lambda: ended.append("asked")))
    diary.supervisor.start(Actor("inbox", slow, asked.set))
    diary.supervisor.stop(["inbox", "writer"], deadline=LONG)
    assert ended[0] == "inbox"


def nothing_until(event: threading.Event) -> Callable[[], None]:
    def run() -> None:
        assert event.wait(LONG)

    return run


def test_an_actor_that_does_not_end_is_named_and_the_others_are_stopped(diary: Diary) -> None:
    release = threading.Event()
    diary.add("writer")
    diary.supervisor.start(Actor("stuck", nothing_until(release), nothing))
    try:
        assert diary.supervisor.stop(deadline=0.5) == ["stuck"]
        assert diary.stopped == ["writer"]
        assert ("actor_overran", "stuck") in diary.events()
    finally:
        release.set()


def test_an_actor_that_cannot_be_asked_keeps_nobody_from_stopping(diary: Diary) -> None:
    release = threading.Event()
    diary.add("writer")

    def stop() -> None:
        release.set()
        raise OSError("cannot")

    diary.supervisor.start(Actor("watch", nothing_until(release), stop))
    assert diary.supervisor.stop(deadline=LONG) == []
    assert diary.stopped == ["writer"]
    assert diary.events() == [("actor_refused_to_stop", "watch")]


def test_nothing_is_started_once_stopping(diary: Diary) -> None:
    diary.supervisor.stop()
    with pytest.raises(StoppingError):
        diary.supervisor.start(Actor("late", nothing, nothing))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_hurries(diary: Diary, number: signal.Signals) -> None:
    release = threading.Event()
    diary.add("writer")
    diary.supervisor.start(
        Actor("stuck", nothing_until(release), lambda: os.kill(os.getpid(), number))
    )
    with signals(diary.supervisor.wakeups):
        try:
            late = diary.supervisor.stop(deadline=LONG)
        finally:
            release.set()
    assert late[0] == "stuck"
    assert diary.stopped == ["writer"]


def test_a_hangup_hurries_nobody(diary: Diary) -> None:
    asked = threading.Event()

    def stop() -> None:
        os.kill(os.getpid(), signal.SIGHUP)
        asked.set()

    with signals(diary.supervisor.wakeups):
        diary.supervisor.start(Actor("writer", nothing_until(asked), stop))
        assert diary.supervisor.stop(deadline=LONG) == []


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_wakes_the_wait_and_the_old_handler_returns(
    diary: Diary, number: signal.Signals
) -> None:
    before = signal.getsignal(number)
    with signals(diary.supervisor.wakeups):
        os.kill(os.getpid(), number)
        assert diary.supervisor.wait(LONG) is number
    assert signal.getsignal(number) is before


def test_a_thread_that_is_no_actor_does_not_die_unnoticed(diary: Diary) -> None:
    def die() -> None:
        raise RuntimeError("boom")

    before = threading.excepthook
    with strays(diary.supervisor, diary.log.logger):
        thread = threading.Thread(target=die, name="of-a-library")
        thread.start()
        ended = diary.supervisor.wait(LONG)
        thread.join()
    assert isinstance(ended, Exit)
    assert ended.actor == "of-a-library"
    assert diary.events() == [("thread_failed", "of-a-library")]
    assert threading.excepthook is before


def test_a_process_asked_to_end_drains_and_exits_cleanly() -> None:
    program = textwrap.dedent(
        """
        import sys, threading
        from meshd.log import Log
        from meshd.supervisor import Actor, Supervisor, signals
        log = Log(stream=sys.stderr, environ={})
        supervisor = Supervisor(log.logger)
        asked = threading.Event()
        def work():
            asked.wait()
            print("drained", flush=True)
        with signals(supervisor.wakeups):
            supervisor.start(Actor("work", work, asked.set))
            print("ready", flush=True)
            print(supervisor.wait(None).name, flush=True)
            sys.exit(len(supervisor.stop(deadline=30)))
        """
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == "SIGTERM\ndrained\n"
        assert process.wait(LONG) == 0


def test_a_storm_of_reloads_is_one_and_keeps_nothing_waiting(diary: Diary) -> None:
    wakeups = [signal.SIGHUP] * 1000 + [signal.SIGTERM] + [signal.SIGHUP] * 1000
    for wakeup in wakeups:
        diary.supervisor.wakeups.put(wakeup)
    taken = [diary.supervisor.wait(0) for _ in range(4)]
    assert taken == [signal.SIGHUP, signal.SIGTERM, signal.SIGHUP, None]


def test_reloads_asked_for_a_moment_apart_are_one(
    diary: Diary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 162: each hangup is sent when the one before has been taken."""
    monkeypatch.setattr("meshd.supervisor.GATHERING_SECONDS", LONG)
    wakeups, over = diary.supervisor.wakeups, threading.Event()

    def send() -> None:
        for number in [signal.SIGHUP] * 20 + [signal.SIGTERM]:
            wakeups.put(number)
            while not (wakeups.empty() or over.is_set()):
                pass

    sender = threading.Thread(target=send)
    sender.start()
    taken = [diary.supervisor.wait(LONG) for _ in range(2)]
    over.set()
    sender.join(LONG)
    assert taken == [signal.SIGHUP, signal.SIGTERM]
