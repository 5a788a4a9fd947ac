"""The words of a search for candidates.

Owns what a search tells, event by event: candidates as they are found, progress, and at its
end one summary. Every value is frozen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meshd.core.strategies import Hints


@dataclass(frozen=True, slots=True)
class Candidate:
    """A directory that speaks of an agent and has no manifest.

    Attributes:
        strategy: the one that decided.
        hints: what a manifest of it could say.
        discovered_at: wall-clock time, RFC 3339.
    """

    path: str
    strategy: str
    hints: Hints
    discovered_at: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a search is.

    Attributes:
        directories: visited so far, in all roots.
        candidates: found so far.
        root: the configured root that is being searched.
    """

    directories: int
    candidates: int
    root: str


@dataclass(frozen=True, slots=True)
class Summary:
    """How a search ended.

    Attributes:
        candidates: found.
        directories: visited.
        truncated: whether it ended before all was seen: there are more candidates than are
            told, or it was stopped.
        unreadable: directories that could not be listed.
        seconds: how long it took.
        sick_roots: configured roots that were not searched, or not to their end.
        unscanned: asked directories that were not searched, because they are denied, excluded
            or too deep, or are not there.
    """

    candidates: int
    directories: int
    truncated: bool
    unreadable: int
    seconds: float
    sick_roots: tuple[str, ...]
    unscanned: tuple[str, ...]


SearchEvent = Candidate | Progress | Summary
