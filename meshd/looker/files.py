"""Files of a project, by descriptors.

Owns the steps that the tasks which write are made of: opening a project and its `.dork`, making
files and directories as their owner has them, telling files apart. Assumes an open root and
nothing else. Promises that no symlink is followed, and that whatever is not a regular file is
not opened.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from meshd.core.model import FileIdentity
from meshd.looker.look import READ_FLAGS, below, read_bounded
from meshd.looker.renaming import is_there, take_name
from meshd.looker.syscalls import closing, open_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshd.looker.look import OpenRoot

DORK: Final = ".dork"
MANIFEST: Final = "agent.json"

GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
"""What is said where a project or its `.dork` is not, or not a directory."""

_NEW_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LIST_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Why an empty directory may stay: it is not empty, not there, or not ours to remove.
_KEPT: Final = GONE | {errno.ENOTEMPTY, errno.EEXIST, errno.EACCES, errno.EPERM, errno.EBUSY}
_READABLE: Final = 0o044  # what group and others get, where the project gives it to them
_PERMISSIONS: Final = 0o777


class Ownership(NamedTuple):
    """Whose a file is, and who may do what with it."""

    owner: int
    group: int
    mode: int


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


def sync_project(project: int) -> None:
    """Make what was renamed in a project durable; one that may not be listed is left to time."""
    with suppress(PermissionError), closing(os.open(".", _LIST_FLAGS, dir_fd=project)) as listed:
        sync(listed)


def make_dork(project: int) -> None:
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
            mode = status.st_mode & (_PERMISSIONS | stat.S_ISGID)
            _give(dork, Ownership(status.st_uid, status.st_gid, mode))
    sync_project(project)


def ownership(project: int, dork: int, *, replaces: bool) -> Ownership:
    """Return whose a manifest in a project has to be.

    Args:
        project: gives the owner, and where there is no manifest yet, the rest.
        dork: its `.dork`.
        replaces: whether there is a manifest, which gives group and mode.

    Raises:
        OSError: FileNotFoundError when there is none to be replaced.
    """
    status = os.fstat(project)
    if replaces:
        before = os.stat(MANIFEST, dir_fd=dork, follow_symlinks=False)
        return Ownership(status.st_uid, before.st_gid, before.st_mode & _PERMISSIONS)
    mode = stat.S_IRUSR | stat.S_IWUSR | (status.st_mode & _READABLE)
    return Ownership(status.st_uid, status.st_gid, mode)


def write_new(directory: int, name: str, data: bytes, belongs: Ownership) -> FileIdentity:
    """Write a file that is not there yet, make it durable, and return which it is.

    Raises:
        OSError: FileExistsError when it is there, else what the kernel says.
    """
    with closing(os.open(name, _NEW_FLAGS, 0o600, dir_fd=directory)) as file:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(file, rest) :]
        _give(file, belongs)
        os.fsync(file)
        status = os.fstat(file)
    return FileIdentity(status.st_dev, status.st_ino)


def _give(descriptor: int, belongs: Ownership) -> None:
    """Give a file to its owner, as far as we may.

    Without privileges it stays our own, and some file systems have no modes to set.
    """
    for ids in ((belongs.owner, -1), (-1, belongs.group)):
        with suppress(PermissionError):
            os.fchown(descriptor, *ids)
    with suppress(PermissionError):
        os.fchmod(descriptor, belongs.mode)


def read_regular(directory: int, name: str) -> bytes | None:
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
        if error.errno in (*GONE, errno.ENXIO):
            return None
        raise


def holds(
    directory: int, name: str, content_hash: str, identity: FileIdentity | None = None
) -> bool:
    """Whether a name leads to the file with this content, and to this one where it is known."""
    data = read_regular(directory, name)
    if data is None or hashlib.sha256(data).hexdigest() != content_hash:
        return False
    if identity is None:
        return True
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    return identity == FileIdentity(status.st_dev, status.st_ino)


def remove(directory: int, name: str) -> bool:
    """Remove a file, if it is there; return whether nothing is left.

    A directory of that name is its owner's, who put it where the file was: unless it is empty,
    it is left under a name that can be seen.
    """
    if not is_there(directory, name):
        return True
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if not stat.S_ISDIR(status.st_mode):
        os.unlink(name, dir_fd=directory)
        return True
    try:
        os.rmdir(name, dir_fd=directory)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        take_name(directory, name, kept_name(name))
        return False
    return True


def kept_name(temporary: str) -> str:
    """Return the visible name of what is left to its owner."""
    return f"{temporary.strip('.').removesuffix('.tmp')}.kept"


def remove_empty(project: int, name: str) -> None:
    """Remove a directory if it is empty and nobody minds: it harms nobody."""
    try:
        os.rmdir(name, dir_fd=project)
    except OSError as error:
        if error.errno not in _KEPT:
            raise
    else:
        sync_project(project)


def sync(directory: int) -> None:
    """Make renames in a directory durable, where the file system knows how."""
    try:
        os.fsync(directory)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
