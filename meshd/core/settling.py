"""Torn content settles before it counts.

Owns which files did not parse when an event told of them, and since when. An editor that
truncates and writes is seen in between; so what does not parse is looked at again once the
file was quiet for the settle time, or after the longest wait whatever happens. Pure; the
reconciler says what time it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection


@dataclass(slots=True)
class Settling:
    """The paths that settle.

    Attributes:
        quiet: seconds without an event after which what lies there counts.
        longest: seconds after which it counts whatever happens.
    """

    quiet: float
    longest: float
    _since: dict[str, tuple[float, float]] = field(default_factory=dict)
    # What counts already: what is torn further, or looked at again, need not settle anew.
    _counting: set[str] = field(default_factory=set)

    def waits(self, path: str, now: float) -> bool:
        """Whether a file that did not parse is to be looked at once more before it counts."""
        if path in self._counting:
            return False
        first, last = self._since.get(path, (now, now))
        if path in self._since and (now - last >= self.quiet or now - first >= self.longest):
            del self._since[path]
            self._counting.add(path)
            return False
        self._since[path] = (first, now)
        return True

    def paths(self) -> Collection[str]:
        """Return the files that settle."""
        return self._since.keys()

    def since_before(self, moment: float, now: float) -> bool:
        """Whether something still settles that did not parse before a moment already."""
        return any(
            first <= moment and now - first <= self.longest + self.quiet
            for first, _ in self._since.values()
        )

    def keep(self, paths: Collection[str]) -> None:
        """Nobody will look again at any other file: the hints at them were dropped."""
        self._since = {path: times for path, times in self._since.items() if path in paths}

    def forget(self, path: str) -> None:
        """The file parses, or is gone."""
        self._since.pop(path, None)
        self._counting.discard(path)
