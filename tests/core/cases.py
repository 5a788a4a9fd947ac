"""One row of the table "What a look means": a batch, and all that comes of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from meshd.core.model import Agent, Claim, ClaimOutcome, Kind, Observation, Reason
from meshd.core.plan import Plan
from tests.core.batches import WELL, agent, applied, claim, decide, kinds, known, lost, unscanned

if TYPE_CHECKING:
    from meshd.core.verdict import Circumstances

X, Y, Z, S1 = "/r/x", "/r/y", "/r/z", "/s/1"
ABSENT, ALIAS, DUPLICATE, INVALID, UNREADABLE, VALID = (
    ClaimOutcome.ABSENT, ClaimOutcome.ALIAS, ClaimOutcome.DUPLICATE, ClaimOutcome.INVALID,
    ClaimOutcome.UNREADABLE, ClaimOutcome.VALID,
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A batch, and all that comes of it.

    Attributes:
        rows, claims, looks, given: what goes in.
        told: (kind, id, path) of every change.
        after: the rows that are written, by id; those not named stay as they are.
        removed: ids whose row leaves.
        judged: outcome of every claim that is written, by path.
        dropped: paths whose claim is dropped.
    """

    looks: list[Observation]
    rows: tuple[Agent, ...] = ()
    claims: tuple[Claim, ...] = ()
    given: Circumstances = WELL
    told: tuple[tuple[Kind, str | None, str | None], ...] = ()
    after: tuple[Agent, ...] = ()
    removed: tuple[str, ...] = ()
    judged: tuple[tuple[str, ClaimOutcome], ...] = ()
    dropped: tuple[str, ...] = ()


HOLDS_X: dict[str, Any] = {"rows": (agent("a", X),), "claims": (claim(X, "a"),)}
GONE_X: dict[str, Any] = {
    "rows": (lost("a", X),),
    "claims": (claim(X, None, outcome=ABSENT, reason=Reason.PROJECT_MISSING, dork=None),),
}
OUT_X: dict[str, Any] = {"rows": (unscanned("a", X),)}


def check(case: Case) -> None:
    """Insist that a batch comes to what its case says, and to nothing else."""
    planned = decide(case.rows, case.claims, case.looks, case.given)
    born = None if case.given.sweep is None else case.given.sweep.number
    new = {row.id for row in planned.rows} - {row.id for row in case.rows}

    assert kinds(planned) == list(case.told)
    assert list(planned.rows) == [
        replace(row, born_sweep=born) if row.id in new else row for row in case.after
    ]
    assert planned.removed == case.removed
    assert [(one.path, one.outcome) for one in planned.claims] == list(case.judged)
    assert planned.dropped_claims == case.dropped


def check_again(case: Case) -> None:
    """Insist that the same looks, once the plan is applied, come to nothing."""
    before = known(case.rows, case.claims)
    after = applied(before, decide(case.rows, case.claims, case.looks, case.given))

    again = decide(after.rows.values(), after.claims.values(), case.looks, case.given)

    assert again == Plan()
