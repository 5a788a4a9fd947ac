"""What `meshd run` scans, and what the checks of files say."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

import meshd.daemon
from meshd.cli import main
from meshd.errors import ConfigError
from tests.harness import write_bytes, write_manifest
from tests.shell.command_line import CommandLine

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from meshd.config import Settings


class Started:
    """What the daemon was started with."""

    settings: Settings | None = None
    reload: Callable[[], Settings]
    config_path: Path | None = None

    def run(
        self,
        settings: Settings,
        reload: Callable[[], Settings],
        *,
        config_path: Path | None,
        environ: Mapping[str, str],
    ) -> int:
        self.settings, self.reload, self.config_path = settings, reload, config_path
        return 17

    @property
    def roots(self) -> tuple[str, ...]:
        assert self.settings is not None
        return self.settings.scan.roots


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Started:
    """A current directory and a home of their own, and a daemon that only notes its start."""
    for name in ("here", "home"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    noted = Started()
    monkeypatch.setattr(meshd.daemon, "run", noted.run)
    return noted


def write_config(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "home/.config/meshd/config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_roots_replace_those_of_the_configuration(started: Started, tmp_path: Path) -> None:
    path = write_config(tmp_path, '[scan]\nroots = ["/elsewhere"]\nmax_depth = 2\n')
    assert main(["run", ".", "../home/x", "--socket", "/s"]) == 17
    assert started.roots == (str(tmp_path / "here"), str(tmp_path / "home/x"))
    assert started.settings is not None
    told = (started.settings.scan.max_depth, started.settings.api.socket, started.config_path)
    assert told == (2, "/s", path)


def test_a_reload_reads_the_file_again_and_keeps_the_arguments(
    started: Started, tmp_path: Path
) -> None:
    path = write_config(tmp_path, "[scan]\nmax_depth = 2\n")
    main(["run", "."])
    path.write_text("[scan]\nmax_depth = 3\n")
    renewed = started.reload()
    assert (renewed.scan.max_depth, renewed.scan.roots) == (3, started.roots)
    path.write_text("[scan]\nbogus = 3\n")
    with pytest.raises(ConfigError, match="bogus"):
        started.reload()


def test_without_anything_said_the_current_directory_is_scanned_and_named(
    started: Started, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run"]) == 17
    assert started.roots == (str(tmp_path / "here"),)
    assert str(tmp_path / "here") in capsys.readouterr().err
    assert list((tmp_path / "home").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "environ", "directory", "why"),
    [
        (["run", "/"], {}, "here", "/ cannot be a root"),
        (["run"], {"INVOCATION_ID": "1"}, "here", "config.toml"),
        (["run"], {"NOTIFY_SOCKET": "/n"}, "here", "config.toml"),
        (["run"], {}, "home", "not scanned unasked"),
        (["run", "--config", "/nowhere.toml"], {}, "here", "/nowhere.toml"),
        (["run"], {"MESHD_SCAN__BOGUS": "1"}, "here", "MESHD_SCAN__BOGUS"),
    ],
)
def test_what_nobody_can_have_meant_exits_5(
    started: Started,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    environ: dict[str, str],
    directory: str,
    why: str,
) -> None:
    monkeypatch.chdir(tmp_path / directory)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert main(arguments) == 5
    assert (started.settings, why in capsys.readouterr().err) == (None, True)


def test_a_configuration_without_roots_is_refused(started: Started, tmp_path: Path) -> None:
    write_config(tmp_path, "[scan]\nmax_depth = 2\n")
    assert (main(["run"]), started.settings) == (5, None)


def test_a_root_that_a_reload_would_make_the_whole_system_is_refused(
    started: Started, tmp_path: Path
) -> None:
    path = write_config(tmp_path, '[scan]\nroots = ["/elsewhere"]\n')
    main(["run"])
    path.write_text('[scan]\nroots = ["/"]\n')
    with pytest.raises(ConfigError, match="/ cannot be a root"):
        started.reload()


# check-config


def test_a_right_configuration_is_ok_and_shown(tmp_path: Path) -> None:
    meshd = CommandLine(tmp_path)
    (tmp_path / "c.toml").write_text("[scan]\nmax_depth = 2\n")
    plain, as_json = meshd("check-config", "c.toml"), meshd("check-config", "c.toml", "--json")
    assert (plain.code, plain.out) == (0, "ok\n")
    settings = as_json.document["settings"]
    assert isinstance(settings, dict)
    told = (as_json.document["config"], settings["scan"]["max_depth"])
    assert told == (str(tmp_path / "c.toml"), 2)


def test_every_error_of_a_configuration_is_told(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('[scan]\nmax_dept = 2\n[api]\nsocket_mode = "x"\n')
    ran = CommandLine(tmp_path)("check-config", "--config", "c.toml")
    errors = [line for line in ran.err.splitlines() if line.startswith("error: ")]
    assert (ran.code, len(errors)) == (5, 2)
    assert [f"c.toml:{line}" in text for line, text in zip((2, 4), errors, strict=True)] == [
        True,
        True,
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[api]\nlisten = "127.0.0.1:0"\ntoken_file = "none"\n', "cannot be read"),
        ('[api]\nlisten = "127.0.0.1:0"\ntoken_file = "open"\n', "may be read by others"),
        ('[scan]\nroots = ["/"]\n', "whole machine"),
        ('[scan]\nroots = ["."]\n[store]\ndirectory = "state"\n', "outside the roots"),
    ],
)
def test_what_a_start_would_refuse_is_no_right_configuration(
    tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "open").write_text("token")
    (tmp_path / "open").chmod(0o644)
    (tmp_path / "c.toml").write_text(text)
    ran = CommandLine(tmp_path)("check-config", "c.toml")
    assert ran.code == 5
    assert said in ran.err


# check-manifest


@pytest.fixture
def shell(tmp_path: Path) -> CommandLine:
    write_manifest(tmp_path / "good", "a")
    write_bytes(tmp_path / "bad", b'{"id": "\\u001b"}')
    (tmp_path / "loose.json").write_bytes((tmp_path / "good/.dork/agent.json").read_bytes())
    (tmp_path / "big").write_bytes(b" " * 70_000)
    (tmp_path / "linked/.dork").mkdir(parents=True)
    (tmp_path / "linked/.dork/agent.json").symlink_to(tmp_path / "loose.json")
    os.mkfifo(tmp_path / "pipe")
    return CommandLine(tmp_path)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("good", None),
        ("good/.dork/agent.json", None),
        ("loose.json", None),
        ("bad", "bad-schema"),
        ("big", "too-big"),
        ("pipe", "not-regular"),
        ("linked", "symlink"),
        ("linked/.dork/agent.json", "symlink"),
        (".", "manifest-missing"),
        ("nowhere", "manifest-missing"),
        ("nowhere/.dork/agent.json", "manifest-missing"),
    ],
)
def test_a_manifest_is_judged_as_the_daemon_would(
    shell: CommandLine, path: str, reason: str | None
) -> None:
    ran = shell("check-manifest", path, "--json")
    (answer,) = json.loads(ran.out)["manifests"]
    assert (ran.code, answer["reason"]) == (0 if reason is None else 5, reason)
    assert answer["id"] == ("a" if reason is None else None)


def test_several_manifests_are_all_told_and_one_wrong_one_decides(shell: CommandLine) -> None:
    ran = shell("check-manifest", "good", "bad")
    good, bad = ran.out.splitlines()
    assert (ran.code, good) == (5, f"{shell.home}/good: ok, a (agent a)")
    assert bad.startswith(f"{shell.home}/bad: bad-schema")
