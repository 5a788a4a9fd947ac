"""How soon an endpoint that comes and goes is announced again (fault 156).

Owns the back-off between announcements of one subject. Assumes monotonic seconds that never go
back. Promises: pure; the first announcement and the first return are never held back, a subject
that was quiet for a while is told at once again, and what is remembered is bounded by what was
announced lately.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

FIRST_WAIT: Final = 2.0
LONGEST_WAIT: Final = 300.0
"""Seconds from the second announcement of a subject to its next: doubled each time, up to this."""

CALM: Final = 600.0
"""Seconds without an announcement after which a subject counts as quiet. More than the longest
wait, or one that is held back would be taken for a quiet one."""


@dataclass(frozen=True, slots=True)
class _Flapping:
    """The announcements of one subject.

    Attributes:
        at: monotonic second of the latest.
        times: how many there were without a calm between them.
    """

    at: float
    times: int


class Damping:
    """Decides when a subject may be announced."""

    def __init__(self) -> None:
        # What was announced longest ago first.
        self._lately: dict[str, _Flapping] = {}

    def due(self, subject: str) -> float:
        """Return the monotonic second from which a subject may be announced; -inf for any."""
        flapping = self._lately.get(subject)
        if flapping is None or flapping.times == 1:
            return -math.inf
        # The exponent is bounded because a float is: 2**9 times the first is over the longest.
        doubled = FIRST_WAIT * 2.0 ** min(flapping.times - 2, 9)
        return flapping.at + min(doubled, LONGEST_WAIT)

    def announced(self, subject: str, now: float) -> None:
        """Note that a subject was announced.

        Args:
            subject: which one.
            now: monotonic seconds.
        """
        self._forget_the_calm(now)
        before = self._lately.pop(subject, None)
        self._lately[subject] = _Flapping(now, 1 if before is None else before.times + 1)

    def __len__(self) -> int:
        """Return how many subjects are remembered."""
        return len(self._lately)

    def _forget_the_calm(self, now: float) -> None:
        while self._lately:
            eldest = next(iter(self._lately))
            if now - self._lately[eldest].at < CALM:
                return
            del self._lately[eldest]
