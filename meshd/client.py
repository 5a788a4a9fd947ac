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
import socket
import struct
import time
from typing import TYPE_CHECKING, Any, Self, TypeAlias
from urllib.parse import quote, urlencode

from meshd import errors
from meshd.errors import (
    DeadlineError,
    MeshdError,
    NoDaemonError,
    NotFoundError,
    PermissionRefusedError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Document: TypeAlias = dict[str, Any]
"""A JSON object, as the daemon gives it."""

PREFIX = "/api/mesh"
READ_DEADLINE_SECONDS = 35.0
"""For answers the daemon has at hand: its own deadline, 30 s, and some for the way."""
SWEEP_DEADLINE_SECONDS = 635.0
"""For answers that wait for an act and then a sweep, to which the daemon gives 30 and 600 s."""

_CHUNK_BYTES = 64 * 1024
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
        self._connection = _Connection(socket_path)

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

    def events(self, since: int = 0, limit: int = 1000) -> Document:
        """Return `{"events": […], "epoch", "seq"}`: the change log after `since`."""
        return self._get("/events", {"since": str(since), "limit": str(limit)})

    def metrics(self) -> str:
        """Return the metrics in Prometheus' text format."""
        return _expect_ok(*self._exchange("GET", "/metrics")).decode("utf-8")

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
        return _document(*self._exchange("DELETE", target, deadline=SWEEP_DEADLINE_SECONDS))

    def forget(self, agent_id: str | None = None) -> Document:
        """Drop the row of an id that is not live, or every row out of scope (None)."""
        return self._post("/forget", {"unscanned": True} if agent_id is None else {"id": agent_id})

    # the conversation

    def _get(self, route: str, query: dict[str, str | None] | None = None) -> Document:
        given = {key: value for key, value in (query or {}).items() if value is not None}
        target = f"{PREFIX}{route}" + (f"?{urlencode(given)}" if given else "")
        return _document(*self._exchange("GET", target))

    def _post(
        self, route: str, body: Document, deadline: float = READ_DEADLINE_SECONDS
    ) -> Document:
        return _document(*self._exchange("POST", f"{PREFIX}{route}", body, deadline=deadline))

    def _is_available(self, target: str) -> bool:
        status, answer = self._exchange("GET", target)
        if status != _UNAVAILABLE:
            _expect_ok(status, answer)
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
                raise _gone(self.socket_path) from error
        try:
            return self._ask(method, target, body)
        except (http.client.RemoteDisconnected, ConnectionError) as error:
            raise _gone(self.socket_path) from error

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
                answer = b"".join(_chunks(connection, waiting, response))
        except BaseException as error:
            self.close()  # half a conversation is of no use to the next question
            if isinstance(error, TimeoutError):
                raise DeadlineError(f"no answer in time from {self.socket_path}") from error
            if isinstance(error, http.client.IncompleteRead):
                raise _gone(self.socket_path) from error
            if isinstance(error, http.client.HTTPException) and not isinstance(
                error, ConnectionError
            ):
                raise MeshdError(f"not an answer of meshd on {self.socket_path}") from error
            raise
        return response.status, answer


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket.

    Attributes:
        deadline: monotonic second at which the wait in hand ends.
    """

    sock: socket.socket | None

    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self.deadline = 0.0
        self._path = path

    def connect(self) -> None:
        """Connect, waiting for a place in the daemon's queue until the deadline."""
        stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # A socket with a Python timeout does not wait for a place in the queue (EAGAIN).
            left = struct.pack("@ll", max(1, int(self._left())), 0)
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, left)
            stream.connect(os.fspath(self._path))
        except OSError as error:
            stream.close()
            raise _refusal(self._path, error) from error
        self.sock = stream

    def limit(self, stream: socket.socket | None) -> None:
        """Let the next wait on a socket end at the deadline."""
        if stream is not None:
            stream.settimeout(self._left())

    def _left(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def _chunks(
    connection: _Connection, waiting: socket.socket | None, response: http.client.HTTPResponse
) -> Iterator[bytes]:
    """Yield the body as it comes, each part before the deadline."""
    while not response.isclosed():
        connection.limit(waiting)
        yield response.read(_CHUNK_BYTES)
    if response.length:  # http.client lets a body end early if it is read in parts
        raise http.client.IncompleteRead(b"", response.length)


def _refusal(path: Path, error: OSError) -> MeshdError:
    """Say why the socket could not be connected to."""
    if isinstance(error, PermissionError):
        return PermissionRefusedError(
            f"may not talk to the daemon on {path}",
            hint="run as the user of the daemon, or let it widen api.socket_mode",
        )
    if isinstance(error, BlockingIOError):
        return DeadlineError(f"the daemon on {path} takes no connection")
    return NoDaemonError(
        f"no daemon answers on {path}", hint="start one: meshd run DIR, DIR being what to scan"
    )


def _gone(path: Path) -> NoDaemonError:
    return NoDaemonError(
        f"the daemon on {path} went away before it answered", hint="see its log, and ask again"
    )


def _codes() -> dict[str, type[MeshdError]]:
    """Return every class of error by its code."""
    found = (kind for kind in vars(errors).values() if isinstance(kind, type))
    return {kind.code: kind for kind in found if issubclass(kind, MeshdError)}


def _expect_ok(status: int, answer: bytes) -> bytes:
    """Return an answer that is none of an error; raise the error otherwise."""
    if status < http.client.BAD_REQUEST:
        return answer
    try:
        said = json.loads(answer)
    except ValueError:
        said = None
    raise _error(status, said if isinstance(said, dict) else {})


def _document(status: int, answer: bytes) -> Document:
    try:
        said = json.loads(_expect_ok(status, answer))
    except ValueError as error:
        raise MeshdError("the daemon's answer is not JSON") from error
    if not isinstance(said, dict):
        raise MeshdError("the daemon's answer is not a JSON object")
    return said


def _error(status: int, said: Document) -> MeshdError:
    """Return what an error answer says, in either of the shapes the routes have."""
    what = said.get("error")
    if isinstance(what, dict):
        code = str(what.get("code"))
        error = _codes().get(code, MeshdError)(str(what.get("message")), hint=what.get("hint"))
        error.code = code
        return error
    kinds: dict[int, type[MeshdError]] = {
        http.client.FORBIDDEN: PermissionRefusedError,
        http.client.NOT_FOUND: NotFoundError,
        http.client.GATEWAY_TIMEOUT: DeadlineError,
    }
    message = str(what) if what else f"the daemon answered with status {status}"
    details = said.get("details")
    if isinstance(details, list):
        told = (
            f"{one.get('path')}: {one.get('message')}" for one in details if isinstance(one, dict)
        )
        message += f": {'; '.join(told)}"
    return kinds.get(status, MeshdError)(message)
