"""The search for candidates: directories that speak of an agent and have no manifest.

Owns one step of an iterative walk, as a task. What is left to visit is in the answer, so that
no descriptor outlives a step, the deadline of an isolated root holds however large the tree,
and progress can be told. Assumes an open root and a scope; writes nothing, and remembers
nothing. Promises what the walk of a sweep promises: the same pruning, no symlink followed, no
path too long, no directory within itself, and what cannot be read is counted, not fatal.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from meshd.clock import timestamp
from meshd.core.candidates import Candidate
from meshd.core.model import FileIdentity
from meshd.core.scope import is_within
from meshd.core.strategies import (
    DESCRIPTION_BYTES,
    MARKERS,
    Marker,
    MarkerKind,
    Strategy,
    describe,
    described_by,
    detect,
    hints,
)
from meshd.looker.look import NoDescriptorsError, below
from meshd.looker.syscalls import NO_DESCRIPTORS_ERRNOS, closing, open_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshd.clock import Clock
    from meshd.core.scope import Scope
    from meshd.looker.look import OpenRoot

DIRECTORIES_PER_STEP: Final = 2_000
SECONDS_PER_STEP: Final = 0.5
"""A step ends at the first of both. Looks of a sweep wait that long where a root is isolated."""

_GONE_ERRNOS: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
# A FIFO does not block, a terminal does not become ours, a swapped-in symlink is refused.
_READ_FLAGS: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC

_MARKER_NAMES: Final = frozenset(marker.path for marker in MARKERS if "/" not in marker.path)
_NESTED: Final = tuple(sorted(marker for marker in MARKERS if "/" in marker.path))
_NESTS: Final = frozenset(marker.path.partition("/")[0] for marker in _NESTED)


class Left(NamedTuple):
    """A directory left to visit.

    Attributes:
        relative: its path below the root, empty for the root itself.
        above: the directories between the start of the search and it.
    """

    relative: str
    above: tuple[FileIdentity, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """What one step came to.

    Attributes:
        candidates: found, in the order of the walk.
        directories: visited.
        unreadable: directories that could not be listed.
        left: what is left to visit, the next one last; empty at the end of the search.
    """

    candidates: tuple[Candidate, ...]
    directories: int
    unreadable: int
    left: tuple[Left, ...]


@dataclass(frozen=True, slots=True)
class FindCandidates:
    """Visit the next directories. A task for `Looker.run`.

    Attributes:
        scope: what is left out.
        deepest: levels below the root; the scope's own limit holds too.
        left: what is left to visit, the next one last.
        clock: measures the time of the step, and stamps candidates.
        directories: how many are visited at most.
        seconds: when the step ends at the latest, but for the directory it is in.
    """

    scope: Scope
    deepest: int
    left: tuple[Left, ...]
    clock: Clock
    directories: int = DIRECTORIES_PER_STEP
    seconds: float = SECONDS_PER_STEP

    def __call__(self, root: OpenRoot) -> Step:
        """Do it.

        Raises:
            NoDescriptorsError: EMFILE or ENFILE.
            OSError: the root itself cannot be listed.
        """
        visits = _Visits(root, self)
        end = self.clock.monotonic() + self.seconds
        while visits.left and visits.count < self.directories:
            visits.visit_next()
            if self.clock.monotonic() >= end:
                break
        return Step(tuple(visits.candidates), visits.listed, visits.unreadable, tuple(visits.left))


@dataclass(slots=True)
class _Listing:
    """What the search wants to know of a directory."""

    markers: set[Marker]
    nests: list[str]
    children: list[str]
    has_dork: bool = False


class _Visits:
    """The visits of one step.

    Attributes:
        left: what is left to visit, the next one last.
        count: directories that were tried.
        listed: those of them that could be listed.
        unreadable: those that could not, although they are there.
    """

    def __init__(self, root: OpenRoot, task: FindCandidates) -> None:
        self.left = list(task.left)
        self.candidates: list[Candidate] = []
        self.count = 0
        self.listed = 0
        self.unreadable = 0
        self._root = root
        self._clock = task.clock
        self._prunes = task.scope.prunes
        self._deepest = min(task.deepest, task.scope.max_depth)
        self._barriers = frozenset(
            below(root.path, path)
            for path in (*task.scope.denied, *task.scope.roots)
            if path != root.path and is_within(path, root.path)
        )

    def visit_next(self) -> None:
        """Visit one directory, and put those below it on the stack."""
        place = self.left.pop()
        if place.relative in self._barriers:
            return
        self.count += 1
        try:
            opened = open_directory(self._root.descriptor, place.relative, flags=os.O_RDONLY)
            with closing(opened) as directory:
                self._visit(place, directory)
        except OSError as error:
            _refuse_without_descriptors(error)
            if not place.relative:
                raise
            if error.errno not in _GONE_ERRNOS:
                self.unreadable += 1

    def _visit(self, place: Left, directory: int) -> None:
        status = os.fstat(directory)
        identity = FileIdentity(status.st_dev, status.st_ino)
        if identity in place.above:
            return  # a bind mount of a directory above (fault 70)
        listing = self._list(place.relative, directory)
        self.listed += 1
        if not (listing.has_dork and _may_have_manifest(directory)):
            self._judge(place.relative, directory, status.st_uid, listing)
        above = (*place.above, identity)
        prefix = place.relative + "/" if place.relative else ""
        listing.children.sort(reverse=True)
        self.left += [Left(prefix + name, above) for name in listing.children]

    def _list(self, relative: str, directory: int) -> _Listing:
        """Read the entries; their types come with them, no file is statted."""
        listing = _Listing(set(), [], [])
        is_leaf = relative.count("/") + bool(relative) >= self._deepest
        with os.scandir(directory) as entries:
            for entry in entries:
                name = entry.name
                if name == ".dork":
                    listing.has_dork = True
                if name in _MARKER_NAMES and (kind := _kind_of(entry)) is not None:
                    listing.markers.add(Marker(name, kind))
                is_directory = (not is_leaf or name in _NESTS) and _is_directory(entry)
                if is_directory and name in _NESTS:
                    listing.nests.append(name)
                if is_directory and not is_leaf and not self._prunes(relative, name):
                    listing.children.append(name)
        return listing

    def _judge(self, relative: str, directory: int, owner: int, listing: _Listing) -> None:
        """Add a directory without a manifest to the candidates, if a strategy applies to it."""
        markers = listing.markers.union(*(_nested(directory, nest) for nest in listing.nests))
        strategies = detect(markers & MARKERS)
        if not strategies:
            return
        path = self._root.path.rstrip("/") + "/" + relative if relative else self._root.path
        description = _description(directory, owner, strategies, markers)
        self.candidates.append(
            Candidate(
                path,
                strategies[0].name,
                hints(path.rpartition("/")[2], strategies, description),
                timestamp(self._clock.wall_ns()),
            )
        )


def _refuse_without_descriptors(error: OSError) -> None:
    """Give the search up where the process has no descriptor left (fault 80)."""
    if error.errno in NO_DESCRIPTORS_ERRNOS:
        raise NoDescriptorsError("no descriptor is left to search with") from error


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return True  # the visit will say what is wrong with it


def _kind_of(entry: os.DirEntry[str]) -> MarkerKind | None:
    try:
        if entry.is_dir(follow_symlinks=False):
            return MarkerKind.DIRECTORY
        return MarkerKind.FILE if entry.is_file(follow_symlinks=False) else None
    except OSError:
        return None


def _may_have_manifest(directory: int) -> bool:
    """Whether something lies at `.dork/agent.json`, or that cannot be told.

    A `.dork` that is no directory counts: nothing can be registered there.
    """
    try:
        with closing(open_directory(directory, ".dork", flags=os.O_PATH)) as dork:
            os.stat("agent.json", dir_fd=dork, follow_symlinks=False)
    except FileNotFoundError:
        return False
    except OSError as error:
        _refuse_without_descriptors(error)
    return True


def _nested(directory: int, nest: str) -> Iterator[Marker]:
    """Yield the markers that lie in a directory of the project."""
    try:
        with closing(open_directory(directory, nest, flags=os.O_PATH)) as inside:
            for marker in _NESTED:
                parent, _, name = marker.path.partition("/")
                if parent == nest and _is_there(inside, name, marker.kind):
                    yield marker
    except OSError as error:
        _refuse_without_descriptors(error)


def _is_there(directory: int, name: str, kind: MarkerKind) -> bool:
    try:
        mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
    except OSError:
        return False
    return stat.S_ISDIR(mode) if kind is MarkerKind.DIRECTORY else stat.S_ISREG(mode)


def _description(
    directory: int, owner: int, strategies: tuple[Strategy, ...], markers: set[Marker]
) -> str | None:
    """Return what the first of the describing files that has a paragraph says."""
    for name in described_by(strategies, markers):
        description = describe(_beginning(directory, name, owner))
        if description is not None:
            return description
    return None


def _beginning(directory: int, name: str, owner: int) -> bytes:
    """Return the first bytes of a file; none where it cannot, or should not, be read.

    Anybody could link a file that only we can read into a project (fault 15), so a file with
    several names is read only when the directory's owner has it.
    """
    try:
        with closing(os.open(name, _READ_FLAGS, dir_fd=directory)) as file:
            status = os.fstat(file)
            is_linked = status.st_nlink != 1 and status.st_uid != owner
            if not stat.S_ISREG(status.st_mode) or is_linked:
                return b""
            return os.read(file, DESCRIPTION_BYTES)
    except OSError as error:
        _refuse_without_descriptors(error)
        return b""
