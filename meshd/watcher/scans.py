"""What the scanner has to do, in order.

Owns the line between the observer, who must never wait for a disk, and the scanner, who may.
Promises: what is put is done in the order of putting; names below one root that follow each
other are one piece of work; a waiter resolves after everything that was put before it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import IntEnum
from threading import Condition
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import Future

    from meshd.core.scope import Scope
    from meshd.looker.nodes import Node
    from meshd.looker.table import NodeTable


class Why(IntEnum):
    """Why a name is looked at; of two reasons the greater counts.

    VANISHED: a walk did not find it; if that holds, it leaves the table.
    CONFIRMED: a move put a known directory there, or took it away; only if it is another one
        is it walked.
    CREATED: it was made there; what is in it may still be written.
    MOVED_IN: it came from somewhere else, complete.
    """

    VANISHED = 0
    CONFIRMED = 1
    CREATED = 2
    MOVED_IN = 3


@dataclass(slots=True)
class Names:
    """Names in directories of one root that may be something new."""

    table: NodeTable
    names: dict[Node, dict[str, Why]] = field(default_factory=dict)

    def add(self, parent: Node, name: str, why: Why) -> None:
        """Add a name; of two reasons the greater stays."""
        names = self.names.setdefault(parent, {})
        names[name] = max(why, names.get(name, why))


@dataclass(frozen=True, slots=True)
class RootCheck:
    """Something happened to this root itself."""

    table: NodeTable


@dataclass(frozen=True, slots=True)
class Rescope:
    """The scope has changed."""

    before: Scope
    after: Scope


@dataclass(frozen=True, slots=True)
class Passed:
    """Everything before is done: tell those who wait.

    Attributes:
        waiters: those.
        is_checked: whether each root is compared first with what it was, because they want to
            know of everything that happened before now, and a mount over a root tells nobody.
    """

    waiters: tuple[Future[None], ...]
    is_checked: bool = False


@dataclass(frozen=True, slots=True)
class Remounted:
    """Something was mounted or unmounted somewhere."""


Work = Names | RootCheck | Rescope | Passed | Remounted


class Scans:
    """The line.

    Attributes:
        turns: moves on whenever something is taken, and when it is done.
    """

    def __init__(self) -> None:
        self.turns = 0
        self._work: deque[Work] = deque()
        self._under_way: Work | None = None
        self._arrived = Condition()
        self._closed = False

    def add(self, table: NodeTable, parent: Node, name: str, why: Why) -> None:
        """Have a name looked at."""
        with self._arrived:
            if self._closed:
                return
            last = self._work[-1] if self._work else None
            if not isinstance(last, Names) or last.table is not table:
                last = Names(table)
                self._work.append(last)
            last.add(parent, name, why)
            self._arrived.notify()

    def put(self, work: Work) -> None:
        """Have something done; once closed, who waits is told that it will not be."""
        with self._arrived:
            if not self._closed:
                self._work.append(work)
                self._arrived.notify()
                return
        _cancel(work)

    def take(self, timeout: float) -> Work | None:
        """Return what is next, None when nothing came in time or the line is closed."""
        with self._arrived:
            self.turns += 1
            self._under_way = None
            if not self._work and not self._closed:
                self._arrived.wait(timeout)
            if self._work and not self._closed:
                self.turns += 1
                self._under_way = self._work.popleft()
            return self._under_way

    def concern(self, table: NodeTable) -> bool:
        """Whether names below a root are in line, or under way."""
        with self._arrived:
            return any(
                isinstance(work, Names) and work.table is table
                for work in (self._under_way, *self._work)
            )

    def owes(self, node: Node) -> bool:
        """Whether a directory, or one above it, is in line or under way to be walked anew."""
        with self._arrived:
            line = [work for work in (self._under_way, *self._work) if isinstance(work, Names)]
        while (parent := node.parent) is not None:
            for work in line:
                if work.names.get(parent, {}).get(node.name, Why.VANISHED) >= Why.CREATED:
                    return True
            node = parent
        return False

    def close(self) -> None:
        """Drop what is left, and wake the scanner."""
        with self._arrived:
            self._closed = True
            left = list(self._work)
            self._work.clear()
            self._arrived.notify_all()
        for work in left:
            _cancel(work)


def _cancel(work: Work) -> None:
    if isinstance(work, Passed):
        for waiter in work.waiters:
            waiter.cancel()
