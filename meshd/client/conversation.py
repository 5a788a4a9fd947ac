"""Question and answer over one connection.

Owns when a question is asked again, and what each way to fail is called. Assumes that one
thread uses a conversation. Promises: every wait has a deadline.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import time
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from meshd.client.connection import Connection, chunks, gone_away
from meshd.client.following import ANSWER_SECONDS, SILENCE_SECONDS, blocks, refusal
from meshd.client.replies import document, error_said, expect_ok
from meshd.errors import DeadlineError, MeshdError

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from meshd.client.address import Address
    from meshd.client.replies import Document

PREFIX = "/api/mesh"
READ_DEADLINE_SECONDS = 35.0
"""For answers the daemon has at hand: its own deadline, 30 s, and some for the way."""


class Conversation:
    """One connection to a daemon, opened when it is needed.

    Args:
        address: where the daemon listens.

    Attributes:
        until: monotonic second at which every wait ends, whatever it was given; inf for none.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self.until = math.inf
        self._connection = Connection(address)

    def connect(self) -> None:
        """Connect now instead of at the first question; see `Address.connect`."""
        if self._connection.sock is None:
            self._limit(READ_DEADLINE_SECONDS)
            self._connection.connect()

    def close(self) -> None:
        """End the connection; a later question begins another."""
        self._connection.close()

    def get(
        self,
        route: str,
        query: Mapping[str, str | None] | None = None,
        deadline: float = READ_DEADLINE_SECONDS,
    ) -> Document:
        """Return the document of a route.

        Args:
            route: below the prefix of the API.
            query: values by key; those that are None are left out.
            deadline: seconds.
        """
        target = f"{PREFIX}{route}{as_query(query or {})}"
        return document(*self.exchange("GET", target, deadline=deadline))

    def post(self, route: str, body: Document, deadline: float = READ_DEADLINE_SECONDS) -> Document:
        """Send a document, and return the one that is answered."""
        return document(*self.exchange("POST", f"{PREFIX}{route}", body, deadline=deadline))

    def act_once(
        self,
        method: str,
        target: str,
        body: Document | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Document:
        """Ask for an act whose answer would be another if it were asked for twice."""
        # A connection that was idle may be closed already, and then nobody knows what was done.
        self.close()
        return document(*self.exchange(method, f"{PREFIX}{target}", body, headers=headers))

    def exchange(
        self,
        method: str,
        target: str,
        body: Document | None = None,
        *,
        deadline: float = READ_DEADLINE_SECONDS,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, bytes]:
        """Ask once; again if the daemon had closed the idle connection meanwhile.

        Repeating is safe: what is asked so can be done twice to the same end.
        """
        self._limit(deadline)
        reused = self._connection.sock is not None
        try:
            return self._ask(method, target, body, headers or {})
        except (http.client.RemoteDisconnected, ConnectionError) as error:
            if not reused:
                raise gone_away(self.address) from error
        try:
            return self._ask(method, target, body, headers or {})
        except (http.client.RemoteDisconnected, ConnectionError) as error:
            raise gone_away(self.address) from error

    def _limit(self, seconds: float) -> None:
        self._connection.deadline = min(time.monotonic() + seconds, self.until)

    def _ask(
        self, method: str, target: str, body: Document | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        connection = self._connection
        content = None if body is None else json.dumps(body).encode("ascii")
        kind = {} if body is None else {"Content-Type": "application/json"}
        try:
            if connection.sock is None:
                connection.connect()
            waiting = connection.sock
            connection.limit(waiting)
            connection.request(method, target, content, {**self.address.headers, **kind, **headers})
            with connection.getresponse() as response:
                answer = b"".join(chunks(connection, waiting, response))
        except BaseException as error:
            self.close()  # half a conversation is of no use to the next question
            if isinstance(error, TimeoutError):
                raise DeadlineError(f"no answer in time from {self.address}") from error
            if isinstance(error, http.client.IncompleteRead):
                raise gone_away(self.address) from error
            if isinstance(error, http.client.HTTPException) and not isinstance(
                error, ConnectionError
            ):
                raise MeshdError(f"not an answer of meshd on {self.address}") from error
            raise
        return response.status, answer


def safe(agent_id: str) -> str:
    """Return an id as one segment of a route."""
    return quote(agent_id, safe="")


def as_query(values: Mapping[str, str | None]) -> str:
    """Return a query with its question mark, or nothing; bytes of paths stay what they are."""
    given = {key: value for key, value in values.items() if value is not None}
    return f"?{urlencode(given, errors='surrogateescape')}" if given else ""


def stream(
    address: Address, route: str, body: Document
) -> Generator[tuple[str, Document], None, None]:
    """Yield (name, document) of each event that answers a document, on its own connection.

    Raises:
        MeshdError: the daemon refuses, or the stream ends before it is done.
    """
    content = json.dumps(body).encode("ascii")
    headers = {"Accept": "text/event-stream", "Content-Type": "application/json"}
    with contextlib.closing(Connection(address)) as connection:
        connection.deadline = time.monotonic() + ANSWER_SECONDS
        try:
            connection.connect()
            waiting = connection.sock
            connection.limit(waiting)
            connection.request("POST", f"{PREFIX}{route}", content, {**address.headers, **headers})
            response = connection.getresponse()
            if response.status != http.client.OK:
                expect_ok(response.status, response.read())
            assert waiting is not None, "bug: connected without a socket"
            waiting.settimeout(SILENCE_SECONDS)
            for fields in blocks(response):
                if fields["event"] == "error":
                    raise error_said(response.status, json.loads(fields["data"]))
                yield fields["event"], json.loads(fields["data"])
                if fields["event"] == "done":
                    return
        except (OSError, http.client.HTTPException) as error:
            raise refusal(address, error) from error
    raise gone_away(address)
