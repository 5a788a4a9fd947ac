"""What a looker and its worker process say to each other.

Owns the requests and answers that cross the socket. Assumes both ends are the same version of
meshd under the same user, so they are pickled. Promises one answer for each request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meshd.core.model import RootIdentity, Source
    from meshd.core.scope import Scope
    from meshd.looker.health import RootInRun, RootLook
    from meshd.looker.tasks import Task


@dataclass(frozen=True, slots=True)
class Check:
    """Check the root; answered by `Checked`.

    `seen` is what it was earlier in this run: a worker may be new, the run is not.
    """

    known: RootIdentity | None
    seen: RootInRun | None


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check said, and what the root is from now on."""

    look: RootLook
    seen: RootInRun | None


@dataclass(frozen=True, slots=True)
class Looks:
    """Look at projects, each under its number; answered by a list of observations."""

    looks: tuple[tuple[str, int], ...]
    source: Source
    seen: RootInRun | None


@dataclass(frozen=True, slots=True)
class StartWalk:
    """Begin a walk, in place of one that may be under way; answered by its first batch."""

    scope: Scope
    full: bool


@dataclass(frozen=True, slots=True)
class NextBatch:
    """Go on with the walk; answered by the next batch, or None at its end."""


@dataclass(frozen=True, slots=True)
class EndWalk:
    """Give the walk up; answered by None."""


@dataclass(frozen=True, slots=True)
class Run:
    """Do a task; answered by what it returns."""

    task: Task[object]
    seen: RootInRun | None


@dataclass(frozen=True, slots=True)
class Ready:
    """Said once by the worker, when it takes requests."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The request failed in a way the caller must know.

    Attributes:
        is_root_lost: the root vanished; otherwise no descriptor was left.
        message: our own words.
    """

    is_root_lost: bool
    message: str


Request = Check | Looks | StartWalk | NextBatch | EndWalk | Run
