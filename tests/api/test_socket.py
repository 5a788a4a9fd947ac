"""The socket is ours alone, from its first moment to its last."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import stat
import threading
from typing import TYPE_CHECKING

import pytest

from meshd.api.server import Server, bind_socket
from meshd.errors import (
    AlreadyRunningError,
    ConfigError,
    MeshdError,
)
from meshd.services import ReloadOutcome
from tests.api.running import LONG, MESH, Daemon

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "new" / "directory" / "meshd.sock"


def test_the_socket_has_its_mode_from_the_first_moment(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    bind = socket.socket.bind

    class Watched(socket.socket):
        def bind(self, address: str) -> None:  # type: ignore[override]
            bind(self, address)
            seen.append(stat.S_IMODE(place.stat().st_mode))

    monkeypatch.setattr("meshd.api.server.socket.socket", Watched)
    mask = os.umask(0)
    try:
        bind_socket(place, 0o640).close()
        assert os.umask(0) == 0
    finally:
        os.umask(mask)

    assert seen == [0o640]
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700


def test_a_socket_that_was_left_behind_is_replaced(place: Path) -> None:
    bind_socket(place, 0o600).close()
    assert place.is_socket()

    with bind_socket(place, 0o600), socket.socket(socket.AF_UNIX) as asking:
        asking.connect(str(place))


def test_the_socket_of_a_living_program_is_not_taken(place: Path) -> None:
    with bind_socket(place, 0o600):
        before = place.stat().st_ino
        with pytest.raises(AlreadyRunningError):
            bind_socket(place, 0o600)

        assert before == place.stat().st_ino


def test_a_living_program_whose_queue_is_full_keeps_its_socket(place: Path) -> None:
    place.parent.mkdir(parents=True)
    with contextlib.ExitStack() as open_sockets:
        listening = open_sockets.enter_context(socket.socket(socket.AF_UNIX))
        listening.bind(str(place))
        listening.listen(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                waiting = open_sockets.enter_context(socket.socket(socket.AF_UNIX))
                waiting.setblocking(False)
                waiting.connect(str(place))

        with pytest.raises(AlreadyRunningError):
            bind_socket(place, 0o600)


@pytest.mark.parametrize("kind", ["file", "directory", "symlink"])
def test_what_is_no_socket_is_left_alone(place: Path, kind: str) -> None:
    place.parent.mkdir(parents=True)
    if kind == "file":
        place.write_text("precious")
    elif kind == "directory":
        place.mkdir()
    else:
        place.symlink_to("elsewhere")

    with pytest.raises(ConfigError, match="no socket"):
        bind_socket(place, 0o600)

    assert place.is_symlink() or place.exists()


def test_a_path_too_long_for_a_socket_is_refused_with_advice(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        bind_socket(tmp_path / ("x" * 108), 0o600)

    assert caught.value.hint is not None


def test_a_place_that_cannot_be_used_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(MeshdError, match="cannot listen"):
        bind_socket(tmp_path / "file" / "meshd.sock", 0o600)


def test_the_socket_file_goes_with_the_server_unless_it_is_anothers(tmp_path: Path) -> None:
    first = Daemon(tmp_path)
    first.close()
    assert not first.path.exists()

    second_directory = tmp_path / "second"
    second_directory.mkdir()
    second = Daemon(second_directory)
    second.path.unlink()
    with bind_socket(second.path, 0o600):
        second.close()
        assert second.path.is_socket()


def test_a_server_that_is_stopped_before_it_runs_ends_at_once(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    daemon.close()
    server = Server(daemon.services, bind_socket(daemon.path, 0o600), daemon.path)

    server.stop()
    server.run()

    assert not daemon.path.exists()


def test_stopping_lets_a_request_under_way_be_answered(daemon: Daemon) -> None:
    connection = http.client.HTTPConnection("meshd", timeout=LONG)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(daemon.path))
    connection.request("POST", f"{MESH}/reload")
    assert daemon.asked.wait(LONG)

    # Later than a server that waits for nothing would have ended.
    later = threading.Timer(0.5, daemon.reloaded.set_result, [ReloadOutcome(1, (), ())])
    later.start()
    daemon.server.stop()

    assert connection.getresponse().status == 200
    connection.close()
