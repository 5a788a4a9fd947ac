"""For whom the service runs, and where its files belong.

Owns the names and places of both kinds of service. Promises: pure, but for looking a user up.
"""

from __future__ import annotations

import os
import pwd
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from meshd import places
from meshd.errors import NotFoundError, PermissionRefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping

SYSTEM_UNITS = Path("/etc/systemd/system")
CATALOGUE = Path("/usr/local/lib/systemd/catalog/meshd.catalog")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*\$?")
_NOBODY: Final = 65534


@dataclass(frozen=True, slots=True)
class Target:
    """One service.

    Attributes:
        of_user: whether the user's own manager runs it, else the system's.
        user: whose agents it keeps.
        uid: that user's number.
        gid: the number of the user's group.
        home: the user's home directory.
        units: where the manager reads units.
        template: file name of the unit.
        unit: its name for systemctl.
        state: the state directory.
        socket: where it listens.
        config: where the user's configuration belongs.
        environ: what the service finds in its environment, as far as it matters to meshd.
        catalogue: where journald looks for explanations; None where a user has no such place.
    """

    of_user: bool
    user: str
    uid: int
    gid: int
    home: Path
    units: Path
    template: str
    unit: str
    state: Path
    socket: Path
    config: Path
    environ: Mapping[str, str]
    catalogue: Path | None = None

    @property
    def drop_ins(self) -> Path:
        """Directory of the unit's drop-ins."""
        return self.units / f"{self.unit}.d"

    @property
    def roots_drop_in(self) -> Path:
        """The drop-in that `meshd install` writes."""
        return self.drop_ins / "roots.conf"

    @property
    def systemctl(self) -> str:
        """How a person begins a command to the manager."""
        return "systemctl --user" if self.of_user else "systemctl"

    @property
    def journalctl(self) -> str:
        """How a person reads what the service logs."""
        return f"journalctl{' --user' if self.of_user else ''} -u {self.unit}"


def user_target(environ: Mapping[str, str]) -> Target:
    """Return the service that the caller's own manager runs.

    Args:
        environ: of that manager.
    """
    entry = pwd.getpwuid(os.geteuid())
    config = places.user_config(environ)
    state = places.state_directory(None, {**environ, "STATE_DIRECTORY": ""})
    home = places.home(environ)
    return Target(
        of_user=True,
        user=entry.pw_name,
        uid=entry.pw_uid,
        gid=entry.pw_gid,
        home=home,
        units=config.parent.parent / "systemd" / "user",
        template="meshd.service",
        unit="meshd.service",
        state=state,
        socket=Path(f"/run/user/{entry.pw_uid}/meshd") / places.SOCKET_NAME,
        config=config,
        environ={
            "HOME": str(home),
            "USER": entry.pw_name,
            **{
                name: value
                for name, value in environ.items()
                if name.startswith(("XDG_", "MESHD_"))
            },
            "STATE_DIRECTORY": "",
        },
    )


def system_target(user: str, *, may_be_gone: bool = False) -> Target:
    """Return the service that the system runs for a user.

    Args:
        user: the name.
        may_be_gone: whether a user will do who is not there any more: enough to remove it.

    Raises:
        NotFoundError: there is no such user.
        PermissionRefusedError: the user is root: a daemon that writes into users' directories
            with root's rights invites symlink attacks.
    """
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        # A name becomes part of paths that root removes.
        if not (may_be_gone and _NAME.fullmatch(user)):
            raise NotFoundError(f"there is no user {user!a}", hint="name one: --for USER") from None
        entry = pwd.struct_passwd((user, "", _NOBODY, _NOBODY, "", "/nonexistent", ""))
    if entry.pw_uid == 0:
        raise PermissionRefusedError(
            "meshd does not run as root", hint="name the user who has the agents: --for USER"
        )
    home = Path(entry.pw_dir)
    return Target(
        of_user=False,
        user=user,
        uid=entry.pw_uid,
        gid=entry.pw_gid,
        home=home,
        units=SYSTEM_UNITS,
        template="meshd@.service",
        unit=f"meshd@{user}.service",
        state=Path(f"/var/lib/meshd-{user}"),
        socket=Path(f"/run/meshd-{user}") / places.SOCKET_NAME,
        config=home / ".config" / "meshd" / "config.toml",
        environ={
            "HOME": str(home),
            "USER": user,
            "STATE_DIRECTORY": f"/var/lib/meshd-{user}",
            "RUNTIME_DIRECTORY": f"/run/meshd-{user}",
        },
        catalogue=CATALOGUE,
    )
