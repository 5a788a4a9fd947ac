"""What a service's confinement keeps from meshd is told with the file that opens it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from meshd import sandbox
from meshd.errors import ConfigError
from meshd.sandbox import Service, confined, own_service, quoted

if TYPE_CHECKING:
    from pathlib import Path

STRICT: Final = b"""\
20 1 8:1 / / ro,relatime - ext4 /dev/sda1 rw
21 20 8:2 / /home ro,relatime - ext4 /dev/sda2 rw
22 21 8:2 /ada/projects /home/ada/projects rw,relatime - ext4 /dev/sda2 rw
23 20 0:30 / /tmp rw - tmpfs tmpfs rw
24 23 0:30 /systemd-private-5a-meshd@ada.service-x/tmp /tmp rw - tmpfs tmpfs rw
25 21 0:31 /systemd/inaccessible/dir /home/ada/.ssh ro - tmpfs tmpfs rw
26 20 8:3 / /srv/with\\040blank ro,relatime - ext4 /dev/sda3 rw
"""


@pytest.mark.parametrize(
    ("root", "hidden", "settings"),
    [
        ("/srv/other", False, ("ReadWritePaths=-/srv/other",)),
        ("/srv/with blank/a", False, ('ReadWritePaths="-/srv/with blank/a"',)),
        ("/home/ada/work", False, ("ReadWritePaths=-/home/ada/work",)),
        ("/tmp/agents", True, ("PrivateTmp=no", "ReadWritePaths=-/tmp/agents")),
        ("/home/ada/.ssh/x", True, ("InaccessiblePaths=", "ReadWritePaths=-/home/ada/.ssh/x")),
    ],
)
def test_a_root_is_judged_by_the_mount_it_is_seen_through(
    root: str, hidden: bool, settings: tuple[str, ...]
) -> None:
    (found,) = confined([root], STRICT)
    assert (found.root, found.hidden) == (root, hidden)
    remedy = found.remedy(Service("meshd@ada.service", of_user=False))
    assert ": [Service]\\n" + "\\n".join(settings) + "; then: " in remedy


@pytest.mark.parametrize("root", ["/home/ada/projects", "/home/ada/projects/below"])
def test_a_root_that_is_let_in_is_not_mentioned(root: str) -> None:
    assert confined([root], STRICT) == []


@pytest.mark.parametrize(
    ("line", "setting"),
    [
        (b"21 20 0:9 / /home ro - tmpfs tmpfs rw", "BindPaths=-/home/ada/a"),
        (b"21 20 0:9 /systemd/inaccessible/dir /home ro - tmpfs t rw", "ProtectHome=read-only"),
    ],
    ids=["ProtectHome=tmpfs", "ProtectHome=yes"],
)
def test_a_hidden_home_is_told_from_one_that_is_read_only(line: bytes, setting: str) -> None:
    (found,) = confined(["/home/ada/a"], b"20 1 8:1 / / ro - ext4 /dev/sda1 rw\n" + line + b"\n")
    assert found.hidden
    assert setting in found.remedy(Service("meshd@ada.service", of_user=False))


@pytest.mark.parametrize(
    ("cgroups", "service"),
    [
        ("0::/system.slice/system-meshd.slice/meshd@ada.service\n",
         Service("meshd@ada.service", of_user=False)),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/meshd.service\n",
         Service("meshd.service", of_user=True)),
        ("4:cpu:/a.service\n1:name=systemd:/system.slice/meshd@ada.service\n0::/\n",
         Service("meshd@ada.service", of_user=False)),
        ("0::/user.slice/user-1000.slice/session-3.scope\n", None),
        ("0::/\n", None),
    ],
)  # fmt: skip
def test_the_unit_is_read_from_the_cgroup(cgroups: str, service: Service | None) -> None:
    assert own_service(cgroups) == service


@pytest.mark.parametrize(
    ("service", "place", "commands"),
    [
        (Service("meshd@ada.service", of_user=False),
         "/etc/systemd/system/meshd@ada.service.d/sandbox.conf",
         "systemctl daemon-reload && systemctl restart meshd@ada.service"),
        (Service("meshd.service", of_user=True),
         "~/.config/systemd/user/meshd.service.d/sandbox.conf",
         "systemctl --user daemon-reload && systemctl --user restart meshd.service"),
    ],
)  # fmt: skip
def test_the_remedy_names_the_file_its_lines_and_the_commands(
    service: Service, place: str, commands: str
) -> None:
    (found,) = confined(["/srv/other"], STRICT)
    remedy = found.remedy(service)
    assert remedy.startswith(f"append to {place}: [Service]")
    assert "ReadWritePaths=-/srv/other" in remedy
    assert remedy.endswith(commands)


def test_outside_of_a_service_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "own_service", lambda: None)
    monkeypatch.setattr(sandbox, "confined", lambda _: pytest.fail("looked"))
    assert sandbox.notices(["/srv"]) == ()


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/plain", "/plain"),
        ("/with blank", '"/with blank"'),
        ('/with"quote', "'/with\"quote'"),
        ("/a'b", '"/a\'b"'),
        ("/backslash\\", '"/backslash\\"'),
        ("/a;b", '"/a;b"'),
    ],
)
def test_a_path_is_one_word(path: str, text: str) -> None:
    assert quoted(path) == text


@pytest.mark.parametrize("path", ["/a\nPrivateNetwork=no", "/a\tb", "/both'\""])
def test_a_path_that_no_setting_can_hold_is_refused(path: str) -> None:
    with pytest.raises(ConfigError):
        quoted(path)
    (found,) = confined([path], STRICT)
    assert "rename" in found.remedy(Service("meshd@ada.service", of_user=False))


def test_a_percent_sign_is_no_specifier() -> None:
    assert quoted("/100%u") == "/100%%u"


def test_the_process_of_a_test_sees_its_own_mounts(tmp_path: Path) -> None:
    assert confined([str(tmp_path)]) == []
