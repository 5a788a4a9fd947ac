"""What is mounted, and when that changes: a mount makes no event of inotify.

Owns a descriptor of the kernel's list, which says when the list is another. Assumes a mounted
/proc. Promises that asking for a change costs one call, and that a mount elsewhere is told from
one at or below a root.
"""

from __future__ import annotations

import os
import select
from pathlib import Path
from typing import Final

from meshd.mounts import mounts_within

_LIST: Final = Path("/proc/self/mountinfo")
CHANGED: Final = select.POLLPRI | select.POLLERR
"""What poll(2) tells of the descriptor, once for each change."""


class Mounts:
    """The list of mounts.

    Attributes:
        descriptor: to be polled for CHANGED.
    """

    def __init__(self) -> None:
        self.descriptor = os.open(_LIST, os.O_RDONLY | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self.descriptor, CHANGED)
        self._known: dict[str, frozenset[tuple[str, bytes]]] = {}

    def has_changed(self) -> bool:
        """Whether anything was mounted or unmounted since this, or the poll, was asked last."""
        return bool(self._poll.poll(0))

    def compare(self, roots: list[str]) -> dict[str, set[str]]:
        """Return, by root, the places below it where another file system lies than before.

        A root that was not asked for before has none.
        """
        listed = _LIST.read_bytes()
        before = self._known
        self._known = {root: mounts_within(root, listed) for root in roots}
        return {
            root: {place for place, _ in now ^ before.get(root, now) if place != root}
            for root, now in self._known.items()
        }

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.descriptor)
