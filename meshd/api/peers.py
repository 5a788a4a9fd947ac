"""Who is at the other end, and what they may do.

Owns the kernel's word about a caller (SO_PEERCRED) and the gate every request passes: only
the daemon's own user and root may write; the size of a body is bounded. Assumes that the
mode of the socket decides who may connect at all.
"""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from starlette.exceptions import HTTPException
from uvicorn.protocols.http.h11_impl import H11Protocol

from meshd.api.replies import Reply

if TYPE_CHECKING:
    import asyncio
    from asyncio.trsock import TransportSocket

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_LIMIT_BYTES: Final = 1024 * 1024
PEER: Final = "meshd.peer"
TRANSPORT: Final = "meshd.transport"
_READING: Final = frozenset({"GET", "HEAD"})
_UCRED: Final = struct.Struct("iII")


class Peer(NamedTuple):
    """The process that connected, as the kernel saw it then."""

    pid: int
    uid: int
    gid: int


def peer_of(connected: socket.socket | TransportSocket) -> Peer | None:
    """Return who connected to a Unix socket, None for any other socket."""
    if connected.family != socket.AF_UNIX:
        return None
    raw = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    return Peer(*_UCRED.unpack(raw))


class PeerProtocol(H11Protocol):
    """Uvicorn's protocol; each request carries its transport and the `Peer` of its connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Ask the kernel once, when the connection begins."""
        super().connection_made(transport)
        peer = peer_of(transport.get_extra_info("socket"))
        app = self.app

        async def with_peer(scope: Scope, receive: Receive, send: Send) -> None:
            scope[PEER] = peer
            scope[TRANSPORT] = transport
            await app(scope, receive, send)

        self.app = with_peer


class Gate:
    """Lets a request pass, or answers it.

    Args:
        app: what lies behind.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._writers = frozenset({0, os.geteuid()})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that is refused; pass on any other."""
        if scope["type"] == "http":
            refusal = self._refusal(scope)
            if refusal is not None:
                await refusal(scope, receive, send)
                return
            receive = _bounded(receive)
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> Reply | None:
        peer: Peer | None = scope.get(PEER)
        if scope["method"] not in _READING and (peer is None or peer.uid not in self._writers):
            return _refused(403, "permission", "only the user of the daemon and root may write")
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if int(length) > BODY_LIMIT_BYTES:  # digits: the protocol has refused anything else
            return _refused(413, "too-large", _TOO_LARGE)
        return None


_TOO_LARGE: Final = f"a body may have {BODY_LIMIT_BYTES} bytes"


def _refused(status: int, code: str, message: str) -> Reply:
    # Closed, for the rest of the body would otherwise have to be read to its end.
    return Reply(
        {"error": {"code": code, "message": message, "hint": None}},
        status_code=status,
        headers={"connection": "close"},
    )


def _bounded(receive: Receive) -> Receive:
    """Count a body as it arrives: a chunked one does not say how long it is."""
    taken = 0

    async def counting() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > BODY_LIMIT_BYTES:
            raise HTTPException(413, _TOO_LARGE)
        return message

    return counting
