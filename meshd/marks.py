"""Which scans were in line when something was put off, and which of them are over.

Owns the marks that the reconciler sets in the watcher's line of scans. Used by the reconciler's
thread alone. Promises: a mark has passed once everything that was in line before it is scanned
and hinted at, and these hints had the settle time; where nothing is watched there is no line,
and every mark has passed.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from meshd.clock import Clock

NO_MARK = 0


@dataclass(slots=True)
class _Mark:
    """One mark.

    Attributes:
        at: monotonic second at which what was before it had been scanned; inf until then.
    """

    at: float = math.inf


class Marks:
    """Numbered marks; each passes after those before it.

    Attributes:
        put: puts a mark in line, and returns what is done once it has passed; None while there
            is no line.
    """

    def __init__(self, clock: Clock) -> None:
        self.put: Callable[[], Future[None]] | None = None
        self._clock = clock
        self._newest = NO_MARK
        self._waiting: deque[_Mark] = deque()

    def add(self) -> int:
        """Put a mark in line; return its number."""
        if self.put is None:
            return NO_MARK
        mark = _Mark()
        self._waiting.append(mark)
        self._newest += 1
        self.put().add_done_callback(lambda _: self._stamp(mark))
        return self._newest

    def passed(self, settle: float) -> int:
        """Return the number of the newest mark that has passed, with all before it.

        Args:
            settle: seconds for the hints of the scans before it.
        """
        now = self._clock.monotonic()
        while self._waiting and self._waiting[0].at + settle <= now:
            self._waiting.popleft()
        return self._newest - len(self._waiting)

    def _stamp(self, mark: _Mark) -> None:
        """Note when a mark came up; runs in the scanner's thread."""
        mark.at = self._clock.monotonic()
