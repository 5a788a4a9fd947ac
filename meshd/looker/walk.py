"""The walk of one root: where the projects are, and what each manifest looks like to `stat`.

Owns the order, the pruning and the cost of a walk. Assumes an open root and a node table that
no other walk uses. Promises: no symlink is listed through, a directory that did not change
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
from meshd.looker.look import NoDescriptorsError, OpenRoot, below, errno_word, signature_of
from meshd.looker.nodes import Dork
from meshd.looker.syscalls import NO_DESCRIPTORS_ERRNOS, closing, open_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from meshd.clock import Clock
    from meshd.core.model import Signature
    from meshd.core.scope import Scope
    from meshd.looker.nodes import Node

DIRECTORIES_PER_BATCH: Final = 512
"""A batch ends after so many directories, found or not, so that a walk can be stopped, and one
that makes progress can be told from one that hangs."""

_VANISHED_ERRNOS: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


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


Found = Sighting | Unreadable


@dataclass(slots=True)
class WalkStats:
    """What one walk cost and found.

    Attributes:
        directories: visited, at one `stat` or one listing each.
        listings: directories that were listed.
    """

    directories: int = 0
    listings: int = 0
    sightings: int = 0
    unreadable: int = 0


class Walk:
    """One walk of one root.

    Args:
        root: held open until the walk ends.
        node: the root's node in the table.
        scope: what is left out.
        full: list every directory, whatever its signature says.
        clock: judges how old a signature is.
    """

    def __init__(
        self, root: OpenRoot, node: Node, scope: Scope, *, full: bool, clock: Clock
    ) -> None:
        self.stats = WalkStats()
        self._root = root
        self._node = node
        self._scope = scope
        self._full = full
        self._clock = clock
        self._above: list[Node] = []
        self._foothold = Foothold(root.descriptor)
        self._prefix = root.path.rstrip("/") + "/"
        self._barriers = frozenset(
            below(root.path, path)
            for path in (*scope.denied, *scope.roots)
            if path != root.path and is_within(path, root.path)
        )

    def run(self, stop: Callable[[], bool]) -> Iterator[list[Found]]:
        """Yield what is found, batch by batch; a batch may be empty.

        Args:
            stop: asked once a batch; the walk ends when it says so.

        Raises:
            RootLostError: the root itself cannot be listed any more.
            NoDescriptorsError: EMFILE or ENFILE.
        """
        if self._scope.denies(self._root.path):
            return
        try:
            stack = [(self._node, "", 0)]
            while stack and not stop():
                yield self._batch(stack)
        finally:
            self._foothold.close()

    def _batch(self, stack: list[tuple[Node, str, int]]) -> list[Found]:
        """Visit the next directories, depth first; the stack holds those still to visit."""
        found: list[Found] = []
        barriers = self._barriers
        above = self._above
        for _ in range(DIRECTORIES_PER_BATCH):
            if not stack:
                break
            node, relative, depth = stack.pop()
            if barriers and relative in barriers:
                continue
            del above[depth:]
            self.stats.directories += 1
            if not self._is_unchanged(node, relative):
                failure = self._relist(node, relative, depth)
                if failure is not None:
                    found.append(failure)
            if node.dork:
                sighting = self._sight(node, relative)
                if sighting is not None:
                    found.append(sighting)
            if node.children:
                above.append(node)
                prefix = relative + "/" if relative else ""
                level = depth + 1
                stack.extend(
                    [(child, prefix + child.name, level) for child in reversed(node.children)]
                )
        return found

    def _is_unchanged(self, node: Node, relative: str) -> bool:
        """Whether the remembered listing holds; what fails is told by the listing to come."""
        if self._full or not node.settled:
            return False
        try:
            status = self._stat(relative or ".")
        except OSError:
            return False
        return (
            node.mtime_ns == status.st_mtime_ns
            and node.ctime_ns == status.st_ctime_ns
            and node.inode == status.st_ino
            and node.device == status.st_dev
        )

    def _relist(self, node: Node, relative: str, depth: int) -> Found | None:
        try:
            self._list(node, relative, depth)
        except OSError as error:
            node.forget()
            return self._failed(relative, error)
        return None

    def _list(self, node: Node, relative: str, depth: int) -> None:
        """List a directory into its node."""
        start, path = self._foothold.reach(relative)
        with closing(open_directory(start, path, flags=os.O_RDONLY)) as directory:
            node.remember(os.fstat(directory), self._clock.wall_ns())
            if any(node.is_same_directory(other) for other in self._above):
                node.forget()  # a bind mount of a directory above (fault 70)
                return
            self.stats.listings += 1
            with os.scandir(directory) as entries:
                self._take(node, relative, depth, entries)

    def _take(
        self, node: Node, relative: str, depth: int, entries: Iterator[os.DirEntry[str]]
    ) -> None:
        """Read the entries of a directory; their types come with them, no file is statted."""
        dork = Dork.NONE
        names = []
        prunes = self._scope.prunes
        is_leaf = depth >= self._scope.max_depth
        for entry in entries:
            if entry.name == ".dork":
                dork = _kind_of_dork(entry)
            elif not is_leaf and _is_directory(entry) and not prunes(relative, entry.name):
                names.append(entry.name)
        node.dork = dork
        node.adopt(names)

    def _failed(self, relative: str, error: OSError) -> Found | None:
        """Sort the failure of a listing."""
        if error.errno in NO_DESCRIPTORS_ERRNOS:
            raise NoDescriptorsError("no descriptor is left to walk with") from error
        if not relative:
            raise RootLostError(f"the root cannot be listed: {errno_word(error)}") from error
        if error.errno in _VANISHED_ERRNOS:
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
                if error.errno in _VANISHED_ERRNOS:
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


def _kind_of_dork(entry: os.DirEntry[str]) -> Dork:
    try:
        if entry.is_symlink():
            return Dork.ODD
    except OSError:
        return Dork.ODD
    return Dork.DIRECTORY if _is_directory(entry) else Dork.NONE
