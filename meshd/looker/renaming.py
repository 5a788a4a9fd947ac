"""Renames that replace nothing by accident.

Owns exchanging two names, setting one aside and taking a free one, in open directories.
Assumes that they are on one file system. Promises that no file loses its last name on the way:
where the kernel or the file system has no such rename, hard links take its place, and what a
crash leaves behind then is under the names of this call.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from contextlib import suppress
from typing import Final

_NOREPLACE: Final = 1
_EXCHANGE: Final = 2
# An old kernel, a file system that knows no flags, a container that forbids the call.
_UNSUPPORTED: Final = frozenset({errno.ENOSYS, errno.EINVAL, errno.EPERM})

_RENAMEAT2: Final = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)


def spare_name(temporary: str) -> str:
    """Return the third name that an exchange by links uses for a moment."""
    return f"{temporary.removesuffix('.tmp')}.old.tmp"


def exchange(directory: int, temporary: str, name: str) -> None:
    """Let two files change places; both names exist at every moment, or the spare one does.

    By links it is told as FileExistsError when another file has come to `name` meanwhile, but
    for the one instant between the question and the rename.

    Raises:
        OSError: nothing was changed, or `settle_spare` has to bring it in order.
    """
    if _renamed(directory, temporary, name, _EXCHANGE):
        return
    spare = spare_name(temporary)
    os.link(name, spare, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
    try:
        if not _is_same(directory, spare, name):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError:
        os.unlink(spare, dir_fd=directory)
        raise
    os.rename(spare, temporary, src_dir_fd=directory, dst_dir_fd=directory)


def settle_spare(directory: int, temporary: str) -> None:
    """Finish or undo an exchange by links that was cut short.

    Raises:
        OSError: what the kernel says.
    """
    spare = spare_name(temporary)
    if not is_there(directory, spare):
        return
    with suppress(FileExistsError):
        os.link(spare, temporary, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
    os.unlink(spare, dir_fd=directory)


def is_there(directory: int, name: str) -> bool:
    """Whether anything bears a name: a disk that is read-only refuses to remove even nothing."""
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def set_aside(directory: int, name: str, temporary: str) -> None:
    """Give whatever bears a name another that nobody else has.

    Raises:
        OSError: what the kernel says.
    """
    os.rename(name, temporary, src_dir_fd=directory, dst_dir_fd=directory)


def take_name(directory: int, old: str, new: str, *, into: int | None = None) -> None:
    """Rename a file, unless the new name is taken.

    Args:
        directory: holds the old name, and the new one too when no other is given.
        old: name of a file, or of a directory.
        new: a directory gives way to a directory only while it is empty.
        into: the directory that is to hold the new name.

    Raises:
        OSError: FileExistsError when it is taken, else what the kernel says.
    """
    there = directory if into is None else into
    if _renamed(directory, old, new, _NOREPLACE, there):
        return
    if stat.S_ISDIR(os.stat(old, dir_fd=directory, follow_symlinks=False).st_mode):
        os.rename(old, new, src_dir_fd=directory, dst_dir_fd=there)
        return
    os.link(old, new, src_dir_fd=directory, dst_dir_fd=there, follow_symlinks=False)
    os.unlink(old, dir_fd=directory)


def _is_same(directory: int, one: str, other: str) -> bool:
    """Whether two names lead to one file."""
    first, second = (
        os.stat(name, dir_fd=directory, follow_symlinks=False) for name in (one, other)
    )
    return (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)


def _renamed(directory: int, old: str, new: str, flags: int, into: int | None = None) -> bool:
    """Rename with flags; return whether that is possible here."""
    if _RENAMEAT2 is None:
        return False
    there = directory if into is None else into
    arguments = (directory, os.fsencode(old), there, os.fsencode(new), flags)
    while _RENAMEAT2(*arguments) != 0:
        number = ctypes.get_errno()
        if number in _UNSUPPORTED:
            return False
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))
    return True
