"""The looker: all access to one root.

Owns walking a root, looking at projects in it and checking its health, in this process or in
one of its own. Knows neither the database nor the inbox. Promises that no descriptor into a
root outlives a call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from meshd.looker.health import RootLook, Sickness
from meshd.looker.isolated import IsolatedLooker
from meshd.looker.local import LocalLooker
from meshd.looker.look import NoDescriptorsError
from meshd.looker.tasks import Task
from meshd.looker.walk import Found, RootLostError, Sighting, Truncated, Unreadable
from meshd.mounts import may_hang

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from meshd.clock import Clock
    from meshd.core.model import Observation, RootIdentity, Source
    from meshd.core.scope import Scope

__all__ = [
    "Found",
    "IsolatedLooker",
    "LocalLooker",
    "Looker",
    "NoDescriptorsError",
    "RootLook",
    "RootLostError",
    "Sickness",
    "Sighting",
    "Task",
    "Truncated",
    "Unreadable",
    "make_looker",
]

Answer = TypeVar("Answer")

REQUEST_SECONDS: Final = 30.0
"""Deadline of one request to an isolated looker: a slow server answers, a dead one does not."""


class Looker(Protocol):
    """All access to one root. Safe to use from several threads, but for one walk at a time."""

    root: str

    def check(self, known: RootIdentity | None) -> RootLook:
        """Say whether the root can be listed and is the one first seen (None: take it anew)."""
        ...

    def walk(self, scope: Scope, *, full: bool, stop: Callable[[], bool]) -> Iterator[list[Found]]:
        """Yield what lies in the root, in batches; raises RootLostError, NoDescriptorsError."""
        ...

    def look(self, paths: Sequence[str], source: Source) -> list[Observation]:
        """Look at projects, in order; raises NoDescriptorsError."""
        ...

    def run(self, task: Task[Answer]) -> Answer:
        """Do something in the root; raises RootLostError, NoDescriptorsError."""
        ...

    def close(self) -> None:
        """Let go of everything. No call may follow."""
        ...


def make_looker(root: str, *, isolated: bool, clock: Clock, numbers: Callable[[], int]) -> Looker:
    """Return the looker that fits a root.

    Args:
        root: absolute, resolved path; it need not exist.
        isolated: use a worker process whatever the file system is.
        clock: judges the age of signatures, and stamps looks.
        numbers: returns the next look number; shared by all lookers, safe to call from any
            thread.
    """
    if isolated or may_hang(root):
        return IsolatedLooker(root, clock=clock, numbers=numbers, seconds=REQUEST_SECONDS)
    return LocalLooker(root, clock=clock, numbers=numbers)
