"""Writing a manifest, so that it can be taken back.

Owns the tasks by which a manifest takes the place of another, goes away, and by which either is
undone or cleared up. Assumes an open root and nothing else: whatever lies below is hostile, and
its owner may work there at the same time. Promises that nothing is written through a symlink
(fault 137), that the file which is replaced lies beside the new one until it is cleared away,
and that an undo takes back only what is still ours (fault 133).
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from meshd.core.model import FileIdentity
from meshd.looker.look import READ_FLAGS, below, errno_word, read_bounded
from meshd.looker.renaming import exchange, is_there, set_aside, settle_spare, take_name
from meshd.looker.syscalls import closing, open_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshd.looker.look import OpenRoot

DORK: Final = ".dork"
MANIFEST: Final = "agent.json"

_NEW_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LIST_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
# Why an empty directory may stay: it is not empty, not there, or not ours to remove.
_KEPT: Final = _GONE | {errno.ENOTEMPTY, errno.EEXIST, errno.EACCES, errno.EPERM, errno.EBUSY}
_READABLE: Final = 0o044  # what group and others get, where the project gives it to them
_PERMISSIONS: Final = 0o777


class Obstacle(StrEnum):
    """Why a task did not do what it was to do. Fixed words."""

    CHANGED = "changed-meanwhile"
    NO_PROJECT = "project-missing"
    NO_DORK = "dork-not-a-directory"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Trouble:
    """What stood in the way of a task.

    Attributes:
        detail: the name of an error number, when the kernel gave one.
    """

    obstacle: Obstacle
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Swap:
    """One manifest that takes the place of another, or of none, or that goes away.

    Attributes:
        path: the project directory, absolute, at or below the root.
        temporary: the name in `.dork` under which the new file is written, and under which
            the previous one lies from the swap until it is cleared away.
        previous: SHA-256 of the manifest that is there, None when there is none.
        new: SHA-256 of the one that takes its place, None when none does.
        makes_dork: whether `.dork` was missing.
    """

    path: str
    temporary: str
    previous: str | None
    new: str | None
    makes_dork: bool = False


@dataclass(frozen=True, slots=True)
class ReadManifest:
    """Task: return the bytes of a manifest, if they are those that a look has seen."""

    path: str
    content_hash: str

    def __call__(self, root: OpenRoot) -> bytes | Trouble:
        """Read it."""
        try:
            with open_project(root, self.path) as project, open_dork(project) as dork:
                data = _read(dork, MANIFEST)
        except OSError as error:
            return trouble_of(error)
        if data is None or hashlib.sha256(data).hexdigest() != self.content_hash:
            return Trouble(Obstacle.CHANGED)
        return data


@dataclass(frozen=True, slots=True)
class PutManifest:
    """Task: put a manifest in its place; return which file it is.

    What it leaves behind when it fails is for `UndoSwap` to take back.
    """

    swap: Swap
    data: bytes

    def __call__(self, root: OpenRoot) -> FileIdentity | Trouble:
        """Put it."""
        try:
            with open_project(root, self.swap.path) as project:
                if self.swap.makes_dork:
                    _make_dork(project)
                with open_dork(project) as dork:
                    return self._put(project, dork)
        except OSError as error:
            return trouble_of(error)

    def _put(self, project: int, dork: int) -> FileIdentity | Trouble:
        swap = self.swap
        owner = os.fstat(project)
        mode = stat.S_IRUSR | stat.S_IWUSR | (owner.st_mode & _READABLE)
        group = owner.st_gid
        try:
            if swap.previous is not None:
                before = os.stat(MANIFEST, dir_fd=dork, follow_symlinks=False)
                mode, group = before.st_mode & _PERMISSIONS, before.st_gid
            ours = _write(dork, swap.temporary, self.data, owner.st_uid, group, mode)
            if swap.previous is None:
                take_name(dork, swap.temporary, MANIFEST)
            else:
                exchange(dork, swap.temporary, MANIFEST)
        except (FileExistsError, FileNotFoundError):
            return Trouble(Obstacle.CHANGED)
        if swap.previous is not None and not _holds(dork, swap.temporary, swap.previous):
            return Trouble(Obstacle.CHANGED)
        _sync(dork)
        return ours


@dataclass(frozen=True, slots=True)
class TakeManifest:
    """Task: take a manifest away, to where `UndoSwap` finds it."""

    swap: Swap

    def __call__(self, root: OpenRoot) -> Trouble | None:
        """Take it."""
        swap = self.swap
        assert swap.previous is not None, "bug: nothing to take away"
        try:
            with open_project(root, swap.path) as project, open_dork(project) as dork:
                try:
                    set_aside(dork, MANIFEST, swap.temporary)
                except FileNotFoundError:
                    return Trouble(Obstacle.CHANGED)
                if not _holds(dork, swap.temporary, swap.previous):
                    return Trouble(Obstacle.CHANGED)
                _sync(dork)
        except OSError as error:
            return trouble_of(error)
        return None


@dataclass(frozen=True, slots=True)
class UndoSwap:
    """Task: take back what is left of a swap, however far it came; twice does no more.

    Attributes:
        ours: which file was put, when that is known.
    """

    swap: Swap
    ours: FileIdentity | None = None

    def __call__(self, root: OpenRoot) -> Trouble | None:
        """Take it back."""
        swap = self.swap
        try:
            with open_project(root, swap.path) as project:
                with open_dork(project) as dork:
                    settle_spare(dork, swap.temporary)
                    self._take_back(dork)
                    _unlink(dork, swap.temporary)
                    _sync(dork)
                if swap.makes_dork:
                    _remove_empty(project, DORK)
        except OSError as error:
            # Where the project or `.dork` is gone, so is what was put there.
            return None if error.errno in _GONE else trouble_of(error)
        return None

    def _take_back(self, dork: int) -> None:
        swap = self.swap
        if swap.new is None:
            with suppress(FileExistsError):
                if is_there(dork, swap.temporary):
                    take_name(dork, swap.temporary, MANIFEST)
        elif not _holds(dork, MANIFEST, swap.new, self.ours):
            return  # never put, or replaced by its owner since
        elif swap.previous is None:
            # Where names are taken by links, a cut may have left both.
            _unlink(dork, swap.temporary)
            set_aside(dork, MANIFEST, swap.temporary)
            if not _holds(dork, swap.temporary, swap.new, self.ours):
                with suppress(FileExistsError):
                    take_name(dork, swap.temporary, MANIFEST)
        else:
            exchange(dork, swap.temporary, MANIFEST)
            if not _holds(dork, swap.temporary, swap.new, self.ours):
                # Its owner saved in between: the newest stays.
                exchange(dork, swap.temporary, MANIFEST)


@dataclass(frozen=True, slots=True)
class ClearSwap:
    """Task: clear away what a swap has kept for its undo.

    A program that had the previous file open may have written to it after the swap. What its
    owner has saved is then put back, and that is the trouble told.
    """

    swap: Swap

    def __call__(self, root: OpenRoot) -> Trouble | None:
        """Clear it away."""
        swap, trouble = self.swap, None
        try:
            with open_project(root, swap.path) as project:
                with open_dork(project) as dork:
                    settle_spare(dork, swap.temporary)
                    if self._was_saved_late(dork):
                        exchange(dork, swap.temporary, MANIFEST)
                        trouble = Trouble(Obstacle.CHANGED)
                    _unlink(dork, swap.temporary)
                    _sync(dork)
                if swap.new is None:
                    _remove_empty(project, DORK)
        except OSError as error:
            return None if error.errno in _GONE else trouble_of(error)
        return trouble

    def _was_saved_late(self, dork: int) -> bool:
        swap = self.swap
        if swap.previous is None or swap.new is None or not _holds(dork, MANIFEST, swap.new):
            return False
        data = _read(dork, swap.temporary)
        return data is not None and hashlib.sha256(data).hexdigest() != swap.previous


@contextmanager
def open_project(root: OpenRoot, path: str) -> Iterator[int]:
    """Hold a project directory open, reached through no symlink.

    Raises:
        OSError: what the kernel says; ELOOP for a symlink.
    """
    relative = below(root.path, path)
    with closing(open_directory(root.descriptor, relative, flags=os.O_PATH)) as project:
        yield project


@contextmanager
def open_dork(project: int, name: str = DORK) -> Iterator[int]:
    """Hold `.dork` open for listing; a symlink is refused.

    Raises:
        OSError: what the kernel says; ENOTDIR for a symlink or a file.
    """
    with closing(os.open(name, _LIST_FLAGS, dir_fd=project)) as dork:
        yield dork


def trouble_of(error: OSError) -> Trouble:
    """Return what an error of the kernel says of a task."""
    if error.errno in (errno.ENOTDIR, errno.ELOOP):
        return Trouble(Obstacle.NO_DORK, errno_word(error))
    if error.errno == errno.ENOENT:
        return Trouble(Obstacle.NO_PROJECT, errno_word(error))
    return Trouble(Obstacle.FAILED, errno_word(error))


def has_content(directory: int, name: str, content_hash: str) -> bool:
    """Whether a regular file has this SHA-256."""
    return _holds(directory, name, content_hash)


def sync_project(project: int) -> None:
    """Make what was renamed in a project durable; one that may not be listed is left to time."""
    with suppress(PermissionError), closing(os.open(".", _LIST_FLAGS, dir_fd=project)) as listed:
        _sync(listed)


def _make_dork(project: int) -> None:
    """Make `.dork` as the project is: its owner, its mode."""
    status = os.fstat(project)
    try:
        os.mkdir(DORK, 0o700, dir_fd=project)
    except FileExistsError:
        return
    with open_dork(project) as dork:
        # Only what is empty is given away: a directory put there meanwhile is not ours.
        with os.scandir(dork) as entries:
            is_empty = next(entries, None) is None
        if is_empty:
            _give(dork, status.st_uid, status.st_gid)
            os.fchmod(dork, status.st_mode & (_PERMISSIONS | stat.S_ISGID))
    sync_project(project)


def _write(dork: int, name: str, data: bytes, owner: int, group: int, mode: int) -> FileIdentity:  # noqa: PLR0917, PLR0913 - what a file is made of
    """Write a new file and make it durable."""
    with closing(os.open(name, _NEW_FLAGS, 0o600, dir_fd=dork)) as file:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(file, rest) :]
        _give(file, owner, group)
        os.fchmod(file, mode)
        os.fsync(file)
        status = os.fstat(file)
    return FileIdentity(status.st_dev, status.st_ino)


def _give(descriptor: int, owner: int, group: int) -> None:
    """Give a file to an owner, as far as we may: without privileges it stays our own."""
    for ids in ((owner, -1), (-1, group)):
        with suppress(PermissionError):
            os.fchown(descriptor, *ids)


def _read(directory: int, name: str) -> bytes | None:
    """Return what a regular file holds, None when there is none of that name.

    Raises:
        OSError: what the kernel says.
    """
    try:
        if not stat.S_ISREG(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            return None
        with closing(os.open(name, READ_FLAGS, dir_fd=directory)) as file:
            return read_bounded(file) if stat.S_ISREG(os.fstat(file).st_mode) else None
    except OSError as error:
        if error.errno in (*_GONE, errno.ENXIO):
            return None
        raise


def _holds(
    directory: int, name: str, content_hash: str, identity: FileIdentity | None = None
) -> bool:
    """Whether a name leads to the file with this content, and to this one where it is known."""
    data = _read(directory, name)
    if data is None or hashlib.sha256(data).hexdigest() != content_hash:
        return False
    if identity is None:
        return True
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    return identity == FileIdentity(status.st_dev, status.st_ino)


def _unlink(directory: int, name: str) -> None:
    if is_there(directory, name):
        os.unlink(name, dir_fd=directory)


def _remove_empty(project: int, name: str) -> None:
    """Remove a directory if it is empty and nobody minds: it harms nobody."""
    try:
        os.rmdir(name, dir_fd=project)
    except OSError as error:
        if error.errno not in _KEPT:
            raise
    else:
        sync_project(project)


def _sync(directory: int) -> None:
    """Make renames in a directory durable, where the file system knows how."""
    try:
        os.fsync(directory)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
