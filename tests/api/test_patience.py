"""What callers may hold: connections of other users, answers nobody reads, the daemon's stop."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from meshd.api import protocol
from tests.api.feeding import until
from tests.api.running import LONG, MESH, Daemon

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUEST = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"

FLOOD = """
import os, socket, sys
os.setgid(65534); os.setuid(65534)
streams = [socket.socket(socket.AF_UNIX) for _ in range(3)]
for stream in streams:
    stream.connect(sys.argv[1])
print(streams[-1].recv(12).decode(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def flood(daemon: Daemon) -> Iterator[subprocess.Popen[str]]:
    """Another user with three connections, the last of which was answered."""
    for above in (daemon.path.parent, *daemon.path.parent.parents):
        above.chmod(above.stat().st_mode | stat.S_IXOTH)
    daemon.path.chmod(0o666)
    with subprocess.Popen(
        [sys.executable, "-c", FLOOD, str(daemon.path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/",
    ) as process:  # fmt: skip
        yield process


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: another user's process")
def test_other_users_leave_room_for_the_daemons_own(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, daemon: Daemon
) -> None:
    monkeypatch.setattr(protocol, "OTHERS_LIMIT", 2)
    process: subprocess.Popen[str] = request.getfixturevalue("flood")

    assert process.stdout is not None
    assert process.stdout.readline() == "HTTP/1.1 503\n"
    with daemon.connect() as mine, daemon.connect() as another:
        assert [one.get("/healthz").status_code for one in (mine, another)] == [200, 200]


def test_the_limits_leave_a_part_to_the_daemons_own() -> None:
    guests = protocol.LOOPBACK_LIMIT + protocol.OTHERS_LIMIT
    assert guests <= protocol.CONNECTION_LIMIT * 3 / 4


def test_whoever_does_not_read_loses_the_connection(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "UNREAD_SECONDS", 0.3)
    uvicorn = daemon.server._uvicorn
    monkeypatch.setattr(uvicorn.config, "timeout_keep_alive", 0.2)
    connections = uvicorn.server_state.connections
    daemon.http.close()
    until(lambda: not connections)

    with contextlib.ExitStack() as streams:
        # Of so many answers some fit what the kernel takes, some what waits here, some neither.
        for count in (1, 2, 3, 4, 5, 6, 8, 12, 200):
            stream = streams.enter_context(socket.socket(socket.AF_UNIX))
            stream.connect(str(daemon.path))
            stream.sendall(REQUEST * count)
        until(lambda: any(one._writing_paused for one in connections.copy()))  # type: ignore[union-attr]
        until(lambda: not connections)


def test_whoever_reads_slowly_keeps_the_connection(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "UNREAD_SECONDS", 0.5)
    pause = threading.Event()

    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(LONG)
        stream.connect(str(daemon.path))
        stream.sendall(REQUEST * 40)
        taken = b""
        while taken.count(b"HTTP/1.1 200 OK") < 40:
            read = stream.recv(64 * 1024)
            assert read, "cut off"
            taken += read
            pause.wait(0.01)


def test_a_request_that_outlasts_the_stop_is_told_in_one_line(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(daemon.server._uvicorn.config, "timeout_graceful_shutdown", 0.1)

    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(LONG)
        stream.connect(str(daemon.path))
        stream.sendall(f"POST {MESH}/reload HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert daemon.asked.wait(LONG)
        daemon.server.stop()
        with contextlib.suppress(ConnectionResetError):
            assert stream.recv(1) == b""

    told = [one for one in caplog.records if one.name == "uvicorn.error"]
    assert f"cut off at the stop: POST '{MESH}/reload'" in [one.getMessage() for one in told]
    assert [one for one in told if one.exc_info or "\n" in one.getMessage()] == []
