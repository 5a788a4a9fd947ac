"""A refusal that comes before the request was read is heard."""

from __future__ import annotations

import http.client
import socket
import time
from typing import TYPE_CHECKING

import pytest

from meshd.client.connection import Connection

if TYPE_CHECKING:
    from pathlib import Path

    from meshd.client.address import Address

REFUSAL = b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"


class Place:
    """Stands for an address."""

    host = "localhost"

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def connect(self, timeout: float) -> socket.socket:
        connected = socket.socket(socket.AF_UNIX)
        connected.settimeout(timeout)
        connected.connect(self._path)
        return connected


@pytest.mark.parametrize("said", [REFUSAL, b""], ids=["answered", "gone"])
def test_what_was_said_before_the_end_is_read(tmp_path: Path, said: bytes) -> None:
    place: Address = Place(tmp_path / "socket")  # type: ignore[assignment]
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        listening.listen()
        connection = Connection(place)
        connection.deadline = time.monotonic() + 10
        connection.connect()
        accepted, _ = listening.accept()
        with accepted:
            accepted.sendall(said)
        connection.request("POST", "/", b"{}")
        if said:
            response = connection.getresponse()
            assert (response.status, response.read()) == (403, b"{}")
        else:
            with pytest.raises(http.client.RemoteDisconnected):
                connection.getresponse()
        connection.close()
