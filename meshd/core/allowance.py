"""How much may be said before it is said in few words.

Owns the count of what is left. Assumes instants of one monotonic clock, in seconds. Promises
that however much is asked for, what is granted in any span of time has a ceiling (fault 50).
"""

from __future__ import annotations


class Allowance:
    """A number that is spent, and grows back evenly with time.

    Args:
        most: what there is at first, and at any time.
        seconds: after which an empty one is whole again.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._per_second = most / seconds
        self._left = float(most)
        self._counted_at = 0.0

    def spend(self, count: int, now: float) -> bool:
        """Spend a number, or nothing where less than that is left; return whether it was.

        Args:
            count: how much.
            now: the instant, never before that of an earlier call.
        """
        grown = (now - self._counted_at) * self._per_second
        self._left = min(self._most, self._left + grown)
        self._counted_at = now
        if count > self._left:
            return False
        self._left -= count
        return True
