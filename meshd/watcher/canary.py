"""Signs of life: files in the state directory, watched by the descriptor of the roots.

Owns the canary directory and the cookies in it. Promises: a cookie passes after everything that
was written below a watched directory before it; its file is gone when it is waited for; a cookie
whose event was lost is told so and never left waiting. A directory that was removed, moved or
replaced is opened again by whoever finds that it does not tell.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from concurrent.futures import Future
from threading import Lock
from typing import TYPE_CHECKING, Final

from meshd.errors import MeshdError
from meshd.watcher.inotify import DIRECTORY_MASK

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from meshd.watcher.backend import Backend

NO_CANARY: Final = 0
_BEAT: Final = b"beat"
_COOKIE: Final = b"cookie-"


class NotWatchingError(MeshdError):
    """Events cannot tell: nothing is watched, or events were lost."""

    code = "not-watching"


class Canary:
    """The canary directory.

    Attributes:
        watch: its watch descriptor, NO_CANARY while it has none.
    """

    def __init__(self, directory: Path) -> None:
        self.watch = NO_CANARY
        self._directory = directory
        self._numbers = itertools.count(1)
        self._lock = Lock()
        self._waiting: dict[bytes, Future[None]] = {}

    def open(self, backend: Backend) -> None:
        """Watch the directory that lies there, after making one where none does.

        Who waits for a cookie that was put into another one is told that it is lost.

        Raises:
            OSError: it cannot be made, or not be watched.
        """
        self._directory.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(self._directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            before, self.watch = self.watch, backend.add(descriptor, DIRECTORY_MASK)
        finally:
            os.close(descriptor)
        if before not in (NO_CANARY, self.watch):
            backend.remove(before)
            self.lose("the canary directory was replaced")

    def clear(self) -> None:
        """Remove what a killed daemon left in the directory."""
        with contextlib.suppress(OSError):  # what cannot be removed does no harm
            for left in self._directory.iterdir():
                left.unlink(missing_ok=True)

    def beat(self) -> None:
        """Make an event that proves life.

        Raises:
            OSError: the state directory cannot be written to.
        """
        self._touch(_BEAT)

    def cookie(self) -> Future[None]:
        """Make an event that somebody waits for."""
        waiter: Future[None] = Future()
        name = _COOKIE + b"%d" % next(self._numbers)
        with self._lock:
            if self.watch == NO_CANARY:
                waiter.set_exception(NotWatchingError("nothing is watched"))
                return waiter
            self._waiting[name] = waiter
        try:
            self._touch(name)
        except OSError as error:
            with self._lock:
                self._waiting.pop(name, None)
            reason = f"the state directory cannot be written to: {error.strerror}"
            waiter.set_exception(NotWatchingError(reason))
        return waiter

    def passed(self, names: Iterable[bytes]) -> tuple[Future[None], ...]:
        """Return who waits for these events."""
        with self._lock:
            waiters = [self._waiting.pop(name, None) for name in names]
        return tuple(waiter for waiter in waiters if waiter is not None)

    def lose(self, why: str, *, is_blind: bool = False) -> None:
        """Tell everybody who waits that the events were lost.

        Args:
            why: told to them.
            is_blind: whether no event will come, until the directory is opened again.
        """
        with self._lock:
            if is_blind:
                self.watch = NO_CANARY
            waiters = list(self._waiting.values())
            self._waiting.clear()
        for waiter in waiters:
            if waiter.set_running_or_notify_cancel():
                waiter.set_exception(NotWatchingError(why))

    def _touch(self, name: bytes) -> None:
        """Make the event; the file is not needed for it any longer than that."""
        path = os.path.join(os.fsencode(self._directory), name)  # noqa: PTH118 - bytes
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        os.unlink(path)  # noqa: PTH108 - bytes
