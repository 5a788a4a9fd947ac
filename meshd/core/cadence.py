"""When the next sweep is due, which sweeps are full, and how much time a sweep observed.

Owns the timing of the backstop. Assumes instants of one monotonic clock, in seconds. Promises
pure arithmetic: the random part is an argument.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

JITTER: Final = 0.1
"""Part of the interval by which a sweep may come early, so that many hosts on one file server
do not sweep in step. Never late: the configured interval is a promise."""

FIRST_RETRY_SECONDS: Final = 1.0
_MOST_DOUBLINGS: Final = 32


@dataclass(frozen=True, slots=True)
class Cadence:
    """The rhythm of sweeps.

    Attributes:
        interval: seconds from the end of one sweep to the next, above zero.
        full_every: every how many sweeps one is full, at least 1.
    """

    interval: float
    full_every: int

    def __post_init__(self) -> None:
        assert self.interval > 0, "bug: the configuration let a bad interval through"
        assert self.full_every >= 1, "bug: the configuration let a bad full_every through"

    def next_due(self, last_end: float | None, *, jitter: float, failures: int = 0) -> float:
        """Return when the next sweep is due.

        Args:
            last_end: when the last sweep ended, well or not; None before the first, which is
                due at once.
            jitter: a random number in [0, 1).
            failures: how many sweeps in a row have failed. A failed sweep is tried again
                soon, then ever later, and never later than a healthy one would be.
        """
        if last_end is None:
            return -math.inf
        delay = self.interval
        if failures > 0:
            doublings = min(failures - 1, _MOST_DOUBLINGS)
            delay = min(delay, FIRST_RETRY_SECONDS * 2**doublings)
        return last_end + delay * (1 - JITTER * jitter)

    def is_full(self, number: int) -> bool:
        """Whether sweep `number`, counted from 1, lists and reads everything. The first is."""
        return (number - 1) % self.full_every == 0


def observed_advance(elapsed: float, interval: float) -> float:
    """Return by how many seconds a healthy sweep advances the observed clock of its root (R8).

    Args:
        elapsed: since the last completed healthy sweep, on the monotonic clock. It is negative
            after a reboot and large after downtime; neither was observed.
        interval: of the sweeps.
    """
    return min(max(elapsed, 0.0), 2 * interval)
