"""What a relay offers: somewhere to register endpoints, and rules between them.

Owns the seam between the registry and whatever carries the messages of agents. A relay is told
what holds, never what happened, and may be told it again: after a crash, a failure or a doubt
the same call comes once more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from meshd.errors import MeshdError

if TYPE_CHECKING:
    from collections.abc import Collection

    from meshd.core.endpoints import AccessRule, Endpoint


class RelayError(MeshdError):
    """The relay did not do what it was told, or nobody knows whether it did."""

    code = "relay"


class Relay(Protocol):
    """A relay. Every call is idempotent, ends within seconds, and raises RelayError or nothing."""

    def register(self, endpoint: Endpoint) -> None:
        """Let an agent be reached at its subject."""
        ...

    def retire(self, subject: str) -> None:
        """Let nobody be reached at a subject any more."""
        ...

    def put_rule(self, rule: AccessRule) -> None:
        """Let a rule hold, in place of any other between its source and its target."""
        ...

    def remove_rule(self, rule: AccessRule) -> None:
        """Let a rule hold no more."""
        ...

    def reconcile(
        self, endpoints: Collection[Endpoint], rules: Collection[AccessRule]
    ) -> frozenset[str]:
        """Hold exactly these endpoints and rules.

        Returns:
            The subjects that were missing, and are there again.
        """
        ...
