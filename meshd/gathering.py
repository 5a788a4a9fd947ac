"""What a walk finds, put into the inbox in parts.

Owns how much of it is put at once, and the wait until it was looked at. Used by the sweeper's
thread alone. Promises: a part is as much as one batch takes, so that it is looked at and
committed together, unless more is slow to come; and the walk rests while a part is looked at,
because two threads that compute only keep taking the interpreter from each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from meshd.commands import CaughtUp
from meshd.core.model import Hint
from meshd.inbox import LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future

    from meshd.core.model import Source
    from meshd.roots import RootsView
    from meshd.shared import Shared

LONGEST: Final = 0.5
"""Seconds for which what was found waits for more."""


class Gathering:
    """The projects of one walk that are to be looked at.

    Args:
        shared: the parts that the stations of the flow meet at.
        view: the roots as the walk sees them.
        source: who asks.
        wait: waits for a future, for no longer than the daemon runs.
    """

    def __init__(
        self, shared: Shared, view: RootsView, source: Source, wait: Callable[[Future[None]], None]
    ) -> None:
        self._shared = shared
        self._owner = view.scope.owner
        self._source = source
        self._wait = wait
        self._paths: list[str] = []
        self._since = 0.0

    def add(self, paths: Iterable[str]) -> None:
        """Take what was found; when it is a part, put it, and wait until it was looked at.

        Raises:
            StoppingError: the inbox is closed, or the daemon stops.
        """
        now = self._shared.clock.monotonic()
        if not self._paths:
            self._since = now
        self._paths += paths
        is_late = now - self._since >= LONGEST
        while len(self._paths) >= LIMIT or (self._paths and is_late):
            part, self._paths = self._paths[:LIMIT], self._paths[LIMIT:]
            self._put(part)
            looked = CaughtUp()
            self._shared.inbox.post(looked)
            self._wait(looked.future)

    def put(self) -> None:
        """Put what is left.

        Raises:
            StoppingError: the inbox is closed.
        """
        paths, self._paths = self._paths, []
        if paths:
            self._put(paths)

    def _put(self, paths: list[str]) -> None:
        self._shared.inbox.put(
            [Hint(path, self._source) for path in paths],
            root_of=lambda path: self._owner(path) or path,
            block=True,
        )
