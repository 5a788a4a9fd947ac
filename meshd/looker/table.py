"""The directories of one root.

Owns the tree of nodes that sweep and watcher share. Assumes that whoever reads or changes a table
holds its lock. Promises that moving a directory costs the same whatever lies below, that a
directory that leaves the table leaves no watch behind, and that every watch that is wanted is
counted, so that a directory which nobody watches shows.
"""

from __future__ import annotations

import sys
from bisect import bisect_left
from typing import TYPE_CHECKING, Final, Protocol

from meshd.looker.fairlock import FairLock
from meshd.looker.nodes import BY_NAME, UNWANTED, Dork, Node, Top

if TYPE_CHECKING:
    from collections.abc import Collection

    from meshd.core.scope import Scope

_FEW: Final = 64
"""So many children are put in their places one by one; for more, all are sorted anew."""


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

    def place_removals(self, table: NodeTable, node: Node, descriptor: int) -> None:
        """Have an open directory tell of removals too: its `.dork` cannot tell of its own."""
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
        wanted: how many watches would cover everything that is known: one for each directory
            in bounds, one for each `.dork` directory.
        watched: how many watches are placed.
        missing: how many were wanted and could not be had.
        vanished: directories that a walk did not find where they were. Whoever knows whether
            the directory above is still the same takes them out.
        gone: projects below directories that a walk no longer found. When the event of their
            leaving is read, nobody knows any more that they were there.
        most: so many directories and `.dork` directories are taken in; None for no limit.
        distrusted: whether watches may be dead that look alive, because events were lost.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self.lock = FairLock()
        self.top = Top(self)
        self.placing: Placing | None = None
        self.moves = 0
        self.wanted = 1
        self.watched = 0
        self.missing = 0
        self.vanished: list[Node] = []
        self.gone: list[str] = []
        self.most: int | None = None
        self.distrusted = False
        self._detached: set[Node] = set()
        self._rules: tuple[tuple[str, ...], int] | None = None

    def root_for(self, scope: Scope) -> Node:
        """Return the root's node.

        What a listing leaves out depends on the scope, so under other rules every directory is
        listed anew. Denied paths and nested roots are left out at each walk instead: a denial
        costs no new listing.
        """
        rules = (scope.exclude, scope.max_depth)
        self.most = scope.most_directories
        if rules != self._rules:
            self.unsettle(self.top)
            self._rules = rules
        return self.top

    def clear(self) -> None:
        """Forget every directory, and let go of every watch."""
        for node in (self.top, *self._detached):
            self._strip(node)
        self._detached.clear()
        self.top = Top(self)
        self.wanted += 1

    def release(self) -> None:
        """Let go of every watch, and keep the directories."""
        for top in (self.top, *self._detached):
            for node in top.below():
                self._release(node)

    def unsettle(self, node: Node) -> None:
        """Have a directory and all below it listed at the next walk."""
        for one in node.below():
            one.settled = False

    def insert(self, parent: Node, names: Collection[str]) -> list[Node]:
        """Return the children of these names, new ones where none are known."""
        unknown = [name for name in names if parent.child(name) is None]
        taken = self._within_limit(unknown)
        new = [Node(name, parent) for name in taken]
        self.wanted += len(new)
        if len(taken) < len(unknown):
            parent.settled = False
        if len(new) <= _FEW:
            for node in new:
                self._add(parent, node)
        else:
            parent.children = tuple(sorted((*parent.children, *new), key=BY_NAME))
            parent.settled = False
        return [child for name in names if (child := parent.child(name)) is not None]

    def adopt(self, node: Node, names: Collection[str]) -> bool:
        """Take a new listing; a directory that was there before keeps what is known of it.

        Returns:
            Whether there was room for all. Where there was not, the directory is listed again
            at the next walk.
        """
        if not names and not node.children:
            return True
        known = {child.name: child for child in node.children}
        is_whole = True
        if self.most is not None:
            unknown = sorted(name for name in names if name not in known)
            taken = self._within_limit(unknown)
            is_whole = len(taken) == len(unknown)
            names = {*taken, *(name for name in names if name in known)}
            node.settled = node.settled and is_whole
        node.children = tuple(known.get(name) or Node(name, node) for name in sorted(names))
        gone = known.keys() - names
        self.wanted += len(node.children) - (len(known) - len(gone))
        for name in gone:
            self._strip(known[name])
        return is_whole

    def _within_limit(self, names: list[str]) -> list[str]:
        """Return those of some unknown names for which there is room, the first ones first."""
        return names if self.most is None else names[: max(self.most - self.wanted, 0)]

    def set_dork(self, node: Node, dork: Dork) -> None:
        """Note what `.dork` in a directory is."""
        if node.dork is not dork:
            self.wanted += (dork is Dork.DIRECTORY) - (node.dork is Dork.DIRECTORY)
            node.dork = dork

    def forget(self, node: Node) -> None:
        """Drop what is known of a directory, as after a listing that failed."""
        node.settled = False
        self.set_dork(node, Dork.NONE)
        children, node.children = node.children, ()
        for child in children:
            self._strip(child)
        self._release(node)

    def leave(self, node: Node) -> None:
        """Forget a directory that is out of bounds, where anything is known of it."""
        if node.watch != UNWANTED:
            self.forget(node)
            node.watch = UNWANTED
            self.wanted -= 1

    def drop(self, node: Node) -> None:
        """Take a directory out of the table, with all below it and all their watches."""
        if node.parent is not None:
            self.drop_all(node.parent, [node])
        elif node in self._detached:
            self._detached.remove(node)
            self._strip(node)

    def drop_all(self, parent: Node, nodes: Collection[Node]) -> None:
        """Take children of one directory out of the table, as `drop`."""
        gone = set(nodes)
        parent.settled = False
        parent.children = tuple(child for child in parent.children if child not in gone)
        for node in gone:
            self._strip(node)

    def detach(self, node: Node) -> None:
        """Take a directory out of its place; what is below it, and the watches, stay its own.

        The table keeps it, out of everybody's way, until it is attached or dropped.
        """
        parent, node.parent = node.parent, None
        assert parent is not None, "bug: detached twice"
        parent.settled = False
        parent.children = tuple(child for child in parent.children if child is not node)
        self._detached.add(node)

    @property
    def has_detached(self) -> bool:
        """Whether any directory is on its way between two places."""
        return bool(self._detached)

    def is_detached(self, node: Node) -> bool:
        """Whether a directory, or one above it, is on its way between two places."""
        while node.parent is not None:
            node = node.parent
        return node in self._detached

    def attach(self, node: Node, parent: Node, name: str) -> None:
        """Give a detached directory its new place, which nobody may hold."""
        self._detached.remove(node)
        node.name = sys.intern(name)
        node.parent = parent
        self.moves += 1
        self._add(parent, node)

    def _add(self, parent: Node, node: Node) -> None:
        place = bisect_left(parent.children, node.name, key=BY_NAME)
        parent.children = (*parent.children[:place], node, *parent.children[place:])
        parent.settled = False

    def _strip(self, node: Node) -> None:
        """Take apart what has left its place."""
        for one in list(node.below()):
            self._release(one)
            self.wanted -= (one.watch != UNWANTED) + (one.dork is Dork.DIRECTORY)
            one.dork = Dork.NONE
            one.parent = None
            one.children = ()

    def _release(self, node: Node) -> None:
        if self.placing is not None:
            self.placing.release(self, node)
