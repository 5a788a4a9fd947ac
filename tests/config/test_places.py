"""Where the daemon keeps its files, and where a client looks for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from meshd import config, places
from meshd.config import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Write = Callable[..., Path]


def load(
    path: Path | None, overrides: Mapping[str, object] | None = None, **environ: str
) -> Settings:
    return config.load(path, environ={"HOME": "/home/ada", **environ}, overrides=overrides)


def test_the_users_configuration_comes_first(tmp_path: Path, write: Write) -> None:
    path = write("", "meshd/config.toml")
    assert places.find_config({"XDG_CONFIG_HOME": str(tmp_path)}) == path
    dotted = write("", "home/.config/meshd/config.toml")
    assert places.find_config({"HOME": str(tmp_path / "home")}) == dotted


def test_the_systems_configuration_comes_second(
    tmp_path: Path,
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    system = write("", "etc/config.toml")
    monkeypatch.setattr(places, "SYSTEM_CONFIG", system)
    assert places.find_config({"HOME": str(tmp_path)}) == system
    system.unlink()
    assert places.find_config({"HOME": str(tmp_path)}) is None


@pytest.mark.parametrize(
    ("environ", "state", "socket"),
    [
        ({"HOME": "/h"}, "/h/.local/state/meshd", "/h/.local/state/meshd/meshd.sock"),
        (
            {"HOME": "/h", "XDG_STATE_HOME": "/s", "XDG_RUNTIME_DIR": "/r"},
            "/s/meshd",
            "/r/meshd/meshd.sock",
        ),
        ({"HOME": "/h", "XDG_STATE_HOME": "s"}, "/h/.local/state/meshd", None),
        (
            {"STATE_DIRECTORY": "/a:/b", "RUNTIME_DIRECTORY": "/c:/d", "XDG_RUNTIME_DIR": "/r"},
            "/a",
            "/c/meshd.sock",
        ),
    ],
)
def test_state_and_socket_follow_the_session(
    environ: dict[str, str], state: str, socket: str | None
) -> None:
    settings = Settings()
    assert str(config.state_directory(settings, environ)) == state
    if socket is not None:
        assert str(config.socket_path(settings, environ)) == socket


def test_what_is_configured_outranks_the_session() -> None:
    settings = load(None, MESHD_STORE__DIRECTORY="/x/state", MESHD_API__SOCKET="/x/s.sock")
    environ = {"STATE_DIRECTORY": "/a", "RUNTIME_DIRECTORY": "/c"}
    assert str(config.state_directory(settings, environ)) == "/x/state"
    assert str(config.socket_path(settings, environ)) == "/x/s.sock"


def test_a_client_finds_the_socket_the_daemon_opens(write: Write) -> None:
    path = write('[api]\nsocket = "first.sock"')
    write('[api]\nsocket = "second.sock"', "conf.d/1.toml")
    environ = {"HOME": "/h"}
    opened = config.socket_path(config.load(path, environ=environ), environ)
    assert places.client_sockets(path, environ) == [opened]


def test_a_client_tries_the_places_of_the_session_in_order(write: Write) -> None:
    broken = write("[api")
    environ = {"HOME": "/h", "USER": "ada", "XDG_RUNTIME_DIR": "/run/user/1000"}
    assert [str(path) for path in places.client_sockets(broken, environ)] == [
        "/run/user/1000/meshd/meshd.sock",
        "/run/meshd-ada/meshd.sock",
        "/h/.local/state/meshd/meshd.sock",
    ]


def test_a_command_finds_the_registry_of_the_systems_service_where_there_is_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "SYSTEM_STATE", tmp_path / "lib")
    of_service = tmp_path / "lib" / "meshd-ada"
    own = tmp_path / "home" / ".local" / "state" / "meshd"
    environ = {"HOME": str(tmp_path / "home"), "USER": "ada"}
    assert places.client_state_directory(None, environ) == own
    of_service.mkdir(parents=True)
    assert places.client_state_directory(None, environ) == of_service
    assert places.client_state_directory("/s", environ) == Path("/s")
    assert places.state_directory(None, environ) == own
    own.mkdir(parents=True)
    assert places.client_state_directory(None, environ) == own


def test_watched_files_are_the_file_and_its_fragments_in_order(write: Write) -> None:
    path = write("")
    fragments = [write("", "conf.d/20.toml"), write("", "conf.d/10.toml")]
    write("", "conf.d/notes.txt")
    assert config.watched_files(path) == [path, *reversed(fragments)]
    assert config.watched_files(None) == []
