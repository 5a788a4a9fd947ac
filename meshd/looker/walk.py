"""The walk of one root: where the projects are, and what each manifest looks like to `stat`.

Owns the order, the pruning and the cost of a walk. Assumes an open root; holds the lock of the
node table for one batch at a time, so what others do to the table between batches is respected.
Where somebody watches, a directory is watched before it is listed, so that what changes after
the listing makes an event. Promises: no symlink is listed through, a directory that did not change
costs one `stat`, plain files cost none, depth is bounded by the scope and not by PATH_MAX or the
interpreter's stack (faults 46, 47), directories come in the order of their names, and what cannot
be read is said, never taken for absent (faults 79, 80, 84).

A `stat` may pass through a symlink swapped in since the directory above was listed. It yields
at worst a needless look, and a look follows nothing.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from meshd.core.scope import is_within
from meshd.errors import MeshdError
from meshd.looker.foothold import NEAR_CHARACTERS, Foothold
from meshd.looker.ladder import Ladder
from meshd.looker.look import NoDescriptorsError, OpenRoot, below, errno_word, signature_of
from meshd.looker.nodes import NO_WATCH, Dork, place_of, projects_below
from meshd.looker.syscalls import NO_DESCRIPTORS_ERRNOS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from meshd.clock import Clock
    from meshd.core.model import Signature
    from meshd.core.scope import Scope
    from meshd.looker.nodes import Node
    from meshd.looker.table import NodeTable, Placing

DIRECTORIES_PER_BATCH: Final = 512
"""A batch ends after so many directories, found or not, so that a walk can be stopped, and one
that makes progress can be told from one that hangs."""

DIRECTORIES_AT_LEAST: Final = 32
"""A batch ends early when somebody waits for the table, but not before so many directories."""

VANISHED_ERRNOS: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
"""A path that fails by one of these leads to no directory: something else is there, or nothing."""


class RootLostError(MeshdError):
    """The root vanished, or became another directory, while it was walked."""

    code = "root-lost"


class Sighting(NamedTuple):
    """Something lies at `.dork/agent.json` of this project.

    `signature` is None when `stat` could not say; only a look can.
    """

    path: str
    signature: Signature | None


class Unreadable(NamedTuple):
    """This directory could not be listed: nothing below it was seen, and nothing is absent."""

    path: str


class Truncated(NamedTuple):
    """Not all of this root was walked: it has more directories than it may have (fault 48)."""

    path: str


Found = Sighting | Unreadable | Truncated


@dataclass(slots=True)
class WalkStats:
    """What one walk cost and found.

    Attributes:
        directories: visited, at one `stat` or one listing each.
        listings: directories that were listed.
        cut: directories whose listing was not taken in whole.
    """

    directories: int = 0
    listings: int = 0
    sightings: int = 0
    unreadable: int = 0
    cut: int = 0


class Walk:
    """One walk of one root, or of parts of it.

    Attributes:
        stats: what it cost and found so far.
        is_complete: whether it came to its end.

    Args:
        root: held open until the walk ends.
        table: the nodes of the root.
        scope: what is left out.
        full: list every directory, whatever its signature says.
        clock: judges how old a signature is.
        verify: place the watch of every directory anew, whatever its node says.
        shallow: descend only into directories that were never visited.
    """

    def __init__(  # noqa: PLR0913 - all but three are keywords
        self,
        root: OpenRoot,
        table: NodeTable,
        scope: Scope,
        *,
        full: bool,
        clock: Clock,
        verify: bool = False,
        shallow: bool = False,
    ) -> None:
        self.stats = WalkStats()
        self.is_complete = False
        self._root = root
        self._table = table
        self._placing = table.placing
        self._scope = scope
        self._full = full
        self._clock = clock
        self._verify = verify and table.placing is not None
        self._shallow = shallow
        self._foothold = Foothold(root.descriptor)
        self._ladder = Ladder(self._foothold, is_strict=table.placing is not None)
        self._prefix = root.path.rstrip("/") + "/"
        self._barriers = frozenset(
            below(root.path, path)
            for path in (*scope.denied, *scope.roots)
            if path != root.path and is_within(path, root.path)
        )

    def run(
        self, stop: Callable[[], bool], starts: Sequence[Node] | None = None
    ) -> Iterator[list[Found]]:
        """Yield what is found, batch by batch; a batch may be empty.

        Args:
            stop: asked once a batch; the walk ends when it says so.
            starts: the directories to walk, with all below them; None for the root.

        Raises:
            RootLostError: the root itself cannot be listed any more.
            NoDescriptorsError: EMFILE or ENFILE.
        """
        if self._scope.denies(self._root.path):
            with self._table.lock:
                self._table.leave(self._table.top)
            return
        try:
            with self._table.lock:
                moves = self._table.moves
                top = self._table.root_for(self._scope)
                stack = self._places([top] if starts is None else starts)
            while stack and not stop():
                with self._table.lock:
                    if self._table.moves != moves:
                        moves = self._table.moves
                        stack = self._places([node for node, _, _ in stack])
                    try:
                        batch = self._batch(stack)
                    finally:
                        self._ladder.close()
                yield batch
            if self.stats.cut:
                yield [Truncated(self._root.path)]
            self.is_complete = not stack
        finally:
            self._foothold.close()

    def _places(self, nodes: Sequence[Node]) -> list[tuple[Node, str, int]]:
        """Return where directories are now, without those that have left the table."""
        places = [(node, place_of(node)) for node in nodes]
        return [(node, place.relative, place.depth) for node, place in places if place is not None]

    def _batch(self, stack: list[tuple[Node, str, int]]) -> list[Found]:
        """Visit the next directories, depth first; the stack holds those still to visit."""
        found: list[Found] = []
        barriers = self._barriers
        last = self.stats.directories + DIRECTORIES_PER_BATCH
        enough = self.stats.directories + DIRECTORIES_AT_LEAST
        while stack and self.stats.directories < last:
            if self.stats.directories >= enough and self._table.lock.is_awaited():
                break
            node, relative, depth = stack.pop()
            if node.parent is None and node is not self._table.top:
                continue  # it left the table since it was put here
            if barriers and relative in barriers:
                self._table.leave(node)
                continue
            self.stats.directories += 1
            self._look_into(node, relative, depth, found)
            if node.children:
                prefix = relative + "/" if relative else ""
                level = depth + 1
                children = reversed(node.children)
                if self._shallow:
                    children = iter([child for child in children if not child.inode])
                stack.extend([(child, prefix + child.name, level) for child in children])
        return found

    def _look_into(self, node: Node, relative: str, depth: int, found: list[Found]) -> None:
        """Add what is found in one directory, after listing it where it changed."""
        if not self._is_unchanged(node, relative):
            failure = self._visit(node, relative, depth)
            if failure is not None:
                found.append(failure)
        if node.dork and (sighting := self._sight(node, relative)) is not None:
            found.append(sighting)

    def _is_unchanged(self, node: Node, relative: str) -> bool:
        """Whether the remembered listing holds; what fails is told by the visit to come."""
        if self._full or self._verify or not node.settled:
            return False
        if self._placing is not None and self._placing.wants(node):
            return False
        try:
            return node.matches(self._stat(relative or "."))
        except OSError:
            return False

    def _visit(self, node: Node, relative: str, depth: int) -> Found | None:
        """Open a directory, to watch it and to list it; return what could not be read."""
        try:
            self._watch_and_list(node, relative, depth)
        except OSError as error:
            node.settled = False
            failure = self._failed(relative, error)
            self._note_gone(node, relative, frozenset(), Dork.NONE)
            self._table.forget(node)
            if self._placing is None:
                return failure
            if failure is not None:
                self._placing.refuse(self._table, node, error)
            else:
                self._table.vanished.append(node)
            return failure
        return None

    def _watch_and_list(self, node: Node, relative: str, depth: int) -> None:
        directory = self._ladder.open(node, relative)
        is_held = False
        try:
            if self._placing is not None:
                self._placing.place(self._table, node, directory)
            status = os.fstat(directory)
            if self._full or not node.settled or not node.matches(status):
                self._list(node, relative, depth, directory, status)
            if self._placing is not None and (node.dork or node.dork_watch != NO_WATCH):
                self._watch_dork(self._placing, node, relative, directory)
            if node.children:
                self._ladder.hold(node, directory)
                is_held = True
        finally:
            if not is_held:
                os.close(directory)

    def _watch_dork(self, placing: Placing, node: Node, relative: str, directory: int) -> None:
        """Watch what `.dork` was in the listing, unless it was removed since."""
        if node.dork is Dork.DIRECTORY:
            placing.place_dork(self._table, node, directory)
            is_told = node.dork_watch != NO_WATCH
        else:
            if node.dork_watch != NO_WATCH:
                placing.release_dork(self._table, node)
            if node.dork is Dork.ODD:
                placing.place_removals(self._table, node, directory)
            is_told = node.dork is Dork.NONE
        if not is_told and not _exists(directory, ".dork"):
            # Removed before anybody listened.
            node.settled = False
            self._note_gone(node, relative, {child.name for child in node.children}, Dork.NONE)
            self._table.set_dork(node, Dork.NONE)

    def _list(
        self, node: Node, relative: str, depth: int, directory: int, status: os.stat_result
    ) -> None:
        """List an open directory into its node."""
        node.remember(status, self._clock.wall_ns())
        if node.is_below_itself():
            self._table.leave(node)  # a bind mount of a directory above (fault 70)
            return
        self.stats.listings += 1
        with os.scandir(directory) as entries:
            self._take(node, relative, depth, entries)

    def _take(
        self, node: Node, relative: str, depth: int, entries: Iterator[os.DirEntry[str]]
    ) -> None:
        """Read the entries of a directory; their types come with them, no file is statted."""
        dork = Dork.NONE
        names: set[str] = set()
        prunes = self._scope.prunes
        is_leaf = depth >= self._scope.max_depth
        for entry in entries:
            name = entry.name
            if name == ".dork":
                dork = _kind_of_dork(entry)
            elif not is_leaf:
                try:
                    is_directory = entry.is_dir(follow_symlinks=False)
                except OSError:
                    is_directory = True  # the visit will say what is wrong with it
                if is_directory and not prunes(relative, name):
                    names.add(name)
        if node.dork or node.children:
            self._note_gone(node, relative, names, dork)
        self._table.set_dork(node, dork)
        if not self._table.adopt(node, names):
            self.stats.cut += 1

    def _note_gone(self, node: Node, relative: str, names: Collection[str], dork: Dork) -> None:
        """Leave word of the known projects that a directory with this content holds no more."""
        if self._placing is None:
            return
        if node.dork and not dork:
            self._table.gone.append(self._absolute(relative))
        prefix = relative + "/" if relative else ""
        for child in node.children:
            if child.name not in names:
                self._table.gone += projects_below(child, self._prefix + prefix + child.name)

    def _failed(self, relative: str, error: OSError) -> Found | None:
        """Sort the failure of a listing."""
        if error.errno in NO_DESCRIPTORS_ERRNOS:
            raise NoDescriptorsError("no descriptor is left to walk with") from error
        if not relative:
            raise RootLostError(f"the root cannot be listed: {errno_word(error)}") from error
        if error.errno in VANISHED_ERRNOS:
            return None
        self.stats.unreadable += 1
        return Unreadable(self._absolute(relative))

    def _sight(self, node: Node, relative: str) -> Sighting | None:
        """See what lies at `.dork/agent.json`; a `.dork` that is a symlink is not passed."""
        signature = None
        if node.dork is Dork.DIRECTORY:
            manifest = relative + "/.dork/agent.json" if relative else ".dork/agent.json"
            try:
                signature = signature_of(self._stat(manifest))
            except OSError as error:
                if error.errno in VANISHED_ERRNOS:
                    return None
        self.stats.sightings += 1
        return Sighting(self._absolute(relative), signature)

    def _stat(self, relative: str) -> os.stat_result:
        if len(relative) <= NEAR_CHARACTERS:
            return os.stat(relative, dir_fd=self._root.descriptor, follow_symlinks=False)
        start, path = self._foothold.reach(relative)
        return os.stat(path, dir_fd=start, follow_symlinks=False)

    def _absolute(self, relative: str) -> str:
        return self._prefix + relative if relative else self._root.path


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return True  # the visit will say what is wrong with it


def _exists(directory: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True


def _kind_of_dork(entry: os.DirEntry[str]) -> Dork:
    try:
        if entry.is_symlink():
            return Dork.ODD
    except OSError:
        return Dork.ODD
    return Dork.DIRECTORY if _is_directory(entry) else Dork.NONE
