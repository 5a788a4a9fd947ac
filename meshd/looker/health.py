"""The health of one root: whether it can be listed and is the one first seen.

Owns opening a root and the fixed words for what can be wrong with it. Assumes a resolved,
absolute path. Promises that a mount point left empty, a root replaced by another tree, and a
symlink put in its place are never taken for the root (faults 72, 73).
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from meshd.core.model import RootIdentity
from meshd.looker.look import OpenRoot
from meshd.looker.syscalls import closing, filesystem_of, open_directory

if TYPE_CHECKING:
    from collections.abc import Iterator


class Sickness(StrEnum):
    """Why a root is sick. Fixed words."""

    MISSING = "missing"
    NOT_A_DIRECTORY = "not-a-directory"
    PERMISSION_DENIED = "permission-denied"
    UNREADABLE = "unreadable"
    IDENTITY_CHANGED = "identity-changed"
    NOT_MOUNTED = "not-mounted"
    NO_DESCRIPTORS = "no-descriptors"
    TIMED_OUT = "timed-out"


CHANGED: Final = (Sickness.IDENTITY_CHANGED, Sickness.NOT_MOUNTED)
"""A directory is there and can be listed, and is not the root."""

_SICKNESS_BY_ERRNO: Final = {
    errno.ENOENT: Sickness.MISSING,
    errno.ENOTDIR: Sickness.NOT_A_DIRECTORY,
    errno.EACCES: Sickness.PERMISSION_DENIED,
    errno.EPERM: Sickness.PERMISSION_DENIED,
    errno.ELOOP: Sickness.IDENTITY_CHANGED,  # it was resolved once; a symlink is another root
    errno.EMFILE: Sickness.NO_DESCRIPTORS,
    errno.ENFILE: Sickness.NO_DESCRIPTORS,
}


@dataclass(frozen=True, slots=True)
class RootLook:
    """What one check of a root said.

    Attributes:
        reason: a `Sickness`, None exactly when healthy.
        identity: what lies there now, when it could be told; also of a root that changed.
    """

    healthy: bool
    reason: str | None
    identity: RootIdentity | None


class RootInRun(NamedTuple):
    """What a root is within one run: its identity, and the device number of this boot."""

    identity: RootIdentity
    device: int


@dataclass(frozen=True, slots=True)
class Examination:
    """A check of a root, and what the root is in this run, when it could be told."""

    look: RootLook
    found: RootInRun | None


@contextmanager
def open_root(path: str) -> Iterator[OpenRoot]:
    """Hold a root open for listing.

    Raises:
        OSError: it cannot be opened; ELOOP when a component is a symlink.
    """
    with closing(os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as top:
        descriptor = open_directory(top, path.strip("/"), flags=os.O_RDONLY)
    with closing(descriptor):
        yield OpenRoot(descriptor, path)


def identify(root: OpenRoot) -> RootInRun:
    """Return what an open root is.

    Raises:
        OSError: what the kernel says.
    """
    status = os.fstat(root.descriptor)
    identity = RootIdentity(filesystem_of(root.descriptor), status.st_ino)
    return RootInRun(identity, status.st_dev)


def examine(path: str, known: RootIdentity | None, seen: RootInRun | None) -> Examination:
    """Check a root.

    Args:
        path: the root.
        known: what it was when first seen; None takes whatever is there.
        seen: what it was earlier in this run, None when not seen yet.
    """
    try:
        with open_root(path) as root:
            with os.scandir(root.descriptor) as entries:
                next(entries, None)
            found = identify(root)
            changed = _change(root, found, known, seen)
    except OSError as error:
        return Examination(sick(sickness_of(error)), None)
    if changed is not None:
        return Examination(sick(changed, found.identity), found)
    return Examination(RootLook(healthy=True, reason=None, identity=found.identity), found)


def _change(
    root: OpenRoot, found: RootInRun, known: RootIdentity | None, seen: RootInRun | None
) -> Sickness | None:
    """Return how an open root is not the one first seen, None when it is.

    Raises:
        OSError: what the kernel says.
    """
    if known in (None, found.identity) and seen in (None, found):
        return None
    before = known or (None if seen is None else seen.identity)
    if before is None or before.filesystem == found.identity.filesystem:
        return Sickness.IDENTITY_CHANGED
    # It was another file system, and now it is a directory of the one around it.
    around = os.stat("..", dir_fd=root.descriptor)
    return Sickness.NOT_MOUNTED if around.st_dev == found.device else Sickness.IDENTITY_CHANGED


def sick(reason: Sickness, identity: RootIdentity | None = None) -> RootLook:
    """Return the answer for a sick root."""
    return RootLook(healthy=False, reason=reason.value, identity=identity)


def sickness_of(error: OSError) -> Sickness:
    """Return the fixed word for a failure to open or list a root."""
    return _SICKNESS_BY_ERRNO.get(error.errno or 0, Sickness.UNREADABLE)
