"""The registry as it stands: what may be asked of it.

Owns every query. Assumes a connection that only this thread uses. Promises: an answer is
complete and detached; no cursor outlives a call, so no reader pins the log (fault 111).
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meshd.core.access import Action
from meshd.core.endpoints import EndpointState
from meshd.core.model import Agent, Claim, ClaimOutcome, Denial, RootState, Signature
from meshd.core.quota import NO_HOLDINGS, Holdings, Room
from meshd.store import changelog, endpoints, listing
from meshd.store.listing import Selection
from meshd.store.rows import (
    AGENT_COLUMNS,
    CLAIM_COLUMNS,
    ROOT_COLUMNS,
    agent_from_row,
    claim_from_row,
    read_outcome,
    read_signature,
    root_from_row,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    import apsw

    from meshd.core.endpoints import Endpoint
    from meshd.core.quota import Quotas
    from meshd.store.endpoints import EndpointRow

# The width of a prefix range: every path below `P` lies between `P/` and `P0` ("0" follows "/").
_BELOW = "0"
_QUALIFIED = ", ".join(f"agents.{name.strip()}" for name in AGENT_COLUMNS.split(","))
_CLAIMS_QUALIFIED = ", ".join(f"claims.{name.strip()}" for name in CLAIM_COLUMNS.split(","))
_CLAIMS = f"SELECT {_CLAIMS_QUALIFIED} FROM json_each(?) AS wanted JOIN claims ON "
_CLAIMS_AT = f"{_CLAIMS}claims.path = unhex(wanted.value)"
_CLAIMS_OF = f"{_CLAIMS}claims.agent_id = wanted.value"


@dataclass(frozen=True, slots=True)
class Record:
    """An agent with what decides whether it is confirmed: its claim and its root."""

    agent: Agent
    claim_outcome: ClaimOutcome | None
    claim_reason: str | None
    root_healthy: bool
    root_observed_seconds: float


class Registry:
    """Questions to the database over one connection."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def _rows(self, sql: str, bindings: Sequence[Any] = ()) -> list[Any]:
        return self._connection.execute(sql, bindings).fetchall()

    # agents

    def agent(self, agent_id: str) -> Agent | None:
        """Return the row of an id."""
        rows = self._rows(f"SELECT {AGENT_COLUMNS} FROM agents WHERE id = ?", (agent_id,))
        return agent_from_row(rows[0]) if rows else None

    def agents_with(self, ids: Iterable[str]) -> list[Agent]:
        """Return the rows of several ids."""
        sql = (
            f"SELECT {_QUALIFIED} FROM json_each(?) AS wanted"
            " JOIN agents ON agents.id = wanted.value"
        )
        return [agent_from_row(row) for row in self._rows(sql, (json.dumps(list(ids)),))]

    def agents_at(self, paths: Iterable[str]) -> list[Agent]:
        """Return the rows that live at one of `paths`, or did last."""
        sql = (
            f"SELECT {_QUALIFIED} FROM json_each(?) AS wanted JOIN agents"
            " ON agents.project_path = unhex(wanted.value)"
            " OR agents.last_path = unhex(wanted.value)"
        )
        found = {row[0]: row for row in self._rows(sql, (_in_hex(paths),))}
        return [agent_from_row(row) for row in found.values()]

    def record(self, reference: str) -> Record | None:
        """Return the agent with this id, or the one that lives (or lived last) at this path."""
        # Bound as bytes, because what a person typed need not be UTF-8.
        raw = os.fsencode(reference)
        if reference.startswith("/"):
            found = self._records(Selection("agents.project_path = ?", (raw,))) or self._records(
                Selection("agents.last_path = ?", (raw,))
            )
        else:
            found = self._records(Selection("agents.id = CAST(? AS TEXT)", (raw,)))
        return found[0] if found else None

    def records(self) -> list[Record]:
        """Return every agent, oldest registration first."""
        return self._records(listing.ALL)

    def live_records(self) -> list[Record]:
        """Return the agents that may be discovered (see `listing.live`)."""
        return self._records(listing.live())

    def columns(
        self,
        wanted: Mapping[str, str],
        selection: listing.Selection = listing.ALL,
        passing: listing.Passing = json.loads,
        read_here: Collection[str] = (),
    ) -> listing.Columns:
        """Return some fields of the selected rows, by field; see `meshd.store.listing`."""
        return listing.columns_of(self._connection, wanted, selection, passing, read_here)

    def listed(
        self,
        wanted: Mapping[str, str],
        selection: listing.Selection = listing.ALL,
        passing: listing.Passing = json.loads,
    ) -> list[listing.Row]:
        """Return some fields of the selected rows, row by row."""
        return listing.rows_of(self.columns(wanted, selection, passing))

    def _records(self, selection: listing.Selection) -> list[Record]:
        rows = self._rows(
            f"SELECT {_QUALIFIED}, claims.outcome, claims.reason,"
            " coalesce(roots.healthy, 0), coalesce(roots.observed_seconds, 0)"
            f" FROM agents{listing.JOINS} WHERE {selection.condition}{listing.ORDER}",
            selection.bindings,
        )
        return [
            Record(
                agent_from_row(row[:-4]),
                None if row[-4] is None else read_outcome(row[-4]),
                row[-3],
                bool(row[-2]),
                row[-1],
            )
            for row in rows
        ]

    def heard_between(self, first: str, last: str) -> list[tuple[str, str]]:
        """Return id and time of the last heartbeat of the live agents heard from then.

        Args:
            first: where the span begins, as answers show a time.
            last: where it ends; both ends are included.
        """
        return self._rows(
            "SELECT id, last_seen_at FROM agents WHERE last_seen_at BETWEEN ? AND ?"
            " AND status <> 'unreachable' AND unscanned IS NULL ORDER BY id",
            (first, last),
        )

    def unconfirmed_looks(self) -> list[str]:
        """Return paths that every sweep looks at again, whatever their signature says.

        Those of rows that are not live, those whose last look could not tell, those of rows
        that no look has ever been recorded for, and those that claim an id no row holds.
        """
        rows = self._rows(
            "SELECT coalesce(project_path, last_path) FROM agents"
            " WHERE status = 'unreachable' OR unscanned IS NOT NULL"
            " UNION SELECT path FROM claims WHERE outcome = 'unreadable'"
            " UNION SELECT agents.project_path FROM agents"
            " LEFT JOIN claims ON claims.path = agents.project_path"
            " WHERE agents.project_path IS NOT NULL AND claims.path IS NULL"
            " UNION SELECT claims.path FROM claims LEFT JOIN agents ON agents.id = claims.agent_id"
            " WHERE claims.outcome = 'duplicate' AND agents.id IS NULL"
        )
        return [os.fsdecode(path) for (path,) in rows]

    def paths_within(self, directory: str) -> list[str]:
        """Return the paths at or below `directory` that a row or a claim names."""
        base = directory.rstrip("/")
        exact = os.fsencode(base or "/")
        low, high = os.fsencode(base + "/"), os.fsencode(base + _BELOW)
        rows = self._rows(
            "SELECT project_path FROM agents WHERE project_path = ?1"
            " OR (project_path > ?2 AND project_path < ?3)"
            " UNION SELECT last_path FROM agents WHERE last_path = ?1"
            " OR (last_path > ?2 AND last_path < ?3)"
            " UNION SELECT path FROM claims WHERE path = ?1 OR (path > ?2 AND path < ?3)",
            (exact, low, high),
        )
        return [os.fsdecode(path) for (path,) in rows]

    def agents_per_root(self, *, but_born_in: int | None = None) -> dict[str, tuple[int, int]]:
        """Return, by root, how many rows are live and how many there are in all.

        Args:
            but_born_in: number of a sweep whose newborn rows are not counted.
        """
        rows = self._rows(
            "SELECT scan_root, sum(status <> 'unreachable' AND unscanned IS NULL), count(*)"
            " FROM agents WHERE born_sweep IS NOT ?1 OR ?1 IS NULL GROUP BY scan_root",
            (but_born_in,),
        )
        return {os.fsdecode(root): (int(live), int(every)) for root, live, every in rows}

    def holdings(self) -> Holdings:
        """Return how many rows there are, by root and by the owner of the project."""
        of_root = self.agents_per_root()
        of_owner = self._rows(
            "SELECT claims.owner, count(*) FROM agents"
            " JOIN claims ON claims.path = coalesce(agents.project_path, agents.last_path)"
            " WHERE claims.owner IS NOT NULL GROUP BY claims.owner"
        )
        return Holdings({root: every for root, (_, every) in of_root.items()}, dict(of_owner))

    def refused_with_room(self, quotas: Quotas) -> list[str]:
        """Return refused newcomers for which there is room by now, and no more."""
        rows = self._rows(
            "SELECT path, root, owner FROM claims WHERE outcome = 'refused' ORDER BY path"
        )
        room = Room(quotas, self.holdings()) if rows else Room(quotas, NO_HOLDINGS)
        return [
            os.fsdecode(path)
            for path, root, owner in rows
            if room.take(os.fsdecode(root), owner) is None
        ]

    def waiting_roots(self) -> set[str]:
        """Return the roots that have rows waiting out their grace."""
        rows = self._rows("SELECT DISTINCT scan_root FROM agents WHERE status = 'unreachable'")
        return {os.fsdecode(root) for (root,) in rows}

    # claims

    def claims_about(self, paths: Iterable[str] = (), ids: Iterable[str] = ()) -> list[Claim]:
        """Return the claims of several paths, and every claim of several ids."""
        found = {row[0]: row for row in self._rows(_CLAIMS_AT, (_in_hex(paths),))}
        found |= {row[0]: row for row in self._rows(_CLAIMS_OF, (json.dumps(list(ids)),))}
        return [claim_from_row(row) for row in found.values()]

    def claims(self, outcome: ClaimOutcome | None = None) -> list[Claim]:
        """Return every claim, or those judged so, by path."""
        sql = f"SELECT {CLAIM_COLUMNS} FROM claims"
        if outcome is None:
            rows = self._rows(f"{sql} ORDER BY path")
        else:
            rows = self._rows(f"{sql} WHERE outcome = ? ORDER BY path", (str(outcome),))
        return [claim_from_row(row) for row in rows]

    def claim_counts(self) -> dict[str, int]:
        """Return how many claims there are of each outcome."""
        return dict(self._rows("SELECT outcome, count(*) FROM claims GROUP BY outcome"))

    def unreadable_per_root(self) -> dict[str, tuple[int, str]]:
        """Return, by root, how many paths could not be read, and the first of them.

        What the mass guard holds counts as not told, and is not counted here.
        """
        rows = self._rows(
            "SELECT root, count(*), min(path) FROM claims WHERE outcome = 'unreadable'"
            " AND coalesce(reason, '') NOT IN ('manifest-missing', 'project-missing')"
            " GROUP BY root"
        )
        return {os.fsdecode(root): (count, os.fsdecode(first)) for root, count, first in rows}

    def signatures(self) -> list[tuple[str, Signature | None, int]]:
        """Return path, signature and time of look (ns) of every claim.

        The signature is None where the next look must not be saved: nothing was read, or
        what was read could not be trusted.
        """
        rows = self._rows(
            "SELECT path, CASE WHEN outcome NOT IN ('unreadable', 'absent') THEN signature END,"
            " looked_at_ns FROM claims"
        )
        return [(os.fsdecode(path), read_signature(text), at) for path, text, at in rows]

    def ids_below(self, root: str) -> dict[str, str]:
        """Return, by path, the ids that live below a root; when none does, those that did."""
        rows = self._rows(
            "SELECT project_path, id, status = 'unreachable' FROM agents"
            " WHERE scan_root = ? AND project_path IS NOT NULL",
            (os.fsencode(root),),
        )
        live = {os.fsdecode(path): agent_id for path, agent_id, gone in rows if not gone}
        return live or {os.fsdecode(path): agent_id for path, agent_id, _ in rows}

    def contested(self) -> dict[str, str]:
        """Return, by id, the path of every row whose id other paths claim too.

        A claim that is torn or cannot be read for a moment contests the id all the same.
        """
        rows = self._rows(
            "SELECT DISTINCT agents.id, agents.project_path FROM claims"
            " JOIN agents ON agents.id = claims.agent_id AND agents.project_path <> claims.path"
            " WHERE claims.outcome IN ('duplicate', 'invalid', 'unreadable')"
        )
        return {agent_id: os.fsdecode(path) for agent_id, path in rows}

    # endpoints and rules

    def endpoint_of(self, agent_id: str) -> EndpointRow | None:
        """Return the endpoint of an agent, pending or live; None while it has none."""
        return endpoints.of_agent(self._connection, agent_id)

    def endpoint_states(self) -> dict[str, EndpointState]:
        """Return, by id, how the endpoint of every agent that has one is: pending or live."""
        return {
            row.endpoint.agent_id: row.state
            for row in self.endpoints()
            if row.state is not EndpointState.RETIRED
        }

    def endpoints(self) -> list[EndpointRow]:
        """Return every endpoint, those to be retired too, by subject."""
        return endpoints.every(self._connection)

    def unsettled_endpoints(self) -> list[EndpointRow]:
        """Return the endpoints that a relay outside the database has yet to hear of."""
        return endpoints.unsettled(self._connection)

    def wanted_endpoints(self) -> frozenset[Endpoint]:
        """Return the endpoints that the rows of agents ask for."""
        return endpoints.wanted(self._connection)

    def endpoints_differ(self, settled: Collection[EndpointState]) -> bool:
        """Say whether rows and endpoints disagree; `settled` are the states that are right."""
        return endpoints.differ(self._connection, settled)

    def namespaces(self, *, pending: bool = False) -> list[str]:
        """Return the namespaces with a live endpoint in them; with `pending`, those to come too."""
        states = "state <> 'retired'" if pending else "state = 'live'"
        rows = self._rows(f"SELECT DISTINCT namespace FROM endpoints WHERE {states} ORDER BY 1")
        return [name for (name,) in rows]

    def explicit_rules(self) -> dict[tuple[str, str], Action]:
        """Return the operator's rules by (source, target); one that is damaged denies."""
        return {
            (source, target): Action.ALLOW if action == Action.ALLOW else Action.DENY
            for source, target, action, _ in self.rules()
        }

    # the rest

    def roots(self) -> dict[str, RootState]:
        """Return what is known of every root, by path."""
        states = map(root_from_row, self._rows(f"SELECT {ROOT_COLUMNS} FROM roots"))
        return {state.path: state for state in states}

    def denials(self) -> list[Denial]:
        """Return every denial, by path."""
        rows = self._rows("SELECT path, reason, denier, created_at FROM denials ORDER BY path")
        return [Denial(os.fsdecode(path), *rest) for path, *rest in rows]

    def rules(self) -> list[tuple[str, str, str, str]]:
        """Return explicit rules as (source, target, action, created_at)."""
        return self._rows(
            "SELECT source_namespace, target_namespace, action, created_at FROM rules"
            " ORDER BY source_namespace, target_namespace"
        )

    def inherited_incumbents(self) -> dict[str, str]:
        """Return the paths that held contested ids before the database was rebuilt."""
        rows = self._rows("SELECT agent_id, path FROM incumbents")
        return {agent_id: os.fsdecode(path) for agent_id, path in rows}

    def unfinished(self) -> int:
        """Return how many changes of files are under way, or were left unfinished."""
        return int(self._rows("SELECT count(*) FROM intents")[0][0])

    def meta(self, key: str, default: str = "") -> str:
        """Return a value of the meta table."""
        rows = self._rows("SELECT value FROM meta WHERE key = ?", (key,))
        return str(rows[0][0]) if rows else default

    def newest_seq(self) -> int:
        """Return the number of the newest entry of the change log ever written."""
        return changelog.bounds(self._connection)[1]

    def changes_since(self, seq: int, limit: int = 1000) -> list[changelog.Entry]:
        """Return up to `limit` entries of the change log after `seq`, oldest first."""
        return changelog.since(self._connection, seq, limit)

    def oldest_seq(self) -> int:
        """Return the number of the oldest entry the change log still has."""
        return changelog.bounds(self._connection)[0]

    def highest_look(self) -> int:
        """Return the number of the newest look any claim rests on."""
        return int(self._rows("SELECT coalesce(max(look), 0) FROM claims")[0][0])


def _in_hex(paths: Iterable[str]) -> str:
    """Return paths as one binding; JSON has no bytes, and a path need not be UTF-8."""
    return json.dumps([os.fsencode(path).hex() for path in paths])
