"""Time, as an argument.

Owns the only calls that read a clock. Everything that needs the time is handed a `Clock`,
so a test can step it. Promises: `monotonic` never goes back; `wall` may do anything and is
used for display, and for comparing with file times, only.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What meshd may ask of time."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    def wall_ns(self) -> int:
        """Nanoseconds since the epoch on the clock that stamps files."""
        ...


class SystemClock:
    """The clocks of this machine."""

    def monotonic(self) -> float:
        """Seconds of CLOCK_MONOTONIC."""
        return time.monotonic()

    def wall_ns(self) -> int:
        """Nanoseconds of CLOCK_REALTIME."""
        return time.time_ns()


def timestamp(wall_ns: int) -> str:
    """Return a wall-clock instant as RFC 3339 in UTC with milliseconds, as answers show it."""
    moment = datetime.fromtimestamp(wall_ns / 1_000_000_000, tz=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
