"""What may be asked of the reconciler, besides hints.

Owns the controls that stand in the inbox's line with the hints (R3): markers of a sweep,
second looks, and acts of the operator. Each that somebody waits for carries a future, which
resolves after the commit.
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshd.core.access import Action
    from meshd.core.model import Agent, Reason, RootIdentity, Source
    from meshd.looker.leftovers import Leftover


@dataclass(frozen=True, slots=True)
class RootCheck:
    """What a check said of one root.

    Attributes:
        identity: the one to keep.
        against: what the root was known as when it was checked.
    """

    healthy: bool
    reason: str | None
    identity: RootIdentity | None
    against: RootIdentity | None


@dataclass(frozen=True, slots=True)
class SweepBegan:
    """A sweep has checked its roots and is about to walk the healthy ones.

    Resolves to the number of the sweep once the states of the roots are committed.
    """

    checks: Mapping[str, RootCheck]
    source: Source
    future: Future[int] = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """Whoever puts hints waits until those put before this have been looked at."""

    future: Future[None] = field(default_factory=Future)


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
        truncated: roots with more than they may have, and of what. They were walked as far as
            that; nothing of theirs is absent, and they keep no other root waiting.
    """

    completed: frozenset[str]
    broken: frozenset[str]
    confirm: bool
    full: bool
    started_at: str
    started: float
    sync: bool = False
    truncated: Mapping[str, Reason] = field(default_factory=dict)
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
class LookWithin:
    """These directories were entered: what was seen at or below them before may be there no more.

    A look that was owed to an older event may have seen what came after it and went before the
    directory was watched: nothing else would tell of that.
    """

    directories: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sync:
    """Everything put before this is to be decided: settled, looked at twice, committed."""

    future: Future[None] = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class CheckSyncs:
    """It is time to ask whether what the syncs under way wait for is decided."""


@dataclass(frozen=True, slots=True)
class Overdue:
    """Somebody has waited long enough for a future: it is cancelled, unless it is done."""

    future: Future[Any]


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
class SetRule:
    """Let one namespace reach another, or not. Resolves to whether that was news.

    Attributes:
        source: a namespace, or `*` together with `target`: the open mesh.
    """

    source: str
    target: str
    action: Action
    future: Future[bool] = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class Register:
    """Give a project a manifest, or take the one it has.

    Attributes:
        path: the project directory, absolute, normal.
        overrides: manifest keys as JSON has them; they go over what the file says.
        approver: who wants it.
        dry_run: say what would be, and change nothing.
    """

    path: str
    overrides: Mapping[str, Any]
    approver: str
    dry_run: bool = False
    future: Future[Registered] = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class Update:
    """Change a manifest where it lies.

    Attributes:
        changes: manifest keys as JSON has them; null takes an optional key away.
        expected_seq: the row's `seq` the caller has seen, None for any.
        dry_run: say what would be, and change nothing.
    """

    agent_id: str
    changes: Mapping[str, Any]
    expected_seq: int | None = None
    dry_run: bool = False
    future: Future[Registered] = field(default_factory=Future)


class Removal(StrEnum):
    """What becomes of the files of an agent that is unregistered."""

    MANIFEST = "manifest"  # the manifest is removed
    NOTHING = "nothing"  # it stays, and its path is denied
    DATA = "data"  # `.dork` is removed with everything in it


@dataclass(frozen=True, slots=True)
class Unregister:
    """Take an agent out of the registry for good.

    Attributes:
        removal: what becomes of its files.
        dry_run: say what would be, and change nothing.
    """

    agent_id: str
    removal: Removal = Removal.MANIFEST
    dry_run: bool = False
    future: Future[Unregistered] = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class ClearOn:
    """There is more to remove of what an unregister has set aside.

    Attributes:
        number: of its intent.
    """

    number: int
    future: Future[None] = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class Reap:
    """A sweep has found old temporary files of ours. Resolves to how many were removed.

    Attributes:
        root: in which they are.
        found: what `FindLeftovers` returned.
        before_ns: wall-clock time; what was touched since is left alone.
    """

    root: str
    found: tuple[Leftover, ...]
    before_ns: int
    future: Future[int] = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class Registered:
    """What a register or an update came to.

    Attributes:
        agent: the row, as it is now or, in a dry run, as it would be.
        created: whether the project had no manifest before.
        changed: whether the file was, or would be, written.
        pending: whether the relay has yet to confirm its endpoint: it is not discoverable.
    """

    agent: Agent
    created: bool
    changed: bool
    pending: bool = False


@dataclass(frozen=True, slots=True)
class Unregistered:
    """What an unregister came to.

    Attributes:
        agent: the row that left.
        path: what was removed, None when nothing was.
        successor: another path that claimed the id and holds it now, None when there is none.
    """

    agent: Agent
    path: str | None
    successor: str | None


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """An agent says that it lives.

    Attributes:
        event: what it did, in its own words; at most 100 characters.
    """

    agent_id: str
    event: str
    future: Future[None] = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class TellTurns:
    """Time has passed: healths that turned by it alone are told. Resolves to how many."""

    future: Future[int] = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A relay outside the database has done what it was told.

    Resolves to how many endpoints are live by it.

    Attributes:
        registered: subjects that are reached now.
        retired: subjects that are not reached any more.
        lost: subjects that should have been reached and were not; they are again.
    """

    registered: tuple[str, ...] = ()
    retired: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    future: Future[int] = field(default_factory=Future)


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
        sick_roots: roots that were not walked, or in vain.
        truncated: roots with more than they may have, and of what.
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
    truncated: Mapping[str, Reason] = field(default_factory=dict)
