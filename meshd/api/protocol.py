"""A connection: who is at its other end, and how long it may take.

Owns uvicorn's protocol as meshd uses it: the peer that each request carries, the number of
connections, and the patience with a caller that sends or reads slowly. Promises: whoever connects
over TCP, with a token or without, and other users leave room for those whose daemon it is; a
connection that says nothing, stops in the middle of a request, or does not read, ends.
"""

from __future__ import annotations

import asyncio
import contextlib
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

from meshd.api.failures import failed
from meshd.api.peers import PEER, TRANSPORT, is_trusted, peer_of

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from meshd.api.peers import Peer

CONNECTION_LIMIT: Final = 512
"""Connections at the same time; each holds a descriptor, of which a process has 1,024."""

LOOPBACK_LIMIT: Final = 192
"""Those of them that may be over TCP, so that a flood there leaves room on the socket."""

OTHERS_LIMIT: Final = 192
"""Those of them that may be of other users; with the two, a fourth is left for one's own."""

HEAD_SECONDS: Final = 10.0
"""How long the head of a request may take, from the connection or from its first byte."""

BODY_SECONDS: Final = 30.0
"""How long its body may take from there."""

UNREAD_SECONDS: Final = 30.0
"""How long an answer may wait for its caller to read on."""

_CROWDED: Final = failed("", 503, "busy", "too many connections", hint="ask again later")
_FULL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
) % (len(_CROWDED.body), bytes(_CROWDED.body))


class _Origin(Enum):
    """Where a connection comes from."""

    OWN = auto()  # the daemon's user, or root
    OTHERS = auto()  # other users, where the operator opened the socket to them
    LOOPBACK = auto()  # over TCP


class PeerProtocol(H11Protocol):
    """Uvicorn's protocol; each request carries its transport and the `Peer` of its connection."""

    _patience: asyncio.TimerHandle | None = None
    _awaited: tuple[object, float] | None = None
    _unread: asyncio.TimerHandle | None = None
    _writing_paused = False
    _origin = _Origin.OWN

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Ask the kernel once, when the connection begins."""
        super().connection_made(transport)
        connected = transport.get_extra_info("socket")
        peer = peer_of(connected)
        self._origin = _origin_of(peer)
        if self._is_crowded():
            transport.write(_FULL)
            transport.close()
            return
        app = self.app

        async def with_peer(scope: Scope, receive: Receive, send: Send) -> None:
            scope[PEER] = peer
            scope[TRANSPORT] = transport
            try:
                await app(scope, receive, send)
            except asyncio.CancelledError:
                # The daemon stops and has waited long enough. Its end is the last thing to do for
                # a request, so it is not passed on: the server takes it for an error of ours.
                self.logger.error("cut off at the stop: %s %a", scope["method"], scope["path"])  # noqa: TRY400 - in one line
                transport.abort()
                # The loop may be ending too, and cancels once more.
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(0)  # until the server has heard of it

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
        if self._unread is None and self.transport.get_write_buffer_size() > 0:
            self._await_reader()

    def pause_writing(self) -> None:
        """Write no more until the caller has read on."""
        super().pause_writing()
        self._writing_paused = True
        self._await_reader()

    def resume_writing(self) -> None:
        """Write on."""
        super().resume_writing()
        self._writing_paused = False
        self._await_reader()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        super().connection_lost(exc)
        self._await(None)
        if self._unread is not None:
            self._unread.cancel()

    def _is_crowded(self) -> bool:
        """Whether there are too many connections with this one."""
        if len(self.connections) > CONNECTION_LIMIT:
            return True
        if self._origin is _Origin.OWN:
            return False
        alike = sum(getattr(one, "_origin", None) is self._origin for one in self.connections)
        return alike > (LOOPBACK_LIMIT if self._origin is _Origin.LOOPBACK else OTHERS_LIMIT)

    def _await_reader(self) -> None:
        """Give the caller its time to read on, from now."""
        if self._unread is not None:
            self._unread.cancel()
        self._unread = self.loop.call_later(UNREAD_SECONDS, self._judge_reader)

    def _judge_reader(self) -> None:
        """End a connection whose caller has not read on; watch one that still has to."""
        self._unread = None
        if self.transport.get_write_buffer_size() == 0:
            return
        # What is closed ends when all is read, so that it never ends where nobody reads.
        if self._writing_paused or self.transport.is_closing():
            self.transport.abort()
        else:
            self._await_reader()

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


def _origin_of(peer: Peer | None) -> _Origin:
    if peer is None:
        return _Origin.LOOPBACK
    return _Origin.OWN if is_trusted(peer) else _Origin.OTHERS
