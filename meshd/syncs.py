"""What the syncs under way wait for.

Owns the syncs that are not answered yet, the paths they owe, and whether a sweep has to make
up for hints that were lost. Used by the reconciler's thread alone. Promises: a sync resolves
once every path that waited when it came out of the inbox was decided by a later look; if hints
were lost, once a sweep that began after it, or after the loss, has ended. What comes later
holds no sync up, and no time that passes lets one go.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from concurrent.futures import Future

    from meshd.commands import SweepResult


@dataclass(slots=True)
class _Waiting:
    """One sync.

    Attributes:
        number: syncs are numbered as they come.
        begun: how many sweeps had begun when it came.
        asked: how many had been asked for to make up for losses; an older one's failure is not
            told to it.
        is_swept: whether a sweep that began later has ended well: no loss matters any more.
    """

    number: int
    future: Future[None]
    begun: int
    asked: int
    is_swept: bool = False


class Syncs:
    """The syncs under way, oldest first.

    Args:
        ask: asks for a sweep that begins after now.
    """

    def __init__(self, ask: Callable[[], Future[SweepResult]]) -> None:
        self._ask = ask
        self._waiting: list[_Waiting] = []
        self._number = 0
        # By path, the first sync that owes it: all later ones owe it too.
        self._owed: dict[str, int] = {}
        self._left: Counter[int] = Counter()
        self._begun = 0
        # How many sweeps had begun at the newest loss; a later one makes up for it.
        self._lost_at = 0
        # The newest sweep that was asked for to make up for losses, None once it is done.
        self._making_up: Future[SweepResult] | None = None
        self._asked = 0

    def __bool__(self) -> bool:
        """Whether a sync waits."""
        return bool(self._waiting)

    @property
    def owed(self) -> Collection[str]:
        """The paths that any sync waits for."""
        return self._owed.keys()

    def take(self, future: Future[None], waiting: Iterable[str]) -> None:
        """Let a sync wait for these paths."""
        self._number += 1
        for path in waiting:
            if self._owed.setdefault(path, self._number) == self._number:
                self._left[self._number] += 1
        self._waiting.append(_Waiting(self._number, future, self._begun, self._asked))

    def decided(self, paths: Iterable[str]) -> None:
        """These paths wait no more: what a look found is committed, or they were dropped."""
        if not self._owed:
            return
        for path in paths:
            number = self._owed.pop(path, None)
            if number is not None:
                self._left[number] -= 1

    def resolve(self) -> None:
        """Answer every sync that waits for nothing any more."""
        waiting, self._waiting = self._waiting, []
        owing = 0
        for one in waiting:
            owing += self._left[one.number]
            error = None if one.is_swept else self._failure(one)
            if error is not None:
                one.future.set_exception(error)
            elif owing or not (one.is_swept or self._making_up is None):
                self._waiting.append(one)
            else:
                one.future.set_result(None)
        if not self._waiting:
            self._owed.clear()
            self._left.clear()

    def refuse(self, error: BaseException) -> None:
        """Answer every sync with an error."""
        waiting, self._waiting = self._waiting, []
        self._owed.clear()
        self._left.clear()
        for one in waiting:
            one.future.set_exception(error)

    # losses, and sweeps that make up for them

    def lose(self) -> None:
        """Have a sweep make up for hints that nobody will look into."""
        self._lost_at = self._begun
        if self._making_up is None or self._making_up.done():
            self._ask_anew()

    def sweep_began(self) -> None:
        """A sweep begins to walk."""
        self._begun += 1

    def sweep_ended(self) -> None:
        """The sweep that began last has ended well."""
        for one in self._waiting:
            one.is_swept = one.is_swept or one.begun < self._begun
        if self._begun > self._lost_at:
            self._making_up = None
        elif self._making_up is not None:
            self._ask_anew()  # this one had begun before the newest loss

    def _failure(self, one: _Waiting) -> BaseException | None:
        """Return why the sweep for a sync failed; for an older one's failure ask anew."""
        if self._making_up is None or not self._making_up.done():
            return None
        error = self._making_up.exception()
        if error is not None and self._asked > one.asked:
            return error
        self._ask_anew()
        return None

    def _ask_anew(self) -> None:
        self._making_up = self._ask()
        self._asked += 1
