"""What a sweep makes of what its walks find: what they met, and what is too much.

Owns the count of one walk's manifests and the tally of known paths that were met. Promises: what
was known before is always let through, so that no newcomer pushes out what is there (faults 48
and 49).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from meshd.core.model import Reason
from meshd.looker.walk import Truncated, Unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from meshd.looker.walk import Found, Sighting


@dataclass(frozen=True, slots=True)
class Met:
    """Takes the paths that walks meet out of those that are left to ask about.

    Attributes:
        anew: paths that are asked about in any case.
        unmet: those that are left.
    """

    anew: set[str]
    unmet: set[str]

    def add(self, paths: Iterable[str]) -> None:
        """Note that a walk met these."""
        self.unmet.difference_update(path for path in paths if path not in self.anew)


@dataclass(slots=True)
class Ceiling:
    """Leaves out of one root's walk the newcomers that are too many for it (faults 48, 49).

    Attributes:
        most: so many manifests are looked at, None for no limit; those known before always are.
        is_known: asked whether something was seen at a path before.
        seen: how many manifests were let through.
        exceeded: of what there is too much, None when of nothing.
    """

    most: int | None
    is_known: Callable[[str], bool]
    seen: int = 0
    exceeded: Reason | None = None

    def within(self, batch: Iterable[Found]) -> list[Sighting | Unreadable]:
        """Return what of a batch may be looked at."""
        kept: list[Sighting | Unreadable] = []
        for found in batch:
            if isinstance(found, Truncated):
                self.exceeded = Reason.DIRECTORY_LIMIT
            elif isinstance(found, Unreadable) or self._has_room(found.path):
                kept.append(found)
            else:
                self.exceeded = self.exceeded or Reason.MANIFEST_LIMIT
        return kept

    def _has_room(self, path: str) -> bool:
        self.seen += 1
        return self.most is None or self.seen <= self.most or self.is_known(path)
