"""One connection to the daemon: HTTP to its address.

Owns the deadline of every wait, and what is said of a daemon that went away. Assumes that one
thread uses a connection.
"""

from __future__ import annotations

import contextlib
import http.client
import time
from typing import TYPE_CHECKING, Any

from meshd.errors import NoDaemonError

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from meshd.client.address import Address

_CHUNK_BYTES = 64 * 1024


class Connection(http.client.HTTPConnection):
    """HTTP to an address.

    Attributes:
        deadline: monotonic second at which the wait in hand ends.
    """

    sock: socket.socket | None

    def __init__(self, address: Address) -> None:
        super().__init__(address.host)
        self.deadline = 0.0
        self._address = address

    def connect(self) -> None:
        """Connect before the deadline; see `Address.connect`."""
        self.sock = self._address.connect(self._left())

    def send(self, data: Any) -> None:  # noqa: ANN401 - http.client's own
        """Send a part of a request.

        A daemon that refuses before it has read the body closes its end. Its answer is there
        all the same, and is read next; where there is none, reading says so.
        """
        with contextlib.suppress(BrokenPipeError):
            super().send(data)

    def limit(self, stream: socket.socket | None) -> None:
        """Let the next wait on a socket end at the deadline.

        Raises:
            TimeoutError: it has passed.
        """
        if stream is not None:
            stream.settimeout(self._left())

    def _left(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def chunks(
    connection: Connection, waiting: socket.socket | None, response: http.client.HTTPResponse
) -> Iterator[bytes]:
    """Yield the body as it comes, each part before the deadline."""
    while not response.isclosed():
        connection.limit(waiting)
        yield response.read(_CHUNK_BYTES)
    if response.length:  # http.client lets a body end early if it is read in parts
        raise http.client.IncompleteRead(b"", response.length)


def gone_away(address: Address) -> NoDaemonError:
    """Return the error of a conversation that the daemon broke off."""
    return NoDaemonError(
        f"the daemon on {address} went away before it answered", hint="see its log, and ask again"
    )
