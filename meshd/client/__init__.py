"""The typed way to a running daemon.

Owns the conversation with the daemon over its Unix socket: one method per route, documents
as the daemon gives them, errors as the one tree of `meshd.errors`. Assumes that one thread
uses a client. Promises: every wait has a deadline, and it imports only small modules of the
standard library, so that the command line may use it at no cost.
"""

from __future__ import annotations

import http.client
import json
import os
import time
from typing import TYPE_CHECKING, Self
from urllib.parse import quote, urlencode

from meshd.client.connection import Connection, chunks, gone_away
from meshd.client.following import follow
from meshd.client.replies import Document, GoneError, document, expect_ok
from meshd.errors import DeadlineError, MeshdError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from pathlib import Path

__all__ = ["Client", "Document", "GoneError"]

PREFIX = "/api/mesh"
READ_DEADLINE_SECONDS = 35.0
"""For answers the daemon has at hand: its own deadline, 30 s, and some for the way."""
SWEEP_DEADLINE_SECONDS = 635.0
"""For answers that wait for an act and then a sweep, to which the daemon gives 30 and 600 s."""

_UNAVAILABLE = 503


class Client:
    """A conversation with one daemon; a context manager that ends it.

    Every method but `connect` and `close` raises:
        NoDaemonError: nothing answers on the socket.
        PermissionRefusedError: the socket, or the daemon, refuses the caller.
        DeadlineError: no answer came in time.
        MeshdError: what the daemon says it could not do, by the class of its code.

    Args:
        socket_path: where the daemon listens.
    """

    def __init__(self, socket_path: Path) -> None:
        self.socket_path = socket_path
        self._connection = Connection(socket_path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def connect(self) -> None:
        """Connect now instead of at the first question.

        Raises:
            NoDaemonError: nothing answers on the socket.
            PermissionRefusedError: the socket refuses the caller.
            DeadlineError: the daemon does not take the connection.
        """
        if self._connection.sock is None:
            self._connection.deadline = time.monotonic() + READ_DEADLINE_SECONDS
            self._connection.connect()

    def close(self) -> None:
        """End the conversation; a later question begins another."""
        self._connection.close()

    # questions

    def registry(self) -> Document:
        """Return `{"agents": […]}`: every row, unreachable ones too."""
        return self._get("/registry")

    def agents(
        self,
        *,
        runtime: str | None = None,
        capability: str | None = None,
        caller_namespace: str | None = None,
    ) -> Document:
        """Return `{"agents": […]}`: those that may be discovered, without their paths."""
        return self._get(
            "/agents",
            {"runtime": runtime, "capability": capability, "callerNamespace": caller_namespace},
        )

    def paths(self) -> Document:
        """Return `{"agents": […]}`: where every agent lives."""
        return self._get("/agents/paths")

    def agent(self, agent_id: str) -> Document:
        """Return the manifest of an agent."""
        return self._get(f"/agents/{quote(agent_id, safe='')}")

    def health(self, agent_id: str) -> Document:
        """Return the health of an agent."""
        return self._get(f"/agents/{quote(agent_id, safe='')}/health")

    def status(self) -> Document:
        """Return how the mesh and the daemon are."""
        return self._get("/status")

    def unreachable(self, before: str | None = None) -> Document:
        """Return `{"agents": […]}`: unreachable rows; `before` is a time, RFC 3339."""
        return self._get("/unreachable", {"before": before})

    def claims(self, outcome: str | None = None) -> Document:
        """Return `{"claims": […]}`: what every manifest path says, or those judged so."""
        return self._get("/claims", {"outcome": outcome})

    def roots(self) -> Document:
        """Return `{"roots": […]}`."""
        return self._get("/roots")

    def denied(self) -> Document:
        """Return `{"denied": […]}`."""
        return self._get("/denied")

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
        return self._get("/events", query, READ_DEADLINE_SECONDS + (wait or 0.0))

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
        return follow(self.socket_path, f"{PREFIX}/events", place, connected)

    def metrics(self) -> str:
        """Return the metrics in Prometheus' text format."""
        return expect_ok(*self._exchange("GET", "/metrics")).decode("utf-8")

    def healthz(self) -> bool:
        """Whether the daemon is alive."""
        return self._is_available("/healthz")

    def readyz(self) -> bool:
        """Whether the first sweep of every reachable root is committed."""
        return self._is_available("/readyz")

    # acts

    def accept_root(self, path: str) -> Document:
        """Take what lies at a root now for the root."""
        return self._post("/roots/accept", {"path": path})

    def sweep(self, *, full: bool = False, confirm: bool = False) -> Document:
        """Sweep from now, and return what the committed sweep did."""
        return self._post("/sweep", {"full": full, "confirm": confirm}, SWEEP_DEADLINE_SECONDS)

    def sync(self) -> Document:
        """Bring the registry up to date with the disk; return `{"seq", "held", "roots"}`."""
        return self._post("/sync", {}, SWEEP_DEADLINE_SECONDS)

    def reload(self) -> Document:
        """Reload the configuration; return `{"generation", "changed", "needsRestart"}`."""
        return self._post("/reload", {})

    def deny(self, path: str, *, reason: str | None = None, denier: str | None = None) -> Document:
        """Leave a path alone, with everything below it."""
        said = {"path": path, "reason": reason, "denier": denier}
        return self._post("/deny", {key: value for key, value in said.items() if value is not None})

    def allow(self, path: str) -> Document:
        """Take a denial back; returns once a sweep has found what lies there."""
        target = f"{PREFIX}/denied/{quote(os.fsencode(path), safe='')}"
        return document(*self._exchange("DELETE", target, deadline=SWEEP_DEADLINE_SECONDS))

    def forget(self, agent_id: str | None = None) -> Document:
        """Drop the row of an id that is not live, or every row out of scope (None)."""
        return self._post("/forget", {"unscanned": True} if agent_id is None else {"id": agent_id})

    # the conversation

    def _get(
        self,
        route: str,
        query: Mapping[str, str | None] | None = None,
        deadline: float = READ_DEADLINE_SECONDS,
    ) -> Document:
        given = {key: value for key, value in (query or {}).items() if value is not None}
        target = f"{PREFIX}{route}" + (f"?{urlencode(given)}" if given else "")
        return document(*self._exchange("GET", target, deadline=deadline))

    def _post(
        self, route: str, body: Document, deadline: float = READ_DEADLINE_SECONDS
    ) -> Document:
        return document(*self._exchange("POST", f"{PREFIX}{route}", body, deadline=deadline))

    def _is_available(self, target: str) -> bool:
        status, answer = self._exchange("GET", target)
        if status != _UNAVAILABLE:
            expect_ok(status, answer)
        return status != _UNAVAILABLE

    def _exchange(
        self,
        method: str,
        target: str,
        body: Document | None = None,
        *,
        deadline: float = READ_DEADLINE_SECONDS,
    ) -> tuple[int, bytes]:
        """Ask once; again if the daemon had closed the idle connection meanwhile.

        Repeating is safe: every act of the daemon can be done twice to the same end.
        """
        self._connection.deadline = time.monotonic() + deadline
        reused = self._connection.sock is not None
        try:
            return self._ask(method, target, body)
        except (http.client.RemoteDisconnected, ConnectionError) as error:
            if not reused:
                raise gone_away(self.socket_path) from error
        try:
            return self._ask(method, target, body)
        except (http.client.RemoteDisconnected, ConnectionError) as error:
            raise gone_away(self.socket_path) from error

    def _ask(self, method: str, target: str, body: Document | None) -> tuple[int, bytes]:
        connection = self._connection
        content = None if body is None else json.dumps(body).encode("ascii")
        headers = {} if body is None else {"Content-Type": "application/json"}
        try:
            if connection.sock is None:
                connection.connect()
            waiting = connection.sock
            connection.limit(waiting)
            connection.request(method, target, content, headers)
            with connection.getresponse() as response:
                answer = b"".join(chunks(connection, waiting, response))
        except BaseException as error:
            self.close()  # half a conversation is of no use to the next question
            if isinstance(error, TimeoutError):
                raise DeadlineError(f"no answer in time from {self.socket_path}") from error
            if isinstance(error, http.client.IncompleteRead):
                raise gone_away(self.socket_path) from error
            if isinstance(error, http.client.HTTPException) and not isinstance(
                error, ConnectionError
            ):
                raise MeshdError(f"not an answer of meshd on {self.socket_path}") from error
            raise
        return response.status, answer
