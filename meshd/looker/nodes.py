"""A directory of a root, remembered by its own signature, and its place among the others.

Owns what sweep and watcher keep of one directory: what `stat` said when it was listed, and by
which watches its events come. Assumes that whoever reads or changes a node holds the lock of its
table. Promises a few hundred bytes a directory (no path is kept, equal names are one string), and
that a directory is *settled* only when a change after its listing must show in its signature.
"""

from __future__ import annotations

import sys
from bisect import bisect_left
from enum import IntEnum
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from meshd.looker.table import NodeTable

RACY_WINDOW_NS: Final = 2_000_000_000
"""A signature younger than this when taken may hide a later change (fault 53): file systems
stamp with a clock that ticks, at worst every two seconds."""

NO_WATCH: Final = 0
MISSING: Final = -1
UNWANTED: Final = -2
"""In place of a watch: none was placed yet; one was wanted and could not be had; none is wanted,
because the directory is out of bounds."""

BY_NAME: Final = attrgetter("name")


class Dork(IntEnum):
    """What `.dork` is in a listing; ODD is a symlink, or could not be told."""

    NONE = 0
    DIRECTORY = 1
    ODD = 2


class Node:
    """One directory.

    Attributes:
        name: its last component; empty for the root.
        parent: the directory above; None for the root, and for one that left the table.
        children: the directories to walk below it, in the order of their names.
        settled: whether an equal signature proves the same entries.
        dork: what `.dork` in it is.
        watch: the watch descriptor of the directory, NO_WATCH, MISSING or UNWANTED.
        dork_watch: the watch descriptor of its `.dork`, NO_WATCH or MISSING.
    """

    __slots__ = (
        "children",
        "ctime_ns",
        "device",
        "dork",
        "dork_watch",
        "inode",
        "mtime_ns",
        "name",
        "parent",
        "settled",
        "watch",
    )

    def __init__(self, name: str, parent: Node | None = None) -> None:
        self.name = sys.intern(name)
        self.parent = parent
        self.children: tuple[Node, ...] = ()
        self.settled = False
        self.dork = Dork.NONE
        self.device: int = 0 if parent is None else parent.device  # mostly one number, shared
        self.inode = 0
        self.mtime_ns = 0
        self.ctime_ns = 0
        self.watch = NO_WATCH
        self.dork_watch = NO_WATCH

    def is_below_itself(self) -> bool:
        """Whether it is one of the directories above it: a bind mount (fault 70)."""
        inode = self.inode
        above = self.parent
        while above is not None:
            if above.inode == inode and above.device == self.device:
                return True
            above = above.parent
        return False

    def matches(self, status: os.stat_result) -> bool:
        """Whether a directory still has the signature it was listed with."""
        return (
            self.mtime_ns == status.st_mtime_ns
            and self.ctime_ns == status.st_ctime_ns
            and self.inode == status.st_ino
            and self.device == status.st_dev
        )

    def remember(self, status: os.stat_result, now_ns: int) -> None:
        """Take the signature of a directory that is about to be listed.

        Args:
            status: taken before the listing.
            now_ns: wall clock when it was taken.
        """
        mtime_ns, ctime_ns = status.st_mtime_ns, status.st_ctime_ns
        if self.device != status.st_dev:
            self.device = status.st_dev
        self.inode = status.st_ino
        self.ctime_ns = ctime_ns
        # The two are mostly equal; one number in place of two is a tenth of a node.
        self.mtime_ns = ctime_ns if mtime_ns == ctime_ns else mtime_ns
        # A time from the future is racy as well: the clock was set, or is another machine's.
        self.settled = now_ns - status.st_ctime_ns >= RACY_WINDOW_NS

    def child(self, name: str) -> Node | None:
        """Return the directory of that name below this one, if it is known."""
        place = bisect_left(self.children, name, key=BY_NAME)
        if place < len(self.children) and self.children[place].name == name:
            return self.children[place]
        return None

    def below(self) -> Iterator[Node]:
        """Yield this directory and all that are known below it."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(node.children)


class Top(Node):
    """The directory that is the root; it knows its table."""

    __slots__ = ("table",)

    def __init__(self, table: NodeTable) -> None:
        super().__init__("")
        self.table = table


class Place(NamedTuple):
    """Where a directory is: the table that holds it, its path below the root, its level."""

    table: NodeTable
    relative: str
    depth: int


def place_of(node: Node) -> Place | None:
    """Return where a directory is, None when it has left its table."""
    names = []
    while node.parent is not None:
        names.append(node.name)
        node = node.parent
    if not isinstance(node, Top) or node.table.top is not node:
        return None
    return Place(node.table, "/".join(reversed(names)), len(names))


def find(top: Node, relative: str) -> tuple[Node, str | None]:
    """Return the directory at a path below `top`.

    Where it is not known, the last one on the way that is, and the name below it that is not.
    """
    node = top
    for name in relative.split("/") if relative else ():
        child = node.child(name)
        if child is None:
            return node, name
        node = child
    return node, None


def projects_below(node: Node, path: str) -> Iterator[str]:
    """Yield the paths of the known projects at and below a directory.

    Args:
        node: the directory.
        path: its path; what is yielded begins with it.
    """
    stack = [(node, path)]
    while stack:
        node, path = stack.pop()
        if node.dork:
            yield path
        prefix = path.rstrip("/") + "/"
        stack.extend((child, prefix + child.name) for child in node.children)
