"""Carrying out a plan: changes, rows and log entries in the caller's one transaction (R5).

Owns the statements that change the registry. Promises: ids that swap paths never collide,
because every path that changes hands is given up before any is taken.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from meshd.core.model import Status
from meshd.core.scope import self_and_above
from meshd.store import changelog
from meshd.store.rows import (
    AGENT_COLUMNS,
    CLAIM_COLUMNS,
    COLUMNS,
    PLACES,
    ROOT_COLUMNS,
    row_from_agent,
    row_from_claim,
    row_from_root,
)

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

    import apsw

    from meshd.core.access import Action
    from meshd.core.model import Agent, Claim, Denial, RootState
    from meshd.core.plan import Plan
    from meshd.store.rows import Value

_UPSERT_AGENT = (
    f"INSERT INTO agents ({AGENT_COLUMNS}) VALUES ({', '.join('?' * len(COLUMNS))})"
    " ON CONFLICT(id) DO UPDATE SET "
    + ", ".join(f"{column.name} = excluded.{column.name}" for column in COLUMNS[1:])
)
_UPSERT_CLAIM = (
    f"INSERT OR REPLACE INTO claims ({CLAIM_COLUMNS})"
    f" VALUES ({', '.join('?' * len(CLAIM_COLUMNS.split(',')))})"
)
_UPSERT_ROOT = (
    f"INSERT OR REPLACE INTO roots ({ROOT_COLUMNS})"
    f" VALUES ({', '.join('?' * len(ROOT_COLUMNS.split(',')))})"
)


def apply(connection: apsw.Connection, plan: Plan, at: str) -> list[int]:
    """Write a plan and return the numbers of its log entries.

    Args:
        connection: the writing connection, inside a transaction.
        plan: what to write.
        at: wall-clock time, RFC 3339; stamped on what changed, never decided by.
    """
    numbers = changelog.append(connection, plan.changes, at)
    latest = {
        change.agent_id: number
        for change, number in zip(plan.changes, numbers, strict=True)
        if change.agent_id is not None
    }
    connection.executemany(
        "UPDATE agents SET project_path = NULL WHERE id = ? AND project_path IS NOT ?",
        ((row.id, _encoded(row.project_path)) for row in plan.rows),
    )
    connection.executemany("DELETE FROM agents WHERE id = ?", ((one,) for one in plan.removed))
    connection.executemany(
        _UPSERT_AGENT, (_stamped(row, latest.get(row.id), at) for row in plan.rows)
    )
    connection.executemany(
        "DELETE FROM claims WHERE path = ?", ((os.fsencode(path),) for path in plan.dropped_claims)
    )
    upsert_claims(connection, plan.claims)
    return numbers


def _encoded(path: str | None) -> bytes | None:
    return None if path is None else os.fsencode(path)


def _stamped(row: Agent, seq: int | None, at: str) -> Sequence[Value]:
    """Return a row's values with the number and the time of its change."""
    values = row_from_agent(row)
    if seq is not None:
        since = (row.unreachable_since or at) if row.status is Status.UNREACHABLE else None
        values[PLACES["seq"]] = seq
        values[PLACES["updated_at"]] = at
        values[PLACES["unreachable_since"]] = since
    return values


def upsert_agents(connection: apsw.Connection, rows: Iterable[Agent]) -> None:
    """Write rows; one that exists is brought to the given values."""
    connection.executemany(_UPSERT_AGENT, (row_from_agent(row) for row in rows))


def upsert_claims(connection: apsw.Connection, claims: Iterable[Claim]) -> None:
    """Write claims; the claim of a path replaces what it said before."""
    connection.executemany(_UPSERT_CLAIM, (row_from_claim(claim) for claim in claims))


def upsert_roots(connection: apsw.Connection, roots: Iterable[RootState]) -> None:
    """Write what is known of roots."""
    connection.executemany(_UPSERT_ROOT, (row_from_root(root) for root in roots))


def forget(connection: apsw.Connection, rows: Sequence[Agent]) -> None:
    """Drop rows, and the claims of the paths they lived at: a file there is news again.

    A path where another agent lives by now keeps its claim.
    """
    connection.executemany("DELETE FROM agents WHERE id = ?", ((row.id,) for row in rows))
    connection.executemany(
        "DELETE FROM claims WHERE path = ?1"
        " AND NOT EXISTS (SELECT 1 FROM agents WHERE project_path = ?1)",
        ((os.fsencode(row.holder_path),) for row in rows),
    )


def discharge_incumbents(connection: apsw.Connection, roots: Container[str]) -> None:
    """Forget the incumbents inherited by a rebuild that have done their part.

    One has when a row holds the id, or when its path is known not to hold it any more.

    Args:
        connection: the writing connection, inside a transaction.
        roots: whether a root was healthy and walked to its end is asked of this, by path.
    """
    rows: list[Any] = connection.execute(
        "SELECT incumbents.agent_id, incumbents.path, agents.id IS NOT NULL,"
        " coalesce(claims.outcome, '') IN ('invalid', 'unreadable') FROM incumbents"
        " LEFT JOIN agents ON agents.id = incumbents.agent_id"
        " LEFT JOIN claims ON claims.path = incumbents.path"
    ).fetchall()
    done = [
        (agent_id,)
        for agent_id, path, is_held, in_doubt in rows
        if is_held
        or (not in_doubt and any(above in roots for above in self_and_above(os.fsdecode(path))))
    ]
    connection.executemany("DELETE FROM incumbents WHERE agent_id = ?", done)


def add_denial(connection: apsw.Connection, denial: Denial) -> None:
    """Deny a path; denying it again renews reason and denier."""
    connection.execute(
        "INSERT INTO denials (path, reason, denier, created_at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT(path) DO UPDATE SET reason = excluded.reason, denier = excluded.denier",
        (os.fsencode(denial.path), denial.reason, denial.denier, denial.created_at),
    )


def remove_denial(connection: apsw.Connection, path: str) -> bool:
    """Take a denial back; return whether there was one."""
    connection.execute("DELETE FROM denials WHERE path = ?", (os.fsencode(path),))
    return bool(connection.changes())


def note_heartbeats(connection: apsw.Connection, events: Mapping[str, str], at: str) -> None:
    """Write down, by id, what agents said when they were last heard from.

    Neither `seq` nor `updated_at` moves: what the manifest says is still the same.
    """
    connection.executemany(
        "UPDATE agents SET last_seen_at = ?, last_seen_event = ? WHERE id = ?",
        ((at, event, agent_id) for agent_id, event in events.items()),
    )


def set_rule(
    connection: apsw.Connection, source: str, target: str, action: Action | None, at: str
) -> None:
    """Set the operator's rule between two namespaces; None takes it away."""
    if action is None:
        connection.execute(
            "DELETE FROM rules WHERE source_namespace = ? AND target_namespace = ?",
            (source, target),
        )
        return
    connection.execute(
        "INSERT INTO rules (source_namespace, target_namespace, action, created_at)"
        " VALUES (?, ?, ?, ?) ON CONFLICT(source_namespace, target_namespace)"
        " DO UPDATE SET action = excluded.action, created_at = excluded.created_at",
        (source, target, str(action), at),
    )


def set_meta(connection: apsw.Connection, key: str, value: str) -> None:
    """Set a value of the meta table."""
    connection.execute(
        "INSERT INTO meta (key, value) VALUES (?, ?)"
        " ON CONFLICT(key) DO UPDATE SET value = excluded.value",
        (key, value),
    )
