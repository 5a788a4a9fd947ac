"""Where a setting comes from, and what a path in it means."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from meshd import config
from meshd.config import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    Write = Callable[..., Path]


def load(
    path: Path | None, overrides: Mapping[str, object] | None = None, **environ: str
) -> Settings:
    return config.load(path, environ={"HOME": "/home/ada", **environ}, overrides=overrides)


def test_no_configuration_gives_the_defaults() -> None:
    assert Settings() == load(None)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(None).sweep.interval = 1.0  # type: ignore[misc]


def test_the_process_environment_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHD_LOG__LEVEL", "debug")
    monkeypatch.setenv("LOG", '{"level": "debug"}')
    assert load(None).log.level == "info"


# Sources.


def test_each_source_outranks_the_one_before_it(write: Write) -> None:
    path = write('[sweep]\ninterval = "1m"\ngrace = "1h"\nfull_every = 2\n[log]\nlevel = "debug"')
    write('[sweep]\ninterval = "2m"\ngrace = "2h"\nfull_every = 3', "conf.d/10-first.toml")
    write('[sweep]\ngrace = "3h"\nfull_every = 4', "conf.d/20-second.toml")
    write("not toml", "conf.d/.hidden.toml")
    write("not toml", "conf.d/readme")
    settings = load(path, {"sweep": {"full_every": 6}}, MESHD_SWEEP__FULL_EVERY="5")
    assert settings.log.level == "debug"
    assert (settings.sweep.interval, settings.sweep.grace) == (120.0, 10800.0)
    assert settings.sweep.full_every == 6


def test_the_environment_writes_lists_as_json_and_the_rest_as_it_stands() -> None:
    settings = load(
        None,
        MESHD_SCAN__ROOTS='["/srv/a"]',
        MESHD_SCAN__NAMESPACES='{"/srv/a": ["a"]}',
        MESHD_SCAN__EXCLUDE_DEFAULTS="false",
        MESHD_LIMITS__AGENTS_PER_OWNER="7",
        MESHD_API__SOCKET_MODE="660",
        MESHD_STORE__KEEP_CHANGES="30d",
        MESHD_STORE__DIRECTORY="",
        MESHD_SOCKET="/run/elsewhere.sock",
    )
    assert settings.scan.namespaces == {"/srv/a": ("a",)}
    assert settings.scan.exclude_defaults is False
    assert settings.limits.agents_per_owner == 7
    assert settings.api.socket_mode == "660"
    assert settings.store.keep_changes == 30 * 86400
    assert settings.store.directory is None


# Roots and paths.


def test_paths_are_relative_to_the_file_they_are_written_in(tmp_path: Path, write: Write) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    path = write('[scan]\nroots = ["link", "~/code", "missing/../gone"]\nisolated = ["real"]')
    write('[store]\ndirectory = "state"\n[api]\nsocket = "~/s.sock"', "conf.d/1.toml")
    settings = load(path)
    real = os.path.realpath(tmp_path)
    assert settings.scan.roots == (f"{real}/real", "/home/ada/code", f"{real}/gone")
    assert settings.scan.isolated == (f"{real}/real",)
    assert settings.store.directory == f"{tmp_path}/conf.d/state"
    assert settings.api.socket == "/home/ada/s.sock"


def test_roots_of_flags_are_relative_to_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(None, {"scan": {"roots": ["."]}}).scan.roots == (os.path.realpath(tmp_path),)


def test_namespaces_name_their_root_in_any_spelling(tmp_path: Path, write: Write) -> None:
    path = write('[scan]\nroots = ["a"]\n[scan.namespaces]\n"./b/../a" = ["x", "y"]')
    assert load(path).scan.namespaces == {f"{os.path.realpath(tmp_path)}/a": ("x", "y")}


# Reload.


def test_differences_are_named_by_key(write: Write) -> None:
    path = write('[scan]\nroots = ["/srv"]\nmax_depth = 3\n[api]\nsocket = "/s"')
    changed = config.differences(Settings(), load(path))
    assert changed == ["api.socket", "scan.max_depth", "scan.roots"]
    assert config.differences(load(path), load(path)) == []
    assert config.RESTART_KEYS & set(changed) == {"api.socket"}


def test_every_key_that_needs_a_restart_exists() -> None:
    keys = {f"{name}.{key}" for name, table in Settings() for key, _ in table}
    assert keys >= config.RESTART_KEYS
