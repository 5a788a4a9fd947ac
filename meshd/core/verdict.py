"""What a look counts for, before any row is asked.

Owns the precedence of design §What a look means: denied, then out of scope, then a sick
root, then the outcome of the look. A verdict is the only form in which a look reaches the
plan, so the precedence holds everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING

from meshd.core.model import Git, Outcome, Reason
from meshd.core.quota import NO_HOLDINGS, NO_QUOTAS, Holdings, Quotas

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from meshd.core.model import Agent, Claim, Observation, RootState
    from meshd.core.scope import Scope


class Stand(StrEnum):
    """How one path stands in this batch."""

    DENIED = "denied"
    UNSCANNED = "unscanned"
    FROZEN = "frozen"  # the root is sick, or the look could not tell
    INVALID = "invalid"
    ABSENT = "absent"
    PRESENT = "present"


# A path that the operator took out of the scan lets go of its id, with no look needed.
OPERATOR_ACTS = frozenset({Stand.DENIED, Stand.UNSCANNED})
LETS_GO = OPERATOR_ACTS | {Stand.ABSENT}


@dataclass(frozen=True, slots=True)
class SweepContext:
    """What a sweep adds to a batch.

    Attributes:
        number: rows registered in the batch are born in this sweep.
        clocks: observed clock of each root whose walk is complete, in seconds, this sweep
            included; empty until the last batch, when absences are judged.
        grace: seconds of observed absence after which an unreachable row is removed.
    """

    number: int
    clocks: Mapping[str, float] = field(default_factory=dict)
    grace: float = 0.0


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Everything a plan rests on besides rows, claims and looks.

    Attributes:
        scope: what is scanned and denied.
        roots: what is known of each root. A root that is not in here counts as sick.
        namespaces: by root, the namespaces its manifests may claim (`[scan.namespaces]`).
        incumbents: by id, the path that held it before the database was rebuilt.
        sweep: the sweep the batch belongs to, if any.
        held: ids whose absence or removal the mass guard withholds.
        unregistered: ids whose rows leave because the operator unregistered them.
        approvers: by id, who has it registered now; who did so first stays in the row.
        quotas: ceilings for newcomers (`[limits]`).
    """

    scope: Scope
    roots: Mapping[str, RootState]
    namespaces: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    incumbents: Mapping[str, str] = field(default_factory=dict)
    sweep: SweepContext | None = None
    held: frozenset[str] = frozenset()
    unregistered: frozenset[str] = frozenset()
    approvers: Mapping[str, str] = field(default_factory=dict)
    quotas: Quotas = NO_QUOTAS


@dataclass(frozen=True)
class Known:
    """What the registry holds about the ids and paths of a batch.

    Attributes:
        rows: by id.
        claims: by path.
        holdings: how many rows there are in all, where a ceiling asks for it.
    """

    rows: Mapping[str, Agent]
    claims: Mapping[str, Claim]
    holdings: Holdings = NO_HOLDINGS

    @cached_property
    def owners(self) -> Mapping[str, str]:
        """The id that lives at each path."""
        return {
            row.project_path: row.id for row in self.rows.values() if row.project_path is not None
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a look at `path` counts for."""

    path: str
    stand: Stand
    root: str
    observation: Observation
    reason: Reason | None = None

    @property
    def agent_id(self) -> str | None:
        """The id the path holds, when it holds one."""
        manifest = self.observation.manifest
        return manifest.id if self.stand is Stand.PRESENT and manifest is not None else None

    def releases(self, agent_id: str) -> bool:
        """Whether the path is known not to hold this id any more (R4)."""
        return self.stand in LETS_GO or (self.stand is Stand.PRESENT and self.agent_id != agent_id)


def judge(
    observations: Iterable[Observation], known: Known, circumstances: Circumstances
) -> dict[str, Verdict]:
    """Return a verdict for every path looked at; of several looks the newest counts (R4)."""
    newest: dict[str, Observation] = {}
    for observation in observations:
        other = newest.get(observation.path)
        if other is None or observation.look > other.look:
            newest[observation.path] = observation
    return {
        path: _judge_one(observation, known.claims.get(path), circumstances)
        for path, observation in newest.items()
    }


def _judge_one(
    observation: Observation, claim: Claim | None, circumstances: Circumstances
) -> Verdict:
    path = observation.path
    judgement = circumstances.scope.judge(path)
    root = judgement.root or ""
    if judgement.refusal is not None:
        stand = Stand.DENIED if judgement.refusal is Reason.DENIED else Stand.UNSCANNED
        return Verdict(path, stand, root, observation, judgement.refusal)
    state = circumstances.roots.get(root)
    if state is None or not state.healthy:
        return Verdict(path, Stand.FROZEN, root, observation, Reason.ROOT_SICK)
    if observation.outcome is Outcome.UNKNOWN:
        return Verdict(path, Stand.FROZEN, root, observation, observation.reason)
    if observation.outcome is Outcome.ABSENT and _on_another_filesystem(observation, claim):
        return Verdict(path, Stand.FROZEN, root, observation, Reason.OTHER_FILESYSTEM)
    return Verdict(path, Stand(str(observation.outcome)), root, observation, observation.reason)


def _on_another_filesystem(observation: Observation, claim: Claim | None) -> bool:
    """Whether what is missing lay on a file system that is not mounted there now."""
    return (
        claim is not None
        and claim.filesystem is not None
        and observation.filesystem is not None
        and observation.filesystem != claim.filesystem
    )


def lets_go(row: Agent, place: Verdict, known: Known) -> bool:
    """Whether the path that holds a row's id is known not to hold it (any more).

    A displaced row's last path was seen with another id. While that other lives there, no
    torn or unreadable file brings the displaced one back.
    """
    return place.releases(row.id) or (row.project_path is None and place.path in known.owners)


def rank(verdict: Verdict, incumbents: Mapping[str, str]) -> tuple[bool, bool, str]:
    """Order the paths that claim one id: best first.

    The path that held it before a rebuild, then a main checkout before a linked worktree,
    then the smallest path.
    """
    incumbent = incumbents.get(verdict.agent_id or "")
    return (
        verdict.path != incumbent,
        verdict.observation.git is Git.WORKTREE,
        verdict.path,
    )


def same_directory(one: Verdict, other: Verdict) -> bool:
    """Whether two paths are one directory seen twice, as through a bind mount."""
    dork = one.observation.dork
    return dork is not None and dork == other.observation.dork and one.path != other.path
