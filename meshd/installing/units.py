"""What the service's files say.

Owns the way from the shipped units to those of one host: the path of the program, what its
systemd understands, the roots. Promises: pure, but for reading the shipped units; no path can
become a setting.
"""

from __future__ import annotations

import hashlib
import json
import re
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

from meshd.core.scope import is_within
from meshd.errors import ConfigError, MeshdError
from meshd.sandbox import quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from meshd.installing.target import Target

NOTIFY_RELOAD_SINCE: Final = 253
"""The first systemd that knows Type=notify-reload; older ones take it for simple."""

_PROGRAM: Final = re.compile(r"^(Exec\w+=)\S+/bin/meshd ", re.MULTILINE)
_TYPE: Final = re.compile(r"^# meshd says itself.*\nType=notify\n", re.MULTILINE)
_SEAL: Final = "# Not changed by hand since `meshd install`: "
_SHARED_TEMPORARY: Final = ("/tmp", "/var/tmp")  # noqa: S108 - where a root may lie, not a file of ours


def shipped(name: str) -> str:
    """Return a file as it is shipped: beside the modules, or in a checkout beside them.

    Raises:
        MeshdError: it was left out of this installation.
    """
    package = Path(str(resources.files("meshd")))
    for directory in (package / "systemd", package.parent / "systemd"):
        if (directory / name).is_file():
            return (directory / name).read_text("utf-8")
    raise MeshdError(f"this meshd came without {name}", hint="install it whole: pip install meshd")


def unit(target: Target, program: Sequence[str], version: int) -> str:
    """Return the unit for one host.

    Args:
        target: the service.
        program: how meshd is started, absolute.
        version: of the host's systemd.
    """
    words = " ".join(map(_word, program))
    name = f"user/{target.template}" if target.of_user else target.template
    text = _PROGRAM.sub(lambda match: f"{match[1]}{words} ", shipped(name))
    if version < NOTIFY_RELOAD_SINCE:
        return text
    # Its signal is not enough: `meshd reload` after it fails the reload of what only the daemon
    # can refuse, such as a root that holds the registry.
    return _TYPE.sub(
        "# meshd says itself when it is ready, and when a reload is done.\nType=notify-reload\n",
        text,
    )


def sealed(text: str) -> str:
    """Return a file's text with a last line that shows whether anybody has changed it since."""
    return f"{text}{_SEAL}{_digest(text)}\n"


def is_untouched(text: str) -> bool:
    """Whether a text is as `sealed` returned it, by this meshd or an older one."""
    body, found, rest = text.rpartition(_SEAL)
    return bool(found) and rest == f"{_digest(body)}\n"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


def roots_drop_in(
    target: Target, config: str, roots: Iterable[str], places: Iterable[str] = ()
) -> str:
    """Return the drop-in that lets the service write manifests below its roots.

    Args:
        target: the service.
        config: the file that names the roots.
        roots: absolute.
        places: where the configuration keeps the registry and the socket, if it says so.

    Raises:
        ConfigError: a unit cannot hold one of the paths.
    """
    lines = [
        f"# Written by `meshd install` from the roots of {json.dumps(config)}.",
        "# After adding a root there, run it again.",
        "",
        "[Service]",
    ]
    roots = sorted(roots)
    if roots:
        lines.append("# Manifests are written where they are asked for, and nowhere else.")
        lines += [f"ReadWritePaths={quoted('-' + root)}" for root in roots]
    if any(is_within(root, shared) for root in roots for shared in _SHARED_TEMPORARY):
        lines += ["# A root lies in the directory that the unit hides.", "PrivateTmp=no"]
    own = [*([str(target.state)] if target.of_user else []), *places]
    if own:
        lines.append("# The registry, and the socket.")
        lines += [f"ReadWritePaths={quoted(f'-{path}')}" for path in own]
    lines.append("# Keys are nobody's project.")
    lines += [
        f"InaccessiblePaths={quoted(f'-{target.home}/{name}')}" for name in (".ssh", ".gnupg")
    ]
    return "\n".join(lines) + "\n"


def configuration(roots: Sequence[str]) -> str:
    """Return a first configuration.

    Raises:
        ConfigError: a root's name is not UTF-8, so that no configuration can hold it.
    """
    try:
        "".join(roots).encode("utf-8")
    except UnicodeEncodeError:
        raise ConfigError("a root's name is not UTF-8, and a configuration is") from None
    return (
        "# Written by `meshd install`. `meshd check-config` tests an edit, which is then applied\n"
        "# by itself.\n\n[scan]\n# Directories to scan, each with everything below it.\n"
        f"roots = {json.dumps(list(roots))}\n"
    )


def _word(text: str) -> str:
    """Return a word of a command line as a unit writes it: there, escapes are as in C."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    escaped = escaped.replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if re.search(r"[\s\"'\\;]", text) else escaped
