"""What watches: inotify, or fanotify where it was asked for and is granted.

Owns both interfaces of the kernel, and which of them watches a directory: what cannot be marked
by fanotify is watched by inotify, after that was said once for each reason. Promises that the two
are one to everybody else: watches are numbers that do not overlap, and an event that is read
brings with it every older one of the other interface, so that a cookie speaks for both.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from meshd.watcher import fanotify, inotify
from meshd.watcher.fanotify import Fanotify, RefusedError
from meshd.watcher.inotify import LAST_WATCH, Inotify

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from meshd.watcher.inotify import RawEvent

_NO_RIGHT: Final = "grant meshd CAP_SYS_ADMIN, as systemd/drop-ins/fanotify.conf does"
_TOO_OLD: Final = "run Linux 5.17 or newer, built with fanotify"
_NO_MARK: Final = "none: this file system has no handles that last, or no name of its own"
_REMEDIES: Final = {
    errno.EPERM: _NO_RIGHT,
    errno.ENOSYS: _TOO_OLD,
    errno.EINVAL: _TOO_OLD,
    errno.EMFILE: "raise fs.fanotify.max_user_groups",
    errno.ENOSPC: "raise fs.fanotify.max_user_marks",
    errno.ENODEV: _NO_MARK,
    errno.EXDEV: _NO_MARK,
    errno.EOPNOTSUPP: _NO_MARK,
}


class Backend:
    """The watching interfaces of the kernel, as one.

    Args:
        prefers_fanotify: whether fanotify is asked for; else it is left alone.
        log: told where it was asked for and is not granted.

    Raises:
        OSError: neither can be had; EMFILE when the user has too many inotify instances.
    """

    def __init__(self, log: FilteringBoundLogger, *, prefers_fanotify: bool) -> None:
        self._log = log
        self._told: set[int] = set()
        self._fanotify = self._open_fanotify() if prefers_fanotify else None
        self._inotify: Inotify | None = None
        self._failure = 0
        try:
            self._inotify = Inotify()
        except OSError as error:
            if self._fanotify is None:
                raise
            self._failure = error.errno or 0

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What to wait for: readable where events are."""
        return tuple(one.descriptor for one in self._open())

    def add(self, directory: int, mask: int) -> int:
        """Watch a directory that is open; one that is watched keeps its watch.

        Args:
            directory: its descriptor, also one of O_PATH.
            mask: one of the masks of `inotify`.

        Returns:
            The watch, a positive number that is not soon used again.

        Raises:
            OSError: as `Inotify.add`.
        """
        if self._fanotify is not None:
            try:
                return self._fanotify.add(directory, mask)
            except OSError as error:
                if isinstance(error, RefusedError):
                    self._refuse(error, Path(f"/proc/self/fd/{directory}").readlink())
        if self._inotify is None:
            raise OSError(self._failure, os.strerror(self._failure))
        return self._inotify.add(directory, mask)

    def remove(self, watch: int) -> None:
        """Remove a watch; one that is not there any more is passed by."""
        one = self._inotify if is_limited(watch) else self._fanotify
        if one is not None:
            one.remove(watch)

    def read(self, cookie: int) -> list[RawEvent]:
        """Return what the queues hold, or a good part of it.

        Args:
            cookie: the watch whose events speak for all before them, from both queues.
        """
        if self._fanotify is None or self._inotify is None:
            return [event for one in self._open() for event in one.read()]
        # The queue of the cookie first: when its event is there, so is all that is older.
        if is_limited(cookie):
            return self._inotify.read() + self._fanotify.read_all()
        return self._fanotify.read() + self._inotify.read_all()

    def remounted(self) -> bool:
        """Take note that the list of mounts has changed.

        Returns:
            Whether directories are not watched any more, because a file system was unmounted and
            nothing told so. inotify tells.
        """
        return self._fanotify is not None and self._fanotify.remounted()

    def queue_limit(self) -> int | None:
        """Return how many events the kernel keeps before it loses them."""
        if self._fanotify is not None:
            return fanotify.queue_limit()
        return inotify.limit("max_queued_events")

    def close(self) -> None:
        """Close every descriptor, and so remove every watch."""
        for one in self._open():
            one.close()

    def _open(self) -> list[Fanotify | Inotify]:
        return [one for one in (self._fanotify, self._inotify) if one is not None]

    def _open_fanotify(self) -> Fanotify | None:
        try:
            return Fanotify()
        except OSError as error:
            self._refuse(error, None)
            return None

    def _refuse(self, error: OSError, path: Path | None) -> None:
        """Say why inotify watches in the place of fanotify."""
        number = error.errno or 0
        if number in self._told:
            return
        self._told.add(number)
        self._log.warning(
            "backend_unavailable",
            backend="fanotify",
            using="inotify",
            path=None if path is None else str(path),
            why=errno.errorcode.get(number, f"errno {number}"),
            what_to_do=_REMEDIES.get(number, "none is known; inotify is as good but for its limit"),
        )


def is_limited(watch: int) -> bool:
    """Whether a watch is one of inotify, of which a user has so many and no more."""
    return watch <= LAST_WATCH


def backend_of(watch: int) -> Literal["inotify", "fanotify"]:
    """Return what a watch is of."""
    return "inotify" if is_limited(watch) else "fanotify"
