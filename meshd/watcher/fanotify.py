"""The kernel's fanotify interface: one descriptor, one mark for each file system.

Owns the descriptor and its marks. A mark makes the events of a whole file system, each with the
handle of the directory it happened in. So a watch is here that handle, taken as a number: it
costs nothing to keep and nothing to remove, and what happened where nobody watches is told by
its number. Assumes Linux 5.17, CAP_SYS_ADMIN and a mounted /proc. Promises the raw events of
`inotify`, that no handle is ever opened, and that a mark which ended with its file system shows
when asked for. A mark stays as long as its file system is mounted.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import re
import struct
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final

from meshd.looker.handles import fsid_of, handle_of
from meshd.watcher import inotify

if TYPE_CHECKING:
    from meshd.watcher.inotify import RawEvent

_RENAME: Final = 0x10000000
_UNFINISHED: Final = inotify.CREATE | inotify.MODIFY
_FINISHED: Final = inotify.CLOSE_WRITE | inotify.DELETE
_SELF: Final = inotify.DELETE_SELF | inotify.MOVE_SELF
_MASK: Final = _UNFINISHED | _FINISHED | _SELF | _RENAME | inotify.IS_DIRECTORY
"""The bits are those of inotify, but for a move. Never OPEN, ACCESS or CLOSE_NOWRITE: a walk must
make no events (fault 87)."""

_INIT_FLAGS: Final = 0x1 | 0x2 | 0x400 | 0x800  # CLOEXEC, NONBLOCK, REPORT_DIR_FID, REPORT_NAME
_MARK_FLAGS: Final = 0x1 | 0x100  # ADD, FILESYSTEM
_AT_FDCWD: Final = -100

_EVENT: Final = struct.Struct("=I4xQ8x")
"""Length of the event with its records, and the mask."""
_RECORD: Final = struct.Struct("=2xH8xI4x")
"""Length of the record, and of the handle in it. Between the two the fsid lies, and after them
the type of the handle, the handle and the name."""
_FSID: Final = 4
"""Where the fsid lies in a record."""

_READ_BYTES: Final = 1 << 18
_NO_WATCH: Final = -1
_QUEUE_LIMIT: Final = Path("/proc/sys/fs/fanotify/max_queued_events")
_MARKED: Final = re.compile(rb"^fanotify sdev:([0-9a-f]+)", re.MULTILINE)

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_INIT: Final = _LIBC.fanotify_init
_INIT.argtypes = (ctypes.c_uint, ctypes.c_uint)
_MARK: Final = _LIBC.fanotify_mark
_MARK.argtypes = (ctypes.c_int, ctypes.c_uint, ctypes.c_uint64, ctypes.c_int, ctypes.c_char_p)


class RefusedError(OSError):
    """The kernel marks no file system, or not this one."""


class Fanotify:
    """One fanotify group.

    Raises:
        OSError: ENOSYS or EINVAL of an older kernel, EPERM, EMFILE.
    """

    def __init__(self) -> None:
        descriptor = _INIT(_INIT_FLAGS, os.O_RDONLY | os.O_CLOEXEC)
        if descriptor < 0:
            raise _error()
        self.descriptor: int = descriptor
        self._lock = Lock()
        # By device number: file systems that are copies of each other share their fsid.
        self._marked: dict[int, bytes] = {}
        self._refused: dict[int, int] = {}
        self._devices: set[bytes] = set()
        self._movable: set[int] = set()
        self._cookies = itertools.count(1)

    def add(self, directory: int, mask: int) -> int:
        """Watch a directory that is open, by the mark of its file system.

        Args:
            directory: its descriptor, also one of O_PATH.
            mask: one of the masks of `inotify`. A mark has one for all, so it says only whether
                the directory's own moves are told.

        Returns:
            The watch: a number above every one of inotify.

        Raises:
            RefusedError: its file system cannot be marked.
            OSError: what the kernel says of the directory.
        """
        device = os.fstat(directory).st_dev
        fsid = self._marked.get(device) or self._mark(directory, device)
        watch = int.from_bytes(fsid + handle_of(directory), "little")
        if mask & inotify.MOVE_SELF:
            self._movable.add(watch)
        return watch

    def remove(self, watch: int) -> None:
        """Remove a watch, of which the kernel knows nothing."""
        self._movable.discard(watch)

    def read(self) -> list[RawEvent]:
        """Return what the queue holds, up to 256 KiB of it."""
        return self._read()[1]

    def read_all(self) -> list[RawEvent]:
        """Return all that the queue holds now."""
        # The kernel counts the heads of events only, not their records.
        waiting = inotify.bytes_waiting(self.descriptor) // _EVENT.size
        events: list[RawEvent] = []
        while waiting > 0:
            count, more = self._read()
            events += more
            waiting = waiting - count if count else 0
        return events

    def remounted(self) -> bool:
        """Take note that the list of mounts has changed.

        Returns:
            Whether marks have ended with their file systems. Then none is believed any more, and
            each is set anew when a directory is next watched.
        """
        with self._lock:
            self._refused.clear()  # another file system may have the number now
            if self._devices <= self._marked_devices():
                return False
            self._marked.clear()
            self._devices.clear()
            return True

    def close(self) -> None:
        """Close the descriptor, and so remove every mark."""
        os.close(self.descriptor)

    def _mark(self, directory: int, device: int) -> bytes:
        """Mark the file system of a directory; return its fsid."""
        with self._lock:
            number = self._refused.get(device, 0)
            if not number:
                path = b"/proc/self/fd/%d" % directory
                if _MARK(self.descriptor, _MARK_FLAGS, _MASK, _AT_FDCWD, path) == 0:
                    self._devices |= self._marked_devices()
                    fsid = self._marked[device] = fsid_of(directory)
                    return fsid
                number = self._refused[device] = ctypes.get_errno()
        raise RefusedError(number, os.strerror(number))

    def _marked_devices(self) -> set[bytes]:
        """Return the devices whose marks live, as the kernel lists them."""
        listed = Path(f"/proc/self/fdinfo/{self.descriptor}").read_bytes()
        return set(_MARKED.findall(listed))

    def _read(self) -> tuple[int, list[RawEvent]]:
        """Return how many events were read, and what they say."""
        try:
            data = os.read(self.descriptor, _READ_BYTES)
        except BlockingIOError:
            return 0, []
        events: list[RawEvent] = []
        count, offset, end = 0, 0, len(data)
        unpack = _EVENT.unpack_from
        while offset < end:
            length, mask = unpack(data, offset)
            records, offset = offset + _EVENT.size, offset + length
            count += 1
            if mask & inotify.OVERFLOW:
                events.append((_NO_WATCH, inotify.OVERFLOW, 0, b""))
            elif mask & _RENAME:
                events += self._moved(data, records, mask)
            elif records < offset:
                self._happened(*_named(data, records), mask, events)
        return count, events

    def _moved(self, data: bytes, offset: int, mask: int) -> list[RawEvent]:
        """Read a move: two records, where it came from and where it went."""
        is_directory = mask & inotify.IS_DIRECTORY
        cookie = next(self._cookies)
        source, old = _named(data, offset)
        target, new = _named(data, offset + _RECORD.unpack_from(data, offset)[0])
        return [
            (source, inotify.MOVED_FROM | is_directory, cookie, old),
            (target, inotify.MOVED_TO | is_directory, cookie, new),
        ]

    def _happened(self, watch: int, name: bytes, mask: int, events: list[RawEvent]) -> None:
        """Add what one event says.

        The kernel adds up what happens to one name until it is read. What is finished is told by
        itself, as inotify does.
        """
        is_directory = mask & inotify.IS_DIRECTORY
        if mask & _UNFINISHED:
            events.append((watch, mask & _UNFINISHED | is_directory, 0, name))
        if mask & _FINISHED:
            events.append((watch, mask & _FINISHED | is_directory, 0, name))
        if mask & inotify.MOVE_SELF and watch in self._movable:
            events.append((watch, inotify.MOVE_SELF, 0, b""))
        if mask & inotify.DELETE_SELF:
            events.append((watch, inotify.IGNORED, 0, b""))


def queue_limit() -> int | None:
    """Return how many events the kernel keeps; None when it cannot be read."""
    try:
        return int(_QUEUE_LIMIT.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _named(data: bytes, offset: int) -> tuple[int, bytes]:
    """Return the watch and the name of one record."""
    length, handle_bytes = _RECORD.unpack_from(data, offset)
    name = offset + _RECORD.size + handle_bytes
    watch = int.from_bytes(data[offset + _FSID : name], "little")
    return watch, data[name : offset + length].rstrip(b"\0")


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
