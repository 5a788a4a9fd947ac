"""The scanner: looks into what events say is new, so that the observer never waits for a disk.

Owns the thread `meshd-scan`, the regular check of each root, and the retries. Promises: a
directory that appears is watched before it is listed, and every manifest below it is hinted at;
a root that is deleted, renamed, mounted over or made again is noticed within CHECK_SECONDS and
swept; nothing it meets below one root keeps it from the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from meshd.core.model import FileIdentity
from meshd.core.scope import is_within
from meshd.errors import MeshdError
from meshd.looker.nodes import Dork, find, place_of, projects_below
from meshd.watcher.scans import Names, Passed, Rescope, RootCheck, Why

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from meshd.core.scope import Scope
    from meshd.looker import LocalLooker
    from meshd.looker.nodes import Node, NodeTable, Place
    from meshd.shared import Shared
    from meshd.watcher.observer import InboxHandler
    from meshd.watcher.scans import Scans
    from meshd.watcher.watches import Watches

CHECK_SECONDS: Final = 2.0
"""How often each root is compared with what it was: an unmount may make no event (fault 92)."""


class Scanner:
    """Does what stands in the line of scans.

    Attributes:
        lookers: of the roots that are watched; one assignment replaces them.
    """

    def __init__(
        self,
        shared: Shared,
        watches: Watches,
        scans: Scans,
        handler: InboxHandler,
        tick: Callable[[], None],
    ) -> None:
        self.lookers: dict[NodeTable, LocalLooker] = {}
        self._shared = shared
        self._watches = watches
        self._scans = scans
        self._handler = handler
        self._tick = tick
        self._identities: dict[NodeTable, FileIdentity | None] = {}
        self._stopping = False

    def stop(self) -> None:
        """End soon: what is left in the line is dropped."""
        self._stopping = True
        self._scans.close()

    def run(self) -> None:
        """Scan until stopped. The body of the thread."""
        clock = self._shared.clock
        due = clock.monotonic()
        while not self._stopping:
            if clock.monotonic() >= due:
                self._check_all()
                due = clock.monotonic() + CHECK_SECONDS
            work = self._scans.take(max(due - clock.monotonic(), 0.0))
            match work:
                case Names():
                    self._scan_names(work)
                case RootCheck(table):
                    self._check_root(table, is_certain=True)
                case Rescope(before, after):
                    self._rescope(before, after)
                case Passed(waiters):
                    self._hint_gone()
                    for waiter in waiters:
                        if waiter.set_running_or_notify_cancel():
                            waiter.set_result(None)

    # what is new

    def _scan_names(self, work: Names) -> None:
        looker = self.lookers.get(work.table)
        if looker is None:
            return
        dorks: dict[Why, list[Node]] = {}
        starts: dict[Why, list[Node]] = {}
        for (parent, name), why in work.names.items():
            if name == ".dork":
                with work.table.lock:
                    parent.settled = False
                    if place_of(parent) is None:
                        parent.dork = Dork.DIRECTORY  # it is seen to when its move is complete
                dorks.setdefault(why, []).append(parent)
            else:
                node = self._start_of(looker, parent, name, why)
                if node is not None:
                    starts.setdefault(why, []).append(node)
        for why, nodes in dorks.items():
            self._walk(looker, nodes, is_settled=why is not Why.CREATED, shallow=True)
        for why, nodes in starts.items():
            self._walk(looker, nodes, is_settled=why is not Why.CREATED)

    def _start_of(self, looker: LocalLooker, parent: Node, name: str, why: Why) -> Node | None:
        """Return the directory to walk for a name, None when there is nothing to do."""
        scope = self._shared.roots.view.scope
        with looker.table.lock:
            place = place_of(parent)
            if place is None:
                # On its way between two places: it is seen to when its move is complete.
                looker.table.insert(parent, name)
                return None
            if place.depth >= scope.max_depth or scope.prunes(place.relative, name):
                return None
            if why is not Why.CONFIRMED:
                return looker.table.insert(parent, name)
        return self._confirm(looker, parent, place, name)

    def _confirm(self, looker: LocalLooker, parent: Node, place: Place, name: str) -> Node | None:
        """Return the directory of that name, unless it is the one that is known, or is gone."""
        relative = f"{place.relative}/{name}" if place.relative else name
        there = looker.whereabouts(relative)
        with looker.table.lock:
            if place_of(parent) != place:
                return None  # it moved meanwhile, and the event of that is still to come
            if there is None:
                self._drop(looker, parent.child(name), relative)
                return None
            node = looker.table.insert(parent, name)
            is_known = there == (node.device, node.inode) and node.watch > 0
            return None if is_known else node

    def _drop(self, looker: LocalLooker, node: Node | None, relative: str) -> None:
        if node is not None:
            path = f"{looker.root.rstrip('/')}/{relative}"
            gone = list(projects_below(node, path))
            looker.table.drop(node)
            self._handler.hint(looker.root, gone, settled=True)

    def _walk(
        self, looker: LocalLooker, starts: list[Node], *, is_settled: bool, shallow: bool = False
    ) -> None:
        """Walk some directories and hint at what is found; a root that is lost is swept."""
        scope = self._shared.roots.view.scope
        try:
            for batch in looker.walk_below(
                starts, scope, stop=lambda: self._stopping, shallow=shallow
            ):
                if batch:
                    paths = [found.path for found in batch]
                    self._handler.hint(looker.root, paths, settled=is_settled)
        except MeshdError as error:
            self._shared.log.info("scan_abandoned", path=looker.root, why=error.message)
            self._handler.lose(looker.root)
        self._hint_gone()

    def _hint_gone(self) -> None:
        """Hint at what walks found gone before the events of it were read."""
        for table in list(self.lookers):
            if table.gone:
                with table.lock:
                    gone, table.gone = table.gone, []
                self._handler.hint(table.root, gone, settled=True)

    # the roots

    def _check_all(self) -> None:
        self._hint_gone()
        for table in list(self.lookers):
            self._check_root(table, is_certain=False)
        self._tick()
        self._retry()

    def _check_root(self, table: NodeTable, *, is_certain: bool) -> None:
        """Compare a root with what it was; when it is another, begin anew and have it swept.

        Args:
            table: of the root.
            is_certain: whether an event said that something happened to it.
        """
        looker = self.lookers.get(table)
        if looker is None:
            return
        now = looker.whereabouts()
        before = self._identities.setdefault(table, self._walked(table) or now)
        if now == before and not is_certain:
            return
        self._identities[table] = now
        with table.lock:
            top = table.top
            if now is not None and now == (top.device, top.inode) and top.watch > 0:
                return  # a walk has seen to it already
            table.clear()
        self._shared.log.info("root_changed", path=table.root, present=now is not None)
        self._handler.lose(table.root)

    def _walked(self, table: NodeTable) -> FileIdentity | None:
        """Return which directory the first walk found; another may lie there by the first check."""
        with table.lock:
            top = table.top
            return FileIdentity(top.device, top.inode) if top.inode else None

    def _retry(self) -> None:
        """Try again what could not be watched; the walks do it, and only look at what changed."""
        short = [one for table, one in self.lookers.items() if table.missing]
        if not short:
            self._watches.recovered()
        retry_at = self._watches.retry_at
        if retry_at is None or self._shared.clock.monotonic() < retry_at:
            return
        self._watches.retry()
        for looker in short:
            self._handler.lose(looker.root)

    # the scope

    def _rescope(self, before: Scope, after: Scope) -> None:
        """Take out what is not scanned any more, and scan what is no longer denied."""
        for looker in self.lookers.values():
            with looker.table.lock:
                prune(looker.table, after)
            self._scan_again(looker, after, self._opened(looker.root, before, after))
            if (before.exclude, before.max_depth) != (after.exclude, after.max_depth):
                self._handler.lose(looker.root)

    def _opened(self, root: str, before: Scope, after: Scope) -> list[str]:
        """Return the paths below a root that were left to others or denied, and are not now."""
        closed = {*before.denied, *before.roots} - {*after.denied, *after.roots}
        return [path for path in closed if is_within(path, root) and after.owner(path) == root]

    def _scan_again(self, looker: LocalLooker, scope: Scope, paths: Iterable[str]) -> None:
        starts = []
        for path in paths:
            if not scope.denies(path):
                with looker.table.lock:
                    node = find(looker.table.top, path[len(looker.root.rstrip("/")) + 1 :])
                if node is not None:
                    starts.append(node)
        if starts:
            self._walk(looker, starts, is_settled=True)


def prune(table: NodeTable, scope: Scope) -> None:
    """Take out of a table what the scope leaves out, watches included."""
    prefix = table.root.rstrip("/") + "/"
    if scope.denies(table.root):
        table.forget(table.top)
    stack: list[tuple[Node, str, int]] = [(table.top, "", 0)]
    barriers = {*scope.denied, *scope.roots}
    while stack:
        node, relative, depth = stack.pop()
        for child in node.children:
            below = f"{relative}/{child.name}" if relative else child.name
            if depth >= scope.max_depth or scope.prunes(relative, child.name):
                table.drop(child)
            elif prefix + below in barriers:
                table.leave(child)
            else:
                stack.append((child, below, depth + 1))
