"""What an installation writes, and what it refuses, with a manager that is only told."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from meshd.config import load
from meshd.errors import ConfigError, MeshdError, NotFoundError, PermissionRefusedError
from meshd.installing import Installation, Manager, remove, system_target, user_target
from meshd.installing import manager as module
from meshd.installing.units import configuration, roots_drop_in, unit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from meshd.installing import Target

PROGRAM = [sys.executable, "-m", "meshd"]


class Told:
    """Stands for systemctl: notes what it is told, and answers as asked."""

    def __init__(self) -> None:
        self.commands: list[str] = []
        self.active = self.enabled = False
        self.version = "systemd 252 (252.1)\n"
        self.fails = ""

    def __call__(self, command: Sequence[str], text: str = "") -> subprocess.CompletedProcess[str]:
        if command[0] != "systemctl":
            return subprocess.run(
                command, input=text, capture_output=True, text=True, check=False,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )  # fmt: skip
        words = [word for word in command[1:] if word != "--user"]
        out = {"--version": self.version, "is-active": "active" if self.active else "inactive",
               "is-enabled": "enabled" if self.enabled else "disabled"}.get(words[0])  # fmt: skip
        if out is not None:
            return subprocess.CompletedProcess(command, 0, out, "")
        self.commands.append(" ".join(words))
        self.enabled = words[0] == "enable" or (self.enabled and words[0] != "disable")
        self.active = words[0] in ("start", "restart") or (self.active and words[0] != "disable")
        return subprocess.CompletedProcess(command, int(bool(self.fails)), "", self.fails)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    stands_for = Told()
    monkeypatch.setattr(module, "run", stands_for)
    return stands_for


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Target:
    environ = {"HOME": str(tmp_path), "USER": "ada"}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return replace(user_target(environ), user="ada")


def install(target: Target, *roots: str, program: list[str] = PROGRAM) -> list[bool]:
    installation = Installation(Manager(target), program, roots)
    written = installation.write()
    installation.start(written)
    return [one.changed for one in written]


def test_an_installation_is_written_once_and_started_once(target: Target, told: Told) -> None:
    assert install(target, "/srv/agents") == [True, True, True]
    assert told.commands == ["daemon-reload", "enable meshd.service", "start meshd.service"]
    told.commands.clear()
    assert install(target, "/srv/agents") == [False, False]
    assert install(target) == [False, False]
    assert told.commands == []
    assert load(target.config, environ={}).scan.roots == ("/srv/agents",)
    assert target.config.stat().st_mode & 0o777 == 0o600
    assert target.state.stat().st_mode & 0o777 == 0o700


def test_a_root_that_was_added_changes_the_drop_in_and_restarts(target: Target, told: Told) -> None:
    install(target, "/srv/agents")
    target.config.write_text('[scan]\nroots = ["/srv/agents", "/srv/more"]\n', "utf-8")
    told.commands.clear()
    assert install(target) == [False, True]
    assert told.commands == ["daemon-reload", "restart meshd.service"]
    assert "ReadWritePaths=-/srv/more\n" in target.roots_drop_in.read_text("utf-8")


@pytest.mark.parametrize(
    ("config", "roots", "said"),
    [
        (None, (), "--root"),
        ('[scan]\nroots = ["/a"]\n', ("/b",), '"/b"'),
        ("[scan]\nroots = []\n", (), "does not scan"),
        ("[scan]\nrots = []\n", ("/b",), "rots"),
    ],
)
def test_what_is_refused_is_refused_before_anything_is_written(
    target: Target, told: Told, config: str | None, roots: tuple[str, ...], said: str
) -> None:
    if config is not None:
        target.config.parent.mkdir(parents=True)
        target.config.write_text(config, "utf-8")
    with pytest.raises(ConfigError) as refused:
        install(target, *roots)
    assert said in f"{refused.value.message} {refused.value.hint}"
    assert not target.units.exists()
    assert told.commands == []
    assert (target.config.read_text("utf-8") if target.config.exists() else None) == config


def test_a_configuration_that_appears_meanwhile_is_not_written_over(
    target: Target, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation = Installation(Manager(target), PROGRAM, ["/srv"])
    monkeypatch.setattr(installation, "_needs_configuration", lambda _: True)
    target.config.parent.mkdir(parents=True)
    target.config.write_text("[scan]\nroots = ['/mine']\n", "utf-8")
    with pytest.raises(MeshdError, match="cannot write"):
        installation.write()
    assert "/mine" in target.config.read_text("utf-8")


@pytest.mark.parametrize("program", [["/nowhere/meshd"], ["/bin/echo"]])
def test_a_program_the_user_cannot_run_is_refused(
    target: Target, told: Told, program: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises((PermissionRefusedError, FileNotFoundError)):
        install(target, "/srv", program=program)
    assert not target.units.exists()


def test_a_host_without_systemd_says_so(target: Target, told: Told) -> None:
    told.version = "sh: not found"
    with pytest.raises(MeshdError, match="no systemd"):
        install(target, "/srv")


def test_a_start_that_fails_says_why_and_where_to_look(target: Target, told: Told) -> None:
    told.fails = "Job for meshd.service failed."
    with pytest.raises(MeshdError, match="Job for") as failed:
        install(target, "/srv")
    assert failed.value.hint == "see journalctl --user -u meshd.service -n 20"
    told.fails = "Failed to connect to bus: No medium found"
    with pytest.raises(MeshdError) as failed:
        install(target, "/srv")
    assert "loginctl enable-linger ada" in str(failed.value.hint)


def test_a_removal_takes_what_was_written_and_leaves_the_rest(target: Target, told: Told) -> None:
    install(target, "/srv")
    other = target.drop_ins / "mine.conf"
    other.write_text("[Service]\n", "utf-8")
    done = remove(Manager(target), data=False)
    assert set(done.removed) == {target.units / "meshd.service", target.roots_drop_in}
    assert set(done.kept) == {target.drop_ins, target.config, target.state}
    assert other.exists()
    assert remove(Manager(target), data=False).removed == ()
    assert remove(Manager(target), data=True).removed == (target.state,)
    assert not target.state.exists()


def test_the_units_of_other_users_keep_the_template(target: Target, told: Told) -> None:
    ada = replace(target, of_user=False, template="meshd@.service", unit="meshd@ada.service")
    install(ada, "/srv")
    bob = replace(ada, user="bob", unit="meshd@bob.service")
    install(bob, "/srv")
    assert (ada.units / "meshd@.service") not in remove(Manager(ada), data=False).removed
    assert (ada.units / "meshd@.service") in remove(Manager(bob), data=False).removed


@pytest.mark.parametrize(("version", "kind"), [(252, "notify"), (253, "notify-reload")])
def test_the_unit_is_of_the_type_that_systemd_knows(
    target: Target, version: int, kind: str
) -> None:
    for one in (target, replace(target, of_user=False, template="meshd@.service")):
        text = unit(one, ["/opt/meshd/bin/meshd"], version)
        lines = text.splitlines()
        assert f"Type={kind}" in lines
        assert "ExecStart=/opt/meshd/bin/meshd run" in lines
        assert "ExecReload=/opt/meshd/bin/meshd check-config" in lines
        # notify-reload signals the daemon itself: asking it too would reload twice.
        assert ("ExecReload=/opt/meshd/bin/meshd reload" in lines) == (kind == "notify")


def test_no_path_becomes_a_setting(target: Target) -> None:
    evil = '/srv/a"\nUser=root %h $HOME'
    (line,) = [
        line for line in unit(target, [evil], 252).splitlines() if line.startswith("ExecStart=")
    ]
    assert line == 'ExecStart="/srv/a\\"\\nUser=root %%h $$HOME" run'
    with pytest.raises(ConfigError):
        roots_drop_in(target, "/c", [evil])
    assert r"\nUser=root" in configuration([evil])
    with pytest.raises(ConfigError):
        configuration(["/srv/\udcff"])


def test_a_service_of_the_system_is_for_a_user_who_is_not_root() -> None:
    with pytest.raises(NotFoundError):
        system_target("nobody-of-this-name")
    with pytest.raises(PermissionRefusedError):
        system_target("root")
    nobody = system_target("nobody")
    assert nobody.unit == "meshd@nobody.service"
    assert str(nobody.state) == "/var/lib/meshd-nobody"
    assert str(nobody.socket) == "/run/meshd-nobody/meshd.sock"
