"""What every path claims, once the rows are decided.

Owns the judgement of claims: valid, duplicate, alias, invalid, unreadable, absent. Assumes rows
as the plan leaves them and a verdict for every path that they rest on. Promises: pure; a
path looked at twice in the same state is news once.
"""

from __future__ import annotations

from dataclasses import fields, replace
from operator import attrgetter
from typing import TYPE_CHECKING

from meshd.core.lifecycle import RowState, state_of
from meshd.core.model import Change, Claim, ClaimOutcome, Kind, Reason
from meshd.core.verdict import Stand, same_directory

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    from meshd.core.model import Agent
    from meshd.core.quota import Refusal
    from meshd.core.verdict import Known, Verdict


_CLAIMED = attrgetter(
    *(field.name for field in fields(Claim) if field.name not in {"look", "looked_at_ns"})
)
"""All that a claim says but when it was looked at: a look that finds the same writes nothing."""


def judge_claims(
    known: Known,
    verdicts: Mapping[str, Verdict],
    rows_after: Mapping[str, Agent],
    refused: Mapping[str, Refusal],
) -> tuple[list[Claim], list[str], list[Change]]:
    """Say what every path looked at claims now, and what of that is news.

    Args:
        known: what the registry held before.
        verdicts: what each path looked at counts for.
        rows_after: rows by id as the plan leaves them.
        refused: by path, the newcomers for which there is no room, and why.

    Returns:
        Claims to write, paths whose claim is dropped, and what the log is told.
    """
    named = {row.holder_path for row in rows_after.values()}
    lived_at = {row.project_path for row in rows_after.values() if not _is_unreachable(row)}
    kept: list[Claim] = []
    dropped: list[str] = []
    changes: list[Change] = []
    for path in sorted(verdicts):
        verdict, old = verdicts[path], known.claims.get(path)
        if verdict.stand is Stand.FROZEN and verdict.reason is Reason.ROOT_SICK:
            continue
        if _claims_nothing(verdict, old, named):
            if old is not None:
                dropped.append(path)
            continue
        if verdict.stand is Stand.ABSENT and path in lived_at:
            # The mass guard holds the absence: until it is confirmed it counts as not told,
            # so the row shows unconfirmed and the next sweep looks again.
            verdict = replace(verdict, stand=Stand.FROZEN)
        new = _claim(verdict, old, _claim_outcome(verdict, verdicts, rows_after))
        if path in refused:
            new = replace(
                new,
                outcome=ClaimOutcome.REFUSED,
                reason=refused[path].reason,
                detail=refused[path].detail,
            )
        if old is None or _CLAIMED(new) != _CLAIMED(old):
            kept.append(new)
            changes.extend(_claim_news(old, new, verdict))
    return kept, dropped, changes


def _is_unreachable(row: Agent) -> bool:
    return state_of(row) is RowState.UNREACHABLE


def _claims_nothing(verdict: Verdict, old: Claim | None, named: Container[str]) -> bool:
    """Whether nothing about a path is worth keeping.

    While a row names a path, the file system it lay on is: in scope again, it may not be mounted.
    """
    if verdict.stand is Stand.UNSCANNED:
        return old is None or verdict.path not in named
    return verdict.stand is Stand.DENIED or (
        verdict.stand is Stand.ABSENT and verdict.path not in named
    )


def _claim(verdict: Verdict, old: Claim | None, outcome: ClaimOutcome) -> Claim:
    """Return what a path claims now."""
    observation = verdict.observation
    claim = Claim(
        path=verdict.path,
        root=verdict.root,
        outcome=outcome,
        agent_id=verdict.agent_id,
        reason=verdict.reason,
        detail=observation.detail,
        signature=observation.signature,
        content_hash=observation.content_hash,
        dork=observation.dork,
        filesystem=observation.filesystem,
        owner=observation.owner,
        look=observation.look,
        looked_at_ns=observation.looked_at_ns,
    )
    if verdict.stand is Stand.PRESENT:
        return claim
    # A path that cannot be read still claims what it claimed: its id stays contested.
    if verdict.stand in (Stand.INVALID, Stand.FROZEN) and old is not None:
        claim = replace(claim, agent_id=old.agent_id)
    if verdict.stand is Stand.INVALID:
        return claim
    # What was not there to see says nothing of the file system it lay on; what was known of
    # it tells an absence from a file system that is not mounted.
    if old is None:
        return replace(claim, filesystem=None)
    return replace(claim, filesystem=old.filesystem, owner=old.owner, root=claim.root or old.root)


def _claim_outcome(
    verdict: Verdict, verdicts: Mapping[str, Verdict], rows_after: Mapping[str, Agent]
) -> ClaimOutcome:
    if verdict.stand is Stand.FROZEN:
        return ClaimOutcome.UNREADABLE
    if verdict.stand is not Stand.PRESENT:
        return ClaimOutcome.INVALID if verdict.stand is Stand.INVALID else ClaimOutcome.ABSENT
    holder = rows_after.get(verdict.agent_id or "")
    if holder is not None and holder.project_path == verdict.path:
        return ClaimOutcome.VALID
    place = None if holder is None else verdicts.get(holder.holder_path)
    if place is not None and same_directory(place, verdict):
        return ClaimOutcome.ALIAS
    return ClaimOutcome.DUPLICATE


def _claim_news(old: Claim | None, new: Claim, verdict: Verdict) -> Iterable[Change]:
    source = verdict.observation.source
    was = None if old is None else old.outcome
    if new.outcome is ClaimOutcome.REFUSED:
        if old is None or was is not ClaimOutcome.REFUSED or old.agent_id != new.agent_id:
            after = {"reason": str(new.reason), "detail": new.detail}
            yield Change(Kind.REFUSED, new.agent_id, new.path, source, after=after)
    elif new.outcome is ClaimOutcome.DUPLICATE:
        if old is None or was is not ClaimOutcome.DUPLICATE or old.agent_id != new.agent_id:
            yield Change(Kind.REFUSED, new.agent_id, new.path, source)
    elif new.outcome is ClaimOutcome.INVALID:
        if old is None or was is not ClaimOutcome.INVALID or old.reason != new.reason:
            after = {"reason": str(new.reason), "detail": new.detail}
            yield Change(Kind.INVALID, new.agent_id, new.path, source, after=after)
    elif was is ClaimOutcome.INVALID and new.outcome is ClaimOutcome.VALID:
        yield Change(Kind.VALID, new.agent_id, new.path, source)
