"""What may be asked of the reconciler, besides hints.

Owns the controls that stand in the inbox's line with the hints (R3): markers of a sweep,
second looks, and acts of the operator. Each that somebody waits for carries a future, which
resolves after the commit.
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshd.core.model import Agent, RootIdentity, Source


@dataclass(frozen=True, slots=True)
class RootCheck:
    """What a check said of one root; the identity is the one to keep."""

    healthy: bool
    reason: str | None
    identity: RootIdentity | None


@dataclass(frozen=True, slots=True)
class SweepBegan:
    """A sweep has checked its roots and is about to walk the healthy ones.

    Resolves to the number of the sweep once the states of the roots are committed.
    """

    checks: Mapping[str, RootCheck]
    source: Source
    future: Future[int] = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class SweepEnded:
    """Every root was walked, and every hint of the sweep was put before this.

    Attributes:
        completed: roots whose walk reached its end; only theirs may lose anything.
        confirm: the operator says that held disappearances are meant.
        full: whether everything was listed and read.
        started_at: wall-clock time, RFC 3339.
        started: monotonic seconds when the walk began.
        broken: roots that checked healthy and whose walk did not reach its end.
        sync: whether it only brings the registry up to date: it counts for no grace, agrees
            with no held disappearance, and is not the last sweep.
    """

    completed: frozenset[str]
    broken: frozenset[str]
    confirm: bool
    full: bool
    started_at: str
    started: float
    sync: bool = False
    future: Future[SweepResult] = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class SweepAbandoned:
    """The sweep that began will not end; what it has put off is dropped."""


@dataclass(frozen=True, slots=True)
class SweepSettled:
    """The settle time after a sweep's first looks is over: its costs get their second."""

    ended: SweepEnded


@dataclass(frozen=True, slots=True)
class SecondLook:
    """The settle time is over for these paths, which would cost a row something."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sync:
    """Everything put before this is to be decided: settled, looked at twice, committed.

    Attributes:
        deadline: monotonic seconds by which that is so in any case, because nothing waits longer.
    """

    deadline: float
    future: Future[None] = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class Deny:
    """Leave a path alone, with everything below it. Resolves to the ids that left."""

    path: str
    reason: str | None
    denier: str
    future: Future[tuple[str, ...]] = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class Allow:
    """Take a denial back. Resolves to whether there was one."""

    path: str
    future: Future[bool] = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class Forget:
    """Drop rows that are not live: one by id, or all that are out of scope (None)."""

    agent_id: str | None
    future: Future[tuple[Agent, ...]] = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class AcceptRoot:
    """Take what lies at a root now for the root."""

    path: str
    future: Future[None] = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class SweepResult:
    """What a committed sweep did, as `lastSweep` shows it.

    Attributes:
        seconds: from the start of the walk to the last commit.
        synced: agents brought up to date with their manifest, or to their new path.
        drift: changes that events had missed.
        held: agents whose disappearance the mass guard holds.
    """

    started_at: str
    seconds: float
    full: bool
    synced: int = 0
    unreachable: int = 0
    removed: int = 0
    resurrected: int = 0
    discovered: int = 0
    drift: int = 0
    held: int = 0
    sick_roots: tuple[str, ...] = ()
