"""What holds of every plan, told from the design and not from the code (faults: §12).

Each function takes what went into a plan and what came of it, and fails with the invariant
that is broken. The oracle of a claim and of a place is written here a second time on purpose.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from meshd.core.closing import unlooked
from meshd.core.model import ClaimOutcome, Kind, Reason, Status
from meshd.core.plan import Plan, plan
from meshd.core.snapshot import snapshot
from meshd.core.verdict import Known, Stand, judge
from tests.core.batches import applied

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from meshd.core.model import Agent, Observation
    from meshd.core.verdict import Circumstances, Verdict

LEAVING = {Kind.REMOVED, Kind.DENIED}
_OUTCOMES = {
    Stand.INVALID: ClaimOutcome.INVALID,
    Stand.FROZEN: ClaimOutcome.UNREADABLE,
}
GONE = {Stand.ABSENT, Stand.DENIED, Stand.UNSCANNED}


def check_everything(
    before: Known, looks: Sequence[Observation], given: Circumstances
) -> tuple[Plan, Known]:
    """Plan a closed batch, check every invariant, and return the plan and what it leads to."""
    verdicts = judge(looks, before, given)
    assert unlooked(before, verdicts, given) == set(), "the batch is not closed"
    planned = plan(before, verdicts, given)
    after = applied(before, planned)  # refuses a path with two owners (I4)
    check_converged(after, verdicts, given)
    check_idempotent(after, looks, given)
    check_order_independent(before, looks, given, planned)
    check_frozen(before, after, verdicts)
    check_sticky(before, after, verdicts, given)
    check_removals(before, planned, verdicts, given)
    check_audit(before, after, planned)
    check_told(before, after, planned)
    check_claims(before, after, verdicts)
    check_written_once(before, planned)
    return planned, after


def check_converged(after: Known, verdicts: Mapping[str, Verdict], given: Circumstances) -> None:
    """I1: an id that is found, and that no unreadable path holds back, has one live row there."""
    for agent_id in {one.agent_id for one in verdicts.values()} - {None}:
        places = {path: one for path, one in verdicts.items() if one.agent_id == agent_id}
        row = after.rows.get(str(agent_id))
        if row is None:
            held_back = verdicts[given.incumbents[str(agent_id)]].stand
            assert held_back in (Stand.FROZEN, Stand.INVALID), "I1: found, and not registered"
        elif row.project_path in places:
            assert row.live, "I1: found where it lives, and not live"
            manifest = places[row.project_path].observation.manifest
            assert manifest is not None
            assert row.name == manifest.name, "I1: a field differs from the file"
        else:
            place = verdicts[row.holder_path]
            assert place.stand in (Stand.FROZEN, Stand.INVALID), "I1: found, and left elsewhere"


def check_idempotent(after: Known, looks: Sequence[Observation], given: Circumstances) -> None:
    """I2: the same looks once more change nothing."""
    again = plan(after, judge(looks, after, given), given)
    assert again == Plan(), "I2: planned again"


def check_order_independent(
    before: Known, looks: Sequence[Observation], given: Circumstances, planned: Plan
) -> None:
    """I3: the order of rows, claims and looks does not matter."""
    backwards = Known(
        {agent_id: before.rows[agent_id] for agent_id in reversed(list(before.rows))},
        {path: before.claims[path] for path in reversed(list(before.claims))},
    )
    again = plan(backwards, judge(reversed(looks), backwards, given), given)
    assert again == planned, "I3: another order, another plan"


def is_anothers(before: Known, row: Agent) -> bool:
    """Whether a displaced row's last path is the home of another: no look brings it back there."""
    return row.project_path is None and row.last_path in before.owners


def check_frozen(before: Known, after: Known, verdicts: Mapping[str, Verdict]) -> None:
    """I5: a row whose path could not be told is as it was; an invalid file restarts its clock."""
    for agent_id, row in before.rows.items():
        place = verdicts.get(row.holder_path)
        if is_anothers(before, row) and after.rows[agent_id].project_path is not None:
            continue
        if place is None or place.stand is Stand.FROZEN:
            assert after.rows[agent_id] == row, "I5: a frozen row changed"
        elif place.stand is Stand.INVALID:
            assert after.rows[agent_id] == replace(row, absent_clock=None), "I5: an invalid file"


def check_sticky(
    before: Known, after: Known, verdicts: Mapping[str, Verdict], given: Circumstances
) -> None:
    """I6: a row moves only off a path that let go, or in the sweep it was born in."""
    for agent_id, row in before.rows.items():
        now = after.rows.get(agent_id)
        if now is None or now.holder_path == row.holder_path:
            continue
        place = verdicts[row.holder_path]
        if place.agent_id == agent_id:
            assert given.sweep is not None, "I6: moved off a path that holds it"
            assert row.born_sweep == given.sweep.number, "I6: yielded, and is not new"
        else:
            let_go = place.stand in GONE or place.agent_id is not None or is_anothers(before, row)
            assert let_go, "I6: moved on a bad look"
        assert verdicts[now.holder_path].agent_id == agent_id, "I6: moved to nowhere"


def check_removals(
    before: Known, planned: Plan, verdicts: Mapping[str, Verdict], given: Circumstances
) -> None:
    """I7: a removal needs the whole observed grace, and a last look in the same sweep."""
    told = {one.agent_id: one.kind for one in planned.changes if one.kind in LEAVING}
    assert sorted(planned.removed) == sorted(map(str, told)), "I8: a row left without a word"
    for agent_id in planned.removed:
        row, place = before.rows[agent_id], verdicts[before.rows[agent_id].holder_path]
        assert agent_id not in {one.agent_id for one in verdicts.values()}, "I7: it is there"
        if place.stand is Stand.DENIED:
            assert told[agent_id] is Kind.DENIED
            continue
        sweep = given.sweep
        assert sweep is not None, "I7: removed outside of a sweep"
        assert row.absent_clock is not None, "I7: its absence was never observed"
        assert sweep.clocks[place.root] - row.absent_clock >= sweep.grace, "I7: too early"
        assert (row.status, row.unscanned) == (Status.UNREACHABLE, None), "I7: it was not gone"
        assert place.stand is Stand.ABSENT or place.agent_id is not None, "I7: on a bad look"
        assert agent_id not in given.held, "I13: removed while held"


def check_audit(before: Known, after: Known, planned: Plan) -> None:
    """I8: every row there was is there still, or whole in the change log."""
    whole = {one.agent_id: one.before for one in planned.changes if one.kind in LEAVING}
    for agent_id, row in before.rows.items():
        if agent_id not in after.rows:
            assert whole[agent_id] == snapshot(row), "I8: left without a trace"
        elif row.project_path is not None:
            now = after.rows[agent_id]
            assert now.last_path, "I8: nobody knows where it lived"


def check_told(before: Known, after: Known, planned: Plan) -> None:
    """What the changes say was and is, put together, is what was and what is."""
    replayed = {agent_id: snapshot(row) for agent_id, row in before.rows.items()}
    for change in planned.changes:
        if change.kind in (Kind.REFUSED, Kind.INVALID, Kind.VALID):
            continue
        agent_id = str(change.agent_id)
        was = replayed.pop(agent_id, {})
        for field, value in (change.before or {}).items():
            assert was[field] == value, f"told of {field} as it was not"
        if change.after is not None:
            replayed[agent_id] = {**was, **change.after}
    assert replayed == {one: snapshot(row) for one, row in after.rows.items()}, "not all is told"


def check_claims(before: Known, after: Known, verdicts: Mapping[str, Verdict]) -> None:
    """The claim of every path looked at says what the path is to the rows."""
    for path, verdict in verdicts.items():
        claim = after.claims.get(path)
        outcome = None if claim is None else claim.outcome
        if verdict.reason is Reason.ROOT_SICK:
            assert claim == before.claims.get(path), "a sick root's claim changed"
        else:
            assert outcome in _possible(path, verdict, after, verdicts), f"claim of {path}"
    for agent_id, row in after.rows.items():
        held = verdicts.get(row.holder_path)
        if held is not None and held.agent_id == agent_id:
            assert after.claims[row.holder_path].outcome is ClaimOutcome.VALID, "own, not valid"


def _possible(
    path: str, verdict: Verdict, after: Known, verdicts: Mapping[str, Verdict]
) -> set[ClaimOutcome | None]:
    if verdict.stand is Stand.PRESENT:
        return {_of_present(path, verdict, after, verdicts)}
    if verdict.stand in _OUTCOMES:
        return {_OUTCOMES[verdict.stand]}
    namers = [row for row in after.rows.values() if row.holder_path == path]
    if verdict.stand is Stand.DENIED or not namers:
        return {None}
    if verdict.stand is Stand.UNSCANNED:
        return {None, ClaimOutcome.ABSENT}
    # An absence that a row did not suffer is withheld by the mass guard.
    return {ClaimOutcome.UNREADABLE if _is_held(namers, path) else ClaimOutcome.ABSENT}


def _of_present(
    path: str, verdict: Verdict, after: Known, verdicts: Mapping[str, Verdict]
) -> ClaimOutcome:
    row = after.rows.get(str(verdict.agent_id))
    if row is not None and row.project_path == path:
        return ClaimOutcome.VALID
    place = None if row is None else verdicts.get(row.holder_path)
    dork = verdict.observation.dork
    if place is not None and dork is not None and place.observation.dork == dork:
        return ClaimOutcome.ALIAS
    return ClaimOutcome.DUPLICATE


def _is_held(namers: Sequence[Agent], path: str) -> bool:
    return any(
        row.project_path == path and (row.live or row.unscanned is not None) for row in namers
    )


def check_written_once(before: Known, planned: Plan) -> None:
    """R10: what is written is new, and nothing is written twice."""
    ids = [row.id for row in planned.rows] + list(planned.removed)
    paths = [one.path for one in planned.claims] + list(planned.dropped_claims)
    assert len(ids) == len(set(ids)), "a row is written twice"
    assert len(paths) == len(set(paths)), "a claim is written twice"
    for row in planned.rows:
        assert before.rows.get(row.id) != row, "R10: a row is written that is there"
    for path in planned.dropped_claims:
        assert path in before.claims, "R10: a claim is dropped that is not there"
