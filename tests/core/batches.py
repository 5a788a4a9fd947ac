"""What the tests of the plan begin with: rows, looks, circumstances, and a model of the store.

Rows and claims built here agree with the looks built here: a row that lives at a path and a
look that finds its id there say the same, so a test states only what differs.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from meshd.core.closing import costly_paths, unlooked
from meshd.core.manifest import parse
from meshd.core.model import (
    Agent,
    Claim,
    ClaimOutcome,
    FileIdentity,
    Git,
    Kind,
    Observation,
    Outcome,
    Reason,
    RootState,
    Source,
    Status,
)
from meshd.core.namespace import derive
from meshd.core.plan import plan
from meshd.core.scope import Scope
from meshd.core.verdict import Circumstances, Known, SweepContext, judge

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from meshd.core.manifest import Manifest
    from meshd.core.plan import Plan
    from meshd.core.verdict import Verdict

# Roots: one with a root of its own nested in it, and one apart.
R, NESTED, S = "/r", "/r/nested", "/s"
ROOTS = (R, NESTED, S)
FILESYSTEM, OTHER_FILESYSTEM = "ef53:1", "1021994:2"
GRACE = 100.0
NOW = 1_000.0

_MANIFEST = parse(
    b'{"id": "a", "name": "agent", "runtime": "cursor",'
    b' "registeredAt": "2026-01-01T00:00:00Z", "registeredBy": "test"}'
)
_LOOKS_BEGIN_AT = 1_000


def manifest(agent_id: str, **fields: Any) -> Manifest:  # noqa: ANN401 - any field of a manifest
    """Return what a valid manifest of `agent_id` says."""
    return replace(_MANIFEST, id=agent_id, **fields)


def agent(agent_id: str, path: str, **fields: Any) -> Agent:  # noqa: ANN401 - any field of a row
    """Return an active row that lives at `path`, as its registration would have made it."""
    root = scope().owner(path) or R
    return replace(
        Agent(
            id=agent_id,
            name=_MANIFEST.name,
            runtime=_MANIFEST.runtime,
            registered_at=_MANIFEST.registered_at,
            registered_by=_MANIFEST.registered_by,
            namespace=derive(None, root, path, None)[0],
            scan_root=root,
            project_path=path,
            last_path=path,
            behavior=_MANIFEST.behavior,
            budget=_MANIFEST.budget,
        ),
        **fields,
    )


def lost(agent_id: str, path: str, since: float | None = NOW, **fields: object) -> Agent:
    """Return a row that is unreachable since its root's observed clock showed `since`."""
    return agent(
        agent_id,
        path,
        **{
            "status": Status.UNREACHABLE,
            "unreachable_reason": Reason.PROJECT_MISSING,
            "absent_clock": since,
            **fields,
        },
    )


def displaced(agent_id: str, path: str, since: float | None = NOW) -> Agent:
    """Return a row whose path another id took."""
    return lost(
        agent_id, path, since, project_path=None, unreachable_reason=Reason.DISPLACED
    )  # fmt: skip


def unscanned(agent_id: str, path: str, why: Reason = Reason.EXCLUDED, **fields: object) -> Agent:
    """Return a row whose path is out of scope."""
    return agent(agent_id, path, unscanned=why, **fields)


def claim(path: str, agent_id: str | None, **fields: object) -> Claim:
    """Return a valid claim as a look built here would have left it."""
    values: dict[str, Any] = {
        "root": scope().owner(path) or R,
        "outcome": ClaimOutcome.VALID,
        "dork": dork_of(path),
        "filesystem": FILESYSTEM,
        **fields,
    }
    return Claim(path=path, agent_id=agent_id, **values)


def duplicate(path: str, agent_id: str) -> Claim:
    """Return a claim that was refused."""
    return claim(path, agent_id, outcome=ClaimOutcome.DUPLICATE)


def dork_of(path: str) -> FileIdentity:
    """Return the identity of the `.dork` at a path: another one for every path."""
    return FileIdentity(1, zlib.crc32(path.encode()))


def _look(path: str, outcome: Outcome, **fields: Any) -> Observation:  # noqa: ANN401 - any field
    values = {
        "look": _LOOKS_BEGIN_AT,
        "source": Source.SWEEP,
        "filesystem": FILESYSTEM,
        **fields,
    }
    return Observation(path=path, outcome=outcome, **values)


def present(path: str, agent_id: str, **fields: object) -> Observation:
    """Return a look that found a valid manifest."""
    said = {"manifest": manifest(agent_id), "dork": dork_of(path), **fields}
    return _look(path, Outcome.PRESENT, **said)


def worktree(path: str, agent_id: str) -> Observation:
    """Return a look at a linked worktree."""
    return present(path, agent_id, git=Git.WORKTREE)


def absent(path: str, reason: Reason = Reason.PROJECT_MISSING, **fields: object) -> Observation:
    """Return a look that found nothing."""
    return _look(path, Outcome.ABSENT, reason=reason, **fields)


def invalid(path: str, reason: Reason = Reason.NOT_JSON, **fields: object) -> Observation:
    """Return a look that found something that is no manifest."""
    return _look(path, Outcome.INVALID, reason=reason, **{"dork": dork_of(path), **fields})


def unknown(path: str, reason: Reason = Reason.UNREADABLE, **fields: object) -> Observation:
    """Return a look that could not tell."""
    return _look(path, Outcome.UNKNOWN, reason=reason, **fields)


def scope(**fields: Any) -> Scope:  # noqa: ANN401 - any field of a scope
    """Return the scope of the tests."""
    return Scope(**{"roots": ROOTS, "exclude": ("excluded",), "max_depth": 3, **fields})


def sweep(clock: float = NOW, *, number: int = 7, grace: float = GRACE) -> SweepContext:
    """Return a sweep whose every root is walked, with all observed clocks at `clock`."""
    return SweepContext(number, dict.fromkeys(ROOTS, clock), grace)


def circumstances(*sick: str, **fields: Any) -> Circumstances:  # noqa: ANN401 - any field
    """Return circumstances in which the roots named are sick and every other is healthy."""
    values = {
        "scope": scope(),
        "roots": {root: RootState(root, healthy=root not in sick) for root in ROOTS},
        **fields,
    }
    return Circumstances(**values)


WELL = circumstances()


def known(rows: Iterable[Agent] = (), claims: Iterable[Claim] = ()) -> Known:
    """Return what a registry with these rows and claims holds; a path has one owner row."""
    by_id = {row.id: row for row in rows}
    paths = [row.project_path for row in by_id.values() if row.project_path is not None]
    assert len(paths) == len(set(paths)), "the test puts two rows at one path"
    return Known(by_id, {one.path: one for one in claims})


def decide(
    rows: Iterable[Agent],
    claims: Iterable[Claim],
    looks: Iterable[Observation],
    given: Circumstances = WELL,
) -> Plan:
    """Judge and plan a batch, and insist that it is closed."""
    holds = known(rows, claims)
    verdicts = judge(looks, holds, given)
    assert unlooked(holds, verdicts, given) == set(), "the test's batch is not closed"
    return plan(holds, verdicts, given)


def applied(before: Known, planned: Plan) -> Known:
    """Return what the registry holds once a plan is applied, as `store.apply` does it."""
    rows = {one: row for one, row in before.rows.items() if one not in planned.removed}
    rows |= {row.id: row for row in planned.rows}
    claims = {
        path: one for path, one in before.claims.items() if path not in planned.dropped_claims
    }
    claims |= {one.path: one for one in planned.claims}
    return known(rows.values(), claims.values())


def kinds(planned: Plan) -> list[tuple[Kind, str | None, str | None]]:
    """Return (kind, id, path) of every change, in the order of the log."""
    return [(one.kind, one.agent_id, one.path) for one in planned.changes]


@dataclass
class Disk:
    """A disk to look at, and what the registry holds of it: closes batches like the daemon.

    Attributes:
        looks: what a look at each path says; a path that is not in here is absent.
        holds: the registry.
        looked: how many paths were looked at.
    """

    looks: Mapping[str, Observation]
    holds: Known = field(default_factory=known)
    looked: int = 0

    def close(self, paths: Iterable[str], given: Circumstances) -> list[Observation]:
        """Look at `paths` and on, until nothing is left unlooked at."""
        seen: dict[str, Observation] = {}
        wanted = set(paths)
        while wanted:
            for path in wanted:
                seen[path] = self.looks.get(path) or absent(path)
                self.looked += 1
            wanted = unlooked(self.holds, self.judge(seen.values(), given), given)
            assert wanted.isdisjoint(seen), "closing asks again for what it has"
        return list(seen.values())

    def judge(self, looks: Iterable[Observation], given: Circumstances) -> dict[str, Verdict]:
        """Judge looks on what the registry holds."""
        return judge(looks, self.holds, given)

    def costly(self, looks: Iterable[Observation], given: Circumstances) -> set[str]:
        """Return the costly paths of looks."""
        return costly_paths(self.holds, self.judge(looks, given), given)

    def commit(self, looks: Iterable[Observation], given: Circumstances) -> Plan:
        """Plan looks that are closed, and apply the plan."""
        planned = plan(self.holds, self.judge(looks, given), given)
        self.holds = applied(self.holds, planned)
        return planned
