"""System calls that the standard library lacks.

Owns opening a path beneath a descriptor without ever following a symlink, and naming a file
system. Assumes Linux with the 64-bit `struct statfs` (x86-64, arm64, riscv64, ppc64le).
Promises: no open leaves the directory it starts from (fault 16), a path longer than PATH_MAX
is no different from a short one (fault 46), and no descriptor leaks when a call fails.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from functools import cache
from typing import Final

LONGEST_PATH_BYTES: Final = 2048
"""Longer paths are opened in steps, well below PATH_MAX (4096 bytes, its NUL included)."""

NO_DESCRIPTORS_ERRNOS: Final = frozenset({errno.EMFILE, errno.ENFILE})

_DIRECTORY_FLAGS: Final = os.O_DIRECTORY | os.O_CLOEXEC
_AT_FDCWD: Final = -100
_OPENAT2: Final = 437  # the same number on every architecture (openat2(2))
_RESOLVE: Final = 0x08 | 0x04 | 0x02  # RESOLVE_BENEATH, NO_SYMLINKS, NO_MAGICLINKS
_STATFS_BYTES: Final = 256  # twice what the kernel writes
_OPEN_HOW: Final = struct.Struct("=QQQ")  # flags, mode, resolve
_STATFS_FIELDS: Final = struct.Struct("=Q48xQ")  # f_type; six words; f_fsid


_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_SYSCALL: Final = _LIBC.syscall
_SYSCALL.restype = ctypes.c_long
_SYSCALL.argtypes = (
    ctypes.c_long,
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_size_t,
)
_FSTATFS: Final = _LIBC.fstatfs
_FSTATFS.restype = ctypes.c_int
_FSTATFS.argtypes = (ctypes.c_int, ctypes.c_char_p)


class closing:  # noqa: N801 - as its namesake of contextlib, which takes objects
    """Close `descriptor` at the end of the block. Looks do so for every project."""

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __enter__(self) -> int:
        return self._descriptor

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def open_directory(start: int, relative: str, *, flags: int) -> int:
    """Open a directory beneath another, following no symlink on the way.

    Args:
        start: descriptor of the directory to start from.
        relative: path below it, of any length; empty means the directory itself.
        flags: `os.O_PATH`, or `os.O_RDONLY` to list it.

    Raises:
        OSError: ELOOP when a component is a symlink, else what the kernel says.
    """
    path = os.fsencode(relative or ".")
    if len(path) <= LONGEST_PATH_BYTES:
        return _open_beneath(start, path, flags)
    *above, last = _parts(path)
    step = _open_beneath(start, above[0], os.O_PATH)
    for part in above[1:]:
        with closing(step):
            step = _open_beneath(step, part, os.O_PATH)
    with closing(step):
        return _open_beneath(step, last, flags)


def filesystem_of(descriptor: int) -> str:
    """Return the file system that holds an open file, as `TYPE:FSID` in hexadecimal.

    Raises:
        OSError: what the kernel says.
    """
    kind, fsid = _statfs(descriptor)
    return f"{kind:x}:{fsid:x}"


def _parts(path: bytes) -> list[bytes]:
    """Split a long path into relative paths short enough for one system call each."""
    parts = [b""]
    for name in path.split(b"/"):
        if len(parts[-1]) + len(name) < LONGEST_PATH_BYTES:
            parts[-1] = parts[-1] + b"/" + name if parts[-1] else name
        else:
            parts.append(name)
    return parts


def _open_beneath(start: int, path: bytes, flags: int) -> int:
    if not _has_openat2():
        return open_by_components(start, path, flags)
    while True:
        descriptor = _openat2(start, path, flags)
        if descriptor >= 0:
            return descriptor
        number = ctypes.get_errno()
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))


def open_by_components(start: int, path: bytes, flags: int) -> int:
    """Open a directory as openat2 would, where it is missing or a container forbids it.

    Raises:
        OSError: ELOOP for a symlink, EXDEV for `..`, else what the kernel says.
    """
    names = [name for name in path.split(b"/") if name not in (b"", b".")] or [b"."]
    if path.startswith(b"/") or b".." in names:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
    step = _open_component(start, names[0], os.O_PATH if names[1:] else flags)
    for level, name in enumerate(names[1:], start=2):
        with closing(step):
            step = _open_component(step, name, flags if level == len(names) else os.O_PATH)
    return step


def _open_component(start: int, name: bytes, flags: int) -> int:
    try:
        return os.open(name, flags | os.O_NOFOLLOW | _DIRECTORY_FLAGS, dir_fd=start)
    except NotADirectoryError:
        # The kernel says the same for a file and for a symlink; only the latter is a loop here.
        if stat.S_ISLNK(os.stat(name, dir_fd=start, follow_symlinks=False).st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from None
        raise


@cache
def _has_openat2() -> bool:
    """Whether openat2 works here: seccomp filters of old containers answer ENOSYS or EPERM."""
    descriptor = _openat2(_AT_FDCWD, b".", os.O_PATH)
    if descriptor >= 0:
        os.close(descriptor)
    return descriptor >= 0 or ctypes.get_errno() not in (errno.ENOSYS, errno.EPERM)


@cache
def _how(flags: int) -> bytes:
    return _OPEN_HOW.pack(flags | _DIRECTORY_FLAGS, 0, _RESOLVE)


def _openat2(start: int, path: bytes, flags: int) -> int:
    # O_NOFOLLOW is left out on purpose: with it a final symlink is ENOTDIR, without it ELOOP.
    return int(_SYSCALL(_OPENAT2, start, path, _how(flags), _OPEN_HOW.size))


def _statfs(descriptor: int) -> tuple[int, int]:
    """Return `f_type` and `f_fsid` as unsigned numbers."""
    buffer = ctypes.create_string_buffer(_STATFS_BYTES)
    if _FSTATFS(descriptor, buffer) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    kind, fsid = _STATFS_FIELDS.unpack_from(buffer)
    return kind & 0xFFFFFFFF, fsid
