"""Which kind of file system a path is on, without touching it.

Owns reading `/proc/self/mountinfo`: any call on the path itself could hang on a dead server.
Assumes a resolved path. Promises an answer in bounded time, and that what cannot be told is
taken for a file system that may hang.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from meshd.core.scope import is_within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_REMOTE_NAMES: Final = frozenset(
    {
        "9p",
        "afs",
        "autofs",  # an open may wait for a mount
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "fuse",
        "fuseblk",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "orangefs",
        "pvfs2",
        "smb3",
        "smbfs",
        "vboxsf",
        "virtiofs",
    }
)

_ESCAPED: Final = re.compile(rb"\\([0-7]{3})")


class Mount(NamedTuple):
    """Where a file system is mounted, and its type as mount(8) names it."""

    point: str
    kind: str

    @property
    def may_hang(self) -> bool:
        """Whether a call into it can hang with the server behind it."""
        return self.kind in _REMOTE_NAMES or self.kind.startswith("fuse.")


def may_hang(path: str) -> bool:
    """Whether `path` lies on a file system that can hang with the server behind it."""
    mount = mount_of(path, Path("/proc/self/mountinfo").read_bytes())
    return mount is None or mount.may_hang


def may_hang_within(path: str, is_entered: Callable[[str], bool]) -> bool:
    """Whether a call at `path`, or below it where something is mounted, can hang with a server.

    Args:
        path: absolute, resolved.
        is_entered: asked whether anybody goes into what is mounted at a place below.
    """
    mountinfo = Path("/proc/self/mountinfo").read_bytes()
    mount = mount_of(path, mountinfo)
    if mount is None or mount.may_hang:
        return True
    on_top = {below.point: below for below in _mounts(mountinfo) if is_within(below.point, path)}
    return any(below.may_hang and is_entered(below.point) for below in on_top.values())


def filesystem_name(path: str, mountinfo: bytes) -> str | None:
    """Return the type of the file system that holds `path`, as mount(8) names it."""
    mount = mount_of(path, mountinfo)
    return None if mount is None else mount.kind


def mount_of(path: str, mountinfo: bytes) -> Mount | None:
    """Return the mount that holds `path`.

    Args:
        path: absolute, resolved.
        mountinfo: as proc_pid_mountinfo(5) describes it; of two mounts on one directory the
            later one is on top.
    """
    best: Mount | None = None
    for mount in _mounts(mountinfo):
        if is_within(path, mount.point) and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best


def mounts_within(path: str, mountinfo: bytes) -> frozenset[tuple[str, bytes]]:
    """Return where something is mounted at and below `path`, and what.

    Args:
        path: absolute, resolved.
        mountinfo: as above.

    Returns:
        Mount points, each with words that another mount there would not share.
    """
    mounts = set()
    for line in mountinfo.splitlines():
        mount_id, above, device, root, point, *_ = line.split(b" ")
        place = os.fsdecode(_ESCAPED.sub(_unescaped, point))
        if is_within(place, path):
            mounts.add((place, b" ".join((mount_id, above, device, root))))
    return frozenset(mounts)


def _mounts(mountinfo: bytes) -> Iterator[Mount]:
    """Yield every mount; of two on one directory the later one is on top."""
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(b" - ")
        point = os.fsdecode(_ESCAPED.sub(_unescaped, fields.split(b" ")[4]))
        yield Mount(point, os.fsdecode(rest.split(b" ")[0]))


def _unescaped(match: re.Match[bytes]) -> bytes:
    return bytes([int(match[1], 8)])
