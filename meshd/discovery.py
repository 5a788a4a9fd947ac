"""The search for candidates below configured roots.

Owns what may be searched, how many searches run at once, and when one ends. Assumes that the
caller asks for event after event, from one thread at a time. Promises: nothing is written;
each step is one task of a root's looker, so nothing is held open between two events; what was
denied, registered or reloaded meanwhile counts from the next step on; a sick root is told, and
the others are searched all the same.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Final, NamedTuple

from meshd.core.candidates import Progress, Summary
from meshd.core.scope import is_within
from meshd.errors import BusyError, PermissionRefusedError
from meshd.looker import RootLostError
from meshd.looker.candidates import FindCandidates, Left
from meshd.looker.look import below

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from contextlib import AbstractContextManager

    from meshd.core.candidates import Candidate, SearchEvent
    from meshd.core.scope import Scope
    from meshd.looker.candidates import Step
    from meshd.roots import RootsView
    from meshd.shared import Shared

MOST_CANDIDATES: Final = 1_000
"""A search ends there, as the peer's does; more than that nobody reads."""

MOST_SEARCHES: Final = 2
"""Searches at once; each keeps a disk and a core busy."""


class _Start(NamedTuple):
    """Where a search begins.

    Attributes:
        root: the configured root that owns the path.
        deepest: levels below that root.
        asked: whether the caller named the path; else it is a root below one that was named.
    """

    root: str
    path: str
    deepest: int
    asked: bool


class Discovery:
    """Searches the roots for candidates. Safe to use from several threads."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._searches = BoundedSemaphore(MOST_SEARCHES)

    def discover(
        self, roots: Sequence[str], max_depth: int | None, stop: Callable[[], bool]
    ) -> Generator[SearchEvent, None, None]:
        """Search directories for candidates; configured roots below them are searched too.

        Args:
            roots: directories at or below configured roots, absolute and normal.
            max_depth: how many levels below each of them a candidate may lie; None for as
                deep as the sweep goes, and never deeper. At 0 a single directory is looked at
                however many searches are under way.
            stop: asked before each step; the search ends when it says so.

        Returns:
            Candidates as they are found, Progress after each step, and one Summary. To close
            it ends the search.

        Raises:
            PermissionRefusedError: a directory is not below any configured root.
            BusyError: too many searches are under way.
            StoreError: while it is asked for events: the registry could not be read.
            NoDescriptorsError: likewise: EMFILE or ENFILE.
        """
        view = self._shared.roots.view
        starts = [start for path in roots for start in _starts(view.scope, path, max_depth)]
        place = nullcontext() if _is_one_look(roots, max_depth) else self._place()
        search = self._search(list(dict.fromkeys(starts)), stop, place)
        # The search takes its place now: a refusal comes before the first event.
        next(search)
        return search

    def _search(
        self,
        starts: Sequence[_Start],
        stop: Callable[[], bool],
        place: AbstractContextManager[None],
    ) -> Generator[SearchEvent, None, None]:
        with place:
            search = _Search(self._shared, starts, stop)
            yield search.progress("")
            yield from search.run()

    @contextmanager
    def _place(self) -> Iterator[None]:
        """Take one of the places of a search, for the length of a block."""
        if not self._searches.acquire(blocking=False):
            raise BusyError(
                f"{MOST_SEARCHES} searches for candidates are under way",
                hint="try again when one of them has ended",
            )
        try:
            yield
        finally:
            self._searches.release()


def _is_one_look(roots: Sequence[str], max_depth: int | None) -> bool:
    """Whether a search is over with its first step, and needs no place among the others."""
    return len(roots) == 1 and max_depth == 0


def _starts(scope: Scope, path: str, max_depth: int | None) -> list[_Start]:
    """Return where a search of `path` begins: there, and at each configured root below it."""
    owner = scope.owner(path)
    if owner is None:
        raise PermissionRefusedError(
            f"{path!a} is not below a configured root",
            hint="`meshd roots list` shows the roots; `scan.roots` of the configuration sets them",
        )
    below_path = [root for root in scope.roots if root != path and is_within(root, path)]
    starts = [_Start(owner, path, _deepest(scope, owner, path, max_depth), asked=True)]
    for root in sorted(below_path):
        levels = None if max_depth is None else max_depth - len(below(path, root).split("/"))
        if levels is None or levels >= 0:
            starts.append(_Start(root, root, _deepest(scope, root, root, levels), asked=False))
    return starts


def _deepest(scope: Scope, root: str, path: str, max_depth: int | None) -> int:
    if max_depth is None:
        return scope.max_depth
    return min(scope.max_depth, _level(root, path) + max_depth)


def _level(root: str, path: str) -> int:
    """Return how many levels a path lies below its root."""
    return 0 if path == root else len(below(root, path).split("/"))


class _Search:
    """One search and its figures."""

    def __init__(self, shared: Shared, starts: Sequence[_Start], stop: Callable[[], bool]) -> None:
        self._shared = shared
        self._starts = starts
        self._stop = stop
        self._began = shared.clock.monotonic()
        self._told: set[str] = set()
        self._directories = 0
        self._unreadable = 0
        self._truncated = False
        self._sick: list[str] = []
        self._unscanned: list[str] = []

    def run(self) -> Iterator[SearchEvent]:
        """Search from every start, and sum up."""
        for start in self._starts:
            if self._shared.roots.view.scope.judge(start.path).refusal is not None:
                self._leave_out(start)
            elif start.root not in self._sick:
                yield from self._search_from(start)
            if self._truncated:
                break
        yield self._summary()

    def _search_from(self, start: _Start) -> Iterator[SearchEvent]:
        before = self._directories + self._unreadable
        left: tuple[Left, ...] = (Left(below(start.root, start.path)),)
        while left:
            if self._stop():
                self._truncated = True
                return
            step = self._step(start, left)
            if step is None:
                self._sick.append(start.root)
                return
            self._directories += step.directories
            self._unreadable += step.unreadable
            yield from self._tell(step)
            yield self.progress(start.root)
            left = () if self._truncated else step.left
        if self._directories + self._unreadable == before:
            self._leave_out(start)  # nothing lies there, or a file or a symlink does

    def _step(self, start: _Start, left: tuple[Left, ...]) -> Step | None:
        """Take one step; None where the root is sick, or has left the configuration."""
        view = self._shared.roots.view
        if not _is_searchable(view, start.root):
            return None
        task = FindCandidates(view.scope, start.deepest, left, self._shared.clock)
        try:
            return view.lookers[start.root].run(task)
        except RootLostError as error:
            self._shared.log.warning("discovery_root_lost", path=start.root, why=error.message)
            return None

    def _tell(self, step: Step) -> Iterator[Candidate]:
        """Yield the candidates that are news, as many as may be told."""
        for found in self._unknown(step.candidates):
            if len(self._told) == MOST_CANDIDATES:
                self._truncated = True
                return
            self._told.add(found.path)
            yield found

    def _unknown(self, found: Sequence[Candidate]) -> list[Candidate]:
        """Leave out what was told before, is denied by now, or is the path of a row."""
        if not found:
            return []
        paths = [one.path for one in found]
        with self._shared.store.reading() as registry:
            agents = registry.agents_at(paths)
        known = {path for agent in agents for path in (agent.project_path, agent.last_path)}
        scope = self._shared.roots.view.scope
        return [
            one
            for one in found
            if one.path not in known
            and one.path not in self._told
            and scope.judge(one.path).refusal is None
        ]

    def _leave_out(self, start: _Start) -> None:
        if start.asked:
            self._unscanned.append(start.path)

    def progress(self, root: str) -> Progress:
        """Return how far the search is."""
        return Progress(self._directories, len(self._told), root)

    def _summary(self) -> Summary:
        return Summary(
            candidates=len(self._told),
            directories=self._directories,
            truncated=self._truncated,
            unreadable=self._unreadable,
            seconds=self._shared.clock.monotonic() - self._began,
            sick_roots=tuple(dict.fromkeys(self._sick)),
            unscanned=tuple(dict.fromkeys(self._unscanned)),
        )


def _is_searchable(view: RootsView, root: str) -> bool:
    """Whether a root is configured and not sick; one that was not checked yet may be tried."""
    state = view.states.get(root)
    return root in view.lookers and (state is None or state.healthy)
