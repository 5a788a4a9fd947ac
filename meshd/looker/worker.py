"""The worker process of an isolated looker: `python -m meshd.looker.worker DESCRIPTOR ROOT`.

Owns a local looker and the one walk under way. Assumes a socket to the daemon at DESCRIPTOR.
Promises to answer requests in order, to outlive no daemon (the socket closes), and to leave
Ctrl-C to the daemon. It may hang inside a root; then the daemon kills it.
"""

from __future__ import annotations

import os
import signal
import sys
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from meshd.clock import SystemClock
from meshd.looker.local import LocalLooker
from meshd.looker.look import NoDescriptorsError
from meshd.looker.messages import (
    Check,
    Checked,
    EndWalk,
    Failed,
    Looks,
    NextBatch,
    Ready,
    Run,
    StartWalk,
)
from meshd.looker.walk import RootLostError

if TYPE_CHECKING:
    from collections.abc import Generator

    from meshd.looker.messages import Request
    from meshd.looker.walk import Found


class Worker:
    """Answers the requests of one daemon for one root."""

    def __init__(self, root: str) -> None:
        self._looker = LocalLooker(root, clock=SystemClock(), numbers=_no_number)
        self._walk: Generator[list[Found], None, None] | None = None

    def answer(self, request: Request) -> object:
        """Do what is asked; a failure is an answer too."""
        try:
            return self._answer(request)
        except RootLostError as lost:
            return Failed(is_root_lost=True, message=lost.message)
        except NoDescriptorsError as error:
            return Failed(is_root_lost=False, message=error.message)

    def _answer(self, request: Request) -> object:
        match request:
            case Check(known, seen):
                self._looker.seen = seen
                return Checked(self._looker.check(known), self._looker.seen)
            case Looks(looks, source, seen):
                self._looker.seen = seen
                return self._looker.look_numbered(looks, source)
            case Run(task, seen):
                self._looker.seen = seen
                return self._looker.run(task)
            case StartWalk(scope, full):
                self._end_walk()
                self._walk = self._looker.walk(scope, full=full, stop=_never)
                return next(self._walk, None)
            case NextBatch():
                return None if self._walk is None else next(self._walk, None)
            case EndWalk():
                self._end_walk()
                return None

    def _end_walk(self) -> None:
        """Let go of the root that a walk holds open."""
        if self._walk is not None:
            self._walk.close()
            self._walk = None


def serve(connection: Connection, worker: Worker) -> None:
    """Answer requests until the daemon closes the socket."""
    try:
        connection.send(Ready())
        while True:
            connection.send(worker.answer(connection.recv()))
    except (EOFError, ConnectionError):
        return  # the daemon closed the socket, or is gone


def _never() -> bool:
    return False


def _no_number() -> int:
    raise AssertionError("bug: a worker looks under the daemon's numbers")


def main() -> None:
    """Run as the process that `IsolatedLooker` starts."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    descriptor, root = int(sys.argv[1]), sys.argv[2]
    os.set_inheritable(descriptor, False)
    with Connection(descriptor) as connection:
        serve(connection, Worker(root))


if __name__ == "__main__":
    main()
