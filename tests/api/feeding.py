"""A real server over a real store, and what listens to its feed."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self, cast

from meshd.api.server import Server, bind_socket
from meshd.clock import SystemClock
from meshd.core.model import Change, Kind, Source
from meshd.opening import open_store
from meshd.store import changelog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from pathlib import Path

    from meshd.services import Services

LONG = 30.0  # seconds; a wait this long has failed
EVENTS = "/api/mesh/events"
AT = "2026-03-01T00:00:00.000Z"

Document = dict[str, Any]


class Feeding:
    """A writer and a server over one state directory, each in its thread."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "meshd.sock"
        (directory / "state").mkdir(exist_ok=True)
        self.store = open_store(directory / "state", SystemClock()).store
        services = cast("Services", SimpleNamespace(store=self.store))
        self.server = Server(services, bind_socket(self.path, 0o600), self.path)
        self._threads = [
            (threading.Thread(target=actor.run, name=name), actor.stop)
            for actor, name in ((self.store.writer, "meshd-writer"), (self.server, "meshd-api"))
        ]

    def __enter__(self) -> Self:
        for thread, _ in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_server()
        self.store.writer.stop()
        self._threads[0][0].join(LONG)
        self.store.close_readers()

    @property
    def waiting(self) -> int:
        """How many subscribers wait for a commit."""
        return self.server._feed._waiting

    @property
    def held(self) -> int:
        """Bytes that wait for the subscriber who is furthest behind."""
        return max((one.get_write_buffer_size() for one in self.server._feed._streams), default=0)

    def stop_server(self) -> None:
        self.server.stop()
        self._threads[1][0].join(LONG)
        assert not self._threads[1][0].is_alive()

    def submit(self, *changes: Change) -> Future[list[int]]:
        return self.store.writer.submit(lambda one: changelog.append(one, changes, AT))

    def append(self, *agent_ids: str) -> list[int]:
        """Commit one entry for each id, and return their numbers."""
        return self.submit(*map(change, agent_ids)).result(LONG)

    def prune(self) -> None:
        """Drop the whole log."""
        self.store.writer.submit(lambda one: changelog.prune(one, "9999")).result(LONG)

    def get(self, query: str = "", **headers: str) -> tuple[int, Document]:
        connection = self._connection()
        connection.request("GET", f"{EVENTS}{query}", headers=headers)
        answer = connection.getresponse()
        document: Document = json.loads(answer.read())
        connection.close()
        return answer.status, document

    def listen(self, query: str = "", **headers: str) -> Stream:
        """Open a stream; it stands at its place when this returns."""
        return Stream(self._connection(), query, headers)

    def _connection(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("meshd", timeout=LONG)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(LONG)
        connection.sock.connect(str(self.path))
        return connection


class Stream:
    """One subscriber, who reads when the test does."""

    def __init__(
        self, connection: http.client.HTTPConnection, query: str, headers: dict[str, str]
    ) -> None:
        self._connection = connection
        connection.request(
            "GET", f"{EVENTS}{query}", headers={"Accept": "text/event-stream", **headers}
        )
        self.answer = connection.getresponse()
        assert self.answer.status == 200, self.answer.read()
        self.blocks = self._read()
        self.first = next(self.blocks)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self.answer.close()

    def _read(self) -> Iterator[dict[str, str]]:
        """Yield blocks: fields by name, a comment under the empty name."""
        fields: dict[str, str] = {}
        while line := self.answer.readline().decode("ascii"):
            if line == "\n":
                yield fields
                fields = {}
            else:
                name, _, value = line.rstrip("\n").partition(":")
                fields[name] = value.removeprefix(" ")

    def entries(self, count: int) -> list[Document]:
        """Return the next entries."""
        return [json.loads(next(self.blocks)["data"]) for _ in range(count)]

    def rest(self) -> list[dict[str, str]]:
        """Return what is still sent until the stream ends, cleanly or cut."""
        found: list[dict[str, str]] = []
        try:
            found.extend(self.blocks)
        except (http.client.IncompleteRead, ConnectionError):
            found.append({"cut": ""})
        return found


def until(condition: Callable[[], object]) -> None:
    """Wait for what another thread brings about."""
    deadline = time.monotonic() + LONG
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        pause.wait(0.005)


def change(agent_id: str, after: Document | None = None) -> Change:
    return Change(Kind.UPDATED, agent_id, f"/r/{agent_id}", Source.SWEEP, after=after)
