"""Who may write, and how much."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from meshd.api.peers import BODY_LIMIT_BYTES, peer_of
from tests.api.running import LONG, MESH, Daemon, error_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: another user's process")


def test_a_body_may_not_be_larger_than_the_limit(daemon: Daemon) -> None:
    at_limit = json.dumps({"full": True}).encode().ljust(BODY_LIMIT_BYTES)
    headers = {"content-type": "application/json"}

    def post(content: bytes | Iterator[bytes]) -> httpx.Response:
        with daemon.connect() as client:
            return client.post(f"{MESH}/sweep", content=content, headers=headers)

    def in_pieces() -> Iterator[bytes]:
        yield at_limit
        yield b" "

    assert post(at_limit).status_code == 200
    assert error_of(post(at_limit + b" ")) == (413, "too-large")
    assert error_of(post(in_pieces())) == (413, "too-large")


ASK = """
import http.client, os, socket, sys
os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))
for method, route in (("GET", "/api/mesh/registry"), ("POST", "/api/mesh/sweep")):
    connection = http.client.HTTPConnection("meshd")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(sys.argv[1])
    connection.request(method, route)
    print(connection.getresponse().status)
"""


@needs_root
@pytest.mark.parametrize(
    ("uid", "expected"),
    [
        pytest.param(65534, ["200", "403"], id="another user reads only"),
        pytest.param(0, ["200", "200"], id="root may write"),
    ],
)
def test_who_may_write_is_the_kernels_word(daemon: Daemon, uid: int, expected: list[str]) -> None:
    for above in (daemon.path.parent, *daemon.path.parent.parents):
        above.chmod(above.stat().st_mode | stat.S_IXOTH)
    daemon.path.chmod(0o666)

    asked = subprocess.run(
        [sys.executable, "-c", ASK, str(daemon.path), str(uid)],
        capture_output=True,
        text=True,
        check=True,
        timeout=LONG,
        cwd="/",
    )

    assert expected == asked.stdout.split()


def test_the_kernel_says_who_connected() -> None:
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        assert (os.getpid(), os.geteuid(), os.getegid()) == peer_of(one)
    with socket.socket(socket.AF_INET) as elsewhere:
        assert peer_of(elsewhere) is None
