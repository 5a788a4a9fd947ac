"""A daemon's socket without a daemon: it answers what a test tells it to."""

from __future__ import annotations

import contextlib
import http.server
import json
import socketserver
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Reply:
    """One answer: a document, or the bytes themselves."""

    body: object
    status: int = 200
    closes: bool = False  # after this answer, without having said so
    promised_length: int | None = None  # what Content-Length says, where it is not the truth


@dataclass
class FakeDaemon:
    """What is answered by `METHOD /target`, and what was asked.

    Attributes:
        replies: by `METHOD TARGET`; a list gives one reply after the other.
        asked: (METHOD, TARGET, body) in order.
        connections: how many were taken.
        held: while it is cleared, no answer leaves.
    """

    path: Path
    replies: dict[str, Reply | list[Reply]] = field(default_factory=dict)
    asked: list[tuple[str, str, object]] = field(default_factory=list)
    connections: int = 0
    held: threading.Event = field(default_factory=threading.Event)

    def answer(self, request: str, body: object, *, status: int = 200) -> None:
        self.replies[request] = Reply(body, status)


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = False

    def __init__(self, daemon: FakeDaemon) -> None:
        self.daemon = daemon
        super().__init__(str(daemon.path), _Handler)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 5.0  # a connection that a test leaves open ends by itself
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.daemon.connections += 1

    def address_string(self) -> str:
        return "unix"  # the peer of a Unix socket has no host and port

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _reply(self) -> None:
        daemon = self.server.daemon
        length = int(self.headers.get("Content-Length", "0"))
        said = self.rfile.read(length)
        daemon.asked.append((self.command, self.path, json.loads(said) if said else None))
        found = daemon.replies.get(f"{self.command} {self.path}", Reply({}, status=404))
        reply = found.pop(0) if isinstance(found, list) else found
        daemon.held.wait(10)
        self._send(reply)

    def _send(self, reply: Reply) -> None:
        body = reply.body
        data = body if isinstance(body, bytes) else json.dumps(body).encode("ascii")
        length = len(data) if reply.promised_length is None else reply.promised_length
        self.send_response(reply.status)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        with contextlib.suppress(BrokenPipeError):  # a client that has had enough
            self.wfile.write(data)
        if reply.closes:
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _reply  # noqa: N815 - http.server's names


@contextlib.contextmanager
def fake_daemon(path: Path) -> Iterator[FakeDaemon]:
    """Listen on a Unix socket for the length of a block."""
    daemon = FakeDaemon(path)
    daemon.held.set()
    with _Server(daemon) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), name="fake-daemon")
        thread.start()
        try:
            yield daemon
        finally:
            daemon.held.set()
            server.shutdown()
            thread.join()
