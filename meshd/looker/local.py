"""The looker of a root on a local file system: it works in this process.

Owns the node table of its root and the memory of what the root was in this run.
Assumes that a call into the root returns; `isolated` is for roots where it may not. Promises
that no descriptor outlives a call, so that the root can be unmounted (a watch holds no
descriptor), and that a root which is not the one checked before never makes a project absent.
"""

from __future__ import annotations

import contextlib
import os
import stat
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

from meshd.core.model import FileIdentity, Observation, Outcome, Reason, Source
from meshd.looker.foothold import Foothold
from meshd.looker.health import (
    RootInRun,
    RootLook,
    Sickness,
    examine,
    identify,
    open_root,
    sickness_of,
)
from meshd.looker.look import NoDescriptorsError, OpenRoot, errno_word, look
from meshd.looker.syscalls import closing, open_directory
from meshd.looker.table import NodeTable
from meshd.looker.walk import VANISHED_ERRNOS, Found, RootLostError, Walk, WalkStats

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    from meshd.clock import Clock
    from meshd.core.model import RootIdentity
    from meshd.core.scope import Scope
    from meshd.looker.nodes import Node
    from meshd.looker.table import Placing
    from meshd.looker.tasks import Task

Answer = TypeVar("Answer")


class LocalLooker:
    """All access to one root.

    Args:
        root: absolute, resolved path.
        clock: judges the age of signatures, and stamps looks.
        numbers: returns the next look number; shared by all lookers, safe to call from any
            thread.

    Attributes:
        root: as given.
        seen: what the root was at its last healthy check in this run.
        walk_stats: of the latest walk.
        table: the directories of the root; hold its lock.
    """

    def __init__(self, root: str, *, clock: Clock, numbers: Callable[[], int]) -> None:
        self.root = root
        self.walk_stats = WalkStats()
        self._clock = clock
        self._numbers = numbers
        self.seen: RootInRun | None = None
        self._believed = True
        self.table = NodeTable(root)
        self._walking = Lock()

    def check(self, known: RootIdentity | None) -> RootLook:
        """Say whether the root can be listed and is the one first seen.

        Args:
            known: what it was when first seen. None takes what is there for the root, and
                forgets what it was earlier in this run.
        """
        seen = self.seen if known is not None and self._believed else None
        examination = examine(self.root, known, seen)
        if examination.look.healthy:
            self.seen = examination.found
        # After a check that failed nothing there is believed, until one succeeds.
        self._believed = examination.look.healthy
        return examination.look

    def walk(
        self, scope: Scope, *, full: bool, stop: Callable[[], bool]
    ) -> Generator[list[Found], None, None]:
        """Yield what lies in the root, in batches of at most 512; a batch may be empty.

        Args:
            scope: what is left out.
            full: list every directory, whatever its signature says.
            stop: asked once a batch; the walk ends early when it says so.

        Raises:
            RootLostError: the root vanished or became another directory. What was seen still
                holds as hints, but what was not seen proves nothing.
            NoDescriptorsError: EMFILE or ENFILE. As above.
        """
        if not self._walking.acquire(blocking=False):
            raise RuntimeError("bug: two walks of one root at a time")
        # Taken back before the walk: events that are lost while it runs want another one.
        verify, self.table.distrusted = self.table.distrusted, False
        walk: Walk | None = None
        try:
            with open_root(self.root) as root:
                if not self._is_ours(root):
                    raise RootLostError("another directory lies at the root since its check")
                walk = Walk(root, self.table, scope, full=full, clock=self._clock, verify=verify)
                self.walk_stats = walk.stats
                yield from walk.run(stop)
                self._expect_same(root)
        except OSError as error:
            self._refuse(error)
            raise _lost(error) from error
        finally:
            if verify and not (walk is not None and walk.is_complete):
                self.table.distrusted = True
            self._walking.release()

    def walk_below(
        self,
        starts: Sequence[Node],
        scope: Scope,
        *,
        stop: Callable[[], bool],
        shallow: bool = False,
    ) -> Generator[list[Found], None, None]:
        """Yield what lies at and below some directories; may run beside a walk of the root.

        Args:
            starts: nodes of the table; those that have left it are passed by.
            scope: what is left out.
            stop: asked once a batch; the walk ends early when it says so.
            shallow: descend only into directories that were never visited.

        Raises:
            RootLostError: as `walk`.
            NoDescriptorsError: as `walk`.
        """
        try:
            with open_root(self.root) as root:
                walk = Walk(root, self.table, scope, full=False, clock=self._clock, shallow=shallow)
                yield from walk.run(stop, starts)
        except OSError as error:
            raise _lost(error) from error

    def watched(self, placing: Placing | None) -> None:
        """Have walks place watches from now on; None removes those that are there."""
        with self.table.lock:
            if placing is None:
                self.table.release()
            self.table.placing = placing

    def whereabouts(self, relative: str = "") -> FileIdentity | None:
        """Return which directory a path below the root leads to now, None for none.

        Args:
            relative: below the root, through no symlink; empty for the root itself.
        """
        try:
            with (
                open_root(self.root) as root,
                closing(open_directory(root.descriptor, relative, flags=os.O_PATH)) as directory,
            ):
                return _identity(os.fstat(directory))
        except OSError:
            return None

    def entries(
        self, relative: str, names: Iterable[str]
    ) -> tuple[FileIdentity, dict[str, FileIdentity]] | None:
        """Return which directory a path leads to now, and which of some names are directories.

        Args:
            relative: below the root, through no symlink; empty for the root itself.
            names: of entries of that directory.

        Returns:
            The directory itself, and those of the names that are directories in it; None when
            the path leads to no directory.

        Raises:
            RootLostError: it cannot be told.
            NoDescriptorsError: as `walk`.
        """
        try:
            with (
                open_root(self.root) as root,
                contextlib.closing(Foothold(root.descriptor)) as foothold,
            ):
                start, path = foothold.reach(relative)
                with closing(open_directory(start, path, flags=os.O_PATH)) as directory:
                    found = {name: _directory_at(directory, name) for name in names}
                    identity = _identity(os.fstat(directory))
        except OSError as error:
            if error.errno in VANISHED_ERRNOS:
                return None
            raise _lost(error) from error
        return identity, {name: one for name, one in found.items() if one is not None}

    def look(self, paths: Sequence[str], source: Source) -> list[Observation]:
        """Look at projects, in order.

        Args:
            paths: absolute, at or below the root.
            source: who asked.

        Raises:
            NoDescriptorsError: EMFILE or ENFILE. Nothing that was seen counts.
        """
        return self.look_numbered(((path, self._numbers()) for path in paths), source)

    def look_numbered(self, looks: Iterable[tuple[str, int]], source: Source) -> list[Observation]:
        """Look at projects under numbers taken by the caller; see `look`."""
        try:
            with open_root(self.root) as root:
                is_ours = self._is_ours(root)
                return [self._look_at(root, is_ours, one, source) for one in looks]
        except OSError as error:
            if sickness_of(error) is Sickness.NO_DESCRIPTORS:
                raise NoDescriptorsError("no descriptor is left to look with") from error
            detail = errno_word(error)
            return [self._not_seen(path, number, source, detail) for path, number in looks]

    def run(self, task: Task[Answer]) -> Answer:
        """Do something in the root.

        Raises:
            RootLostError: the root is not the one that was checked, or cannot be opened.
            NoDescriptorsError: EMFILE or ENFILE.
        """
        try:
            with open_root(self.root) as root:
                if not self._is_ours(root):
                    raise RootLostError("another directory lies at the root since its check")
                return task(root)
        except OSError as error:
            raise _lost(error) from error

    def close(self) -> None:
        """Forget the directories, and let go of their watches."""
        with self.table.lock:
            self.table.clear()

    def _is_ours(self, root: OpenRoot) -> bool:
        return self._believed and self.seen in (None, identify(root))

    def _look_at(
        self, root: OpenRoot, is_ours: bool, one: tuple[str, int], source: Source
    ) -> Observation:
        path, number = one
        if not is_ours:
            # Another directory lies there since the check: nothing in it speaks for the root.
            return self._not_seen(path, number, source, None)
        return look(root, path, number=number, source=source, clock=self._clock)

    def _not_seen(self, path: str, number: int, source: Source, detail: str | None) -> Observation:
        return Observation(
            path=path,
            look=number,
            source=source,
            outcome=Outcome.UNKNOWN,
            reason=Reason.ROOT_SICK,
            detail=detail,
            looked_at_ns=self._clock.wall_ns(),
        )

    def _refuse(self, error: OSError) -> None:
        """Have a root that may not be read counted among what is not watched."""
        if sickness_of(error) is Sickness.PERMISSION_DENIED and self.table.placing is not None:
            with self.table.lock:
                self.table.placing.refuse(self.table, self.table.top, error)

    def _expect_same(self, root: OpenRoot) -> None:
        """Raise unless the path still leads to the directory that was walked."""
        with open_root(self.root) as again:
            if identify(again) != identify(root):
                raise RootLostError("the root became another directory while it was walked")


def _identity(status: os.stat_result) -> FileIdentity:
    return FileIdentity(status.st_dev, status.st_ino)


def _directory_at(directory: int, name: str) -> FileIdentity | None:
    """Return which directory an entry is; None when it is gone, or something else.

    Raises:
        OSError: it cannot be told.
    """
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return _identity(status) if stat.S_ISDIR(status.st_mode) else None


def _lost(error: OSError) -> RootLostError | NoDescriptorsError:
    if sickness_of(error) is Sickness.NO_DESCRIPTORS:
        return NoDescriptorsError("no descriptor is left to walk with")
    return RootLostError(f"the root cannot be opened: {errno_word(error)}")
