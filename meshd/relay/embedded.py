"""The relay in the database: endpoints in the same transaction as the rows they belong to.

Owns which statements make endpoints follow rows. Assumes the writing connection, inside the
transaction that writes the rows. Promises: once a plan is applied, every live row has the one
endpoint of its namespace and id, and no other row has any (design: §Namespaces, relay, health).

Where a relay outside the database carries the messages, the same table is its outbox: an
endpoint is pending until that relay has confirmed it, and a retired one stays until that relay
has let go of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from meshd.core.endpoints import EndpointState, endpoint_of
from meshd.core.model import Change, Kind, Source
from meshd.store import endpoints as table

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import apsw

    from meshd.core.endpoints import AccessRule, Endpoint
    from meshd.core.model import Agent
    from meshd.core.plan import Plan

SETTLED: Final = {
    False: frozenset({EndpointState.LIVE}),
    True: frozenset({EndpointState.LIVE, EndpointState.PENDING}),
}
"""By whether a relay outside follows, the states in which the endpoint of a live row may be."""


@dataclass(frozen=True, slots=True)
class EmbeddedRelay:
    """A `Relay` over the writing connection.

    Attributes:
        at: wall-clock time, RFC 3339, stamped on new endpoints.
        is_outbox: whether a relay outside the database is told of what is written here.
    """

    connection: apsw.Connection
    at: str
    is_outbox: bool = False

    def register(self, endpoint: Endpoint) -> None:
        """Keep an endpoint: live, or pending where a relay outside has to confirm it."""
        state = EndpointState.PENDING if self.is_outbox else EndpointState.LIVE
        table.put(self.connection, endpoint, state, self.at)

    def retire(self, subject: str) -> None:
        """Drop an endpoint, or keep it as retired until a relay outside has let go of it."""
        if self.is_outbox:
            table.retire(self.connection, subject)
        else:
            table.drop(self.connection, subject)

    def put_rule(self, rule: AccessRule) -> None:
        """Do nothing: rules are evaluated where they lie (`core.access`), default ones included."""

    def remove_rule(self, rule: AccessRule) -> None:
        """Do nothing, as `put_rule`."""

    def reconcile(
        self,
        endpoints: Collection[Endpoint],
        rules: Collection[AccessRule] = (),  # noqa: ARG002 - as `put_rule`
    ) -> frozenset[str]:
        """Keep exactly these endpoints; return the subjects that were missing."""
        settled = SETTLED[self.is_outbox]
        wanted = {endpoint.subject: endpoint for endpoint in endpoints}
        held = set()
        for endpoint, state in table.every(self.connection):
            if wanted.get(endpoint.subject) == endpoint and state in settled:
                held.add(endpoint.subject)
            elif endpoint.subject not in wanted:
                self.retire(endpoint.subject)
        missing = wanted.keys() - held
        for subject in missing:
            self.register(wanted[subject])
        return frozenset(missing)


def follow(relay: EmbeddedRelay, before: Mapping[str, Agent], plan: Plan) -> list[Change]:
    """Let endpoints follow what a plan makes of rows.

    Args:
        relay: where endpoints are kept.
        before: the rows by id, as they were.
        plan: what was applied to them.

    Returns:
        A change for each agent that stays and is reached elsewhere now. That an endpoint begins
        or ends with its row is said by the row's own change.
    """
    sources = {one.agent_id: one.source for one in plan.changes}
    moved = []
    for row in plan.rows:
        old = before.get(row.id)
        was = None if old is None else endpoint_of(old)
        now = endpoint_of(row)
        if was == now:
            continue
        if was is not None:
            relay.retire(was.subject)
        if now is not None:
            relay.register(now)
        if was is not None and now is not None:
            source = sources.get(row.id, Source.SWEEP)
            moved.append(moved_endpoint(row.id, row.project_path, source, was, now))
    for agent_id in plan.removed:
        was = endpoint_of(before[agent_id])
        if was is not None:
            relay.retire(was.subject)
    return moved


def moved_endpoint(
    agent_id: str, path: str | None, source: Source, was: Endpoint | None, now: Endpoint | None
) -> Change:
    """Return the change that says where an agent was reached, and where it is now."""
    return Change(
        Kind.ENDPOINT,
        agent_id,
        path,
        source,
        before={"subject": None if was is None else was.subject},
        after={"subject": None if now is None else now.subject},
    )


def mend(relay: EmbeddedRelay, wanted: Collection[Endpoint], source: Source) -> list[Change]:
    """Bring endpoints to what rows ask for, after they were found to differ.

    Returns:
        A change for each agent that had another endpoint, none, or one too many.
    """
    settled = SETTLED[relay.is_outbox]
    rows = table.every(relay.connection)
    before = {row.endpoint for row in rows if row.state in settled}
    relay.reconcile(wanted)
    after = set(wanted)
    lost = {one.agent_id: one for one in before - after}
    gained = {one.agent_id: one for one in after - before}
    return [
        moved_endpoint(agent_id, None, source, lost.get(agent_id), gained.get(agent_id))
        for agent_id in sorted(lost.keys() | gained.keys())
    ]
