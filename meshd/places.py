"""Where meshd keeps its files, said without reading the whole configuration.

Owns the search order of the configuration, the state directory, the runtime directory and
the socket (design: Surfaces, Config, State). The command line finds the daemon through this
module, so it imports nothing that is slow to import. Assumes an environment handed in.
Promises: creates nothing, and touches no root.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SYSTEM_CONFIG = Path("/etc/meshd/config.toml")
SYSTEM_STATE = Path("/var/lib")
SOCKET_NAME = "meshd.sock"


def home(environ: Mapping[str, str]) -> Path:
    """Return the home directory: $HOME, else what the user database says."""
    return Path(environ["HOME"]) if environ.get("HOME") else Path.home()


def expand(text: str, base: Path, environ: Mapping[str, str]) -> Path:
    """Return a written path as an absolute one.

    Args:
        text: absolute, beginning with `~`, or relative to `base`.
        base: the directory a relative path starts from.
        environ: says where `~` is.
    """
    if text == "~" or text.startswith("~/"):
        return home(environ) / text[2:]
    return Path(os.path.abspath(base / os.path.expanduser(text)))  # noqa: PTH100, PTH111 - `..` is folded as written, `~user` too


def find_config(environ: Mapping[str, str]) -> Path | None:
    """Return the first configuration file that exists: the user's, then the system's."""
    places = (user_config(environ), SYSTEM_CONFIG)
    return next((path for path in places if path.is_file()), None)


def user_config(environ: Mapping[str, str]) -> Path:
    """Return where the user's configuration belongs; it need not exist."""
    return _user_directory(environ, "XDG_CONFIG_HOME", ".config") / "config.toml"


def watched_files(config: Path | None) -> list[Path]:
    """Return the files a configuration is read from, weakest first.

    They are the file itself and `conf.d/*.toml` beside it, in the order of their names. An
    edit shows as a changed list or a changed file in it. Hidden files are left out: editors
    leave them behind.
    """
    if config is None:
        return []
    fragments = (config.parent / "conf.d").glob("*.toml")
    return [config, *sorted(path for path in fragments if not path.name.startswith("."))]


def state_directory(configured: str | None, environ: Mapping[str, str]) -> Path:
    """Return the directory of the database: as configured, systemd's, or the user's own.

    Args:
        configured: `store.directory`, an absolute path, or None.
        environ: read for STATE_DIRECTORY, XDG_STATE_HOME and HOME.
    """
    if configured is not None:
        return Path(configured)
    return _from_systemd(environ, "STATE_DIRECTORY") or _user_directory(
        environ, "XDG_STATE_HOME", ".local/state"
    )


def client_state_directory(configured: str | None, environ: Mapping[str, str]) -> Path:
    """Return the state directory that a command means which is no daemon itself.

    The user's own is meant, or that of the service which the system runs for the user, where
    there is only that one (design: §State; `systemd/meshd@.service`).
    """
    own = state_directory(configured, environ)
    user = environ.get("USER") or environ.get("LOGNAME")
    of_service = SYSTEM_STATE / f"meshd-{user}"
    said = configured is not None or environ.get("STATE_DIRECTORY")
    return own if said or not user or own.is_dir() or not of_service.is_dir() else of_service


def runtime_directory(environ: Mapping[str, str]) -> Path | None:
    """Return the directory of the socket, or None where the session has no such place."""
    from_session = environ.get("XDG_RUNTIME_DIR")
    own = Path(from_session) / "meshd" if from_session else None
    return _from_systemd(environ, "RUNTIME_DIRECTORY") or own


def socket_path(configured: str | None, state: Path, environ: Mapping[str, str]) -> Path:
    """Return where the daemon listens.

    Args:
        configured: `api.socket`, an absolute path, or None.
        state: the state directory, the place of last resort.
        environ: read for the runtime directory.
    """
    if configured is not None:
        return Path(configured)
    return (runtime_directory(environ) or state) / SOCKET_NAME


def client_sockets(config: Path | None, environ: Mapping[str, str]) -> list[Path]:
    """Return where a client looks for the daemon, best first, after flag and MESHD_SOCKET.

    A configured socket is the only answer. A configuration that cannot be read is passed over:
    the daemon may well be running with the last good one.
    """
    configured = configured_path("api", "socket", config, environ)
    if configured is not None:
        return [Path(configured)]
    state = state_directory(configured_path("store", "directory", config, environ), environ)
    user = environ.get("USER") or environ.get("LOGNAME")
    places = [runtime_directory(environ), Path(f"/run/meshd-{user}") if user else None, state]
    return [place / SOCKET_NAME for place in places if place is not None]


def configured_path(
    section: str, key: str, config: Path | None, environ: Mapping[str, str]
) -> str | None:
    """Return one path of the configuration as an absolute one, or None if it is not set.

    The environment outranks the files, and a later file an earlier one. What cannot be read
    counts as not set; `meshd check-config` is the one to complain.
    """
    from_environment = environ.get(f"MESHD_{section}__{key}".upper())
    if from_environment:
        return str(expand(from_environment, Path.cwd(), environ))
    for path in reversed(watched_files(config)):
        try:
            table = tomllib.loads(path.read_text("utf-8")).get(section)
        except (OSError, ValueError):
            continue
        value = table.get(key) if isinstance(table, dict) else None
        if isinstance(value, str):
            return str(expand(value, path.parent, environ))
    return None


def _from_systemd(environ: Mapping[str, str], variable: str) -> Path | None:
    """Return the first of the directories systemd made for the unit."""
    first = environ.get(variable, "").split(":")[0]
    return Path(first) if first else None


def _user_directory(environ: Mapping[str, str], variable: str, default: str) -> Path:
    """Return `meshd` below a base directory; a relative base is ignored (XDG specification)."""
    base = environ.get(variable, "")
    return (Path(base) if base.startswith("/") else home(environ) / default) / "meshd"
