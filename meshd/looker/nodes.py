"""The directories of one root, remembered by their own signatures.

Owns what sweep and watcher keep of a root: the tree of directories, of each one what `stat`
said when it was listed, and by which watches its events come. Assumes that whoever reads or
changes a table holds its lock. Promises a few hundred bytes a directory (no path is kept, equal
names are one string), that a directory is *settled* only when a change after its listing must
show in its signature, that moving a directory costs the same whatever lies below, and that a
directory that leaves the table leaves no watch behind.
"""

from __future__ import annotations

import sys
from bisect import bisect_left
from enum import IntEnum
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from meshd.looker.fairlock import FairLock

if TYPE_CHECKING:
    import os
    from collections.abc import Collection, Iterator

    from meshd.core.scope import Scope

RACY_WINDOW_NS: Final = 2_000_000_000
"""A signature younger than this when taken may hide a later change (fault 53): file systems
stamp with a clock that ticks, at worst every two seconds."""

NO_WATCH: Final = 0
MISSING: Final = -1
"""In place of a watch: none was placed yet; one was wanted and could not be had."""

_NAME: Final = attrgetter("name")


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
        watch: the watch descriptor of the directory, NO_WATCH or MISSING.
        dork_watch: the same of its `.dork`.
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

    def is_same_directory(self, other: Node) -> bool:
        """Whether two nodes are one directory, reached on two paths."""
        return self.inode == other.inode and self.device == other.device

    def is_below_itself(self) -> bool:
        """Whether it is one of the directories above it: a bind mount (fault 70)."""
        above = self.parent
        while above is not None:
            if self.is_same_directory(above):
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
        place = bisect_left(self.children, name, key=_NAME)
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


class Placing(Protocol):
    """What places watches. `place` and `place_dork` never raise for want of a watch."""

    def wants(self, node: Node) -> bool:
        """Whether a watch of the directory or of its `.dork` is wanted and may be had now."""
        ...

    def place(self, table: NodeTable, node: Node, descriptor: int) -> None:
        """Watch a directory that is open."""
        ...

    def place_dork(self, table: NodeTable, node: Node, descriptor: int) -> None:
        """Watch the `.dork` of a directory that is open."""
        ...

    def release(self, table: NodeTable, node: Node) -> None:
        """Remove the watches of a directory and of its `.dork`."""
        ...

    def release_dork(self, table: NodeTable, node: Node) -> None:
        """Remove the watch of a directory's `.dork`."""
        ...

    def refuse(self, table: NodeTable, node: Node, error: OSError) -> None:
        """Note that a directory cannot be opened, and so not be watched."""
        ...


class NodeTable:
    """The remembered directories of one root.

    Attributes:
        root: path of the root.
        lock: held by whoever reads or changes nodes; a walk lets go after each batch.
        top: the root's node.
        placing: what places watches; None while nobody watches.
        moves: how many directories were moved within the table.
        watched: how many watches are placed.
        missing: how many were wanted and could not be had.
        gone: projects below directories that a walk no longer found. When the event of their
            leaving is read, nobody knows any more that they were there.
        distrusted: whether watches may be dead that look alive, because events were lost.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self.lock = FairLock()
        self.top = Top(self)
        self.placing: Placing | None = None
        self.moves = 0
        self.watched = 0
        self.missing = 0
        self.gone: list[str] = []
        self.distrusted = False
        self._rules: tuple[tuple[str, ...], int] | None = None

    def root_for(self, scope: Scope) -> Node:
        """Return the root's node.

        What a listing leaves out depends on the scope, so under other rules every directory is
        listed anew. Denied paths and nested roots are left out at each walk instead: a denial
        costs no new listing.
        """
        rules = (scope.exclude, scope.max_depth)
        if rules != self._rules:
            self.unsettle(self.top)
            self._rules = rules
        return self.top

    def clear(self) -> None:
        """Forget every directory, and let go of every watch."""
        self.drop(self.top)
        self.top = Top(self)

    def release(self) -> None:
        """Let go of every watch, and keep the directories."""
        for node in self.top.below():
            self._release(node)

    def unsettle(self, node: Node) -> None:
        """Have a directory and all below it listed at the next walk."""
        for one in node.below():
            one.settled = False

    def insert(self, parent: Node, name: str) -> Node:
        """Return the child of that name, a new one where none is known."""
        return parent.child(name) or self._add(parent, Node(name, parent))

    def adopt(self, node: Node, names: Collection[str]) -> None:
        """Take a new listing; a directory that was there before keeps what is known of it."""
        known = {child.name: child for child in node.children}
        node.children = tuple(known.get(name) or Node(name, node) for name in sorted(names))
        for gone in known.keys() - names:
            self._strip(known[gone])

    def forget(self, node: Node) -> None:
        """Drop what is known of a directory, as after a listing that failed."""
        node.settled = False
        node.dork = Dork.NONE
        children, node.children = node.children, ()
        for child in children:
            self._strip(child)
        self._release(node)

    def leave(self, node: Node) -> None:
        """Forget a directory that is out of bounds, where anything is known of it."""
        if node.children or node.watch != NO_WATCH:
            self.forget(node)

    def drop(self, node: Node) -> None:
        """Take a directory out of the table, with all below it and all their watches."""
        self.detach(node)
        self._strip(node)

    def detach(self, node: Node) -> None:
        """Take a directory out of its place; what is below it, and the watches, stay its own."""
        parent, node.parent = node.parent, None
        if parent is not None:
            parent.settled = False
            parent.children = tuple(child for child in parent.children if child is not node)

    def attach(self, node: Node, parent: Node, name: str) -> None:
        """Give a detached directory its new place, which nobody may hold."""
        node.name = sys.intern(name)
        node.parent = parent
        self.moves += 1
        self._add(parent, node)

    def _add(self, parent: Node, node: Node) -> Node:
        place = bisect_left(parent.children, node.name, key=_NAME)
        parent.children = (*parent.children[:place], node, *parent.children[place:])
        parent.settled = False
        return node

    def _strip(self, node: Node) -> None:
        """Take apart what has left its place."""
        for one in list(node.below()):
            self._release(one)
            one.parent = None
            one.children = ()

    def _release(self, node: Node) -> None:
        if self.placing is not None:
            self.placing.release(self, node)


def place_of(node: Node) -> Place | None:
    """Return where a directory is, None when it has left its table."""
    names = []
    while node.parent is not None:
        names.append(node.name)
        node = node.parent
    if not isinstance(node, Top) or node.table.top is not node:
        return None
    return Place(node.table, "/".join(reversed(names)), len(names))


def find(top: Node, relative: str) -> Node | None:
    """Return the directory at a path below `top`, None when it is not known."""
    node: Node | None = top
    for name in relative.split("/") if relative else ():
        if node is None:
            break
        node = node.child(name)
    return node


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
