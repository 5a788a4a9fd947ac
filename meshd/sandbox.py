"""What the service's confinement keeps from meshd, and how to open it.

Owns the judgement of a root by the mounts that the process sees, and the text of the drop-in
that lets it in. Assumes Linux; nothing of a root is touched. Promises: outside of a service
nothing is said; inside one, whatever is read-only or hidden is named with the file to write
and the commands that put it in force (systemd fixes both when the service starts).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from meshd.core.scope import is_within
from meshd.errors import ConfigError
from meshd.escaping import escape

if TYPE_CHECKING:
    from collections.abc import Iterable

_UNIT: Final = re.compile(r"[^/]+\.service$")
_OF_USER: Final = re.compile(r"/user@\d+\.service/")
# Where systemd 252 takes what it shows instead of a path it hides: its own empty nodes, and the
# directory that stands for /tmp.
_INACCESSIBLE: Final = "/systemd/inaccessible/"
_PRIVATE: Final = "systemd-private-"
_HOMES: Final = ("/home", "/root", "/run/user")


_ESCAPED: Final = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class _Mount:
    """Through what a path is seen.

    Attributes:
        point: where it is mounted.
        origin: which directory of the file system is seen there; not `/` for a bind mount.
        kind: type of the file system, as mount(8) names it.
        read_only: whether nothing can be written through it.
    """

    point: str
    origin: str
    kind: str
    read_only: bool


@dataclass(frozen=True, slots=True)
class Service:
    """The unit that the process runs in.

    Attributes:
        unit: its name.
        of_user: whether a user's manager runs it.
    """

    unit: str
    of_user: bool

    @property
    def drop_in(self) -> str:
        """The file that lets roots in: not the one of `meshd install`, but read after it."""
        units = "~/.config/systemd/user" if self.of_user else "/etc/systemd/system"
        return f"{units}/{self.unit}.d/sandbox.conf"

    @property
    def restart(self) -> str:
        """The commands that put a drop-in in force."""
        systemctl = "systemctl --user" if self.of_user else "systemctl"
        return f"{systemctl} daemon-reload && {systemctl} restart {self.unit}"


@dataclass(frozen=True, slots=True)
class Confined:
    """A root that the service may not use as it is meant.

    Attributes:
        root: which.
        hidden: whether it cannot even be seen; else it can only be read.
        settings: of the drop-in that opens it, names and values; a path is as it is.
    """

    root: str
    hidden: bool
    settings: tuple[tuple[str, str], ...]

    @property
    def what(self) -> str:
        """What the confinement does, for people."""
        return "is hidden from the service" if self.hidden else "is read-only for the service"

    def remedy(self, service: Service) -> str:
        """Return the drop-in to write and the commands after it."""
        try:
            settings = [
                f"{name}={quoted('-' + value) if value.startswith('/') else value}"
                for name, value in self.settings
            ]
        except ConfigError as error:
            return f"{error.message}: {error.hint}"
        lines = "\\n".join(["[Service]", *settings])
        return f"append to {service.drop_in}: {lines}; then: {service.restart}"


def own_service(cgroups: str | None = None) -> Service | None:
    """Return the service that this process is the main process of, None outside of one.

    Args:
        cgroups: what /proc/self/cgroup holds; read there by default.
    """
    if cgroups is None:
        cgroups = Path("/proc/self/cgroup").read_text("utf-8", "replace")
    for line in cgroups.splitlines():
        _, controllers, path = line.split(":", 2)
        match = _UNIT.search(path) if controllers in ("", "name=systemd") else None
        if match is not None:
            # user@1000.service itself is a service of the system: the manager.
            return Service(match[0], of_user=_OF_USER.search(path) is not None)
    return None


def confined(roots: Iterable[str], mountinfo: bytes | None = None) -> list[Confined]:
    """Return those roots that the mounts of this process keep from it.

    Args:
        roots: absolute, resolved.
        mountinfo: what /proc/self/mountinfo holds; read there by default.
    """
    if mountinfo is None:
        mountinfo = Path("/proc/self/mountinfo").read_bytes()
    found = ((root, _covering(root, mountinfo)) for root in roots)
    judged = (_judge(root, mount) for root, mount in found if mount is not None)
    return [one for one in judged if one is not None]


def notices(roots: Iterable[str]) -> tuple[str, ...]:
    """Return what to tell the operator of roots that the service keeps from meshd."""
    service = own_service()
    if service is None:
        return ()
    return tuple(escape(f"{one.root} {one.what}; {one.remedy(service)}") for one in confined(roots))


def _covering(path: str, mountinfo: bytes) -> _Mount | None:
    """Return the mount through which a path is seen: of two at one place, the later."""
    best: _Mount | None = None
    for line in mountinfo.splitlines():
        before, _, rest = line.partition(b" - ")
        origin, place, options = before.split(b" ")[3:6]
        point = _plain(place)
        if is_within(path, point) and (best is None or len(point) >= len(best.point)):
            kind = os.fsdecode(rest.split(b" ")[0])
            best = _Mount(point, _plain(origin), kind, b"ro" in options.split(b","))
    return best


def _plain(field: bytes) -> str:
    r"""Return a path of mountinfo as it is: there, a space is \040."""
    return os.fsdecode(_ESCAPED.sub(lambda match: bytes([int(match[1], 8)]), field))


def _judge(root: str, mount: _Mount) -> Confined | None:
    writable = ("ReadWritePaths", root)
    if _PRIVATE in mount.origin:
        return Confined(root, hidden=True, settings=(("PrivateTmp", "no"), writable))
    at_home = mount.point in _HOMES
    if _INACCESSIBLE in mount.origin:
        opening = ("ProtectHome", "read-only") if at_home else ("InaccessiblePaths", "")
        return Confined(root, hidden=True, settings=(opening, writable))
    if at_home and mount.kind == "tmpfs" and mount.read_only:
        return Confined(root, hidden=True, settings=(("BindPaths", root),))
    if mount.read_only:
        return Confined(root, hidden=False, settings=(writable,))
    return None


def quoted(path: str) -> str:
    """Return a path as a setting of a unit holds it: one word, without specifiers.

    There a backslash is like any other character (systemd reads paths with escapes retained),
    so what neither kind of quotes can hold cannot be written at all.

    Raises:
        ConfigError: the path has a control character, both kinds of quotes, or is not UTF-8.
    """
    text = path.replace("%", "%%")
    if re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", path) or {"'", '"'} <= set(path):
        shown = path.removeprefix("-")
        raise ConfigError(f"a unit cannot hold the path {shown!a}", hint="rename the directory")
    if not re.search(r"[\s\"'\\;]", path):
        return text
    quote = "'" if '"' in path else '"'
    return f"{quote}{text}{quote}"
