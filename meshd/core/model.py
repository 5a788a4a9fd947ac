"""The words of meshd as values.

Owns the types that travel along the flow: hint, observation, claim, agent, change, plan.
Every value is frozen and valid once built. Paths are `str` as `os.fsdecode` gives them, so
a name that is not UTF-8 carries lone surrogates; sinks escape, the store writes bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshd.core.manifest import Manifest


class Outcome(StrEnum):
    """What a look can say (R4). Only ABSENT on a healthy root may cost a row anything."""

    PRESENT = "present"
    ABSENT = "absent"
    INVALID = "invalid"
    UNKNOWN = "unknown"


class Source(StrEnum):
    """Who asked for the look that led to a change."""

    WATCH = "watch"
    SWEEP = "sweep"
    START = "start"
    API = "api"
    TIMER = "timer"


class Status(StrEnum):
    """The stored status of a row. `inactive` of old databases means ACTIVE."""

    ACTIVE = "active"
    UNREACHABLE = "unreachable"


class ClaimOutcome(StrEnum):
    """What a manifest path said last, as the registry judged it.

    REFUSED is a valid manifest of an id that no row holds, for which a ceiling leaves no room.
    ABSENT is kept only while a row still names the path, to remember its file system.
    """

    VALID = "valid"
    DUPLICATE = "duplicate"
    ALIAS = "alias"
    REFUSED = "refused"
    INVALID = "invalid"
    UNREADABLE = "unreadable"
    ABSENT = "absent"


class Kind(StrEnum):
    """Kinds of change-log entries."""

    REGISTERED = "registered"
    UPDATED = "updated"
    RELOCATED = "relocated"
    RETURNED = "returned"
    UNREACHABLE = "unreachable"
    DISPLACED = "displaced"
    REMOVED = "removed"
    REFUSED = "refused"
    INVALID = "invalid"
    VALID = "valid"
    DENIED = "denied"
    ALLOWED = "allowed"
    UNSCANNED = "unscanned"
    FORGOTTEN = "forgotten"
    UNREGISTERED = "unregistered"
    HEALTH_CHANGED = "health_changed"
    ENDPOINT = "endpoint"
    RULE = "rule"
    ROOT_SICK = "root_sick"
    ROOT_HEALTHY = "root_healthy"
    HELD = "held"
    CONFIRMED = "confirmed"


class Reason(StrEnum):
    """Why a look said what it said. Fixed words: nothing of a file ever becomes a reason."""

    MANIFEST_MISSING = "manifest-missing"
    PROJECT_MISSING = "project-missing"
    DISPLACED = "displaced"
    # invalid: what lies there is not a manifest
    NOT_REGULAR = "not-regular"
    SYMLINK = "symlink"
    DORK_SYMLINK = "dork-symlink"
    TOO_BIG = "too-big"
    WRONG_OWNER = "wrong-owner"
    EMPTY = "empty"
    BOM = "bom"
    NOT_UTF8 = "not-utf8"
    NOT_JSON = "not-json"
    DUPLICATE_KEY = "duplicate-key"
    NOT_FINITE = "not-finite"
    LONE_SURROGATE = "lone-surrogate"
    TOO_DEEP = "nested-too-deep"
    NOT_OBJECT = "not-object"
    BAD_SCHEMA = "bad-schema"
    # refused: it is a newcomer, and its owner or its root has all it may have
    OWNER_LIMIT = "owner-limit"
    ROOT_LIMIT = "root-limit"
    # a root is truncated: it has more than it may have
    DIRECTORY_LIMIT = "directory-limit"
    MANIFEST_LIMIT = "manifest-limit"
    # unknown: it could not be told
    UNREADABLE = "unreadable"
    CHANGED_WHILE_READ = "changed-while-read"
    TIMED_OUT = "timed-out"
    OTHER_FILESYSTEM = "other-filesystem"
    ROOT_SICK = "root-sick"
    # out of scope
    DENIED = "denied"
    NO_ROOT = "no-root"
    EXCLUDED = "excluded"
    TOO_FAR_DOWN = "beyond-max-depth"


class Git(StrEnum):
    """What `.git` in the project is: a main checkout beats a linked worktree for a new id."""

    NONE = "none"
    MAIN = "main"
    WORKTREE = "worktree"


class Signature(NamedTuple):
    """A file as `stat` shows it. Equal signatures older than the racy window mean equal bytes.

    mtime is compared for equality, never ordered: its clock is anybody's.
    """

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


class FileIdentity(NamedTuple):
    """Device and inode: two paths with one identity are one directory (a bind mount)."""

    device: int
    inode: int


class RootIdentity(NamedTuple):
    """What a root was when first seen. The device number is left out: it holds for one boot only.

    `filesystem` is the file-system type and statfs fsid, as `TYPE:FSID` in hexadecimal.
    """

    filesystem: str
    inode: int


@dataclass(frozen=True, slots=True)
class Hint:
    """Look at this project. It never says what happened there (R2)."""

    path: str
    source: Source


@dataclass(frozen=True, slots=True)
class Observation:
    """What one look at one project said.

    Attributes:
        path: the project directory, absolute.
        look: number taken before the look's first system call; a newer look outranks an older.
        source: who asked.
        outcome: one of four (R4).
        reason: why, for everything but PRESENT.
        detail: more for a person, made of our own words only; never of the file's bytes.
        manifest: what the file says, exactly when PRESENT.
        signature: the manifest as stat showed it, when it could be statted.
        content_hash: SHA-256 of the bytes read, hexadecimal.
        dork: identity of the `.dork` directory, when it could be opened.
        git: what kind of checkout the project is.
        filesystem: `TYPE:FSID` of the project directory or, when absent, of the nearest
            existing ancestor at or below the root.
        owner: user id of the owner of the project directory, when it could be told.
        looked_at_ns: wall clock when the look began, for the racy rule.
    """

    path: str
    look: int
    source: Source
    outcome: Outcome
    reason: Reason | None = None
    detail: str | None = None
    manifest: Manifest | None = None
    signature: Signature | None = None
    content_hash: str | None = None
    dork: FileIdentity | None = None
    git: Git = Git.NONE
    filesystem: str | None = None
    owner: int | None = None
    looked_at_ns: int = 0

    def __post_init__(self) -> None:
        assert (self.outcome is Outcome.PRESENT) == (self.manifest is not None), "bug: outcome"


@dataclass(frozen=True, slots=True)
class Claim:
    """What one project path on disk said last, and how it was judged."""

    path: str
    root: str
    outcome: ClaimOutcome
    agent_id: str | None = None
    reason: Reason | None = None
    detail: str | None = None
    signature: Signature | None = None
    content_hash: str | None = None
    dork: FileIdentity | None = None
    filesystem: str | None = None
    look: int = 0
    looked_at_ns: int = 0
    owner: int | None = None


@dataclass(frozen=True, slots=True)
class Agent:
    """One row of the registry: an identity with at most one live path.

    Attributes:
        namespace: the effective one; `declared_namespace` is what the manifest says.
        project_path: where it lives; None once another id holds the path.
        last_path: where it was last seen alive; kept for audit.
        scan_root: the root that owns (or owned) the path.
        unreachable_reason: why it is unreachable, None while it is active.
        absent_clock: observed clock of its root, in seconds, at the sweep that first saw it
            absent; None while present and until a sweep has seen the absence (R8).
        unscanned: why its path is outside what is scanned, None while it is inside.
        born_sweep: number of the sweep it was registered in, None if by other means. A row
            born in the sweep under way yields to a better claim of that sweep.
        flags: remarks that the registry keeps about the row, fixed words, sorted.
        seq: change-log number of its latest change.
    """

    id: str
    name: str
    runtime: str
    registered_at: str
    registered_by: str
    namespace: str
    scan_root: str
    project_path: str | None
    last_path: str
    display_name: str | None = None
    description: str = ""
    declared_namespace: str | None = None
    capabilities: tuple[str, ...] = ()
    behavior: Mapping[str, object] = field(default_factory=dict)
    budget: Mapping[str, object] = field(default_factory=dict)
    persona: str | None = None
    persona_enabled: bool = True
    traits: Mapping[str, object] | None = None
    conventions: Mapping[str, object] | None = None
    color: str | None = None
    icon: str | None = None
    model: str | None = None
    effort: str | None = None
    account: str | None = None
    is_system: bool = False
    enabled_tool_groups: Mapping[str, object] = field(default_factory=dict)
    mcp_servers: tuple[Mapping[str, object], ...] = ()
    approver: str | None = None
    status: Status = Status.ACTIVE
    unreachable_reason: Reason | None = None
    unreachable_since: str | None = None
    absent_clock: float | None = None
    unscanned: Reason | None = None
    born_sweep: int | None = None
    flags: tuple[str, ...] = ()
    last_seen_at: str | None = None
    last_seen_event: str | None = None
    updated_at: str | None = None
    seq: int = 0

    @property
    def holder_path(self) -> str:
        """The path that must let go before another path may take the id."""
        return self.last_path if self.project_path is None else self.project_path

    @property
    def live(self) -> bool:
        """Whether it may be discovered and routed to (frozen rows included)."""
        return self.status is Status.ACTIVE and self.unscanned is None


@dataclass(frozen=True, slots=True)
class RootState:
    """What is known of one configured root.

    Attributes:
        identity: what it was when first seen; None before the first healthy look.
        reason: why it is sick, None while healthy. Fixed words.
        observed_seconds: its observed clock (R8).
    """

    path: str
    healthy: bool
    reason: str | None = None
    identity: RootIdentity | None = None
    observed_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the change log before it has a number.

    `before` and `after` hold what changed, by field; a removal's `before` is the whole row.
    """

    kind: Kind
    agent_id: str | None
    path: str | None
    source: Source
    before: Mapping[str, object] | None = None
    after: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Denial:
    """A path the operator told meshd to leave alone, with everything below it."""

    path: str
    reason: str | None
    denier: str
    created_at: str
