"""The plan: from rows, claims and looks to changes (R5).

Owns every decision about a row. Assumes a closed batch (`closing`) whose rows and claims
were loaded in the transaction that will apply the plan. Promises: no I/O, no clock, the same
plan whatever the order of its inputs; it judges the whole batch before it changes anything,
so ids that swap, chain or move are one step and a path never has two owners.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING

from meshd.core.claims import judge_claims
from meshd.core.closing import better_claim, claims_by_id, touched_ids
from meshd.core.lifecycle import Event, RowState, state_of, transition
from meshd.core.model import Agent, Change, ClaimOutcome, Kind, Reason, Status
from meshd.core.namespace import derive
from meshd.core.quota import Room
from meshd.core.snapshot import difference, is_seen_to_differ, snapshot
from meshd.core.verdict import Stand, lets_go, rank

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from meshd.core.model import Claim
    from meshd.core.quota import Refusal
    from meshd.core.verdict import Circumstances, Known, Verdict

# What is taken away is told before what is given, so a reader of the log never sees a path
# with two owners.
_ORDER = {
    kind: place
    for place, kind in enumerate(
        (
            Kind.ROOT_SICK,
            Kind.ROOT_HEALTHY,
            Kind.DENIED,
            Kind.ALLOWED,
            Kind.FORGOTTEN,
            Kind.UNREGISTERED,
            Kind.UNSCANNED,
            Kind.REMOVED,
            Kind.DISPLACED,
            Kind.UNREACHABLE,
            Kind.RELOCATED,
            Kind.RETURNED,
            Kind.REGISTERED,
            Kind.UPDATED,
            Kind.REFUSED,
            Kind.INVALID,
            Kind.VALID,
        )
    )
}

# The manifest's fields that a row keeps under the same name.
_FROM_MANIFEST = (
    "name",
    "runtime",
    "registered_at",
    "registered_by",
    "display_name",
    "description",
    "capabilities",
    "behavior",
    "budget",
    "persona",
    "persona_enabled",
    "traits",
    "conventions",
    "color",
    "icon",
    "model",
    "effort",
    "account",
    "is_system",
    "enabled_tool_groups",
    "mcp_servers",
)
_TOLD_BY_MANIFEST = attrgetter(*_FROM_MANIFEST)
# What a row keeps, whatever the manifest says.
_KEPT = ("born_sweep", "last_seen_at", "last_seen_event", "updated_at", "seq")
_KEPT_BY_ROW = attrgetter(*_KEPT)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to write: changes for the log, and the rows and claims that carry them out."""

    changes: tuple[Change, ...] = ()
    rows: tuple[Agent, ...] = ()
    removed: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = ()
    dropped_claims: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write (R10)."""
        return not (self.changes or self.rows or self.removed or self.claims or self.dropped_claims)


@dataclass(frozen=True, slots=True)
class _Decision:
    """What becomes of one id: its row before and after, and what the log says of it."""

    before: Agent | None
    after: Agent | None
    kind: Kind | None
    verdict: Verdict


def plan(known: Known, verdicts: Mapping[str, Verdict], circumstances: Circumstances) -> Plan:
    """Decide a closed batch.

    Args:
        known: every row and claim of the ids and paths in the batch.
        verdicts: what each path looked at counts for (`verdict.judge`).
        circumstances: roots, scope, policy and the sweep the batch belongs to.
    """
    claims = claims_by_id(verdicts)
    touched = sorted(touched_ids(known, verdicts))
    decisions = [
        _decide(row, known, verdicts, claims, circumstances)
        for agent_id in touched
        if (row := known.rows.get(agent_id)) is not None
    ]
    new = (
        _first_holders(agent_id, claims.get(agent_id, ()), verdicts, circumstances)
        for agent_id in touched
        if agent_id not in known.rows
    )
    born, refused = _admit([one for one in new if one], decisions, known, circumstances)
    decisions += born
    rows_after = dict(known.rows)
    for decision in decisions:
        row = decision.after or decision.before
        assert row is not None, "bug: a decision about nothing"
        if decision.after is None:
            rows_after.pop(row.id, None)
        else:
            rows_after[row.id] = decision.after
    changes = [change for decision in decisions for change in _told(decision)]
    kept, dropped, claim_changes = judge_claims(known, verdicts, rows_after, refused)
    return Plan(
        changes=tuple(
            sorted(
                (*changes, *claim_changes),
                key=lambda one: (_ORDER[one.kind], one.agent_id or "", one.path or ""),
            )
        ),
        rows=tuple(
            decision.after
            for decision in decisions
            if decision.after is not None
            # What is told of differs, and comparing rows costs as much as writing them.
            and (decision.kind is not None or decision.after != decision.before)
        ),
        removed=tuple(
            decision.before.id
            for decision in decisions
            if decision.before is not None and decision.after is None
        ),
        claims=tuple(kept),
        dropped_claims=tuple(dropped),
    )


def _decide(
    row: Agent,
    known: Known,
    verdicts: Mapping[str, Verdict],
    claims: Mapping[str, Sequence[Verdict]],
    circumstances: Circumstances,
) -> _Decision:
    """Decide one id that a row holds."""
    agent_id = row.id
    candidates = claims.get(agent_id, ())
    place = verdicts[row.holder_path]
    if place.agent_id == agent_id:
        # What a ceiling refused in this sweep has no room in it to take over with.
        better = better_claim(
            row, place, [one for one in candidates if not _is_refused(one, known)], circumstances
        )
        if better is not None:
            return _take_place(row, better, Event.MOVED, circumstances)
        return _take_place(row, place, Event.CONFIRMED, circumstances)
    if candidates and lets_go(row, place, known):
        return _take_place(row, _best(candidates, circumstances), Event.MOVED, circumstances)
    if not place.releases(agent_id):
        event = Event.INVALID if place.stand is Stand.INVALID else Event.UNKNOWN
        return _keep(row, place, event)
    return _let_go(row, place, circumstances)


def _best(candidates: Iterable[Verdict], circumstances: Circumstances) -> Verdict:
    return min(candidates, key=lambda verdict: rank(verdict, circumstances.incumbents))


def _is_refused(verdict: Verdict, known: Known) -> bool:
    claim = known.claims.get(verdict.path)
    return claim is not None and claim.outcome is ClaimOutcome.REFUSED


def _first_holders(
    agent_id: str,
    candidates: Sequence[Verdict],
    verdicts: Mapping[str, Verdict],
    circumstances: Circumstances,
) -> list[Verdict]:
    """Return the paths that may get an id no row holds, best first.

    While the path that held it before a rebuild cannot be read, nobody does: a clone must
    not inherit an id because the database was lost.
    """
    holder = verdicts.get(circumstances.incumbents.get(agent_id, ""))
    if holder is not None and not holder.releases(agent_id) and holder.agent_id != agent_id:
        return []
    return sorted(candidates, key=lambda verdict: rank(verdict, circumstances.incumbents))


def _admit(
    newcomers: list[list[Verdict]],
    decisions: Iterable[_Decision],
    known: Known,
    circumstances: Circumstances,
) -> tuple[list[_Decision], dict[str, Refusal]]:
    """Decide the ids that no row holds, as far as there is room for them.

    Args:
        newcomers: for each id, its claims, best first.
        decisions: what becomes of the rows there are.
        known: what the registry holds.
        circumstances: what the plan rests on.

    Returns:
        The rows that are born, and by path the claims that a ceiling refused.
    """
    removed = [one.before for one in decisions if one.after is None and one.before is not None]
    room = Room(circumstances.quotas, known.holdings, removed, known.claims)
    refused: dict[str, Refusal] = {}
    winners = [
        room.admit(candidates, refused)
        for candidates in sorted(newcomers, key=lambda one: rank(one[0], circumstances.incumbents))
    ]
    born = [
        _take_place(None, winner, Event.CONFIRMED, circumstances)
        for winner in winners
        if winner is not None
    ]
    return born, refused


def _take_place(
    row: Agent | None, verdict: Verdict, event: Event, circumstances: Circumstances
) -> _Decision:
    """Put a row at a path that holds its id, with what the manifest says."""
    _, kind = transition(state_of(row), event)
    after = _row_at(row, verdict, circumstances)
    if kind is None and row is not None and is_seen_to_differ(row, after):
        kind = Kind.UPDATED
    return _Decision(row, after, kind, verdict)


def _row_at(row: Agent | None, verdict: Verdict, circumstances: Circumstances) -> Agent:
    manifest = verdict.observation.manifest
    assert manifest is not None, "bug: a place without a manifest"
    namespace, flags = derive(
        manifest.namespace, verdict.root, verdict.path, circumstances.namespaces.get(verdict.root)
    )
    told = dict(zip(_FROM_MANIFEST, _TOLD_BY_MANIFEST(manifest), strict=True))
    sweep, approver = circumstances.sweep, circumstances.approvers.get(manifest.id)
    if row is None:
        told |= {"born_sweep": None if sweep is None else sweep.number, "approver": approver}
    else:
        told |= zip(_KEPT, _KEPT_BY_ROW(row), strict=True)
        told["approver"] = row.approver or approver
    return Agent(
        id=manifest.id,
        namespace=namespace,
        declared_namespace=manifest.namespace,
        scan_root=verdict.root,
        project_path=verdict.path,
        last_path=verdict.path,
        flags=flags,
        **told,
    )


def _keep(row: Agent, place: Verdict, event: Event) -> _Decision:
    """Freeze a row whose path could not be told; an invalid file restarts an absence."""
    transition(state_of(row), event)
    after = row
    if event is Event.INVALID and row.absent_clock is not None:
        after = replace(row, absent_clock=None)
    return _Decision(row, after, None, place)


def _let_go(row: Agent, place: Verdict, circumstances: Circumstances) -> _Decision:
    """Decide a row whose path let go of its id while no other path holds it."""
    event = _loss(row, place, circumstances)
    state, kind = transition(state_of(row), event)
    if state is RowState.NONE:
        return _Decision(row, None, kind, place)
    if event is Event.UNKNOWN:
        return _Decision(row, row, None, place)
    if event is Event.OUT_OF_SCOPE:
        after = replace(row, unscanned=place.reason, absent_clock=None)
    else:
        after = replace(
            row,
            status=Status.UNREACHABLE,
            unscanned=None,
            unreachable_reason=_unreachable_reason(row, place, event),
            project_path=None if event is Event.DISPLACED else row.project_path,
            absent_clock=_absent_clock(row, place, circumstances),
            scan_root=place.root,
        )
    if kind is None and is_seen_to_differ(row, after):
        kind = Kind.UPDATED
    return _Decision(row, after, kind, place)


def _loss(row: Agent, place: Verdict, circumstances: Circumstances) -> Event:
    if row.id in circumstances.unregistered:
        return Event.UNREGISTERED
    if place.stand is Stand.DENIED:
        return Event.DENIED
    if place.stand is Stand.UNSCANNED:
        return Event.OUT_OF_SCOPE
    held = row.id in circumstances.held
    # Before displacement: a second plan on the same looks must find nothing more to take.
    if _grace_is_over(row, place, circumstances) and not held:
        return Event.EXPIRED
    if place.stand is Stand.PRESENT and row.project_path is not None:
        return Event.DISPLACED
    return Event.UNKNOWN if held else Event.LOST


def _grace_is_over(row: Agent, place: Verdict, circumstances: Circumstances) -> bool:
    """Whether observed absence, this sweep included, has lasted the whole grace (R8)."""
    sweep = circumstances.sweep
    clock = None if sweep is None else sweep.clocks.get(place.root)
    return (
        sweep is not None
        and clock is not None
        and state_of(row) is RowState.UNREACHABLE
        and row.scan_root == place.root
        and row.absent_clock is not None
        and clock - row.absent_clock >= sweep.grace
    )


def _absent_clock(row: Agent, place: Verdict, circumstances: Circumstances) -> float | None:
    """Return the observed clock since which the row is absent: kept, or this sweep's."""
    same_absence = row.unscanned is None and row.scan_root == place.root
    if same_absence and row.absent_clock is not None:
        return row.absent_clock
    return None if circumstances.sweep is None else circumstances.sweep.clocks.get(place.root)


def _unreachable_reason(row: Agent, place: Verdict, event: Event) -> Reason | None:
    if event is Event.DISPLACED or row.project_path is None:
        return Reason.DISPLACED
    return place.reason


def _told(decision: _Decision) -> Iterable[Change]:
    """Say in the log's words what a decision did."""
    if decision.kind is None:
        return
    before, after = decision.before, decision.after
    row = after or before
    assert row is not None, "bug: a change of nothing"
    if before is None:
        old, new = None, snapshot(row)
    elif after is None:
        old, new = snapshot(before), None
    else:
        old, new = difference(before, after)
    path = row.holder_path if after is not None else decision.verdict.path
    yield Change(decision.kind, row.id, path, decision.verdict.observation.source, old, new)
