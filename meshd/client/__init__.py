"""The typed way to a running daemon.

Owns one method for each route, documents as the daemon gives them, errors as the one tree of
`meshd.errors`. `docs/client.md` says which method does what the peer's library does. Assumes
that one thread uses a client. Promises: every wait has a deadline, and it imports only small
modules of the standard library, so that the command line may use it at no cost.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Self

from meshd.client.acts import Acts
from meshd.client.address import TcpAddress, UnixAddress
from meshd.client.conversation import Conversation
from meshd.client.questions import Questions
from meshd.client.replies import Document, TooLargeError, UnauthorizedError
from meshd.errors import GoneError, StillLiveError

if TYPE_CHECKING:
    from pathlib import Path

    from meshd.client.address import Address

__all__ = [
    "Client",
    "Document",
    "GoneError",
    "StillLiveError",
    "TooLargeError",
    "UnauthorizedError",
]


class Client(Questions, Acts):
    """A conversation with one daemon; a context manager that ends it.

    Every method but `connect` and `close` raises:
        NoDaemonError: nothing answers on the socket.
        PermissionRefusedError: the socket, or the daemon, refuses the caller.
        DeadlineError: no answer came in time.
        MeshdError: what the daemon says it could not do, by the class of its code.

    Args:
        address: where the daemon listens: the path of its socket, or an address.

    Attributes:
        address: as text, what a person is shown.
        socket_path: of its Unix socket, None over TCP.
    """

    def __init__(self, address: Path | Address) -> None:
        self.socket_path = address if isinstance(address, os.PathLike) else None
        self.address = UnixAddress(address) if isinstance(address, os.PathLike) else address
        self._conversation = Conversation(self.address)

    @classmethod
    def over_tcp(cls, host: str, port: int, token: str) -> Self:
        """Return a client of the daemon's loopback port (`[api] listen`).

        Args:
            host: the loopback address, or `localhost`.
            port: the daemon's.
            token: what `[api] token_file` holds.
        """
        return cls(TcpAddress(host, port, token))

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
        self._conversation.connect()

    def give_up_at(self, moment: float) -> None:
        """Let no question last beyond a monotonic second, not even for a daemon that hangs."""
        self._conversation.until = moment

    def close(self) -> None:
        """End the conversation; a later question begins another."""
        self._conversation.close()
