"""What the unit's confinement allows and forbids, tried in its own settings."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import pytest

from tests.systemd.service import PROJECTS, SHIPPED

if TYPE_CHECKING:
    from tests.systemd.service import SystemService

pytestmark = pytest.mark.slow  # each starts services of its own


FORBIDDEN: Final = {
    "write beside the roots": "touch /home/ada/elsewhere",
    "write into a root that no drop-in names": f"touch {PROJECTS}/file",
    "write to the system": "touch /usr/local/file || touch /etc/file || touch /var/lib/file",
    "read ssh keys": "cat /home/ada/.ssh/id || ls /home/ada/.ssh/id",
    "read gnupg keys": "cat /home/ada/.gnupg/key",
    "see the shared tmp": "test -e /tmp/of-the-host",
    "see other processes": "test -d /proc/1",
    "change the kernel": "echo 1 > /proc/sys/vm/drop_caches || echo 1 > /sys/kernel/uevent_seqnum",
    "make a device": "mknod /var/lib/meshd-ada/null c 1 3",
    "open a disk": "test -e /dev/fuse",
    "use a capability": "! grep -q '^CapEff:.0000000000000000$' /proc/self/status",
    "open an internet socket": "meshd-python -c 'import socket; socket.socket(socket.AF_INET)'",
    "see a network": "test $(wc -l < /proc/self/net/dev) -gt 3 && test -d /sys/class/net/eth0",
    "make a namespace": "unshare --user true",
    "map code that can be written": (
        "meshd-python -c 'import mmap; mmap.mmap(-1, 4096,"
        " prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)'"
    ),
    "lift its privileges": "test -u /var/lib/meshd-ada/state || chmod u+s /var/lib/meshd-ada/state",
}
ALLOWED: Final = {
    "read a project": f"cat {PROJECTS}/one/.dork/agent.json",
    "write its state": "touch /var/lib/meshd-ada/state",
    "write its runtime directory": "touch /run/meshd-ada/file",
    "write a tmp of its own": "touch /tmp/file",
    "be ada": 'test "$(id -un)" = ada',
}


def test_the_sandbox_forbids_what_is_not_meshds_business(service: SystemService) -> None:
    service.save("one")
    box = service.box
    for secret in ("/home/ada/.ssh/id", "/home/ada/.gnupg/key"):
        box.write(secret, "secret", user="ada")
    box.write("/tmp/of-the-host", "", user="ada")
    answers = service.probe(ALLOWED | FORBIDDEN)
    assert answers == dict.fromkeys(ALLOWED, True) | dict.fromkeys(FORBIDDEN, False)


def test_the_same_tries_succeed_without_the_sandbox(service: SystemService) -> None:
    """Else a typing error would pass for a proof."""
    box = service.box
    box.write("/home/ada/.ssh/id", "secret", user="ada")
    for name in ("write beside the roots", "read ssh keys", "open an internet socket",
                 "map code that can be written", "see other processes"):  # fmt: skip
        done = box.run("sh", "-c", FORBIDDEN[name], user="ada", check=False)
        assert done.returncode == 0, (name, done.stderr)


def test_a_drop_in_lets_it_write_a_manifest_it_is_asked_for(service: SystemService) -> None:
    project = f"{PROJECTS}/new"
    service.box.run("mkdir", project, user="ada")
    service.start()
    refused = service.meshd("register", project, "--runtime", "codex", check=False)
    assert refused.returncode != 0
    assert "cannot be changed: EROFS" in refused.stderr
    assert service.agents() == {}
    service.drop_in("roots.conf", f"[Service]\nReadWritePaths=-{PROJECTS}\n")
    service.systemctl("restart", service.unit)
    service.await_ready()
    service.meshd("register", project, "--runtime", "codex")
    assert list(service.agents().values()) == ["active"]
    written = service.box.run("stat", "-c", "%U %G", f"{project}/.dork/agent.json").stdout
    assert written.split() == ["ada", "ada"]


def test_another_user_is_kept_out_until_the_drop_in_lets_them_ask(service: SystemService) -> None:
    service.save("one")
    service.start()
    socket = ("--socket", "/run/meshd-ada/meshd.sock")
    assert service.meshd(*socket, "agents", "list", user="bob", check=False).returncode == 7
    service.drop_in("open-socket.conf", (SHIPPED / "drop-ins/open-socket.conf").read_text("utf-8"))
    service.systemctl("restart", service.unit)
    service.await_ready()
    listed = service.meshd(*socket, "agents", "list", "--json", user="bob")
    assert [one["id"] for one in json.loads(listed.stdout)["agents"]] == ["one"]
    assert service.meshd(*socket, "sweep", user="bob", check=False).returncode == 7
    assert service.meshd(*socket, "sweep", user="root").returncode == 0
    assert service.meshd(*socket, "sweep", user="ada").returncode == 0


def test_the_loopback_port_is_there_with_its_drop_in_only(service: SystemService) -> None:
    box = service.box
    box.run("meshd-python", "-c", LOOPBACK_UP)
    box.write("/home/ada/.config/meshd/token", "a-token-that-is-long-enough-0123456789", user="ada")
    box.run("chmod", "600", "/home/ada/.config/meshd/token")
    more = '[api]\nlisten = "127.0.0.1:4390"\ntoken_file = "token"\n'
    service.configure([PROJECTS], more)
    assert service.systemctl("start", service.unit, check=False).returncode != 0
    service.systemctl("stop", service.unit, check=False)
    service.systemctl("reset-failed", service.unit, check=False)
    service.drop_in("loopback.conf", (SHIPPED / "drop-ins/loopback.conf").read_text("utf-8"))
    service.start()
    assert box.run("meshd-python", "-c", ASK_BY_TCP, user="bob").stdout.strip() == "200"


LOOPBACK_UP: Final = """
import fcntl, socket, struct
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
    fcntl.ioctl(channel, 0x8914, struct.pack("16sh", b"lo", 1))
"""
ASK_BY_TCP: Final = """
import http.client
channel = http.client.HTTPConnection("127.0.0.1", 4390, timeout=10)
token = "a-token-that-is-long-enough-0123456789"
channel.request("GET", "/api/mesh/status", headers={"Authorization": f"Bearer {token}"})
print(channel.getresponse().status)
"""
