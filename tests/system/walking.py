"""`python -m tests.system.walking ROOT WALKS`: walk a root so often, for whoever counts the calls.

Owns a clock that is ahead, so that every signature is old enough to be trusted: the first walk
lists every directory, and the others none.
"""

from __future__ import annotations

import sys
from itertools import count

from meshd.clock import SystemClock
from meshd.core.scope import Scope
from meshd.looker.local import LocalLooker


class ClockAhead(SystemClock):
    """The time of an hour from now."""

    def wall_ns(self) -> int:
        """Return nanoseconds since 1970, and an hour."""
        return super().wall_ns() + 3600 * 1_000_000_000


def main(root: str, walks: int) -> LocalLooker:
    """Walk, and return what remembers it."""
    numbers = count(1)
    looker = LocalLooker(root, clock=ClockAhead(), numbers=lambda: next(numbers))
    for _ in range(walks):
        for _batch in looker.walk(Scope(roots=(root,)), full=False, stop=lambda: False):
            pass
    return looker


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
