"""Where a daemon is reached: its Unix socket, or its port on the loopback address.

Owns the way to each, what a request must carry there, and what is said when nobody answers.
"""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING, Protocol

from meshd.errors import DeadlineError, MeshdError, NoDaemonError, PermissionRefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Address(Protocol):
    """A place where a daemon listens; as text, it is what a person is shown."""

    @property
    def host(self) -> str:
        """What a request calls the daemon."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """What every request carries."""
        ...

    def connect(self, seconds: float) -> socket.socket:
        """Connect, waiting for a place in the daemon's queue for so long.

        Raises:
            NoDaemonError: nothing answers there.
            PermissionRefusedError: the place refuses the caller.
            DeadlineError: the daemon does not take the connection.
        """
        ...


class UnixAddress:
    """The daemon's socket."""

    host = "localhost"

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def headers(self) -> Mapping[str, str]:
        """Nothing: the kernel says who calls."""
        return {}

    def connect(self, seconds: float) -> socket.socket:
        """Connect to the socket; see `Address.connect`."""
        stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # A socket with a Python timeout does not wait for a place in the queue (EAGAIN).
            left = struct.pack("@ll", max(1, int(seconds)), 0)
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, left)
            stream.connect(os.fspath(self.path))
        except OSError as error:
            stream.close()
            raise self._refusal(error) from error
        return stream

    def _refusal(self, error: OSError) -> MeshdError:
        """Say why the socket could not be connected to."""
        if isinstance(error, PermissionError):
            return PermissionRefusedError(
                f"may not talk to the daemon on {self}",
                hint="run as the user of the daemon, or let it widen api.socket_mode",
            )
        if isinstance(error, BlockingIOError):
            return DeadlineError(f"the daemon on {self} takes no connection")
        return NoDaemonError(
            f"no daemon answers on {self}", hint="start one: meshd run DIR, DIR being what to scan"
        )


class TcpAddress:
    """The daemon's loopback port, and the token that opens it."""

    def __init__(self, name: str, port: int, token: str) -> None:
        self._name = name
        self._port = port
        self._token = token

    def __str__(self) -> str:
        return self.host

    @property
    def host(self) -> str:
        """The name and the port."""
        name = f"[{self._name}]" if ":" in self._name else self._name
        return f"{name}:{self._port}"

    @property
    def headers(self) -> Mapping[str, str]:
        """The token."""
        return {"Authorization": f"Bearer {self._token}"}

    def connect(self, seconds: float) -> socket.socket:
        """Connect to the port; see `Address.connect`."""
        try:
            return socket.create_connection((self._name, self._port), seconds)
        except TimeoutError as error:
            raise DeadlineError(f"the daemon on {self} takes no connection") from error
        except OSError as error:
            raise NoDaemonError(
                f"no daemon answers on {self}", hint="see api.listen in its configuration"
            ) from error
