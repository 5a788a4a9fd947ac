"""Over TCP nothing is answered without the token, nor to a page from elsewhere."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from typing import TYPE_CHECKING

import httpx
import pytest

from meshd.api import protocol
from meshd.api.loopback import TOKEN_LIMIT_BYTES, Token, bind_loopback, read_token
from meshd.client import Client, UnauthorizedError
from meshd.errors import ConfigError, MeshdError, NoDaemonError
from tests.api.feeding import until
from tests.api.running import LONG, MESH, Daemon, error_of
from tests.harness import write_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOKEN = "open-sesame"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with contextlib.closing(Daemon(tmp_path.resolve(), TOKEN)) as running:
        yield running


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that the tests of this module share; they only ask."""
    with contextlib.closing(Daemon(tmp_path_factory.mktemp("asked").resolve(), TOKEN)) as running:
        running.get("/status")
        yield running


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "a-token"
    path.touch(mode=0o600)
    return path


def over_tcp(daemon: Daemon, **headers: str) -> httpx.Client:
    base = f"http://127.0.0.1:{daemon.port}"
    return httpx.Client(base_url=base, timeout=LONG, headers=headers, trust_env=False)


def bearer(token: str = TOKEN) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="none"),
        pytest.param(bearer("wrong"), id="wrong"),
        pytest.param(bearer(TOKEN[:-1]), id="nearly"),
        pytest.param(bearer(f"{TOKEN}x"), id="longer"),
        pytest.param({"authorization": "Bearer"}, id="no token"),
        pytest.param({"authorization": f"Basic {TOKEN}"}, id="another scheme"),
        pytest.param({"authorization": TOKEN}, id="no scheme"),
    ],
)
@pytest.mark.parametrize("route", ["/healthz", "/openapi.json", "/nothing", f"{MESH}/status"])
def test_without_the_token_nothing_is_answered(
    asked: Daemon, headers: dict[str, str], route: str
) -> None:
    with over_tcp(asked, **headers) as client:
        answer = client.get(route)

    assert error_of(answer) == (401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert TOKEN not in answer.text


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_with_the_token_a_caller_may_read_and_write(daemon: Daemon, scheme: str) -> None:
    write_manifest(daemon.root / "a", "a")
    with over_tcp(daemon, authorization=f"{scheme} {TOKEN}") as client:
        assert client.post(f"{MESH}/sweep").json()["discovered"] == 1
        assert client.get(f"{MESH}/agents/a").json()["id"] == "a"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({"host": "localhost"}, 200, id="localhost"),
        pytest.param({"host": "LOCALHOST:80"}, 200, id="a forwarded port"),
        pytest.param({"host": "127.0.0.1:4390"}, 200, id="the address"),
        pytest.param({"host": "[::1]:4390"}, 200, id="the other address"),
        pytest.param({"host": "evil.example"}, 403, id="another host"),
        pytest.param({"host": "127.0.0.1.evil.example"}, 403, id="a name that begins so"),
        pytest.param({"host": "evil.example@127.0.0.1"}, 403, id="with a user"),
        pytest.param({"host": "127.0.0.1:x"}, 403, id="no port"),
        pytest.param({"host": "127.0.0.2"}, 403, id="another loopback address"),
        pytest.param({"host": ""}, 403, id="no host"),
        pytest.param({"origin": "http://localhost:4242"}, 200, id="a page of this machine"),
        pytest.param({"origin": "https://evil.example"}, 403, id="a page from elsewhere"),
        pytest.param({"origin": "http://localhost.evil.example"}, 403, id="a name like it"),
        pytest.param({"origin": "null"}, 403, id="a page from nowhere"),
        pytest.param({"origin": ""}, 403, id="an empty origin"),
    ],
)
def test_a_page_from_elsewhere_is_refused_even_with_the_token(
    asked: Daemon, headers: dict[str, str], status: int
) -> None:
    with over_tcp(asked, **bearer(), **headers) as client:
        assert client.get("/healthz").status_code == status


def test_the_socket_asks_for_no_token_and_no_host(asked: Daemon) -> None:
    answer = asked.http.get("/healthz", headers={"host": "x", "origin": "https://evil.example"})

    assert answer.status_code == 200


# the token


@pytest.mark.parametrize(
    ("content", "why"),
    [
        pytest.param(b"", "empty", id="empty"),
        pytest.param(b" \n", "empty", id="blank"),
        pytest.param(b"two words", "no token", id="two words"),
        pytest.param(b"\xff\xfe", "no token", id="no text"),
        pytest.param(b"x" * (TOKEN_LIMIT_BYTES + 1), "no token", id="endless"),
    ],
)
def test_what_is_no_token_is_refused_with_advice(
    token_file: Path, content: bytes, why: str
) -> None:
    token_file.write_bytes(content)

    with pytest.raises(ConfigError, match=why) as caught:
        read_token(token_file)

    assert caught.value.hint is not None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_token_that_others_may_read_or_write_is_refused(token_file: Path, mode: int) -> None:
    token_file.write_text(TOKEN)
    token_file.chmod(mode)

    with pytest.raises(ConfigError, match="read by others"):
        read_token(token_file)


def test_a_token_that_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)

    for place in (tmp_path / "fifo", tmp_path / "missing", tmp_path):
        with pytest.raises(ConfigError):
            read_token(place)


def test_a_token_is_read_anew_and_kept_when_the_new_one_cannot_serve(token_file: Path) -> None:
    token_file.write_text(f" {TOKEN}\r\n")
    token = Token(token_file)
    assert token.fits(TOKEN.encode())

    token_file.write_text("another")
    token.reread()
    assert (token.fits(TOKEN.encode()), token.fits(b"another")) == (False, True)

    token_file.write_text("")
    with pytest.raises(ConfigError):
        token.reread()
    assert token.fits(b"another")


def test_a_port_that_is_taken_is_an_error_of_ours() -> None:
    with bind_loopback("127.0.0.1:0") as taken:
        with pytest.raises(MeshdError, match="cannot listen") as caught:
            bind_loopback(f"localhost:{taken.getsockname()[1]}")
        assert caught.value.hint is not None


# patience


def connected(daemon: Daemon) -> socket.socket:
    return socket.create_connection(("127.0.0.1", daemon.port), LONG)


HEAD = "\r\n".join(
    [
        f"POST {MESH}/sweep HTTP/1.1",
        "host: localhost",
        f"authorization: Bearer {TOKEN}",
        "content-type: application/json",
        "",
    ]
).encode()


@pytest.mark.parametrize(
    ("sent", "limit"),
    [
        pytest.param(b"", "HEAD_SECONDS", id="nothing"),
        pytest.param(b"GET / HT", "HEAD_SECONDS", id="half a head"),
        pytest.param(HEAD + b"content-length: 2\r\n\r\n{", "BODY_SECONDS", id="half a body"),
        pytest.param(
            HEAD + b"content-length: 2\r\n\r\n{}|GET", "HEAD_SECONDS", id="half of the next"
        ),
    ],
)
def test_a_request_that_stops_halfway_loses_its_connection(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, sent: bytes, limit: str
) -> None:
    monkeypatch.setattr(protocol, limit, 0.2)

    with connected(daemon) as stream:
        whole, _, rest = sent.partition(b"|")
        stream.sendall(whole)
        if rest:
            assert stream.recv(65536).startswith(b"HTTP/1.1 200 ")
            stream.sendall(rest)
        with contextlib.suppress(ConnectionResetError):
            while stream.recv(65536):
                pass

    assert daemon.http.get("/healthz").status_code == 200


def test_bytes_that_trickle_do_not_prolong_a_head(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.3)
    pause = threading.Event()

    with connected(daemon) as stream, contextlib.suppress(ConnectionError):
        for _ in range(600):
            stream.sendall(b"x")
            pause.wait(0.05)
        pytest.fail("it was never cut")


@pytest.mark.parametrize("last", ["http://localhost", "https://evil.example"])
def test_every_origin_that_is_named_is_judged(asked: Daemon, last: str) -> None:
    origins = ["http://localhost", "https://evil.example", last]
    headers = [("authorization", f"Bearer {TOKEN}"), *(("origin", one) for one in origins)]

    with over_tcp(asked) as client:
        assert error_of(client.get("/healthz", headers=headers)) == (403, "permission")


def test_a_flood_on_the_port_leaves_the_socket_its_room(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "LOOPBACK_LIMIT", 3)

    with contextlib.ExitStack() as flood:
        for _ in range(3):
            flood.enter_context(connected(daemon))
        with connected(daemon) as refused:
            answer = b"".join(iter(lambda: refused.recv(4096), b""))
        with daemon.connect() as client:
            assert client.get("/healthz").status_code == 200

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert answer.endswith(b'"hint":"ask again later"}}')

    def has_room() -> bool:
        with over_tcp(daemon, **bearer()) as client:
            return client.get("/healthz").status_code == 200

    until(has_room)


def test_too_many_connections_on_the_socket_are_refused_too(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "CONNECTION_LIMIT", 1)

    assert daemon.http.get("/healthz").status_code == 200
    with daemon.connect() as second:
        answer = second.get("/healthz")
    assert error_of(answer) == (503, "busy")


def test_too_many_streams_are_refused(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshd.api.feed.STREAM_LIMIT", 1)
    accept = {"accept": "text/event-stream"}

    with daemon.http.stream("GET", f"{MESH}/events", headers=accept) as first:
        assert first.status_code == 200
        with daemon.connect() as client:
            assert error_of(client.get(f"{MESH}/events", headers=accept)) == (503, "busy")


# the client


def test_a_client_speaks_tcp_and_follows(daemon: Daemon) -> None:
    with Client.over_tcp("127.0.0.1", daemon.port, TOKEN) as client:
        place = client.status()
        daemon.agent("a")
        entries = client.subscribe({"registered"}, f"{place['epoch']}-{place['seq']}")
        assert next(entries)["agentId"] == "a"
        entries.close()


def test_a_client_is_told_that_its_token_or_its_port_is_wrong(daemon: Daemon) -> None:
    with (
        Client.over_tcp("localhost", daemon.port, "wrong") as client,
        pytest.raises(UnauthorizedError) as caught,
    ):
        client.status()
    assert (caught.value.exit_code, TOKEN in str(caught.value)) == (7, False)

    with bind_loopback("127.0.0.1:0") as free:
        port = free.getsockname()[1]
    with Client.over_tcp("127.0.0.1", port, TOKEN) as client, pytest.raises(NoDaemonError):
        client.status()
