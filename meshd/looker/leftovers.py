"""What a change of a manifest has left behind that no intent knows of any more.

Owns finding and removing temporary files of ours in `.dork`. An intent clears up what it has
left; but a project that was moved meanwhile, and a database lost with its policy, leave files
that nobody answers for (fault 131). Assumes that the caller passes over what an unfinished
intent names. Promises that only a regular file goes that bears such a name, is ours, was last
touched before a given time, and lies beside a manifest: without one it may be all that is left
of it.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from meshd.looker.files import MANIFEST, open_dork, open_project, sync
from meshd.looker.syscalls import NO_DESCRIPTORS_ERRNOS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshd.looker.look import OpenRoot

# The number of a process and sixteen random digits; an exchange by links has a third name.
_TEMPORARY: Final = re.compile(r"\.agent\.json\.[0-9]{1,10}\.[0-9a-f]{16}(\.old)?\.tmp")


class Leftover(NamedTuple):
    """A file in the `.dork` of a project."""

    path: str
    name: str


@dataclass(frozen=True, slots=True)
class FindLeftovers:
    """Task: return what is left in some projects.

    Attributes:
        paths: the projects, absolute, at or below the root.
        before_ns: wall-clock time; what was touched since is left alone.
    """

    paths: tuple[str, ...]
    before_ns: int

    def __call__(self, root: OpenRoot) -> list[Leftover]:
        """Find it. A project that cannot be read has nothing to find."""
        found: list[Leftover] = []
        for path in self.paths:
            with _unless_unreadable(), _open(root, path) as dork:
                with os.scandir(dork) as entries:
                    names = sorted(entry.name for entry in entries)
                found += [
                    Leftover(path, name)
                    for name in names
                    if _is_rubbish(dork, name, self.before_ns)
                ]
        return found


@dataclass(frozen=True, slots=True)
class RemoveLeftovers:
    """Task: remove what was found, where that still holds; return what was removed."""

    found: tuple[Leftover, ...]
    before_ns: int

    def __call__(self, root: OpenRoot) -> list[Leftover]:
        """Remove it."""
        removed: list[Leftover] = []
        for one in self.found:
            with _unless_unreadable(), _open(root, one.path) as dork:
                if _is_rubbish(dork, one.name, self.before_ns):
                    os.unlink(one.name, dir_fd=dork)
                    sync(dork)
                    removed.append(one)
        return removed


@contextmanager
def _open(root: OpenRoot, path: str) -> Iterator[int]:
    with open_project(root, path) as project, open_dork(project) as dork:
        yield dork


@contextmanager
def _unless_unreadable() -> Iterator[None]:
    """Leave what cannot be read or changed for another time; without descriptors, all of it."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_DESCRIPTORS_ERRNOS:
            raise


def _is_rubbish(dork: int, name: str, before_ns: int) -> bool:
    """Whether a file is a temporary one of ours that nobody needs: old, beside a manifest.

    Raises:
        OSError: what the kernel says; FileNotFoundError when there is no manifest.
    """
    if _TEMPORARY.fullmatch(name) is None:
        return False
    if not stat.S_ISREG(os.stat(MANIFEST, dir_fd=dork, follow_symlinks=False).st_mode):
        return False
    status = os.stat(name, dir_fd=dork, follow_symlinks=False)
    # A rename is a touch too, and shows in nothing but the change time.
    touched_ns = max(status.st_mtime_ns, status.st_ctime_ns)
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and touched_ns < before_ns
