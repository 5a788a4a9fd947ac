"""Actors: started together, watched, stopped in order.

Owns the threads of the daemon and the queue the main thread waits on. Assumes that an actor's
`stop` only asks, returns at once and may be called from another thread, and that its `run`
then returns. Promises: every actor runs in a thread of its own name; the first that ends
unasked is told to the main thread at once, with its error (R11); every wait has a deadline;
what did not end is named.

The main thread starts actors, waits, and stops. No method here may be called by another
thread, but for `signals`' handlers, which only put into the queue.
"""

from __future__ import annotations

import queue
import signal
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from meshd.clock import Clock, SystemClock
from meshd.errors import StoppingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import FrameType

    from structlog.typing import FilteringBoundLogger

HURRIED_DEADLINE = 1.0
"""Seconds an actor has once the stop is hurried: enough for a commit under way, because a
manager and a terminal often send one signal twice."""

GATHERING_SECONDS = 0.1
"""How long a SIGHUP waits for more of its kind: a deployment that sends one for each file it
changes asks for one reload (fault 162)."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Actor:
    """Something that runs for as long as the daemon does.

    Attributes:
        name: of its thread (design: Threads and processes).
        run: does the work; returns once `stop` was called.
        stop: asks `run` to return; does not wait for it.
    """

    name: str
    run: Callable[[], None]
    stop: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Exit:
    """An actor has ended.

    Attributes:
        actor: its name.
        error: what it raised, or None if it returned.
    """

    actor: str
    error: BaseException | None


Wakeup = Exit | signal.Signals


class Supervisor:
    """The actors of one daemon.

    Attributes:
        wakeups: what the main thread waits on; `signals` puts into it too.
    """

    def __init__(self, logger: FilteringBoundLogger, clock: Clock | None = None) -> None:
        self.wakeups: queue.SimpleQueue[Wakeup] = queue.SimpleQueue()
        self._logger = logger
        self._clock = clock or SystemClock()
        self._running: dict[str, tuple[Actor, threading.Thread]] = {}
        self._stopping = False
        self._hurried = False
        self._next: Wakeup | None = None

    def start(self, actor: Actor) -> None:
        """Run an actor in a thread of its name.

        Raises:
            StoppingError: the actors are being stopped.
        """
        if self._stopping:
            raise StoppingError(f"{actor.name} is not started: meshd is stopping")
        assert actor.name not in self._running, "bug: two actors of one name"
        thread = threading.Thread(target=self._run, args=(actor,), name=actor.name, daemon=False)
        self._running[actor.name] = (actor, thread)
        thread.start()

    def wait(self, timeout: float | None) -> Wakeup | None:
        """Wait for the first actor that ends or the next signal.

        Several SIGHUP within a moment are one: what is done for it is done after all of them.
        Whatever else comes ends that moment, so a signal to stop does not wait behind reloads.

        Args:
            timeout: seconds, or None for as long as it takes.

        Returns:
            Which actor ended, which signal came, or None after `timeout`. After an Exit the
            caller stops the others: nothing stays half-alive.
        """
        wakeup, self._next = self._next, None
        try:
            wakeup = wakeup or self.wakeups.get(timeout=timeout)
            until = self._clock.monotonic() + GATHERING_SECONDS
            while wakeup is signal.SIGHUP and self._next is None:
                left = max(0.0, until - self._clock.monotonic())
                following = self.wakeups.get(timeout=left)
                self._next = None if following is signal.SIGHUP else following
        except queue.Empty:
            pass
        if isinstance(wakeup, Exit):
            self._forget(wakeup)
        return wakeup

    def stop(self, order: Iterable[str] | None = None, *, deadline: float = 5.0) -> list[str]:
        """Stop every actor, one after the other, each before the next is asked.

        SIGINT or SIGTERM meanwhile hurries, and so does the first that is late: each of the
        rest has a moment, and no more.

        Args:
            order: names in the order of stopping; unknown ones are skipped, missing ones
                follow. Without it, the last started is the first stopped.
            deadline: seconds that each actor has.

        Returns:
            The names of the actors that did not end. Their threads are still there, so the
            process has to end without waiting for them.
        """
        self._stopping = True
        newest_first = list(reversed(self._running))
        wanted = dict.fromkeys([*(order or ()), *newest_first])
        late = []
        for name in wanted:
            if name in self._running:
                self._ask(self._running[name][0])
                if not self._ended(name, deadline):
                    self._logger.error("actor_overran", actor=name, deadline=deadline)
                    late.append(name)
                    # The others may wait for it: a hung disk must not cost its time six times.
                    self.hurry()
        return [name for name in late if name in self._running]

    def hurry(self) -> None:
        """Shorten the deadlines: whatever is not stopped yet has a moment, and no more."""
        self._hurried = True

    def _run(self, actor: Actor) -> None:
        """Be the thread of one actor. Nothing it raises goes further than this."""
        error: BaseException | None = None
        try:
            actor.run()
        except BaseException as raised:  # the boundary of a thread: kept, reported, told
            error = raised
            self._logger.exception("actor_failed", actor=actor.name)
        finally:
            self.wakeups.put(Exit(actor.name, error))

    def _ask(self, actor: Actor) -> None:
        """Ask an actor to stop; one that cannot be asked must not keep the others from it."""
        try:
            actor.stop()
        except Exception:  # the boundary of an actor: reported here, then waited for as usual
            self._logger.exception("actor_refused_to_stop", actor=actor.name)

    def _ended(self, name: str, deadline: float) -> bool:
        """Wait until an actor has ended, and take note of whatever else happens meanwhile."""
        until = self._clock.monotonic() + deadline
        while name in self._running:
            now = self._clock.monotonic()
            if self._hurried:
                until = min(until, now + HURRIED_DEADLINE)
            wakeup = self.wait(max(0.0, until - now))
            if wakeup is None:
                return False
            if wakeup in (signal.SIGINT, signal.SIGTERM):
                self.hurry()
        return True

    def _forget(self, ended: Exit) -> None:
        """Join an actor's thread, which has nothing left to do, and let go of it."""
        actor_and_thread = self._running.pop(ended.actor, None)
        if actor_and_thread is not None:
            actor_and_thread[1].join()


@contextmanager
def signals(wakeups: queue.SimpleQueue[Wakeup]) -> Iterator[None]:
    """Turn SIGINT, SIGTERM and SIGHUP into wakeups, and restore the handlers before.

    Only the main thread may do this. A handler does nothing but put into the queue, which is
    safe wherever the main thread is interrupted (SimpleQueue.put is reentrant).
    """

    def note(number: int, _frame: FrameType | None) -> None:
        wakeups.put(signal.Signals(number))

    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number, handler in before.items():
            # None: the handler was not installed by Python, and cannot be put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextmanager
def strays(supervisor: Supervisor, logger: FilteringBoundLogger) -> Iterator[None]:
    """Treat the death of a thread that is no actor like that of an actor (fault 169).

    Libraries start threads of their own; by default Python prints their last words and goes on.
    """

    def note(last: threading.ExceptHookArgs) -> None:
        name = last.thread.name if last.thread is not None else "unknown"
        logger.error("thread_failed", actor=name, exc_info=last.exc_value)
        supervisor.wakeups.put(Exit(name, last.exc_value))

    before = threading.excepthook
    threading.excepthook = note
    try:
        yield
    finally:
        threading.excepthook = before
