"""The scanner: looks into what events say is new, so that the observer never waits for a disk.

Owns the thread `meshd-scan`, the regular check of each root, and the retries. Promises: a
directory that appears is watched before it is listed, and every manifest below it is hinted at;
a root that is deleted, renamed, mounted over or made again is noticed within CHECK_SECONDS and
swept; nothing it meets below one root keeps it from the others.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

from meshd.core.model import FileIdentity
from meshd.core.scope import is_within
from meshd.errors import MeshdError
from meshd.looker.nodes import Dork, find, place_of, projects_below
from meshd.watcher.bounds import prune
from meshd.watcher.scans import Names, Passed, Remounted, Rescope, RootCheck, Why

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from meshd.core.scope import Scope
    from meshd.looker import LocalLooker
    from meshd.looker.nodes import Node
    from meshd.looker.table import NodeTable
    from meshd.shared import Shared
    from meshd.watcher.mounts import Mounts
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

    def __init__(  # noqa: PLR0913 - the parts that meet here
        self,
        shared: Shared,
        *,
        watches: Watches,
        scans: Scans,
        handler: InboxHandler,
        mounts: Mounts,
        tick: Callable[[], None],
    ) -> None:
        self.lookers: dict[NodeTable, LocalLooker] = {}
        self._shared = shared
        self._watches = watches
        self._scans = scans
        self._handler = handler
        self._mounts = mounts
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
                case Remounted():
                    self._remount()
                case Passed():
                    self._pass(work)

    def _pass(self, passed: Passed) -> None:
        """Tell those who wait, after what was found meanwhile is hinted at."""
        if passed.is_checked:
            for table in list(self.lookers):
                self._check_root(table, is_certain=False)
        self._note_findings()
        for waiter in passed.waiters:
            if waiter.set_running_or_notify_cancel():
                waiter.set_result(None)

    # what is new

    def _scan_names(self, work: Names) -> None:
        looker = self.lookers.get(work.table)
        if looker is None:
            return
        dorks: dict[bool, list[Node]] = {}
        starts: dict[bool, list[Node]] = {}
        for parent, names in work.names.items():
            if (why := names.get(".dork")) is not None and self._expect_dork(work.table, parent):
                dorks.setdefault(why is not Why.CREATED, []).append(parent)
            for node, why in self._starts(looker, parent, names):
                starts.setdefault(why is not Why.CREATED, []).append(node)
        entered = self._paths_of(work.table, itertools.chain.from_iterable(starts.values()))
        for is_settled, nodes in dorks.items():
            self._walk(looker, nodes, is_settled=is_settled, shallow=True)
            self._hint_at(work.table, nodes, is_settled=is_settled)
        for is_settled, nodes in starts.items():
            self._walk(looker, nodes, is_settled=is_settled)
        if entered:
            self._handler.look_within(entered)

    def _expect_dork(self, table: NodeTable, parent: Node) -> bool:
        """Have the next listing of a directory say what its `.dork` is; False when it left."""
        with table.lock:
            parent.settled = False
            if place_of(parent) is not None:
                return True
            if table.is_detached(parent):
                table.set_dork(parent, Dork.DIRECTORY)  # seen to when its move is complete
            return False

    def _starts(
        self, looker: LocalLooker, parent: Node, names: Mapping[str, Why]
    ) -> Iterator[tuple[Node, Why]]:
        """Yield the directories to walk for names in a directory."""
        table, scope = looker.table, self._shared.roots.view.scope
        with table.lock:
            place = place_of(parent)
            if place is None:
                self._await_arrival(table, parent, names)
                return
            if place.depth >= scope.max_depth:
                return
            new = [
                name
                for name, why in names.items()
                if why >= Why.CREATED and name != ".dork" and not scope.prunes(place.relative, name)
            ]
            nodes = table.insert(parent, new)
        yield from ((node, names[node.name]) for node in nodes)
        doubted = {name: why for name, why in names.items() if why < Why.CREATED}
        doubted.pop(".dork", None)
        if doubted:
            yield from ((node, Why.CONFIRMED) for node in self._confirm(looker, parent, doubted))

    def _await_arrival(self, table: NodeTable, parent: Node, names: Iterable[str]) -> None:
        """Leave names below a directory that moves to its arrival, which scans the unwatched."""
        if table.is_detached(parent):
            for node in table.insert(parent, [name for name in names if name != ".dork"]):
                self._watches.release(table, node)

    def _confirm(self, looker: LocalLooker, parent: Node, names: Mapping[str, Why]) -> list[Node]:
        """Drop which of some names are gone, and return those that are another directory now."""
        table = looker.table
        while not self._stopping:
            with table.lock:
                place = place_of(parent)
            if place is None:
                break  # on its way, or gone; what is below goes with it
            try:
                found = looker.entries(place.relative, names)
            except MeshdError as error:
                self._abandon(looker, error)
                break
            with table.lock:
                if place_of(parent) == place:
                    return self._believe(looker, parent, names, found)
            # It moved while the disk was asked: what was heard is of another directory.
        return []

    def _believe(
        self,
        looker: LocalLooker,
        parent: Node,
        names: Mapping[str, Why],
        found: tuple[FileIdentity, dict[str, FileIdentity]] | None,
    ) -> list[Node]:
        """Take what was found of names in a directory; the lock is held."""
        table = looker.table
        if found is None or found[0] != (parent.device, parent.inode):
            # The directory itself has moved, and took them along; the event of that is still to
            # come. Until then they are unwatched, and so scanned where they arrive.
            for node in _known(parent, names):
                self._hint_below(table, node)
                table.forget(node)
            return []
        there = found[1]
        gone = [node for node in _known(parent, names) if node.name not in there]
        for node in gone:
            self._hint_below(table, node)
        table.drop_all(parent, gone)
        scope, place = self._shared.roots.view.scope, place_of(parent)
        assert place is not None, "bug: the place was looked up under this lock"
        nodes = table.insert(
            parent,
            [
                name
                for name in there
                if names[name] is Why.CONFIRMED and not scope.prunes(place.relative, name)
            ],
        )
        return [
            node
            for node in nodes
            if node.watch <= 0 or there[node.name] != (node.device, node.inode)
        ]

    def _hint_below(self, table: NodeTable, node: Node) -> None:
        """Hint at the projects at and below a directory that is not where it was."""
        place = place_of(node)
        if place is not None:
            path = f"{table.root.rstrip('/')}/{place.relative}"
            self._handler.hint(table.root, projects_below(node, path), settled=True)

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
            self._abandon(looker, error)
        self._note_findings()

    def _abandon(self, looker: LocalLooker, error: MeshdError) -> None:
        self._shared.log.info("scan_abandoned", path=looker.root, why=error.message)
        self._handler.lose(looker.root)

    def _note_findings(self) -> None:
        """Hint at what walks found gone before the events of it were read."""
        for table in list(self.lookers):
            if table.gone or table.vanished:
                with table.lock:
                    gone, table.gone = table.gone, []
                    vanished, table.vanished = table.vanished, []
                    for node in vanished:
                        if node.parent is not None:
                            self._scans.add(table, node.parent, node.name, Why.VANISHED)
                self._handler.hint(table.root, gone, settled=True)
                self._hint_at(table, vanished, is_settled=True)

    def _hint_at(self, table: NodeTable, nodes: Iterable[Node], *, is_settled: bool) -> None:
        """Hint at directories whether or not they hold a project now.

        What came and went before it was scanned may have been seen by a look that was still owed
        to an older event, and nothing else would tell that it is gone.
        """
        self._handler.hint(table.root, self._paths_of(table, nodes), settled=is_settled)

    def _paths_of(self, table: NodeTable, nodes: Iterable[Node]) -> list[str]:
        """Return where those of some directories are that are in the table."""
        with table.lock:
            places = [place for node in nodes if (place := place_of(node)) is not None]
        prefix = table.root.rstrip("/")
        return [f"{prefix}/{one.relative}" if one.relative else table.root for one in places]

    # the roots

    def _check_all(self) -> None:
        self._note_findings()
        for table in self._identities.keys() - self.lookers.keys():
            del self._identities[table]
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

    def _remount(self) -> None:
        """Look into what was mounted, or came to light when something was unmounted.

        A root in which something may hang now is no longer ours before it is looked into.
        """
        self._shared.roots.remount()
        lookers = {table.root: looker for table, looker in self.lookers.items()}
        for root, places in self._mounts.compare(list(lookers)).items():
            table, work = lookers[root].table, Names(lookers[root].table)
            self._check_root(table, is_certain=False)
            with table.lock:
                for place in places:
                    node, unknown = find(table.top, _below(root, place))
                    if unknown is None and node.parent is not None:
                        work.add(node.parent, node.name, Why.MOVED_IN)
            self._scan_names(work)

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
            self._scan_again(looker, self._opened(looker.root, before, after))
            if (before.exclude, before.max_depth) != (after.exclude, after.max_depth):
                self._handler.lose(looker.root)

    def _opened(self, root: str, before: Scope, after: Scope) -> list[str]:
        """Return the paths below a root that were left to others or denied, and are not now."""
        closed = {*before.denied, *before.roots} - {*after.denied, *after.roots}
        return [
            path
            for path in closed
            if is_within(path, root) and after.owner(path) == root and not after.denies(path)
        ]

    def _scan_again(self, looker: LocalLooker, paths: Iterable[str]) -> None:
        """Scan what is in bounds now; one that was never seen, as a new one."""
        names = Names(looker.table)
        with looker.table.lock:
            for path in paths:
                node, unknown = find(looker.table.top, _below(looker.root, path))
                if unknown is not None:
                    names.add(node, unknown, Why.MOVED_IN)
                elif node.parent is not None:
                    names.add(node.parent, node.name, Why.MOVED_IN)
                else:
                    self._handler.lose(looker.root)
        self._scan_names(names)


def _below(root: str, path: str) -> str:
    """Return a path relative to a root at or above it, empty for the root."""
    return path[len(root.rstrip("/")) + 1 :]


def _known(parent: Node, names: Iterable[str]) -> list[Node]:
    return [child for name in names if (child := parent.child(name)) is not None]
