"""The table of endpoints: how it is read and written.

Owns its statements. Assumes a connection that only this thread uses, inside a transaction to
write. Promises: writing what holds already changes nothing (R10); a state that is damaged
reads as one that is not discoverable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from meshd.core.access import subject
from meshd.core.endpoints import Endpoint, EndpointState

if TYPE_CHECKING:
    from collections.abc import Collection

    import apsw

_COLUMNS = "subject, agent_id, namespace, state"
_IS_LIVE = "agents.status <> 'unreachable' AND agents.unscanned IS NULL"


class EndpointRow(NamedTuple):
    """An endpoint, and how far it has come."""

    endpoint: Endpoint
    state: EndpointState


def _row(values: tuple[Any, ...]) -> EndpointRow:
    try:
        state = EndpointState(values[-1])
    except ValueError:
        state = EndpointState.PENDING
    return EndpointRow(Endpoint(*values[:-1]), state)


def every(connection: apsw.Connection) -> list[EndpointRow]:
    """Return every endpoint, by subject."""
    rows: list[Any] = connection.execute(
        f"SELECT {_COLUMNS} FROM endpoints ORDER BY subject"
    ).fetchall()
    return [_row(values) for values in rows]


def unsettled(connection: apsw.Connection) -> list[EndpointRow]:
    """Return the endpoints that a relay outside the database has yet to hear of, by subject."""
    rows: list[Any] = connection.execute(
        f"SELECT {_COLUMNS} FROM endpoints WHERE state <> 'live' ORDER BY subject"
    ).fetchall()
    return [_row(values) for values in rows]


def of_agent(connection: apsw.Connection, agent_id: str) -> EndpointRow | None:
    """Return the endpoint of an agent, pending or live."""
    rows: list[Any] = connection.execute(
        f"SELECT {_COLUMNS} FROM endpoints WHERE agent_id = ? AND state <> 'retired'", (agent_id,)
    ).fetchall()
    return _row(rows[0]) if rows else None


def at(connection: apsw.Connection, name: str) -> EndpointRow | None:
    """Return the endpoint at a subject, whatever its state."""
    rows: list[Any] = connection.execute(
        f"SELECT {_COLUMNS} FROM endpoints WHERE subject = ?", (name,)
    ).fetchall()
    return _row(rows[0]) if rows else None


def wanted(connection: apsw.Connection) -> frozenset[Endpoint]:
    """Return the endpoints that the rows of agents ask for."""
    rows: list[Any] = connection.execute(
        f"SELECT id, namespace FROM agents WHERE {_IS_LIVE}"
    ).fetchall()
    return frozenset(
        Endpoint(subject(namespace, agent_id), agent_id, namespace) for agent_id, namespace in rows
    )


def differ(connection: apsw.Connection, settled: Collection[EndpointState]) -> bool:
    """Say whether some live row lacks its endpoint, or some endpoint its live row.

    Args:
        connection: any connection.
        settled: the states of an endpoint that nothing is wrong with.
    """
    states = ", ".join(f"'{state}'" for state in sorted(settled))
    counted = " WHERE state <> 'retired'" if EndpointState.PENDING in settled else ""
    # Counted, not searched for from both sides: one pass over each table.
    rows: list[Any] = connection.execute(
        f"SELECT count(*), count(endpoints.subject), (SELECT count(*) FROM endpoints{counted})"
        " FROM agents LEFT JOIN endpoints ON endpoints.agent_id = agents.id"
        " AND endpoints.namespace = agents.namespace"
        f" AND endpoints.state IN ({states}) WHERE {_IS_LIVE}"
    ).fetchall()
    return len(set(rows[0])) > 1


def put(connection: apsw.Connection, endpoint: Endpoint, state: EndpointState, at: str) -> None:
    """Keep an endpoint; one that is on its way to the same end already stays as it is.

    Args:
        connection: the writing connection.
        endpoint: what to keep.
        state: the state it begins with.
        at: wall-clock time, RFC 3339.
    """
    connection.execute(
        f"INSERT INTO endpoints ({_COLUMNS}, created_at) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT(subject) DO UPDATE SET agent_id = excluded.agent_id,"
        " namespace = excluded.namespace, state = excluded.state, created_at = excluded.created_at"
        " WHERE endpoints.state NOT IN ('live', excluded.state)"
        " OR endpoints.agent_id <> excluded.agent_id"
        " OR endpoints.namespace <> excluded.namespace",
        (endpoint.subject, endpoint.agent_id, endpoint.namespace, str(state), at),
    )


def turn(
    connection: apsw.Connection, name: str, before: EndpointState, after: EndpointState
) -> Endpoint | None:
    """Turn the endpoint at a subject from one state to another; None when it was not in that."""
    rows: list[Any] = connection.execute(
        "UPDATE endpoints SET state = ? WHERE subject = ? AND state = ?"
        " RETURNING subject, agent_id, namespace",
        (str(after), name, str(before)),
    ).fetchall()
    return Endpoint(*rows[0]) if rows else None


def retire(connection: apsw.Connection, name: str) -> None:
    """Mark the endpoint at a subject as one that the relay has to retire."""
    connection.execute(
        "UPDATE endpoints SET state = 'retired' WHERE subject = ? AND state <> 'retired'", (name,)
    )


def drop(connection: apsw.Connection, name: str, *, retired: bool = False) -> None:
    """Drop the endpoint at a subject; with `retired`, only if it was to be retired."""
    condition = " AND state = 'retired'" if retired else ""
    connection.execute(f"DELETE FROM endpoints WHERE subject = ?{condition}", (name,))
