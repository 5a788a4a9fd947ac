"""`meshd install` and `meshd uninstall` on a host that has neither unit nor configuration."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.systemd.service import PROJECTS, Service, SystemService, UserService

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.systemd.box import Box, Done

pytestmark = pytest.mark.slow  # each starts services of its own


@pytest.fixture(params=["system", "user"])
def host(request: pytest.FixtureRequest, box: Box) -> Iterator[Service]:
    """Ada's home, with projects and no more."""
    kind = SystemService if request.param == "system" else UserService
    prepared = kind(box)
    prepared.prepare()
    prepared.save("one")
    box.run("rm", "-rf", prepared.config, f"{prepared.units}/{unit_file(prepared)}", prepared.state)
    prepared.systemctl("daemon-reload")
    yield prepared
    prepared.clear()


def unit_file(service: Service) -> str:
    return "meshd@.service" if service.user == "root" else "meshd.service"


def install(service: Service, *arguments: str, check: bool = True) -> Done:
    whose = ("--for", "ada") if service.user == "root" else ("--user",)
    return service.box.run("meshd", "install", *whose, *arguments, user=service.user, check=check)


def uninstall(service: Service, *arguments: str, check: bool = True) -> Done:
    whose = ("--for", "ada") if service.user == "root" else ("--user",)
    return service.box.run("meshd", "uninstall", *whose, *arguments, user=service.user, check=check)


def test_one_command_makes_a_running_service(host: Service) -> None:
    answer: dict[str, Any] = json.loads(install(host, "--root", PROJECTS, "--json").stdout)
    assert answer["unit"] == host.unit
    assert all(one["changed"] for one in answer["files"])
    host.await_ready()
    assert host.agents() == {"one": "active"}
    assert host.shown("UnitFileState") == "enabled"
    assert host.box.run("stat", "-c", "%U", host.config).stdout.strip() == "ada"
    # What it wrote lets it write where it is asked to.
    host.box.run("mkdir", f"{PROJECTS}/new", user="ada")
    host.meshd("register", f"{PROJECTS}/new", "--runtime", "codex")
    verified = host.box.run(
        "systemd-analyze", *host.manager, "--man=no", "verify", host.unit, user=host.user
    )
    assert host.unit not in verified.stdout + verified.stderr


def test_doing_it_again_changes_nothing_and_disturbs_nobody(host: Service) -> None:
    install(host, "--root", PROJECTS)
    host.await_ready()
    daemon = host.pid()
    for arguments in (("--root", PROJECTS), ()):
        again = json.loads(install(host, *arguments, "--json").stdout)
        assert not [one for one in again["files"] if one["changed"]]
    assert host.pid() == daemon


def test_after_a_root_was_added_it_lets_the_service_write_there(host: Service) -> None:
    install(host, "--root", PROJECTS)
    host.await_ready()
    other = "/home/ada/others' 100%"
    host.box.run("mkdir", "-p", f"{other}/new", user="ada")
    host.configure([PROJECTS, other])
    noticed = host.meshd("reload").stderr
    assert f"{other} is read-only for the service" in noticed
    assert f'[Service]\\nReadWritePaths="-{other}%"; then: ' in noticed
    assert f"{host.unit}.d/sandbox.conf" in noticed
    assert f"restart {host.unit}" in noticed
    refused = host.meshd("register", f"{other}/new", "--runtime", "codex", check=False)
    assert refused.returncode != 0
    install(host)
    host.await_ready()
    assert host.meshd("reload").stderr == ""
    host.meshd("register", f"{other}/new", "--runtime", "codex")


def test_removing_it_keeps_what_is_known_until_that_is_said(host: Service) -> None:
    install(host, "--root", PROJECTS)
    host.await_ready()
    said = uninstall(host).stdout
    assert f"kept: {host.state}" in said
    assert f"kept: {host.config}" in said
    assert host.shown("LoadState") == "not-found"
    assert host.shown("ActiveState") == "inactive"
    assert not host.box.path(f"{host.units}/{host.unit}.d").exists()
    assert "there was no" in uninstall(host).stderr
    install(host)
    host.await_ready()
    assert len(host.meshd("events", "--json").stdout.splitlines()) == 1
    asked = uninstall(host, "--data", check=False)
    assert asked.returncode == 2
    assert f"nobody to ask: Remove {host.state}" in asked.stderr
    uninstall(host, "--data", "--yes")
    assert not host.box.path(host.state).exists()
    assert host.box.path(host.config).exists()
    assert host.box.path(f"{PROJECTS}/one/.dork/agent.json").exists()


def test_the_reload_of_an_installed_service_is_synchronous_and_refuses(host: Service) -> None:
    """Whatever type of unit suits the systemd that is here."""
    install(host, "--root", PROJECTS)
    host.await_ready()
    version = int(host.box.run("systemctl", "--version").stdout.split()[1])
    assert host.shown("Type") == ("notify" if version < 253 else "notify-reload")
    other = "/home/ada/other"
    for roots in ([PROJECTS, other], [PROJECTS], [PROJECTS, other]):
        host.configure(roots)
        host.systemctl("reload", host.unit)
        assert host.roots() == sorted(roots)
    host.configure([PROJECTS], "[sweep]\nintervall = 3\n")
    assert host.systemctl("reload", host.unit, check=False).returncode != 0
    assert len(host.roots()) == 2
    # What only the daemon would refuse: a root that holds the registry.
    host.configure([PROJECTS, host.state.rpartition("/")[0]])
    assert host.systemctl("reload", host.unit, check=False).returncode != 0
    assert len(host.roots()) == 2
    assert host.shown("ActiveState") == "active"


def test_what_cannot_be_installed_is_refused_before_anything_is_written(host: Service) -> None:
    nothing = install(host, check=False)
    assert nothing.returncode == 5
    assert "--root" in nothing.stderr
    host.configure([PROJECTS])
    other = install(host, "--root", "/srv", check=False)
    assert other.returncode == 5
    assert '"/srv"' in other.stderr
    host.configure([PROJECTS], "[sweep]\nintervall = 3\n")
    broken = install(host, check=False)
    assert broken.returncode == 5
    assert "intervall" in broken.stderr
    assert not host.box.path(f"{host.units}/{unit_file(host)}").exists()
    host.box.run("rm", host.config)
    for root, code in (("", 2), (host.state.rpartition("/")[0], 5)):
        assert install(host, "--root", root, check=False).returncode == code
        assert not host.box.path(host.config).exists()


def test_a_place_of_its_own_for_the_registry_is_opened(host: Service) -> None:
    place = "/home/ada/registry of 100%"
    host.configure([PROJECTS, "/home/ada/later"], f'[store]\ndirectory = "{place}"\n')
    done = install(host)
    assert "cannot read /home/ada/later" in done.stderr
    assert f"its registry in {place}" in done.stdout
    host.await_ready()
    assert host.box.path(f"{place}/meshd.db").exists()


def test_installing_again_repairs_what_failed_too_often(service: SystemService) -> None:
    host = service
    host.box.run("rm", f"{host.units}/meshd@.service")
    install(host)
    host.drop_in("loop.conf", "[Service]\nRestartSec=20ms\nExecStart=\nExecStart=/bin/false\n")
    host.systemctl("restart", host.unit, check=False)
    host.box.wait_until(lambda: host.shown("ActiveState") == "failed", "failed")
    host.box.run("rm", f"{host.units}/{host.unit}.d/loop.conf")
    install(host)
    host.await_ready()


def test_without_a_manager_nothing_is_changed(box: Box) -> None:
    """Such as after `su`: a service that runs must not lose its files."""
    ada = UserService(box)
    ada.prepare()
    box.run("rm", "-rf", ada.config, f"{ada.units}/meshd.service", ada.state)
    outside = {"XDG_RUNTIME_DIR": ""}
    try:
        for command in (("install", "--user", "--root", PROJECTS),
                        ("uninstall", "--user", "--data", "--yes")):  # fmt: skip
            refused = box.run("meshd", *command, user="ada", environ=outside, check=False)
            assert refused.returncode == 1
            assert "enable-linger ada" in refused.stderr
            there = box.path(f"{ada.units}/meshd.service").exists(), box.path(ada.state).exists()
            assert there == ((False, False) if command[0] == "install" else (True, True))
            install(ada, "--root", PROJECTS)
        assert ada.shown("ActiveState") == "active"
    finally:
        ada.clear()


def test_the_service_of_a_user_who_is_gone_can_be_removed(service: SystemService) -> None:
    service.box.run("rm", f"{service.units}/meshd@.service")
    install(service)
    box = service.box
    box.run("sh", "-c", "cp /etc/passwd /root/passwd && sed -i /^ada:/d /etc/passwd")
    try:
        uninstall(service, "--data", "--yes")
    finally:
        box.run("cp", "/root/passwd", "/etc/passwd")
    assert not box.path(service.state).exists()
    assert service.shown("LoadState") == "not-found"


def test_journalctl_explains_what_the_service_logs(service: SystemService) -> None:
    box = service.box
    box.run("rm", f"{service.units}/meshd@.service")
    install(service)
    service.await_ready()
    service.configure([PROJECTS], "[sweep]\nintervall = 3\n")
    service.meshd("reload", check=False)
    explained = ("journalctl", "--sync"), ("journalctl", "-x", "MESHD_EVENT=reload_refused")
    said = [box.run(*command).stdout for command in explained][1]
    assert "Subject: meshd has refused a configuration" in said
    assert "`meshd check-config` names each mistake" in said
    uninstall(service)
    assert "meshd has refused" not in box.run(*explained[1]).stdout


def test_root_is_nobody_to_run_it_for_and_a_user_may_not_change_the_system(box: Box) -> None:
    for arguments, user in ((("--for", "root"), "root"), ((), "root"), (("--user",), "root"),
                            ((), "ada")):  # fmt: skip
        done = box.run("meshd", "install", *arguments, "--root", "/srv", user=user, check=False)
        assert done.returncode == 7, done.stderr
    assert box.run("meshd", "install", "--for", "nobody-at-all", check=False).returncode == 3
