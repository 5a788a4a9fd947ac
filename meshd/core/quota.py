"""Ceilings against floods: who may still get a row (faults 48 and 49).

Owns the decision which newcomers are refused. Assumes the numbers of rows were counted in the
transaction that will apply the plan. Promises: pure; a row that exists is never refused anything,
whatever the numbers; which newcomers get the room that is left does not depend on the order in
which they were seen; and who may have no more stands in nobody's way: an id goes to the best of
its claims for which there is room.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from meshd.core.model import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from meshd.core.model import Agent, Claim
    from meshd.core.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Quotas:
    """The configured ceilings; None for no limit.

    Attributes:
        manifests_per_root: most rows of one root.
        agents_per_owner: most rows of projects that belong to one user.
    """

    manifests_per_root: int | None = None
    agents_per_owner: int | None = None

    @property
    def is_limiting(self) -> bool:
        """Whether anything is limited at all."""
        return self.manifests_per_root is not None or self.agents_per_owner is not None


NO_QUOTAS = Quotas()


@dataclass(frozen=True, slots=True)
class Holdings:
    """How many rows there are, unreachable ones included: they are kept, so they take room.

    Attributes:
        of_root: by root.
        of_owner: by user id of the owner of the project.
    """

    of_root: Mapping[str, int] = field(default_factory=dict)
    of_owner: Mapping[int, int] = field(default_factory=dict)


NO_HOLDINGS = Holdings()


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a newcomer gets no row."""

    reason: Reason
    detail: str


class Room:
    """The room that is left while newcomers are let in one after the other.

    Args:
        quotas: the ceilings.
        holdings: the rows before the plan.
        removed: rows that the plan removes.
        claims: by path, what was known; says to whom a removed row's project belonged.
    """

    def __init__(
        self,
        quotas: Quotas,
        holdings: Holdings,
        removed: Iterable[Agent] = (),
        claims: Mapping[str, Claim] | None = None,
    ) -> None:
        self._quotas = quotas
        self._of_root = Counter(holdings.of_root)
        self._of_owner = Counter(holdings.of_owner)
        for row in removed:
            self._of_root[row.scan_root] -= 1
            claim = (claims or {}).get(row.holder_path)
            if claim is not None and claim.owner is not None:
                self._of_owner[claim.owner] -= 1

    def refusal(self, root: str, owner: int | None) -> Refusal | None:
        """Say why there is no room for a newcomer, None when there is.

        Args:
            root: the root it lies in.
            owner: user id of the owner of its project, None where that is not known.
        """
        most = self._quotas.agents_per_owner
        if most is not None and owner is not None and self._of_owner[owner] >= most:
            return Refusal(Reason.OWNER_LIMIT, f"user {owner} may have {most} agents")
        most = self._quotas.manifests_per_root
        if most is not None and self._of_root[root] >= most:
            return Refusal(Reason.ROOT_LIMIT, f"its root may have {most} agents")
        return None

    def take(self, root: str, owner: int | None) -> Refusal | None:
        """Let a newcomer in where there is room, and else say why there is none."""
        refusal = self.refusal(root, owner)
        if refusal is None:
            self._of_root[root] += 1
            if owner is not None:
                self._of_owner[owner] += 1
        return refusal

    def admit(self, candidates: Sequence[Verdict], refused: dict[str, Refusal]) -> Verdict | None:
        """Return the first of the claims of one new id for which there is room, and take it.

        Args:
            candidates: claims of an id that no row holds, best first.
            refused: by path, the claims passed over; they are added here.
        """
        for candidate in candidates:
            refusal = self.take(candidate.root, candidate.observation.owner)
            if refusal is None:
                return candidate
            refused[candidate.path] = refusal
        return None
