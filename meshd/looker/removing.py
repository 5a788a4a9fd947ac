"""Removing `.dork` with everything in it, so that it can be taken back until it is decided.

Owns the tasks by which the directory is set aside in its project, put back, or removed.
Assumes an open root and nothing else. Promises that no symlink is followed, that nothing that
is mounted there is removed, and that the depth of the tree costs neither stack nor
descriptors: what lies deep is moved up before it is removed.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from meshd.looker.files import (
    DORK,
    GONE,
    MANIFEST,
    holds,
    open_dork,
    open_project,
    sync,
    sync_project,
)
from meshd.looker.renaming import is_there, set_aside, take_name
from meshd.looker.writing import Obstacle, Trouble, trouble_of
from meshd.mounts import mounts_within

if TYPE_CHECKING:
    from meshd.looker.look import OpenRoot

ENTRIES_PER_TASK: Final = 5_000
"""Few enough for the deadline of one request to a slow file system."""

_ENTRIES_AT_ONCE: Final = 500
_TAKEN: Final = frozenset({errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR})


@dataclass(frozen=True, slots=True)
class Aside:
    """A `.dork` that is set aside.

    Attributes:
        path: the project directory, absolute, at or below the root.
        name: what the directory is called in the project meanwhile.
        previous: SHA-256 of the manifest in it.
    """

    path: str
    name: str
    previous: str


@dataclass(frozen=True, slots=True)
class TakeData:
    """Task: set `.dork` aside."""

    aside: Aside

    def __call__(self, root: OpenRoot) -> Trouble | None:
        """Set it aside, unless something is mounted there.

        What it leaves behind when it fails is for `UndoData`.
        """
        aside = self.aside
        if mounts_within(f"{aside.path}/{DORK}", Path("/proc/self/mountinfo").read_bytes()):
            return Trouble(Obstacle.MOUNT)
        try:
            with open_project(root, aside.path) as project:
                set_aside(project, DORK, aside.name)
                with open_dork(project, aside.name) as dork:
                    is_ours = holds(dork, MANIFEST, aside.previous)
                sync_project(project)
        except FileNotFoundError:
            return Trouble(Obstacle.CHANGED)
        except OSError as error:
            return trouble_of(error)
        return None if is_ours else Trouble(Obstacle.CHANGED)


@dataclass(frozen=True, slots=True)
class UndoData:
    """Task: put `.dork` back; twice does no more.

    Where another `.dork` has come into its place, what the old one holds goes into that one,
    the manifest first, and replaces nothing. What finds its name taken stays aside, and TAKEN
    is told.
    """

    aside: Aside

    def __call__(self, root: OpenRoot) -> Trouble | None:
        """Put it back."""
        name = self.aside.name
        try:
            with open_project(root, self.aside.path) as project:
                if not is_there(project, name):
                    return None
                is_back = _is_renamed_back(project, name) or _is_moved_back(project, name)
                sync_project(project)
        except OSError as error:
            gone = error.errno in GONE
            return None if gone else trouble_of(error)
        return None if is_back else Trouble(Obstacle.TAKEN, name)


def _is_renamed_back(project: int, name: str) -> bool:
    try:
        take_name(project, name, DORK)
    except OSError as error:
        if error.errno not in _TAKEN:
            raise
        return False
    return True


def _is_moved_back(project: int, name: str) -> bool:
    """Move what a directory holds into the `.dork` that is there; return whether all went."""
    with open_dork(project, name) as old:
        try:
            with open_dork(project) as new:
                # Beside another manifest, nothing else of the old one belongs there.
                if not is_there(old, MANIFEST) or _is_moved(old, MANIFEST, new):
                    for entry, _ in _entries(old):
                        _is_moved(old, entry, new)
                sync(new)
        except OSError as error:
            if error.errno not in GONE:
                raise
            return False  # `.dork` is no directory now
    try:
        os.rmdir(name, dir_fd=project)
    except OSError as error:
        if error.errno not in _TAKEN:
            raise
        return False
    return True


def _is_moved(old: int, name: str, new: int) -> bool:
    try:
        take_name(old, name, name, into=new)
    except OSError as error:
        if error.errno not in _TAKEN:
            raise
        return False
    return True


@dataclass(frozen=True, slots=True)
class RemoveData:
    """Task: remove what was set aside, or a part of it; return whether all is gone."""

    aside: Aside
    most: int = ENTRIES_PER_TASK

    def __call__(self, root: OpenRoot) -> bool | Trouble:
        """Remove it."""
        try:
            with open_project(root, self.aside.path) as project:
                with open_dork(project, self.aside.name) as top:
                    is_empty = _Removal(top, self.most).run()
                if is_empty:
                    os.rmdir(self.aside.name, dir_fd=project)
                    sync_project(project)
        except OSError as error:
            gone = error.errno in GONE
            return True if gone else trouble_of(error)
        return is_empty


class _Removal:
    """Empties one directory, a bounded number of entries at a time.

    A directory in it is emptied by moving the directories in that one up beside it; so
    nothing is ever reached through more than one descriptor below the top. What cannot be
    moved is where something is mounted, and is left alone with what is in it.
    """

    def __init__(self, top: int, most: int) -> None:
        self._top = top
        self._left = most
        self._number = 0

    def run(self) -> bool:
        """Remove entries; return whether the directory is empty."""
        while entries := _entries(self._top, _ENTRIES_AT_ONCE):
            for name, is_directory in entries:
                if self._left <= 0:
                    return False
                self._left -= 1
                if is_directory:
                    self._remove_directory(self._move_up(self._top, name))
                else:
                    os.unlink(name, dir_fd=self._top)
        return True

    def _remove_directory(self, name: str) -> None:
        with open_dork(self._top, name) as directory:
            while entries := _entries(directory, _ENTRIES_AT_ONCE):
                for inner, is_directory in entries:
                    if self._left <= 0:
                        return
                    self._left -= 1
                    if is_directory:
                        self._move_up(directory, inner)
                    else:
                        os.unlink(inner, dir_fd=directory)
        os.rmdir(name, dir_fd=self._top)

    def _move_up(self, directory: int, name: str) -> str:
        """Move a directory to the top, under a name that is free there.

        Raises:
            OSError: EBUSY when it is a mount point.
        """
        while True:
            self._number += 1
            free = f".{self._number}.tmp"
            with suppress(FileExistsError):
                os.mkdir(free, 0o700, dir_fd=self._top)
                break
        try:
            # A directory takes the place of an empty one, and of nothing else.
            os.rename(name, free, src_dir_fd=directory, dst_dir_fd=self._top)
        except OSError:
            os.rmdir(free, dir_fd=self._top)
            raise
        return free


def _entries(directory: int, most: int | None = None) -> list[tuple[str, bool]]:
    """Return names in a directory, each with whether it is a directory itself.

    Args:
        directory: open for listing.
        most: so many are asked for; a directory of any size costs no more than that.
    """
    with os.scandir(directory) as entries:
        return [
            (entry.name, entry.is_dir(follow_symlinks=False)) for entry in islice(entries, most)
        ]
