"""What a file is called for good: its handle, and the file system that gave it.

Owns naming; nothing is opened by a handle here. Promises names as the kernel writes them into
events of fanotify, so that the two can be compared byte by byte.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from functools import cache
from typing import Final

from meshd.looker.syscalls import closing, filesystem_of

_AT_EMPTY_PATH: Final = 0x1000
_AT_HANDLE_FID: Final = 0x200
"""A handle that need only name, as in events. Linux 6.5; before, events had the other one too."""
_LONGEST_HANDLE_BYTES: Final = 128
_HEAD: Final = struct.Struct("=Ii")
"""How long the handle is, and its type."""

_NAME_TO_HANDLE: Final = ctypes.CDLL(None, use_errno=True).name_to_handle_at
_NAME_TO_HANDLE.restype = ctypes.c_int
_NAME_TO_HANDLE.argtypes = (
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.POINTER(ctypes.c_int),
    ctypes.c_int,
)


def fsid_of(descriptor: int) -> bytes:
    """Return the eight bytes by which the kernel names the file system of an open file.

    Raises:
        OSError: what the kernel says.
    """
    _, fsid = filesystem_of(descriptor).split(":")
    return int(fsid, 16).to_bytes(8, sys.byteorder)


def handle_of(descriptor: int) -> bytes:
    """Return the handle of an open file: its length, its type, itself.

    Unlike the number of the file, it is not given to another one afterwards.

    Raises:
        OSError: EOPNOTSUPP where the file system has no handles, else what the kernel says.
    """
    handle = _handle(descriptor, _flags())
    if handle is None:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return handle


@cache
def _flags() -> int:
    with closing(os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as descriptor:
        is_refused = _handle(descriptor, _AT_EMPTY_PATH | _AT_HANDLE_FID) is None
        number = ctypes.get_errno()
    is_old = is_refused and number == errno.EINVAL
    return _AT_EMPTY_PATH if is_old else _AT_EMPTY_PATH | _AT_HANDLE_FID


def _handle(descriptor: int, flags: int) -> bytes | None:
    buffer = ctypes.create_string_buffer(_HEAD.size + _LONGEST_HANDLE_BYTES)
    _HEAD.pack_into(buffer, 0, _LONGEST_HANDLE_BYTES, 0)
    mount = ctypes.c_int()
    if _NAME_TO_HANDLE(descriptor, b"", buffer, ctypes.byref(mount), flags) != 0:
        return None
    length, _ = _HEAD.unpack_from(buffer)
    return buffer.raw[: _HEAD.size + length]
