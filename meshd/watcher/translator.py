"""From raw events to hints.

Owns the reading of each event: which directory it is about, what moves in the table, what is
hinted and what has to be scanned. Assumes one thread, the observer's. Promises to touch no file,
and to hold the lock of one table at a time. Events are hints (R2), and are read after they were
written: so what a directory event says is always confirmed by the scanner, and what a manifest
event says is for the look to see.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from meshd.core.scope import is_within
from meshd.looker.nodes import NO_WATCH, Dork, place_of, projects_below
from meshd.watcher import inotify
from meshd.watcher.scans import RootCheck, Why

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from structlog.typing import FilteringBoundLogger

    from meshd.clock import Clock
    from meshd.core.scope import Scope
    from meshd.looker.nodes import Node, Place
    from meshd.looker.table import NodeTable
    from meshd.watcher.inotify import RawEvent
    from meshd.watcher.scans import Scans
    from meshd.watcher.watches import Watches

MATCH_SECONDS: Final = 0.1
"""How long the second half of a move may follow the first; the kernel writes them together, but
a read may end between them."""

_ARRIVED: Final = inotify.CREATE | inotify.MOVED_TO
# A file that was made or written to is closed later, mostly.
_UNFINISHED: Final = inotify.CREATE | inotify.MODIFY
_GONE: Final = inotify.MOVED_FROM | inotify.DELETE
_SELF: Final = inotify.DELETE_SELF | inotify.MOVE_SELF
_WATCH_ENDED: Final = inotify.IGNORED | inotify.UNMOUNT
# Events of plain files that are not manifests say nothing, and are most of all.
_TELLING: Final = inotify.IS_DIRECTORY | _WATCH_ENDED | _SELF
_MANIFEST: Final = b"agent.json"
_DORK: Final = b".dork"
_NAMES: Final = frozenset({_MANIFEST, _DORK})


@dataclass(slots=True)
class Heard:
    """What events said of one root.

    Attributes:
        settled: projects to look at at once.
        unsettled: projects to look at when they have come to rest.
        events: how many events said something.
        failures: how many could not be understood.
        is_lost: whether anything may have happened below the root.
    """

    settled: dict[str, None] = field(default_factory=dict)
    unsettled: dict[str, None] = field(default_factory=dict)
    events: int = 0
    failures: int = 0
    is_lost: bool = False


@dataclass(frozen=True, slots=True)
class _Departure:
    """A directory that left its place, and where it went is not known yet.

    Attributes:
        is_owed: whether it left before the scanner had walked it, or one above it, there.
    """

    table: NodeTable
    node: Node
    depth: int
    parent: Node
    name: str
    until: float
    is_owed: bool


class Translator:
    """Reads events.

    Attributes:
        scope: what is left out; one assignment replaces it.
    """

    def __init__(
        self,
        watches: Watches,
        scans: Scans,
        scope: Scope,
        *,
        clock: Clock,
        log: FilteringBoundLogger,
    ) -> None:
        self.scope = scope
        self._watches = watches
        self._scans = scans
        self._clock = clock
        self._log = log
        self._held: NodeTable | None = None
        # By cookie, those whose other half may come; and those whose other half is elsewhere.
        self._departures: dict[int, _Departure] = {}
        self._left: list[_Departure] = []
        self._heard: dict[NodeTable, Heard] = {}

    def next_deadline(self) -> float | None:
        """Return the monotonic instant at which the first departure is given up."""
        return min((one.until for one in self._departures.values()), default=None)

    def translate(self, events: Iterable[RawEvent]) -> dict[NodeTable, Heard]:
        """Read a batch of events, and give up departures whose time is over."""
        heard: dict[NodeTable, Heard] = {}
        self._heard = heard
        try:
            for event in events:
                _, mask, _, name = event
                if mask & _TELLING or name in _NAMES:
                    self._translate_one(event)
        finally:
            self._hold(None)
        if self._departures or self._left:
            self._give_up(self._clock.monotonic())
        return heard

    def _translate_one(self, event: RawEvent) -> None:
        """Read one event; what cannot be understood is looked for in the whole root (R11)."""
        for node in self._watches.nodes_of(event[0]):
            place = place_of(node)
            if place is None:
                continue  # a directory that has left: what happens in it is not ours
            self._hold(place.table)
            heard = self._of(place.table)
            heard.events += 1
            try:
                self._read(node, event)
            except Exception:  # noqa: BLE001 - the boundary of one event: logged, counted, swept for
                if not heard.failures:
                    self._log.exception("event_not_understood", path=place.table.root)
                heard.failures += 1
                heard.is_lost = True
        if event[1] & inotify.IGNORED:
            self._watches.ended(event[0])

    def _hold(self, table: NodeTable | None) -> None:
        """Hold the lock of one table, over all events in a row that are about it."""
        if table is self._held:
            return
        if self._held is not None:
            self._held.lock.release()
            self._held = None
        if table is not None:
            table.lock.acquire()
            self._held = table

    def _read(self, node: Node, event: RawEvent) -> None:
        watch, mask, cookie, name = event
        place = place_of(node)  # again: only now does the table stand still
        if place is None:
            return
        if mask & _SELF:
            self._scans.put(RootCheck(place.table))
        elif mask & _WATCH_ENDED:
            self._read_end(node, place, event)
        elif node.dork_watch == watch:
            if name == _MANIFEST:
                self._hint(place, is_settled=not mask & _UNFINISHED)
        elif name == _DORK:
            self._read_dork(node, place, mask)
        elif mask & inotify.IS_DIRECTORY:
            self._read_directory(node, place, os.fsdecode(name), mask, cookie)

    def _read_end(self, node: Node, place: Place, event: RawEvent) -> None:
        """A watch ends by itself: its directory is gone, or its file system unmounted."""
        watch, mask, _, _ = event
        if mask & inotify.UNMOUNT:
            self._of(place.table).is_lost = True
        if node.dork_watch == watch:
            self._scans.add(place.table, node, ".dork", Why.CONFIRMED)
            self._hint(place, is_settled=True)
        elif node.parent is None:
            self._scans.put(RootCheck(place.table))
        else:
            # Watched directories do not tell of removals, so it takes itself out.
            self._scans.add(place.table, node.parent, node.name, Why.CONFIRMED)

    def _read_dork(self, node: Node, place: Place, mask: int) -> None:
        """Something happened to the name `.dork`."""
        node.settled = False
        if mask & _GONE:
            place.table.set_dork(node, Dork.NONE)
            self._watches.release_dork(place.table, node)
            # Another one may be there already, as after an exchange, and be watched no more.
            self._scans.add(place.table, node, ".dork", Why.CONFIRMED)
            self._hint(place, is_settled=True)
        elif mask & inotify.IS_DIRECTORY:
            # Hinted by the scanner, when the watch is there and nothing can be missed.
            self._scans.add(place.table, node, ".dork", _why(mask))
        elif mask & _ARRIVED:
            self._scans.add(place.table, node, ".dork", _why(mask))
            self._hint(place, is_settled=bool(mask & inotify.MOVED_TO))

    def _read_directory(
        self, parent: Node, place: Place, name: str, mask: int, cookie: int
    ) -> None:
        """A directory was made, came or left; one that is not scanned is as one elsewhere."""
        if mask & inotify.MOVED_FROM:
            self._depart(parent, place, name, cookie)
        elif mask & _ARRIVED:
            departure = self._departures.pop(cookie, None) if mask & inotify.MOVED_TO else None
            if not self._is_out(place, name):
                if departure is not None and self._arrive(departure, parent, place, name):
                    return
                self._scans.add(place.table, parent, name, _why(mask))
            if departure is not None:
                self._left.append(departure)

    def _depart(self, parent: Node, place: Place, name: str, cookie: int) -> None:
        node = parent.child(name)
        if node is None:
            return
        self._hint_below(place.table, node, _path(place, name))
        is_owed = self._scans.owes(node)
        place.table.detach(node)
        until = self._clock.monotonic() + MATCH_SECONDS
        self._departures[cookie] = _Departure(
            place.table, node, place.depth + 1, parent, name, until, is_owed
        )

    def _arrive(self, departure: _Departure, parent: Node, place: Place, name: str) -> bool:
        """Give a moved directory its new place; False when it has to be scanned instead."""
        node, there = departure.node, parent.child(name)
        if there is not None:
            self._hint_below(place.table, there, _path(place, name))
        if departure.table is not place.table or there is not None:
            return False
        if not place.table.is_detached(node):
            return False  # the table was cleared meanwhile
        place.table.attach(node, parent, name)
        is_deeper_or_higher = departure.depth != place.depth + 1
        if is_deeper_or_higher or departure.is_owed or self._is_judged_by_path(place.table.root):
            # What is left out below it may be something else now.
            place.table.unsettle(node)
            self._scans.add(place.table, parent, name, Why.MOVED_IN)
        else:
            self._scans.add(place.table, parent, name, Why.CONFIRMED)
            self._scan_the_unseen(place.table, node)
        self._scans.add(place.table, departure.parent, departure.name, Why.CONFIRMED)
        self._hint_below(place.table, node, _path(place, name))
        return True

    def _scan_the_unseen(self, table: NodeTable, node: Node) -> None:
        """Have scanned what a walk could not reach, because it knew only the path before."""
        for one in node.below():
            if one.watch == NO_WATCH and one.parent is not None:
                self._scans.add(table, one.parent, one.name, Why.MOVED_IN)
            elif one.dork is Dork.DIRECTORY and one.dork_watch == NO_WATCH:
                self._scans.add(table, one, ".dork", Why.MOVED_IN)

    def _is_judged_by_path(self, root: str) -> bool:
        """Whether it depends on more than names and depth what is scanned below a root."""
        return any("/" in pattern.rstrip("/") for pattern in self.scope.exclude) or any(
            path != root and is_within(path, root)
            for path in (*self.scope.denied, *self.scope.roots)
        )

    def _is_out(self, place: Place, name: str) -> bool:
        path = _path(place, name)
        return (
            place.depth >= self.scope.max_depth
            or self.scope.prunes(place.relative, name)
            or path in self.scope.denied
            or path in self.scope.roots
        )

    def _give_up(self, now: float) -> None:
        """Drop what left and did not come back, watches included: it was moved out."""
        late = [key for key, one in self._departures.items() if one.until <= now]
        left, self._left = self._left, []
        for departure in [*left, *(self._departures.pop(key) for key in late)]:
            table = departure.table
            with table.lock:
                table.drop(departure.node)
                self._scans.add(table, departure.parent, departure.name, Why.CONFIRMED)

    def _hint(self, place: Place, *, is_settled: bool) -> None:
        heard = self._of(place.table)
        (heard.settled if is_settled else heard.unsettled)[_path(place)] = None

    def _hint_below(self, table: NodeTable, node: Node, path: str) -> None:
        """Hint at every known project at and below a directory that moved."""
        self._of(table).settled.update(dict.fromkeys(projects_below(node, path)))

    def _of(self, table: NodeTable) -> Heard:
        heard = self._heard.get(table)
        if heard is None:
            heard = self._heard[table] = Heard()
        return heard


def _why(mask: int) -> Why:
    return Why.MOVED_IN if mask & inotify.MOVED_TO else Why.CREATED


def _path(place: Place, name: str | None = None) -> str:
    """Return the absolute path of a place, or of a name in it."""
    parts: Iterator[str] = (
        part for part in (place.table.root.rstrip("/"), place.relative, name) if part
    )
    return "/".join(parts) or "/"
