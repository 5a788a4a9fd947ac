"""The watcher: what changes below the roots becomes hints, in milliseconds.

Owns one inotify descriptor for all roots, or one of fanotify where that is asked for and granted,
the thread that reads it, and a thread that scans what is new. Only this package knows watchdog,
inotify and fanotify. It puts hints and nothing else (R2, R3):
whatever it misses, one sweep repairs, watches included, because sweep and watcher share one
table of directories for each root.

    kernel -> backend -> translator -> observer -> inbox
                            |                        ^
                            +-> scans -> scanner ----+
"""

from __future__ import annotations

from meshd.watcher.coverage import Coverage
from meshd.watcher.watcher import NotWatchingError, Watcher

__all__ = ["Coverage", "NotWatchingError", "Watcher"]
