"""What an installation writes, and what it refuses, with a manager that is only told."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from meshd.config import load
from meshd.errors import (
    AlreadyRunningError,
    ConfigError,
    MeshdError,
    NotFoundError,
    PermissionRefusedError,
)
from meshd.installing import Installation, Manager, remove, system_target
from meshd.installing.units import configuration, roots_drop_in, sealed, unit
from meshd.opening import locked
from tests.installing.telling import PROGRAM, Told, install

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from meshd.installing import Target


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
        (None, ("/",), "whole machine"),
        (None, ("/srv/both'\"",), "rename"),
        (None, ("/srv/line\nbreak",), "rename"),
        (None, ("~state",), "outside the roots"),
    ],
)
def test_what_is_refused_is_refused_before_anything_is_written(
    target: Target, told: Told, config: str | None, roots: tuple[str, ...], said: str
) -> None:
    if config is not None:
        target.config.parent.mkdir(parents=True)
        target.config.write_text(config, "utf-8")
    with pytest.raises(ConfigError) as refused:
        install(target, *(root.replace("~state", str(target.state)) for root in roots))
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


@pytest.mark.parametrize(
    "said",
    [
        "Failed to connect to bus: No medium found",
        "Failed to connect to user scope bus via local transport: No such file or directory",
    ],
)
def test_a_manager_that_cannot_be_reached_leaves_everything_as_it_is(
    target: Target, told: Told, said: str
) -> None:
    told.unreachable = said
    with pytest.raises(MeshdError) as failed:
        install(target, "/srv")
    assert "loginctl enable-linger ada" in str(failed.value.hint)
    assert not target.units.exists()
    assert not target.config.exists()
    told.unreachable = ""
    install(target, "/srv")
    told.unreachable = said
    with pytest.raises(MeshdError):
        remove(Manager(target), data=True)
    assert target.roots_drop_in.exists()
    assert target.state.exists()


def test_an_installation_that_was_interrupted_is_put_in_force_by_the_next(
    target: Target, told: Told
) -> None:
    install(target, "/srv")
    told.outdated = True
    told.commands.clear()
    assert install(target) == [False, False]
    assert told.commands == ["daemon-reload", "restart meshd.service"]


def change(path: Path) -> None:
    path.write_text(path.read_text("utf-8").replace("MemoryMax=1G", "MemoryMax=3G"), "utf-8")


def mask(path: Path) -> None:
    path.unlink()
    path.symlink_to(os.devnull)


@pytest.mark.parametrize("spoil", [change, mask])
def test_what_somebody_changed_is_neither_written_over_nor_removed(
    target: Target, told: Told, spoil: Callable[[Path], None]
) -> None:
    install(target, "/srv")
    unit_file = target.units / target.template
    spoil(unit_file)
    before = unit_file.read_bytes()
    target.config.write_text('[scan]\nroots = ["/srv", "/more"]\n', "utf-8")
    drop_in = target.roots_drop_in.read_bytes()
    with pytest.raises(MeshdError, match="changed by hand") as refused:
        install(target)
    assert str(target.drop_ins) in str(refused.value.hint)
    assert (unit_file.read_bytes(), target.roots_drop_in.read_bytes()) == (before, drop_in)
    done = remove(Manager(target), data=False)
    assert unit_file in done.kept
    assert os.path.lexists(unit_file)


def test_an_older_unit_of_ours_and_a_copy_of_the_shipped_one_are_replaced(
    target: Target, told: Told
) -> None:
    install(target, "/srv")
    unit_file = target.units / target.template
    unit_file.write_text(sealed("[Service]\nExecStart=/old/meshd run\n"), "utf-8")
    assert install(target) == [True, False]
    unit_file.write_text(unit(target, PROGRAM, 252), "utf-8")
    assert install(target) == [True, False]


def test_places_that_the_configuration_names_are_made_and_opened(
    target: Target, told: Told, tmp_path: Path
) -> None:
    places = tmp_path / "data" / "registry", tmp_path / "sockets"
    target.config.parent.mkdir(parents=True)
    target.config.write_text(
        f'[scan]\nroots = ["/srv"]\n[store]\ndirectory = "{places[0]}"\n'
        f'[api]\nsocket = "{places[1]}/meshd.sock"\n',
        "utf-8",
    )
    install(target)
    text = target.roots_drop_in.read_text("utf-8")
    for place in places:
        assert f"ReadWritePaths=-{place}\n" in text
        assert place.stat().st_mode & 0o777 == 0o700


def test_the_shell_of_whoever_installs_does_not_speak_for_the_service(
    target: Target, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESHD_SCAN__ROOTS", '["/elsewhere"]')
    monkeypatch.setenv("MESHD_SWEEP__INTERVALL", "1")
    install(target, "/srv")
    assert "/elsewhere" not in target.roots_drop_in.read_text("utf-8")


def test_data_that_a_daemon_uses_stays(target: Target, told: Told) -> None:
    install(target, "/srv")
    with locked(target.state), pytest.raises(AlreadyRunningError):
        remove(Manager(target), data=True)
    assert target.state.exists()
    assert target.roots_drop_in.exists()


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_a_link_in_the_place_of_the_lock_costs_nobody_a_file(
    target: Target, told: Told, tmp_path: Path, link: Callable[[Path, Path], None]
) -> None:
    """Root removes what lies in a directory of the user's."""
    install(target, "/srv")
    victim = tmp_path / "victim"
    victim.write_text("kept", "utf-8")
    link(victim, target.state / "meshd.lock")
    assert target.state in remove(Manager(target), data=True).removed
    assert victim.read_text("utf-8") == "kept"


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
        # Also where the manager signals the daemon: the signal cannot fail the reload.
        assert "ExecReload=/opt/meshd/bin/meshd reload" in lines


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
    assert system_target("ada-is-gone", may_be_gone=True).unit == "meshd@ada-is-gone.service"
    for name in ("../../etc", "", "a/b", "-x"):
        with pytest.raises(NotFoundError):
            system_target(name, may_be_gone=True)
    nobody = system_target("nobody")
    assert nobody.unit == "meshd@nobody.service"
    assert str(nobody.state) == "/var/lib/meshd-nobody"
    assert str(nobody.socket) == "/run/meshd-nobody/meshd.sock"
