"""The kernel's inotify interface: one descriptor, its watches, its events.

Owns the descriptor. Assumes Linux and a mounted /proc: a directory is watched through its open
descriptor, so no path can be swapped between the opening and the watching. Promises that the
descriptor is not inherited (CLOEXEC) and that a read never blocks.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
import sys
import termios
from pathlib import Path
from typing import Final

MODIFY: Final = 0x2
CLOSE_WRITE: Final = 0x8
MOVED_FROM: Final = 0x40
MOVED_TO: Final = 0x80
CREATE: Final = 0x100
DELETE: Final = 0x200
DELETE_SELF: Final = 0x400
MOVE_SELF: Final = 0x800
UNMOUNT: Final = 0x2000
OVERFLOW: Final = 0x4000
IGNORED: Final = 0x8000
IS_DIRECTORY: Final = 0x40000000

_ONLY_DIRECTORIES: Final = 0x01000000
_NOT_THE_UNLINKED: Final = 0x04000000
_ADD_TO_MASK: Final = 0x20000000

_ENTRIES: Final = (
    CREATE | MOVED_FROM | MOVED_TO | _ONLY_DIRECTORIES | _NOT_THE_UNLINKED | _ADD_TO_MASK
)
DIRECTORY_MASK: Final = _ENTRIES
"""Never OPEN, ACCESS or CLOSE_NOWRITE: a walk must make no events (fault 87). Masks add up,
because a bind mount shows one directory at several places."""
REMOVALS_MASK: Final = _ENTRIES | DELETE
"""For a directory whose `.dork` is a symlink, which has no watch to tell of its end."""
DORK_MASK: Final = _ENTRIES | CLOSE_WRITE | DELETE | MODIFY
"""MODIFY, because truncate(2) closes nothing, and who writes may keep the file open."""
ROOT_MASK: Final = _ENTRIES | DELETE_SELF | MOVE_SELF

LAST_WATCH: Final = 0x7FFFFFFF
"""Watch descriptors are ints of C."""

READ_BYTES: Final = 1 << 18
"""At most so much of the queue in one batch: 8,192 saves of a manifest."""

RawEvent = tuple[int, int, int, bytes]
"""Watch descriptor, mask, cookie, name."""

_HEADER: Final = struct.Struct("iIII")
_LIMITS: Final = Path("/proc/sys/fs/inotify")
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_INIT: Final = _LIBC.inotify_init1
_INIT.argtypes = (ctypes.c_int,)
_ADD: Final = _LIBC.inotify_add_watch
_ADD.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32)
_REMOVE: Final = _LIBC.inotify_rm_watch
_REMOVE.argtypes = (ctypes.c_int, ctypes.c_int)


class Inotify:
    """One inotify instance.

    Raises:
        OSError: EMFILE when the user has too many instances, or no descriptor is left.
    """

    def __init__(self) -> None:
        descriptor = _INIT(os.O_NONBLOCK | os.O_CLOEXEC)
        if descriptor < 0:
            raise _error()
        self.descriptor: int = descriptor

    def add(self, directory: int, mask: int) -> int:
        """Watch a directory that is open; one that is watched keeps its watch.

        Args:
            directory: its descriptor, also one of O_PATH.
            mask: one of the masks of this module.

        Returns:
            The watch descriptor, a small number that the kernel does not soon use again.

        Raises:
            OSError: ENOSPC when the user has too many watches; EACCES, ENOMEM.
        """
        watch = _ADD(self.descriptor, b"/proc/self/fd/%d" % directory, mask)
        if watch < 0:
            raise _error()
        return int(watch)

    def remove(self, watch: int) -> None:
        """Remove a watch; one that the kernel has removed itself is passed by."""
        if _REMOVE(self.descriptor, watch) < 0 and ctypes.get_errno() != errno.EINVAL:
            raise _error()

    def read(self) -> list[RawEvent]:
        """Return what the queue holds, up to READ_BYTES of it."""
        return self._read()[1]

    def read_all(self) -> list[RawEvent]:
        """Return all that the queue holds now."""
        waiting = bytes_waiting(self.descriptor)
        events: list[RawEvent] = []
        while waiting > 0:
            count, more = self._read()
            events += more
            waiting = waiting - count if count else 0
        return events

    def _read(self) -> tuple[int, list[RawEvent]]:
        """Return how many bytes were read, and the events in them."""
        try:
            data = os.read(self.descriptor, READ_BYTES)
        except BlockingIOError:
            return 0, []
        events = []
        offset, end = 0, len(data)
        unpack = _HEADER.unpack_from
        while offset < end:
            watch, mask, cookie, length = unpack(data, offset)
            offset += 16 + length
            events.append((watch, mask, cookie, data[offset - length : offset].rstrip(b"\0")))
        return end, events

    def close(self) -> None:
        """Close the descriptor, and so remove every watch."""
        os.close(self.descriptor)


def bytes_waiting(descriptor: int) -> int:
    """Return how much a queue of the kernel says to hold."""
    answer = fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4))
    return int.from_bytes(answer, sys.byteorder)


def limit(name: str) -> int | None:
    """Return a limit of the kernel, as `max_user_watches`; None when it cannot be read."""
    try:
        return int((_LIMITS / name).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
