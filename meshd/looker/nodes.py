"""The directories of one root, remembered by their own signatures.

Owns what a walk keeps between two runs: the tree of directories, and of each one what `stat`
said when it was listed. Assumes one walk at a time. Promises a few hundred bytes a directory
(no path is kept, equal names are one string), and that a directory is *settled* only when a
change after its listing must show in its signature.
"""

from __future__ import annotations

import sys
from enum import IntEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from meshd.core.scope import Scope

RACY_WINDOW_NS: Final = 2_000_000_000
"""A signature younger than this when taken may hide a later change (fault 53): file systems
stamp with a clock that ticks, at worst every two seconds."""


class Dork(IntEnum):
    """What `.dork` is in a listing; ODD is a symlink, or could not be told."""

    NONE = 0
    DIRECTORY = 1
    ODD = 2


class Node:
    """One directory.

    Attributes:
        name: its last component; empty for the root.
        children: the directories to walk below it, by name.
        settled: whether an equal signature proves the same entries.
        dork: what `.dork` in it is.
    """

    __slots__ = (
        "children",
        "ctime_ns",
        "device",
        "dork",
        "inode",
        "mtime_ns",
        "name",
        "settled",
    )

    def __init__(self, name: str, device: int = 0) -> None:
        self.name = sys.intern(name)
        self.children: tuple[Node, ...] = ()
        self.settled = False
        self.dork = Dork.NONE
        self.device = device  # mostly the parent's: one number, shared
        self.inode = 0
        self.mtime_ns = 0
        self.ctime_ns = 0

    def is_same_directory(self, other: Node) -> bool:
        """Whether two nodes are one directory, reached on two paths."""
        return self.inode == other.inode and self.device == other.device

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

    def forget(self) -> None:
        """Drop what is known below, as after a listing that failed."""
        self.settled = False
        self.dork = Dork.NONE
        self.children = ()

    def adopt(self, names: Iterable[str]) -> None:
        """Take a new listing; a directory that was there before keeps what is known of it."""
        known = {child.name: child for child in self.children}
        self.children = tuple(known.get(name) or Node(name, self.device) for name in sorted(names))


class NodeTable:
    """The remembered directories of one root."""

    def __init__(self) -> None:
        self._root = Node("")
        self._rules: tuple[tuple[str, ...], int] | None = None

    def root_for(self, scope: Scope) -> Node:
        """Return the root's node.

        What a listing leaves out depends on the scope, so a table made under other rules starts
        afresh. Denied paths and nested roots are left out at each walk instead: a denial costs
        no new listing.
        """
        rules = (scope.exclude, scope.max_depth)
        if rules != self._rules:
            self._root = Node("")
            self._rules = rules
        return self._root

    def clear(self) -> None:
        """Forget every directory."""
        self._root = Node("")
