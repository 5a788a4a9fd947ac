"""A daemon that listens on a loopback port, as its operator runs it."""

from __future__ import annotations

import json
import signal
import socket
from typing import TYPE_CHECKING, Any

import pytest

from meshd.client import Client, UnauthorizedError
from tests.harness import write_manifest
from tests.system.daemon import Daemon

if TYPE_CHECKING:
    from pathlib import Path


def config(root: Path, token: Path) -> str:
    return (
        f'[scan]\nroots = ["{root}"]\n[log]\nformat = "json"\n'
        f'[api]\nlisten = "127.0.0.1:0"\ntoken_file = "{token}"\n'
    )


def logged(daemon: Daemon, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in daemon.log.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_manifest(tmp_path / "root" / "a", "a")
    return tmp_path / "root"


def test_the_port_opens_to_the_token_of_the_file_and_a_reload_takes_a_new_one(
    tmp_path: Path, root: Path
) -> None:
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text("token-one\n")
    (tmp_path / "home").mkdir()

    with Daemon(tmp_path / "home", config=config(root, token)) as daemon:
        port = int(logged(daemon, "listening")[0]["at"].rpartition(":")[2])
        assert [one["id"] for one in asked(port, "token-one")] == ["a"]

        token.write_text("token-two\n")
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_until(lambda: bool(logged(daemon, "reloaded")), "the reload")
        assert [one["id"] for one in asked(port, "token-two")] == ["a"]
        with pytest.raises(UnauthorizedError):
            asked(port, "token-one")

        token.chmod(0o644)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_until(lambda: bool(logged(daemon, "reload_refused")), "the refusal")
        assert [one["id"] for one in asked(port, "token-two")] == ["a"]
        assert "token-two" not in daemon.log


def asked(port: int, token: str) -> list[dict[str, Any]]:
    with Client.over_tcp("127.0.0.1", port, token) as client:
        agents: list[dict[str, Any]] = client.registry()["agents"]
    return agents


def test_a_token_that_others_may_read_keeps_the_daemon_from_starting(
    tmp_path: Path, root: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("open")
    token.chmod(0o644)
    (tmp_path / "home").mkdir()
    daemon = Daemon(tmp_path / "home", config=config(root, token))

    daemon.launch()

    assert daemon.ended() == 5
    assert "chmod 600" in daemon.log


def test_a_port_that_is_taken_leaves_no_socket_behind(tmp_path: Path, root: Path) -> None:
    """A socket's file says that somebody answers there."""
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text("token-one\n")
    (tmp_path / "home").mkdir()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        daemon = Daemon(tmp_path / "home", config=config(root, token).replace(":0", f":{port}"))
        daemon.launch()
        assert daemon.ended() == 1
    assert f"cannot listen on 127.0.0.1:{port}" in daemon.log
    assert not daemon.socket.exists()
