"""A connection: who is at its other end, and how long it may take.

Owns uvicorn's protocol as meshd uses it: the peer that each request carries, the number of
connections, and the patience with a request that comes slowly. Promises: whoever connects over
TCP, with a token or without, leaves room for those on the Unix socket; a connection that says
nothing, or stops in the middle of a request, ends.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

from meshd.api.failures import failed
from meshd.api.peers import PEER, TRANSPORT, peer_of

if TYPE_CHECKING:
    import asyncio

    from starlette.types import Receive, Scope, Send

CONNECTION_LIMIT: Final = 512
"""Connections at the same time; each holds a descriptor, of which a process has 1,024."""

LOOPBACK_LIMIT: Final = 256
"""Those of them that may be over TCP, so that a flood there leaves the socket its half."""

HEAD_SECONDS: Final = 10.0
"""How long the head of a request may take, from the connection or from its first byte."""

BODY_SECONDS: Final = 30.0
"""How long its body may take from there."""

_CROWDED: Final = failed("", 503, "busy", "too many connections", hint="ask again later")
_FULL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
) % (len(_CROWDED.body), bytes(_CROWDED.body))


class PeerProtocol(H11Protocol):
    """Uvicorn's protocol; each request carries its transport and the `Peer` of its connection."""

    _patience: asyncio.TimerHandle | None = None
    _awaited: tuple[object, float] | None = None
    _over_tcp = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Ask the kernel once, when the connection begins."""
        super().connection_made(transport)
        connected = transport.get_extra_info("socket")
        self._over_tcp = connected.family != socket.AF_UNIX
        if self._is_crowded():
            transport.write(_FULL)
            transport.close()
            return
        peer = peer_of(connected)
        app = self.app

        async def with_peer(scope: Scope, receive: Receive, send: Send) -> None:
            scope[PEER] = peer
            scope[TRANSPORT] = transport
            await app(scope, receive, send)

        self.app = with_peer
        self._keep_pace()

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request."""
        super().data_received(data)
        self._keep_pace()

    def on_response_complete(self) -> None:
        """Go on to the next request."""
        super().on_response_complete()
        self._keep_pace()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        super().connection_lost(exc)
        self._await(None)

    def _is_crowded(self) -> bool:
        """Whether there are too many connections with this one."""
        if len(self.connections) > CONNECTION_LIMIT:
            return True
        alike = sum(getattr(one, "_over_tcp", False) for one in self.connections)
        return self._over_tcp and alike > LOOPBACK_LIMIT

    def _keep_pace(self) -> None:
        """Let what is being waited for end in time; whoever has begun with it has its deadline."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            # Between two requests the server's own timer runs, until a byte of the next comes.
            idle = self.timeout_keep_alive_task is not None
            self._await(None if idle else (cycle, HEAD_SECONDS))
        else:
            self._await((cycle, BODY_SECONDS) if cycle.more_body else None)

    def _await(self, awaited: tuple[object, float] | None) -> None:
        if awaited == self._awaited:
            return
        self._awaited = awaited
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        if awaited is not None:
            self._patience = self.loop.call_later(awaited[1], self.transport.abort)
