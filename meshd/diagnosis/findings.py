"""Facts and findings as values."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

Document = dict[str, Any]


class Severity(StrEnum):
    """How bad it is; the worst first."""

    ERROR = "error"  # something does not work
    WARNING = "warning"  # something will not, or somebody has to decide
    REMARK = "remark"  # good to know


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        code: a stable word for programs.
        subject: the path, id or key that it is about; None for the whole.
        message: what is wrong, for a person.
        hint: what to do about it.
    """

    severity: Severity
    code: str
    subject: str | None
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class Limits:
    """What the kernel grants one user; None where it does not say."""

    watches: int | None = None
    instances: int | None = None
    queued_events: int | None = None


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A change of a project's files that was not finished.

    Attributes:
        path: the project.
        left: what is left of it there, relative to the project.
        since: when it began, RFC 3339.
    """

    path: str
    left: str
    since: str


@dataclass(frozen=True, slots=True)
class StateDirectory:
    """The state directory as `stat` shows it.

    Attributes:
        owner: its user id.
        mode: its permission bits.
        free_bytes: what the file system has left for its owner.
        set_aside: names of databases that were found damaged and kept.
        policy_problem: why `policy.json` cannot be understood, None when it can.
        unfinished: changes of files that were begun and not finished, under way or left.
    """

    path: str
    owner: int
    mode: int
    free_bytes: int
    set_aside: tuple[str, ...] = ()
    policy_problem: str | None = None
    unfinished: tuple[Unfinished, ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything a diagnosis rests on.

    Attributes:
        now: wall clock, seconds since 1970.
        user: the id of the daemon's user; while none runs, of the one that asks.
        version: of the meshd that asks.
        refused: why the daemon did not answer although one listens, and what to do about
            that; None otherwise.
        socket: where the daemon answers, or is looked for first.
        socket_mode: the socket's permission bits, None without one.
        status: what `meshd status` shows, of the daemon or, while none runs, of its database.
        agents: the rows, as `meshd agents list` shows them.
        claims: the claims, as `meshd claims` shows them.
        configuration_problem: why the configuration on disk would be refused.
        sweep_seconds: the configured time between sweeps, None where it cannot be told.
        backend: what the configuration wants to watch, None where it cannot be told.
        root_checks: by root of the configuration, why it is sick, None for a healthy one; made
            while no daemon runs.
        limits: of inotify.
        holder: the process that holds the lock of the state directory.
        state: the state directory, None where there is none, or it is not the daemon's.
        database: its path.
        database_problems: what a check found, None where none could be made.
    """

    now: float
    user: int
    version: str
    socket: str
    database: str
    refused: tuple[str, str | None] | None = None
    socket_mode: int | None = None
    status: Document | None = None
    agents: tuple[Document, ...] = ()
    claims: tuple[Document, ...] = ()
    configuration_problem: str | None = None
    sweep_seconds: float | None = None
    backend: str | None = None
    root_checks: Mapping[str, str | None] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    holder: int | None = None
    state: StateDirectory | None = None
    database_problems: tuple[str, ...] | None = None

    @property
    def running(self) -> bool:
        """Whether a daemon answered."""
        return self.status is not None and self.status["pid"] is not None


def quoted(path: str) -> str:
    """Return a path as a command in a hint may name it: directories have any name they like."""
    return shlex.quote(path)
