"""What may be asked of a daemon, one method for each route.

Owns the names of the questions and of their parameters. Assumes to be part of a `Client`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshd.client.conversation import PREFIX, READ_DEADLINE_SECONDS, safe, stream
from meshd.client.following import follow
from meshd.client.replies import expect_ok
from meshd.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Sequence

    from meshd.client.address import Address
    from meshd.client.conversation import Conversation
    from meshd.client.replies import Document

_UNAVAILABLE = 503


class Questions:
    """The half of a client that changes nothing."""

    address: Address
    _conversation: Conversation

    def registry(self, *, agent: str | None = None, namespace: str | None = None) -> Document:
        """Return `{"agents": […]}`: every row, unreachable ones too.

        Args:
            agent: only the row with this id, or of this path.
            namespace: only rows of this namespace.
        """
        return self._conversation.get("/registry", {"agent": agent, "namespace": namespace})

    def row(self, agent: str) -> Document:
        """Return all that the registry knows of an agent, named by id or by path.

        Raises:
            NotFoundError: there is no such agent.
        """
        found: list[Document] = self.registry(agent=agent)["agents"]
        if not found:
            raise NotFoundError(f"no agent {agent!a}", hint="`meshd agents list` shows all")
        return found[0]

    def subject(self, agent: str) -> str | None:
        """Return where an agent, named by id or by path, is sent to; None while nowhere.

        Raises:
            NotFoundError: there is no such agent.
        """
        subject: str | None = self.route(agent, agent)["subject"]
        return subject

    def agents(
        self,
        *,
        runtime: str | None = None,
        capability: str | None = None,
        caller_namespace: str | None = None,
    ) -> Document:
        """Return `{"agents": […]}`: those that may be discovered, without their paths."""
        return self._conversation.get(
            "/agents",
            {"runtime": runtime, "capability": capability, "callerNamespace": caller_namespace},
        )

    def paths(self) -> Document:
        """Return `{"agents": […]}`: where every agent lives."""
        return self._conversation.get("/agents/paths")

    def agent(self, agent_id: str) -> Document:
        """Return the manifest of an agent."""
        return self._conversation.get(f"/agents/{safe(agent_id)}")

    def health(self, agent_id: str) -> Document:
        """Return the health of an agent."""
        return self._conversation.get(f"/agents/{safe(agent_id)}/health")

    def access(self, agent_id: str) -> Document:
        """Return `{"agents": […]}`: those that an agent may reach."""
        return self._conversation.get(f"/agents/{safe(agent_id)}/access")

    def topology(self, namespace: str = "*") -> Document:
        """Return namespaces with their agents, and the rules, as a namespace sees them."""
        return self._conversation.get("/topology", {"namespace": namespace})

    def route(self, source: str, target: str) -> Document:
        """Return `{"allowed", "subject", "rule", "reason"}`; agents are named by id or path."""
        return self._conversation.get("/route", {"from": source, "to": target})

    def rules(self) -> Document:
        """Return `{"rules": […]}`: default and explicit ones."""
        return self._conversation.get("/rules")

    def status(self) -> Document:
        """Return how the mesh and the daemon are."""
        return self._conversation.get("/status")

    def unreachable(self, before: str | None = None) -> Document:
        """Return `{"agents": […]}`: unreachable rows; `before` is a time, RFC 3339."""
        return self._conversation.get("/unreachable", {"before": before})

    def claims(self, outcome: str | None = None) -> Document:
        """Return `{"claims": […]}`: what every manifest path says, or those judged so."""
        return self._conversation.get("/claims", {"outcome": outcome})

    def roots(self) -> Document:
        """Return `{"roots": […]}`."""
        return self._conversation.get("/roots")

    def denied(self) -> Document:
        """Return `{"denied": […]}`."""
        return self._conversation.get("/denied")

    def events(
        self, since: int | str = 0, limit: int = 1000, *, wait: float | None = None
    ) -> Document:
        """Return `{"events": […], "epoch", "seq"}`: the change log after `since`.

        Args:
            since: SEQ, or EPOCH-SEQ to be refused when the number is of another epoch.
            limit: at most so many entries.
            wait: seconds to wait for an entry when there is none, at most 60.

        Raises:
            GoneError: with an epoch or a wait, the log cannot go on from there.
        """
        query = {"since": str(since), "limit": str(limit)}
        if wait is not None:
            query["wait"] = f"{wait:.3f}"
        return self._conversation.get("/events", query, READ_DEADLINE_SECONDS + (wait or 0.0))

    def follow(
        self,
        since: int | str | None = None,
        *,
        connected: Callable[[bool], None] = lambda _: None,
    ) -> Generator[Document, None, None]:
        """Yield entries of the change log as they are committed, over the daemon's restarts.

        It has a connection of its own, so questions may be asked meanwhile. To miss nothing
        after an answer, ask for the status before it, and follow from `EPOCH-SEQ` of that.

        Args:
            since: SEQ or EPOCH-SEQ of the last entry the caller has, None for the newest.
            connected: told False when the daemon went away, and True when it is back.

        Raises:
            NoDaemonError: nothing answers at the first try; later ones are repeated.
            GoneError: the log cannot go on from there, be it at the first try or later.
        """
        place = None if since is None else str(since)
        return follow(self.address, f"{PREFIX}/events", place, connected)

    def subscribe(
        self,
        kinds: Collection[str],
        since: int | str | None = None,
        *,
        connected: Callable[[bool], None] = lambda _: None,
    ) -> Generator[Document, None, None]:
        """Yield entries of these kinds as they are committed; else as `follow`."""
        for entry in self.follow(since, connected=connected):
            if entry["kind"] in kinds:
                yield entry

    def discover(
        self, roots: Sequence[str], max_depth: int | None = None
    ) -> Generator[tuple[str, Document], None, None]:
        """Look for directories that speak of an agent and have no manifest.

        It has a connection of its own, so questions may be asked meanwhile.

        Args:
            roots: where, absolute; each at or below a configured root.
            max_depth: how many levels below each of them.

        Yields:
            `("candidate", …)` and `("progress", …)` as it goes, and `("done", …)` at its end.
        """
        asked: Document = {"roots": list(roots)}
        if max_depth is not None:
            asked["maxDepth"] = max_depth
        return stream(self.address, "/discover", asked)

    def metrics(self) -> str:
        """Return the metrics in Prometheus' text format."""
        return expect_ok(*self._conversation.exchange("GET", "/metrics")).decode("utf-8")

    def healthz(self) -> bool:
        """Whether the daemon is alive."""
        return self._is_available("/healthz")

    def readyz(self) -> bool:
        """Whether the first sweep of every reachable root is committed."""
        return self._is_available("/readyz")

    def _is_available(self, target: str) -> bool:
        status, answer = self._conversation.exchange("GET", target)
        if status != _UNAVAILABLE:
            expect_ok(status, answer)
        return status != _UNAVAILABLE
