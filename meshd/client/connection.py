"""One connection to the daemon: HTTP over its Unix socket.

Owns the wait for a place in the daemon's queue, the deadline of every wait after it, and what
is said when there is no daemon. Assumes that one thread uses a connection.
"""

from __future__ import annotations

import http.client
import os
import socket
import struct
import time
from typing import TYPE_CHECKING

from meshd.errors import DeadlineError, MeshdError, NoDaemonError, PermissionRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CHUNK_BYTES = 64 * 1024


class Connection(http.client.HTTPConnection):
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
        """Connect, waiting for a place in the daemon's queue until the deadline.

        Raises:
            NoDaemonError: nothing answers on the socket.
            PermissionRefusedError: the socket refuses the caller.
            DeadlineError: the daemon does not take the connection.
        """
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


def gone_away(path: Path) -> NoDaemonError:
    """Return the error of a conversation that the daemon broke off."""
    return NoDaemonError(
        f"the daemon on {path} went away before it answered", hint="see its log, and ask again"
    )
