"""A lock that is handed on.

Owns two locks. Promises that who waits gets it as soon as it is released: with one lock, a
thread that releases it and takes it again at once can keep all others waiting for ever.
"""

from __future__ import annotations

from threading import Lock


class FairLock:
    """Mutual exclusion in which nobody overtakes the one who waits next."""

    def __init__(self) -> None:
        self._next = Lock()  # held by the one that waits for the other
        self._held = Lock()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def acquire(self) -> None:
        """Wait for the lock."""
        with self._next:
            self._held.acquire()

    def release(self) -> None:
        """Hand the lock to whoever waits."""
        self._held.release()

    def is_awaited(self) -> bool:
        """Whether somebody waits; asked by the holder, who may then end early."""
        return self._next.locked()
