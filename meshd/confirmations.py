"""What a relay outside the database has confirmed, written down.

Owns how a confirmation becomes one transaction. Used by the reconciler's thread alone. Promises:
a confirmation that comes twice, or too late because the row has moved on, changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshd.batch import Committed
from meshd.core.endpoints import EndpointState
from meshd.core.model import Change, Kind, Source
from meshd.store import changelog, endpoints
from meshd.store.registry import Registry

if TYPE_CHECKING:
    import apsw

    from meshd.commands import Confirmation
    from meshd.core.endpoints import Endpoint
    from meshd.shared import Shared

LOST = "lost"


class Confirmations:
    """Takes what the relay confirms."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    def take(self, act: Confirmation) -> int:
        """Turn endpoints to what they are by now; return how many are live by it.

        Raises:
            StoreError: nothing was written.
        """

        def operation(connection: apsw.Connection) -> Committed:
            for subject in act.retired:
                endpoints.drop(connection, subject, retired=True)
            told = [(one, str(EndpointState.PENDING)) for one in _registered(connection, act)]
            told += [(one, LOST) for one in _lost(connection, act)]
            rows = Registry(connection).agents_with(one.agent_id for one, _ in told)
            paths = {row.id: row.project_path for row in rows}
            changes = [
                Change(
                    Kind.ENDPOINT, one.agent_id, paths.get(one.agent_id), Source.TIMER,
                    before={"subject": one.subject, "state": before},
                    after={"subject": one.subject, "state": EndpointState.LIVE},
                )
                for one, before in told
            ]  # fmt: skip
            numbers = changelog.append(connection, changes, self._shared.committer.now())
            return Committed(tuple(zip(numbers, changes, strict=True)))

        committed = self._shared.committer.commit(operation)
        self._shared.committer.tell(committed.changes)
        return len(committed.changes)


def _registered(connection: apsw.Connection, act: Confirmation) -> list[Endpoint]:
    """Turn the pending endpoints among those registered; return them."""
    pending, live = EndpointState.PENDING, EndpointState.LIVE
    turned = (endpoints.turn(connection, one, pending, live) for one in act.registered)
    return [endpoint for endpoint in turned if endpoint is not None]


def _lost(connection: apsw.Connection, act: Confirmation) -> list[Endpoint]:
    """Return the live endpoints among those that the relay had lost."""
    rows = (endpoints.at(connection, one) for one in act.lost)
    return [row.endpoint for row in rows if row is not None and row.state is EndpointState.LIVE]
