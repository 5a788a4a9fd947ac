"""Closing a batch (R5) and telling its costs from its gains (R7).

A batch is closed when no path that could change the outcome has been left unlooked at.
A cost takes something from a row or hands an id to another path; it is planned only after
a second look. Both are questions about a batch, answered here without I/O; the reconciler
looks and asks again until nothing is added.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshd.core.verdict import OPERATOR_ACTS, lets_go, rank, same_directory

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping

    from meshd.core.model import Agent
    from meshd.core.verdict import Circumstances, Known, Verdict


def touched_ids(known: Known, verdicts: Mapping[str, Verdict]) -> set[str]:
    """Return the ids the batch says something about."""
    touched = {verdict.agent_id for verdict in verdicts.values() if verdict.agent_id is not None}
    touched |= {row.id for row in known.rows.values() if row.holder_path in verdicts}
    return touched


def unlooked(
    known: Known,
    verdicts: Mapping[str, Verdict],
    circumstances: Circumstances,
    among: Mapping[str, Verdict] | None = None,
) -> set[str]:
    """Return the paths that must be looked at before the batch is closed.

    For every id touched, the path that holds it; for every id whose path lets go, or that
    no row holds, every path that claims it. Also those last looked at before a look the
    registry already rests on: an older look never overrides a newer one (R4).

    Args:
        known: what the registry holds, about the paths asked for at least.
        verdicts: every path looked at.
        circumstances: what the plan rests on.
        among: the paths added since this was asked last; all by default. A chain of ids is
            then closed in as many steps as it has links, and not in their square.
    """
    among = verdicts if among is None else among
    outdated = {
        path
        for path, verdict in among.items()
        if path in known.claims and verdict.observation.look < known.claims[path].look
    }
    touched = touched_ids(known, among)
    rests_on = _rests_on(touched, known, verdicts, circumstances)
    wanted = {path for _, paths in rests_on for path in paths}
    return outdated | (wanted - verdicts.keys())


def _rests_on(
    touched: Iterable[str],
    known: Known,
    verdicts: Mapping[str, Verdict],
    circumstances: Circumstances,
) -> Iterator[tuple[str, list[str]]]:
    """Yield every id with the known paths that its fate rests on."""
    claimed: dict[str, list[str]] = {}
    for claim in known.claims.values():
        if claim.agent_id is not None:
            claimed.setdefault(claim.agent_id, []).append(claim.path)
    for agent_id in touched:
        row = known.rows.get(agent_id)
        holder = circumstances.incumbents.get(agent_id) if row is None else row.holder_path
        paths = [] if holder is None else [holder]
        place = None if holder is None else verdicts.get(holder)
        if row is None or place is None or lets_go(row, place, known):
            paths += claimed.get(agent_id, ())
        yield agent_id, paths


def costly_paths(
    known: Known,
    verdicts: Mapping[str, Verdict],
    circumstances: Circumstances,
    looked_before: Container[str] = frozenset(),
) -> set[str]:
    """Return every path of the closed sets in which something is lost at a first look.

    Lost or handed over, that is; a denial or a change of scope is an act of the operator and
    costs no second look.

    Args:
        known: what the registry holds.
        verdicts: a closed batch.
        circumstances: what the plan rests on.
        looked_before: paths whose loss was seen before, at least the settle time ago (R7).
    """
    claims = claims_by_id(verdicts)
    sets = _ClosedSets()
    costly: list[str] = []
    for agent_id, claiming in claims.items():
        for verdict in claiming:
            sets.join(_identity(agent_id), verdict.path)
    touched = touched_ids(known, verdicts)
    for agent_id, paths in _rests_on(touched, known, verdicts, circumstances):
        for path in paths:
            sets.join(_identity(agent_id), path)
        row = known.rows.get(agent_id)
        if row is None or row.holder_path in looked_before:
            continue
        place = verdicts.get(row.holder_path)
        if place is not None and (
            (place.stand not in OPERATOR_ACTS and lets_go(row, place, known))
            or better_claim(row, place, claims.get(agent_id, ()), circumstances) is not None
        ):
            costly.append(_identity(agent_id))
    leaders = {sets.leader(member) for member in costly}
    return {path for path in verdicts if sets.leader(path) in leaders}


def claims_by_id(verdicts: Mapping[str, Verdict]) -> dict[str, list[Verdict]]:
    """Group the paths that hold a valid manifest by the id they claim."""
    claims: dict[str, list[Verdict]] = {}
    for verdict in verdicts.values():
        if verdict.agent_id is not None:
            claims.setdefault(verdict.agent_id, []).append(verdict)
    return claims


def better_claim(
    row: Agent, place: Verdict, claims: Iterable[Verdict], circumstances: Circumstances
) -> Verdict | None:
    """Return the claim that a row born in the sweep under way yields to, if there is one.

    All claims of one sweep are simultaneous: which one the walk met first must not matter.
    """
    sweep = circumstances.sweep
    if sweep is None or row.born_sweep != sweep.number or place.agent_id != row.id:
        return None
    best = min(claims, key=lambda verdict: rank(verdict, circumstances.incumbents))
    if best.path == place.path or same_directory(best, place):
        return None
    return best


def _identity(agent_id: str) -> str:
    # A path starts with a slash, so an id and a path never meet in one name.
    return f"id:{agent_id}"


class _ClosedSets:
    """Disjoint sets of ids and paths (union-find with path halving)."""

    def __init__(self) -> None:
        self._parents: dict[str, str] = {}

    def leader(self, member: str) -> str:
        parents = self._parents
        while (parent := parents.setdefault(member, member)) != member:
            parents[member] = parents[parent]
            member = parent
        return member

    def join(self, one: str, other: str) -> None:
        self._parents[self.leader(one)] = self.leader(other)
