"""The directories that a walk stands in: those above the one it opens next.

Owns their descriptors, and the opening of the right directory. Assumes that directories come
depth first, and that nobody else changes their nodes while any is held. Promises that no symlink
is followed, and that no more than a few descriptors are held.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from meshd.looker.syscalls import open_directory

if TYPE_CHECKING:
    from meshd.looker.foothold import Foothold
    from meshd.looker.nodes import Node

MOST_HELD: Final = 8
"""A little more than the default depth of a scan."""

_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Ladder:
    """Open directories, each in the one before.

    What is opened in the directory that was listed is the one that was meant, wherever both lie
    by now. It takes half as long, too, as to find it by its path and to ask what it lies in.

    Args:
        foothold: opens by path.
        is_strict: refuse a directory that lies in another one than the one above it was.
    """

    def __init__(self, foothold: Foothold, *, is_strict: bool) -> None:
        self._foothold = foothold
        self._is_strict = is_strict
        self._held: list[tuple[Node, int]] = []

    def open(self, node: Node, relative: str) -> int:
        """Open a directory for listing.

        Args:
            node: the directory.
            relative: its path below the root.

        Raises:
            OSError: ENOTDIR or ELOOP when a symlink is there now, else what the kernel says.
        """
        while self._held:
            above, descriptor = self._held[-1]
            if above is node.parent:
                try:
                    return os.open(node.name, _FLAGS, dir_fd=descriptor)
                except OSError as error:
                    if error.errno != errno.ESTALE:
                        raise  # else a server knows no more what is held: its path tells
            self._held.pop()
            os.close(descriptor)
        start, path = self._foothold.reach(relative)
        directory = open_directory(start, path, flags=os.O_RDONLY)
        try:
            if self._is_strict:
                _expect_within(node.parent, directory)
        except OSError:
            os.close(directory)
            raise
        return directory

    def hold(self, node: Node, descriptor: int) -> None:
        """Keep a directory for those below it, in place of the first where it is one too many."""
        if len(self._held) == MOST_HELD:
            os.close(self._held.pop(0)[1])
        self._held.append((node, descriptor))

    def close(self) -> None:
        """Let go of all."""
        while self._held:
            os.close(self._held.pop()[1])


def _expect_within(parent: Node | None, directory: int) -> None:
    """Refuse a directory that lies in another one than the one above it was.

    The one above has moved and another lies at its path now; the event of that is still to come.
    Whoever took this for its child would not look into the real one when that arrives elsewhere.
    """
    if parent is None or not parent.inode:
        return
    try:
        above = os.stat("..", dir_fd=directory)
    except PermissionError:
        return  # it may be listed, and not be passed through
    if (above.st_dev, above.st_ino) != (parent.device, parent.inode):
        raise FileNotFoundError(errno.ENOENT, "in another directory now")
