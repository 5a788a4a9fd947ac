"""The client against a real Unix socket: what it asks, and what it makes of answers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from meshd import errors
from meshd.client import Client, acts, conversation
from meshd.errors import (
    BadRequestError,
    ConfigError,
    DeadlineError,
    MeshdError,
    NoDaemonError,
    NotFoundError,
    PermissionRefusedError,
)
from tests.shell.fake_daemon import FakeDaemon, Reply, fake_daemon

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    with fake_daemon(tmp_path / "meshd.sock") as fake:
        yield fake


@pytest.fixture
def client(daemon: FakeDaemon) -> Iterator[Client]:
    with Client(daemon.path) as connected:  # closed before the daemon, which waits for it
        yield connected


@pytest.mark.parametrize(
    ("ask", "request_line", "body"),
    [
        (Client.registry, "GET /api/mesh/registry", None),
        (Client.agents, "GET /api/mesh/agents", None),
        (
            lambda c: c.agents(runtime="a b", capability="x&y", caller_namespace="n"),
            "GET /api/mesh/agents?runtime=a+b&capability=x%26y&callerNamespace=n",
            None,
        ),
        (Client.paths, "GET /api/mesh/agents/paths", None),
        (lambda c: c.agent("../a?b"), "GET /api/mesh/agents/..%2Fa%3Fb", None),
        (lambda c: c.health("a"), "GET /api/mesh/agents/a/health", None),
        (Client.status, "GET /api/mesh/status", None),
        (Client.unreachable, "GET /api/mesh/unreachable", None),
        (
            lambda c: c.unreachable("2026-01-01T00:00:00+01:00"),
            "GET /api/mesh/unreachable?before=2026-01-01T00%3A00%3A00%2B01%3A00",
            None,
        ),
        (lambda c: c.claims("invalid"), "GET /api/mesh/claims?outcome=invalid", None),
        (Client.roots, "GET /api/mesh/roots", None),
        (Client.denied, "GET /api/mesh/denied", None),
        (lambda c: c.events(7, 5), "GET /api/mesh/events?since=7&limit=5", None),
        (lambda c: c.accept_root("/r"), "POST /api/mesh/roots/accept", {"path": "/r"}),
        (
            lambda c: c.sweep(full=True, confirm=True),
            "POST /api/mesh/sweep",
            {"full": True, "confirm": True},
        ),
        (Client.sync, "POST /api/mesh/sync", {}),
        (Client.reload, "POST /api/mesh/reload", {}),
        (lambda c: c.deny("/r/p"), "POST /api/mesh/deny", {"path": "/r/p"}),
        (
            lambda c: c.deny("/r/\udcff", reason="why", denier="me"),
            "POST /api/mesh/deny",
            {"path": "/r/\udcff", "reason": "why", "denier": "me"},
        ),
        (lambda c: c.allow("/r/\udcff x"), "DELETE /api/mesh/denied/%2Fr%2F%FF%20x", None),
        (lambda c: c.forget("a"), "POST /api/mesh/forget", {"id": "a"}),
        (Client.forget, "POST /api/mesh/forget", {"unscanned": True}),
    ],
)
def test_every_method_asks_its_route(
    daemon: FakeDaemon,
    client: Client,
    ask: Callable[[Client], object],
    request_line: str,
    body: object,
) -> None:
    daemon.answer(request_line, {"said": "\udcff"})
    assert ask(client) == {"said": "\udcff"}
    assert daemon.asked == [(*request_line.split(" ", 1), body)]


def test_metrics_are_text_and_probes_are_yes_or_no(daemon: FakeDaemon, client: Client) -> None:
    daemon.answer("GET /metrics", b"meshd_agents 3\n")
    daemon.answer("GET /healthz", {"healthy": True})
    daemon.answer("GET /readyz", {"ready": False}, status=503)
    answers = (client.metrics(), client.healthz(), client.readyz())
    assert answers == ("meshd_agents 3\n", True, False)


@pytest.mark.parametrize(
    "kind",
    [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, MeshdError)
    ],
)
def test_an_error_comes_back_as_the_class_of_its_code(
    daemon: FakeDaemon, client: Client, kind: type[MeshdError]
) -> None:
    said = {"error": {"code": kind.code, "message": "no", "hint": "do this"}}
    daemon.answer("GET /api/mesh/status", said, status=500)
    with pytest.raises(MeshdError) as raised:
        client.status()
    told = (type(raised.value), raised.value.message, raised.value.hint, raised.value.exit_code)
    assert told == (kind, "no", "do this", kind.exit_code)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply({"error": "Agent not found"}, 404), (NotFoundError, "Agent not found")),
        (Reply({"error": "outside"}, 403), (PermissionRefusedError, "outside")),
        (
            Reply(
                {
                    "error": "Validation failed",
                    "details": [{"path": "body.path", "message": "must be absolute"}],
                },
                400,
            ),
            (BadRequestError, "Validation failed: body.path: must be absolute"),
        ),
        (Reply(b"<html>", 502), (MeshdError, "the daemon answered with status 502")),
        (Reply([], 504), (DeadlineError, "the daemon answered with status 504")),
    ],
)
def test_the_peers_shapes_of_errors_are_understood(
    daemon: FakeDaemon, client: Client, reply: Reply, said: tuple[type[MeshdError], str]
) -> None:
    daemon.replies["GET /api/mesh/status"] = reply
    with pytest.raises(MeshdError) as raised:
        client.status()
    assert (type(raised.value), raised.value.message) == said


def test_a_code_without_a_class_keeps_its_name(daemon: FakeDaemon, client: Client) -> None:
    said = {"error": {"code": "odd", "message": "no", "hint": None}}
    daemon.answer("POST /api/mesh/forget", said, status=409)
    with pytest.raises(MeshdError) as raised:
        client.forget("a")
    assert (type(raised.value), raised.value.code) == (MeshdError, "odd")
    assert MeshdError.code == "failed"


def test_questions_share_one_connection(daemon: FakeDaemon, client: Client) -> None:
    daemon.answer("GET /api/mesh/status", {})
    daemon.answer("GET /api/mesh/missing", {}, status=404)
    client.status()
    with pytest.raises(NotFoundError):
        client.agent("missing")
    client.status()
    assert daemon.connections == 1


def test_a_connection_that_was_closed_while_idle_is_replaced_once(
    daemon: FakeDaemon, client: Client
) -> None:
    daemon.replies["GET /api/mesh/status"] = Reply({}, closes=True)
    answers = [client.status(), client.status()]
    assert (answers, daemon.connections) == ([{}, {}], 2)


def test_a_daemon_that_dies_before_it_answers_is_no_daemon(
    tmp_path: Path,
) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listening, Client(path) as client:
        listening.bind(str(path))
        listening.listen()
        client.connect()
        listening.accept()[0].close()
        listening.close()
        path.unlink()
        with pytest.raises(NoDaemonError):
            client.status()


def test_an_answer_cut_short_is_an_error_and_not_a_short_answer(
    daemon: FakeDaemon, client: Client
) -> None:
    short = Reply(b"meshd_agents 3\n", promised_length=999, closes=True)
    daemon.replies["GET /metrics"] = short
    with pytest.raises(NoDaemonError, match="went away before it answered"):
        client.metrics()


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff"])
def test_an_answer_that_is_no_json_object_is_an_error(
    daemon: FakeDaemon, client: Client, body: bytes
) -> None:
    daemon.answer("GET /api/mesh/status", body)
    with pytest.raises(MeshdError, match="is not"):
        client.status()


def test_something_else_on_the_socket_is_an_error(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening, Client(tmp_path / "s") as client:
        listening.bind(str(tmp_path / "s"))
        listening.listen()
        client.connect()
        with listening.accept()[0] as stranger:
            stranger.sendall(b"220 mail.example ESMTP\r\n")
            with pytest.raises(MeshdError, match="not an answer of meshd"):
                client.status()


def test_an_answer_too_late_is_a_deadline(
    daemon: FakeDaemon, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acts, "SWEEP_DEADLINE_SECONDS", 0.1)
    daemon.answer("POST /api/mesh/sync", {})
    daemon.answer("GET /api/mesh/status", {"late": False})
    daemon.held.clear()
    with pytest.raises(DeadlineError):
        client.sync()
    daemon.held.set()
    # The answer that came too late is not taken for the answer to the next question.
    assert client.status() == {"late": False}


def test_a_full_queue_is_waited_for_until_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "READ_DEADLINE_SECONDS", 1.0)
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as first:
        listening.bind(str(path))
        listening.listen(0)
        first.connect(str(path))
        began = time.monotonic()
        with pytest.raises(DeadlineError, match="takes no connection"):
            Client(path).connect()
    assert time.monotonic() - began > 0.9


@pytest.mark.parametrize("what", ["missing", "stale", "file"])
def test_where_nothing_listens_there_is_no_daemon(tmp_path: Path, what: str) -> None:
    path = tmp_path / "s"
    if what == "stale":
        with socket.socket(socket.AF_UNIX) as left_behind:
            left_behind.bind(str(path))
    elif what == "file":
        path.touch()
    with pytest.raises(NoDaemonError) as raised:
        Client(path).status()
    assert (raised.value.exit_code, raised.value.hint) == (
        4,
        "start one: meshd run DIR, DIR being what to scan",
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: to become someone else")
def test_a_socket_of_someone_else_refuses(tmp_path: Path) -> None:
    for directory in (tmp_path, *tmp_path.parents[:2]):
        directory.chmod(0o711)
    with fake_daemon(tmp_path / "s") as daemon:
        daemon.path.chmod(0o600)
        os.seteuid(65534)
        try:
            with pytest.raises(PermissionRefusedError, match="may not talk"):
                Client(daemon.path).status()
        finally:
            os.seteuid(0)


def test_a_list_of_replies_is_given_in_order(daemon: FakeDaemon, client: Client) -> None:
    refused = {"error": {"code": "invalid-config", "message": "no", "hint": None}}
    daemon.replies["POST /api/mesh/reload"] = [Reply(refused, status=422), Reply({})]
    with pytest.raises(ConfigError):
        client.reload()
    assert client.reload() == {}


def test_it_imports_nothing_that_is_slow_to_import() -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", "import meshd.client, sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.split()
    slow = {"apsw", "asyncio", "click", "dataclasses", "fastapi", "pydantic", "structlog"}
    assert set(loaded) & slow == set()
