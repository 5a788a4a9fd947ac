"""Following the change log over the daemon's restarts.

Owns the reading of the stream and the return to it. Promises: each entry after the place it
began at is given once and in order, over any number of lost connections; where that cannot be
it raises. Its wait for the daemon to return has no end but the caller's.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from meshd.client.connection import Connection, gone_away
from meshd.client.replies import error_said, expect_ok
from meshd.errors import DeadlineError, GoneError, MeshdError, NoDaemonError, StoppingError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from meshd.client.address import Address
    from meshd.client.replies import Document

ANSWER_SECONDS = 35.0
"""For the beginning of a stream, which the daemon has at hand."""

SILENCE_SECONDS = 40.0
"""The daemon says every 15 s that it lives; a stream more quiet than this is lost."""

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0

_CHUNK_BYTES = 64 * 1024
_LOST = (
    ConnectionError,
    TimeoutError,
    http.client.HTTPException,
    NoDaemonError,
    DeadlineError,
    StoppingError,
)


def follow(
    address: Address, target: str, since: str | None, connected: Callable[[bool], None]
) -> Generator[Document, None, None]:
    """Yield entries as they are committed.

    Args:
        address: where the daemon listens.
        target: the route of the events.
        since: `EPOCH-SEQ` or `SEQ` of the last entry the caller has, None for the newest.
        connected: told False when the daemon went away, and True when it is back.
    """
    stream = _Stream(address, target, since)
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            for entry in stream.entries(connected):
                pause = FIRST_PAUSE_SECONDS
                yield entry
        except _LOST as error:
            if not stream.opened:
                raise refusal(address, error) from error
        if not stream.lost:
            stream.lost = True
            connected(False)
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


class _Stream:
    """A place in the change log, and what is sent from there.

    Attributes:
        place: id of the last entry, None before the first connection.
        opened: whether the daemon ever answered.
        lost: whether the caller was told that it went away.
    """

    def __init__(self, address: Address, target: str, since: str | None) -> None:
        self.place = since
        self.opened = False
        self.lost = False
        self._address = address
        self._target = target

    def entries(self, connected: Callable[[bool], None]) -> Iterator[Document]:
        """Yield entries until the stream ends or is lost."""
        with contextlib.closing(Connection(self._address)) as connection:
            response = self._open(connection)
            self.opened = True
            if self.lost:
                self.lost = False
                connected(True)
            for fields in blocks(response):
                self.place = fields.get("id", self.place)
                if fields.get("event") == GoneError.code:
                    raise error_said(http.client.GONE, json.loads(fields["data"]))
                if "data" in fields:
                    yield json.loads(fields["data"])

    def _open(self, connection: Connection) -> http.client.HTTPResponse:
        connection.deadline = time.monotonic() + ANSWER_SECONDS
        connection.connect()
        waiting = connection.sock
        connection.limit(waiting)
        query = "" if self.place is None else "?" + urlencode({"since": self.place})
        headers = {"Accept": "text/event-stream", **self._address.headers}
        connection.request("GET", self._target + query, headers=headers)
        response = connection.getresponse()
        if response.status != http.client.OK:
            expect_ok(response.status, response.read())
            raise MeshdError(f"not a stream of meshd on {self._address}")
        assert waiting is not None, "bug: connected without a socket"
        waiting.settimeout(SILENCE_SECONDS)
        return response


def refusal(address: Address, error: Exception) -> MeshdError:
    """Return why a stream did not even begin, or was broken off for good."""
    if isinstance(error, MeshdError):
        return error
    if isinstance(error, TimeoutError):
        return DeadlineError(f"no answer in time from {address}")
    if isinstance(error, ConnectionError | http.client.IncompleteRead):
        return gone_away(address)
    return MeshdError(f"not an answer of meshd on {address}")


def blocks(response: http.client.HTTPResponse) -> Iterator[dict[str, str]]:
    """Yield the fields of each event of a stream; a comment has none that count."""
    waiting = b""
    while received := response.read1(_CHUNK_BYTES):
        *whole, waiting = (waiting + received).split(b"\n\n")
        for block in whole:
            lines = (line.partition(": ") for line in block.decode("ascii").split("\n"))
            yield {name: value for name, _, value in lines}
