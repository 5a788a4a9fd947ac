"""Which directory a watch is of, and what to do when there are not enough watches.

Owns the map from watch descriptors to nodes, the figures of each table, and the shortage.
Assumes that whoever names a node holds the lock of its table. Promises that a watch is removed
when the last node that shares it lets go of it (a bind mount shows one directory at several
places), that removing many does not fill the queue of the kernel, and that projects are watched
before other directories when watches are short.

An event can be read before its watch is noted in the map, and is then passed by. What it told
shows all the same, because a watch is placed before the directory is listed.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from threading import Lock
from typing import TYPE_CHECKING, Final

from meshd.looker.nodes import MISSING, NO_WATCH, UNWANTED, Dork, place_of
from meshd.watcher.backend import is_limited
from meshd.watcher.inotify import DIRECTORY_MASK, DORK_MASK, REMOVALS_MASK, ROOT_MASK, limit

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from meshd.clock import Clock
    from meshd.looker.nodes import Node
    from meshd.looker.table import NodeTable
    from meshd.watcher.backend import Backend

FIRST_RETRY_SECONDS: Final = 30.0
LONGEST_RETRY_SECONDS: Final = 600.0
"""A shortage is tried again after the first, then after twice as long, up to the longest."""

REMOVALS_PER_READ: Final = 4_000
"""Each removal puts one event into the kernel's queue, which holds 16,384: so many at most are
made between two readings of it."""

_SHORTAGES: Final = {
    errno.ENOSPC: "watch-limit",
    errno.EACCES: "permission",
    errno.EPERM: "permission",
}
_DORK_FLAGS: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Watches:
    """The watches of all roots.

    Attributes:
        retry_at: monotonic instant before which no directory gets a new watch, after the limit
            was met; None while it is not.
    """

    def __init__(self, clock: Clock, log: FilteringBoundLogger) -> None:
        self._clock = clock
        self._log = log
        self._lock = Lock()
        self._backend: Backend | None = None
        self._nodes: dict[int, Node | tuple[Node, ...]] = {}
        self._unheld: deque[int] = deque()
        self._allowance = REMOVALS_PER_READ
        self._expendable: deque[int] | None = None
        self._retry_seconds = 0.0
        self._reasons: dict[str, str] = {}
        self._told: set[str] = set()
        self.retry_at: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether watches can be placed."""
        return self._backend is not None

    def open(self, backend: Backend) -> None:
        """Place watches by this backend from now on."""
        self._backend = backend

    def close(self) -> None:
        """Place and remove nothing more: the backend is closed, and its watches with it."""
        with self._lock:
            self._backend = None
            self._nodes.clear()
            self._unheld.clear()

    @property
    def is_removing(self) -> bool:
        """Whether watches that nobody holds wait for the next reading to be removed."""
        return bool(self._unheld)

    def was_read(self) -> None:
        """Take note that the kernel's queue has room, and remove what waited for that."""
        with self._lock:
            self._remove_more()

    def nodes_of(self, watch: int) -> tuple[Node, ...]:
        """Return the directories that a watch is of; most have one, unknown ones none."""
        held = self._nodes.get(watch, ())
        return held if isinstance(held, tuple) else (held,)

    def shortage(self, table: NodeTable) -> str | None:
        """Return why watches of a root are missing."""
        return self._reasons.get(table.root) if table.missing else None

    def retry(self) -> None:
        """Let every directory try again to get its watch."""
        with self._lock:
            self.retry_at = None
            self._expendable = None

    def recovered(self) -> None:
        """Take note that nothing is missing any more."""
        self._retry_seconds = 0.0
        if self._told:
            self._told.clear()
            self._log.info("watches_complete")

    # placing, for the walks

    def wants(self, node: Node) -> bool:
        """Whether a watch of the directory or of its `.dork` is wanted and may be had now."""
        if self._backend is None:
            return False
        if node.watch <= 0 and not self._is_short(node):
            return True
        return (
            node.dork_watch <= 0
            and node.dork is Dork.DIRECTORY
            and (self.retry_at is None or bool(self._expendable))
        )

    def place(self, table: NodeTable, node: Node, descriptor: int) -> None:
        """Watch a directory that is open."""
        with self._lock:
            if self._backend is None:
                return
            if node.watch <= 0 and self._is_short(node):
                self._reasons.setdefault(table.root, _SHORTAGES[errno.ENOSPC])
                self._set(table, node, MISSING)
                return
            mask = ROOT_MASK if node.parent is None else DIRECTORY_MASK
            self._set(table, node, self._add(table, descriptor, mask, is_project=False))

    def place_dork(self, table: NodeTable, node: Node, descriptor: int) -> None:
        """Watch the `.dork` of a directory that is open; one that is gone is none."""
        try:
            dork = os.open(".dork", _DORK_FLAGS, dir_fd=descriptor)
        except OSError as error:
            with self._lock:
                is_missing = error.errno in _SHORTAGES and self._backend is not None
                if is_missing:
                    self._note(table, error)
                self._set_dork(table, node, MISSING if is_missing else NO_WATCH)
            return
        try:
            with self._lock:
                if self._backend is not None:
                    watch = self._add(table, dork, DORK_MASK, is_project=True)
                    self._set_dork(table, node, watch)
        finally:
            os.close(dork)

    def place_removals(self, table: NodeTable, node: Node, descriptor: int) -> None:
        """Have a directory that is open, and watched, tell of what is removed from it too."""
        with self._lock:
            if self._backend is not None and node.watch > 0:
                self._add(table, descriptor, REMOVALS_MASK, is_project=True)

    def release(self, table: NodeTable, node: Node) -> None:
        """Remove the watches of a directory and of its `.dork`."""
        with self._lock:
            self._set(table, node, NO_WATCH)
            self._set_dork(table, node, NO_WATCH)

    def release_dork(self, table: NodeTable, node: Node) -> None:
        """Remove the watch of a directory's `.dork`."""
        with self._lock:
            self._set_dork(table, node, NO_WATCH)

    def refuse(self, table: NodeTable, node: Node, error: OSError) -> None:
        """Note that a directory cannot be opened, and so not be watched."""
        with self._lock:
            if self._backend is not None:
                self._note(table, error)
                self._set(table, node, MISSING)

    def ended(self, watch: int) -> None:
        """Take note that the kernel has removed a watch: its directory is gone, or unmounted."""
        with self._lock:
            for node in self.nodes_of(watch):
                place = place_of(node)
                if place is None:
                    continue
                if node.watch == watch:
                    self._set(place.table, node, NO_WATCH)
                if node.dork_watch == watch:
                    self._set_dork(place.table, node, NO_WATCH)

    def _is_short(self, node: Node) -> bool:
        """Whether no watch can be had for a directory now.

        It is taken for one of the file system above, unless that is not limited.
        """
        above = node.parent
        return self.retry_at is not None and above is not None and is_limited(above.watch)

    # with the lock held

    def _add(self, table: NodeTable, descriptor: int, mask: int, *, is_project: bool) -> int:
        assert self._backend is not None, "bug: no backend"
        while True:
            try:
                return self._backend.add(descriptor, mask)
            except OSError as error:
                is_short = error.errno == errno.ENOSPC
                if is_short:
                    if self._unheld:
                        self._remove_more()
                        continue
                    self._begin_shortage()
                    if is_project and self._give_one_up():
                        continue
                self._note(table, error)
                return MISSING

    def _begin_shortage(self) -> None:
        if self.retry_at is not None:
            return
        self._retry_seconds = min(
            max(2 * self._retry_seconds, FIRST_RETRY_SECONDS), LONGEST_RETRY_SECONDS
        )
        self.retry_at = self._clock.monotonic() + self._retry_seconds
        self._expendable = deque(watch for watch in self._nodes if is_limited(watch))

    def _give_one_up(self) -> bool:
        """Remove the watch of a directory that is neither a root nor a project."""
        while self._expendable:
            watch = self._expendable.pop()
            node = self._nodes.get(watch)
            if node is None or isinstance(node, tuple) or node.watch != watch:
                continue
            place = place_of(node)
            if place is not None and place.relative and node.dork is Dork.NONE:
                self._set(place.table, node, MISSING)
                return True
        return False

    def _set(self, table: NodeTable, node: Node, watch: int) -> None:
        before, node.watch = node.watch, watch
        self._exchange(table, node, before, watch)

    def _set_dork(self, table: NodeTable, node: Node, watch: int) -> None:
        before, node.dork_watch = node.dork_watch, watch
        self._exchange(table, node, before, watch)

    def _exchange(self, table: NodeTable, node: Node, before: int, after: int) -> None:
        if before == after:
            return
        table.wanted += (before == UNWANTED) - (after == UNWANTED)
        table.missing += (after == MISSING) - (before == MISSING)
        table.watched += (after > 0) - (before > 0)
        if after > 0:
            held = self._nodes.get(after)
            # Most watches are of one node; a tuple for each would be a tenth of the memory.
            self._nodes[after] = node if held is None else (*self.nodes_of(after), node)
        if before > 0:
            rest = tuple(one for one in self.nodes_of(before) if one is not node)
            if rest:
                self._nodes[before] = rest[0] if len(rest) == 1 else rest
            elif self._nodes.pop(before, None) is not None:
                self._unheld.append(before)
                self._remove()

    def _remove_more(self) -> None:
        self._allowance = REMOVALS_PER_READ
        self._remove()

    def _remove(self) -> None:
        """Remove watches that nobody holds, as far as is allowed before the next reading."""
        while self._unheld and self._allowance and self._backend is not None:
            watch = self._unheld.popleft()
            if watch not in self._nodes:  # else somebody holds it again
                self._allowance -= 1
                self._backend.remove(watch)

    def _note(self, table: NodeTable, error: OSError) -> None:
        """Remember why a watch is missing, and say it once."""
        number = error.errno or 0
        reason = _SHORTAGES.get(number) or errno.errorcode.get(number, f"errno {number}")
        self._reasons[table.root] = reason
        if reason in self._told:
            return
        self._told.add(reason)
        if number == errno.ENOSPC:
            self._log.warning(
                "watches_short",
                path=table.root,
                why=reason,
                limit=limit("max_user_watches"),
                what_to_do="raise fs.inotify.max_user_watches; the sweep sees the rest meanwhile",
            )
        else:
            self._log.warning("watch_refused", path=table.root, why=reason)
