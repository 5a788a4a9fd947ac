"""The embedded relay as a relay: every call idempotent, live at once or in an outbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from meshd.core.access import Action
from meshd.core.endpoints import AccessRule, Endpoint, EndpointState, Origin
from meshd.relay.embedded import EmbeddedRelay
from meshd.store import endpoints
from tests.store.builders import AT, new_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import apsw

    from meshd.relay import Relay

A = Endpoint("relay.agent.x.a", "a", "x")
B = Endpoint("relay.agent.x.b", "b", "x")
RULE = AccessRule("relay.agent.x.*", "relay.agent.x.*", Action.ALLOW, 100, Origin.DEFAULT)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[apsw.Connection]:
    opened = new_database(tmp_path / "meshd.db")
    yield opened
    opened.close()


def states(connection: apsw.Connection) -> dict[str, str]:
    return {row.endpoint.agent_id: str(row.state) for row in endpoints.every(connection)}


@pytest.mark.parametrize(
    ("is_outbox", "registered", "retired"),
    [(False, {"a": "live"}, {}), (True, {"a": "pending"}, {"a": "retired"})],
)
def test_every_call_may_come_twice_and_then_writes_nothing(
    is_outbox: bool,
    registered: dict[str, str],
    retired: dict[str, str],
    connection: apsw.Connection,
) -> None:
    relay: Relay = EmbeddedRelay(connection, AT, is_outbox)
    for call, expected in (
        (lambda: relay.register(A), registered),
        (lambda: relay.reconcile([A], [RULE]), registered),
        (lambda: relay.put_rule(RULE), registered),
        (lambda: relay.remove_rule(RULE), registered),
        (lambda: relay.retire(A.subject), retired),
        (lambda: relay.reconcile([], []), retired),
        (lambda: relay.retire("relay.agent.x.nobody"), retired),
    ):
        call()
        assert states(connection) == expected
        changes = connection.total_changes()
        call()
        assert states(connection) == expected
        assert connection.total_changes() == changes


def test_what_was_to_be_retired_is_registered_anew(connection: apsw.Connection) -> None:
    relay = EmbeddedRelay(connection, AT, is_outbox=True)
    relay.register(A)
    relay.retire(A.subject)
    relay.register(A)
    assert states(connection) == {"a": "pending"}


def test_what_the_relay_has_confirmed_stays_live(connection: apsw.Connection) -> None:
    relay = EmbeddedRelay(connection, AT, is_outbox=True)
    relay.register(A)
    endpoints.turn(connection, A.subject, EndpointState.PENDING, EndpointState.LIVE)
    relay.register(A)
    assert states(connection) == {"a": "live"}


def test_a_comparison_says_what_was_missing(connection: apsw.Connection) -> None:
    relay = EmbeddedRelay(connection, AT)
    relay.register(A)
    assert relay.reconcile([B], []) == {B.subject}
    assert states(connection) == {"b": "live"}


def test_a_state_that_is_damaged_is_not_discoverable(connection: apsw.Connection) -> None:
    connection.pragma("ignore_check_constraints", value=True)
    connection.execute("INSERT INTO endpoints VALUES ('relay.agent.x.a', 'a', 'x', 'liwe', '')")
    assert states(connection) == {"a": "pending"}
    EmbeddedRelay(connection, AT).reconcile([A])
    assert states(connection) == {"a": "live"}
