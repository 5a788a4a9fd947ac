"""Who is at the other end, and what they may do.

Owns the kernel's word about a caller (SO_PEERCRED) and the gate every request passes: on the
socket only the daemon's own user and root may write, over TCP whoever has the token may do all;
the size of a body is bounded. Assumes that the mode of the socket decides who may connect at
all, and that a protocol has put the peer into the scope.
"""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from starlette.exceptions import HTTPException

from meshd.api import loopback
from meshd.api.failures import failed

if TYPE_CHECKING:
    from asyncio.trsock import TransportSocket

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from meshd.api.loopback import Token
    from meshd.api.replies import Reply

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


def is_trusted(peer: Peer) -> bool:
    """Whether a caller is the daemon's own user or root, who may write."""
    return peer.uid in (0, os.geteuid())


class Gate:
    """Lets a request pass, or answers it.

    Args:
        app: what lies behind.
        token: what opens it to those who come over TCP; None when nobody may.
    """

    def __init__(self, app: ASGIApp, token: Token | None = None) -> None:
        self._app = app
        self._token = token

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
        path, headers = scope["path"], scope["headers"]
        peer: Peer | None = scope.get(PEER)
        if peer is None:
            stranger = loopback.refusal(headers, self._token)
            if stranger is not None:
                return _refused(path, *stranger)
        elif scope["method"] not in _READING and not is_trusted(peer):
            message = "only the user of the daemon and root may write"
            return _refused(path, 403, "permission", message)
        length = dict(headers).get(b"content-length", b"0")
        if int(length) > BODY_LIMIT_BYTES:  # digits: the protocol has refused anything else
            return _refused(path, 413, "too-large", _TOO_LARGE)
        return None


_TOO_LARGE: Final = f"a body may have {BODY_LIMIT_BYTES} bytes"
_UNAUTHORIZED: Final = 401


def _refused(path: str, status: int, code: str, message: str, hint: str | None = None) -> Reply:
    # Closed, for the rest of the body would otherwise have to be read to its end.
    headers = {"connection": "close"}
    if status == _UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    return failed(path, status, code, message, hint=hint, headers=headers)


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
