"""Which directory a written root is, without waiting for a server that does not answer.

Owns following the symlinks of a path. Assumes an absolute path, folded as written. Promises: what
lies on a local file system is resolved in this process; from the first directory on a file system
that may hang on, a process of its own resolves, with a deadline (fault 78), and a path whose
server is late is taken as it is written. Nothing below a path is opened.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from meshd.mounts import mount_of

ANSWER_SECONDS: Final = 5.0
"""Within which a server says what a path is; a late one is not asked again in this reading."""

_MOST_LINKS: Final = 40  # as many as the kernel follows; a path with more leads nowhere
_RESOLVE: Final = """
import json, os, sys
path = os.path.realpath(sys.argv[1])
try:
    status = os.stat(path)
except OSError:
    identity = None
else:
    identity = [status.st_dev, status.st_ino]
json.dump([path, identity], sys.stdout)
"""


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a path leads to.

    Attributes:
        path: without a symlink, unless the path is a loop or its server is late.
        identity: what two names of one directory have in common: device and inode, else the path.
    """

    path: str
    identity: object


@dataclass
class Resolver:
    """Follows the symlinks of paths, for one reading of the configuration."""

    _mountinfo: bytes = field(default_factory=Path("/proc/self/mountinfo").read_bytes)
    _late: set[str | None] = field(default_factory=set)
    _known: dict[str, Resolved] = field(default_factory=dict)

    def resolve(self, path: str) -> Resolved:
        """Return what a path leads to; a missing directory keeps the rest of its path."""
        if path not in self._known:
            self._known[path] = self._follow(path)
        return self._known[path]

    def _follow(self, path: str) -> Resolved:
        walked, rest, links = "/", path.split("/")[::-1], 0
        while rest:
            name = rest.pop()
            here = os.path.normpath(os.path.join(walked, name))  # noqa: PTH118 - text, not a Path
            mount = mount_of(here, self._mountinfo)
            if mount is None or mount.may_hang:
                whole = os.path.join(here, *rest[::-1])  # noqa: PTH118
                return self._ask(whole, None if mount is None else mount.point)
            try:
                target = os.readlink(here)  # noqa: PTH115
            except OSError:
                walked = here
                continue
            links += 1
            if links > _MOST_LINKS:
                return Resolved(path, path)
            rest += target.split("/")[::-1]
            walked = "/" if target.startswith("/") else walked
        return Resolved(walked, _identity(walked))

    def _ask(self, path: str, mount_point: str | None) -> Resolved:
        """Let a process of its own follow a path that lies on a file system that may hang."""
        as_written = Resolved(os.path.normpath(path), os.path.normpath(path))
        if mount_point in self._late:
            return as_written
        asked = subprocess.Popen(  # noqa: S603 - our own interpreter and program
            [sys.executable, "-I", "-S", "-c", _RESOLVE, path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
        )
        try:
            answer, _ = asked.communicate(timeout=ANSWER_SECONDS)
            resolved, identity = json.loads(answer)
        except (subprocess.TimeoutExpired, ValueError):
            self._late.add(mount_point)
            _abandon(asked)
            return as_written
        return Resolved(resolved, resolved if identity is None else tuple(identity))


def _identity(path: str) -> object:
    try:
        status = os.stat(path)  # noqa: PTH116 - a path as resolved, not a Path
    except OSError:
        return path
    return (status.st_dev, status.st_ino)


def _abandon(process: subprocess.Popen[bytes]) -> None:
    """Kill a process without waiting for it: it may be stuck in the kernel for ever."""
    process.kill()
    if process.stdout is not None:
        process.stdout.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(0)
