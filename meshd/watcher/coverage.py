"""How much of a root is watched, and what the watching went through.

Owns the figures of each root. The observer's thread counts; others read. Promises no lock: each
figure is one assignment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Coverage:
    """The watching of one root.

    Attributes:
        by: `inotify`, or `fanotify`, whichever watches the root itself (what is mounted below it
            may be watched by the other); `none` where only the sweep sees what changes.
        watched: watches that are placed, on directories and on `.dork` directories.
        wanted: watches that would cover everything that is known below the root.
        overflows: how often events were lost.
        last_overflow: wall-clock time of the last loss, RFC 3339.
        events: how many events said something about a directory or manifest.
        failures: how many events could not be understood.
        shortage: why watches are missing: `watch-limit`, `instance-limit`, `permission`, or
            the name of an error number.
        arriving: whether directories below the root are just being looked into; what is wanted
            and not watched may be only those, and whoever waits for a cookie waits for them.
    """

    by: Literal["inotify", "fanotify", "none"]
    watched: int = 0
    wanted: int = 0
    overflows: int = 0
    last_overflow: str | None = None
    events: int = 0
    failures: int = 0
    shortage: str | None = None
    arriving: bool = False

    @property
    def is_full(self) -> bool:
        """Whether events tell of everything that changes below the root."""
        if self.by == "none" or self.shortage is not None:
            return False
        return self.watched == self.wanted or (self.arriving and self.watched > 0)


@dataclass(slots=True)
class Counts:
    """What has happened to one root since the watcher began."""

    overflows: int = 0
    last_overflow: str | None = None
    events: int = 0
    failures: int = 0
