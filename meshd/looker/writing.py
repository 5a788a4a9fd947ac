"""Writing a manifest, so that it can be taken back.

Owns the tasks by which a manifest takes the place of another, goes away, and by which either is
undone or cleared up. Assumes an open root and nothing else: whatever lies below is hostile, and
its owner may work there at the same time. Promises that nothing is written through a symlink
(fault 137), that the file which is replaced lies beside the new one until it is cleared away,
and that an undo takes back only what is still ours (fault 133).
"""

from __future__ import annotations

import errno
import hashlib
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from meshd.looker.files import (
    DORK,
    GONE,
    MANIFEST,
    holds,
    kept_name,
    make_dork,
    open_dork,
    open_project,
    ownership,
    read_regular,
    remove,
    remove_empty,
    sync,
    write_new,
)
from meshd.looker.look import errno_word
from meshd.looker.renaming import exchange, is_there, set_aside, settle_spare, spare_name, take_name

if TYPE_CHECKING:
    from meshd.core.model import FileIdentity
    from meshd.looker.look import OpenRoot


class Obstacle(StrEnum):
    """Why a task did not do what it was to do. Fixed words."""

    CHANGED = "changed-meanwhile"
    NO_PROJECT = "project-missing"
    NO_DORK = "dork-not-a-directory"
    TAKEN = "name-taken"
    MOUNT = "mounted-there"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Trouble:
    """What stood in the way of a task.

    Attributes:
        detail: the name of an error number, when the kernel gave one; of what stays aside,
            when its name is taken; of what is left to its owner.
    """

    obstacle: Obstacle
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Swap:
    """One manifest that takes the place of another, or of none, or that goes away.

    Attributes:
        path: the project directory, absolute, at or below the root.
        temporary: the name in `.dork` under which the new file is written, and under which
            the previous one lies from the swap until it is cleared away.
        previous: SHA-256 of the manifest that is there, None when there is none.
        new: SHA-256 of the one that takes its place, None when none does.
        makes_dork: whether `.dork` was missing.
    """

    path: str
    temporary: str
    previous: str | None
    new: str | None
    makes_dork: bool = False

    @property
    def temporary_names(self) -> tuple[str, str]:
        """The names in `.dork` that it may use, but for the manifest's."""
        return self.temporary, spare_name(self.temporary)


@dataclass(frozen=True, slots=True)
class ReadManifest:
    """Task: return the bytes of a manifest, if they are those that a look has seen."""

    path: str
    content_hash: str

    def __call__(self, root: OpenRoot) -> bytes | Trouble:
        """Read it."""
        try:
            with open_project(root, self.path) as project, open_dork(project) as dork:
                data = read_regular(dork, MANIFEST)
        except OSError as error:
            return trouble_of(error)
        if data is None or hashlib.sha256(data).hexdigest() != self.content_hash:
            return Trouble(Obstacle.CHANGED)
        return data


@dataclass(frozen=True, slots=True)
class PutManifest:
    """Task: put a manifest in its place; return which file it is.

    What it leaves behind when it fails is for `UndoSwap` to take back.
    """

    swap: Swap
    data: bytes

    def __call__(self, root: OpenRoot) -> FileIdentity | Trouble:
        """Put it."""
        try:
            with open_project(root, self.swap.path) as project:
                if self.swap.makes_dork:
                    make_dork(project)
                with open_dork(project) as dork:
                    return self._put(project, dork)
        except OSError as error:
            return trouble_of(error)

    def _put(self, project: int, dork: int) -> FileIdentity | Trouble:
        swap = self.swap
        try:
            belongs = ownership(project, dork, replaces=swap.previous is not None)
            ours = write_new(dork, swap.temporary, self.data, belongs)
            if swap.previous is None:
                take_name(dork, swap.temporary, MANIFEST)
            else:
                exchange(dork, swap.temporary, MANIFEST)
        except (FileExistsError, FileNotFoundError):
            return Trouble(Obstacle.CHANGED)
        if swap.previous is not None and not holds(dork, swap.temporary, swap.previous):
            return Trouble(Obstacle.CHANGED)
        sync(dork)
        return ours


@dataclass(frozen=True, slots=True)
class TakeManifest:
    """Task: take a manifest away, to where `UndoSwap` finds it."""

    swap: Swap

    def __call__(self, root: OpenRoot) -> Trouble | None:
        """Take it."""
        swap = self.swap
        assert swap.previous is not None, "bug: nothing to take away"
        try:
            with open_project(root, swap.path) as project, open_dork(project) as dork:
                try:
                    set_aside(dork, MANIFEST, swap.temporary)
                except FileNotFoundError:
                    return Trouble(Obstacle.CHANGED)
                if not holds(dork, swap.temporary, swap.previous):
                    return Trouble(Obstacle.CHANGED)
                sync(dork)
        except OSError as error:
            return trouble_of(error)
        return None


@dataclass(frozen=True, slots=True)
class UndoSwap:
    """Task: take back what is left of a swap, however far it came; twice does no more.

    A directory that its owner has put in the way is left to them, and CHANGED is told.

    Attributes:
        ours: which file was put, when that is known.
    """

    swap: Swap
    ours: FileIdentity | None = None

    def __call__(self, root: OpenRoot) -> Trouble | None:
        """Take it back."""
        swap = self.swap
        try:
            with open_project(root, swap.path) as project:
                with open_dork(project) as dork:
                    settle_spare(dork, swap.temporary)
                    self._take_back(dork)
                    is_tidy = remove(dork, swap.temporary)
                    sync(dork)
                if swap.makes_dork:
                    remove_empty(project, DORK)
        except OSError as error:
            # Where the project or `.dork` is gone, so is what was put there.
            return None if error.errno in GONE else trouble_of(error)
        return None if is_tidy else Trouble(Obstacle.CHANGED, kept_name(swap.temporary))

    def _take_back(self, dork: int) -> None:
        swap = self.swap
        if swap.new is None:
            with suppress(FileExistsError):
                if is_there(dork, swap.temporary):
                    take_name(dork, swap.temporary, MANIFEST)
        elif not holds(dork, MANIFEST, swap.new, self.ours):
            return  # never put, or replaced by its owner since
        elif swap.previous is None:
            # Where names are taken by links, a cut may have left both.
            remove(dork, swap.temporary)
            set_aside(dork, MANIFEST, swap.temporary)
            if not holds(dork, swap.temporary, swap.new, self.ours):
                with suppress(FileExistsError):
                    take_name(dork, swap.temporary, MANIFEST)
        else:
            exchange(dork, swap.temporary, MANIFEST)
            if not holds(dork, swap.temporary, swap.new, self.ours):
                # Its owner saved in between: the newest stays.
                exchange(dork, swap.temporary, MANIFEST)


@dataclass(frozen=True, slots=True)
class ClearSwap:
    """Task: clear away what a swap has kept for its undo.

    A program that had the previous file open may have written to it after the swap. What its
    owner has saved is then put back, and that is the trouble told.
    """

    swap: Swap

    def __call__(self, root: OpenRoot) -> Trouble | None:
        """Clear it away."""
        swap, trouble = self.swap, None
        try:
            with open_project(root, swap.path) as project:
                with open_dork(project) as dork:
                    settle_spare(dork, swap.temporary)
                    if self._was_saved_late(dork):
                        exchange(dork, swap.temporary, MANIFEST)
                        trouble = Trouble(Obstacle.CHANGED)
                    if not remove(dork, swap.temporary):
                        trouble = Trouble(Obstacle.CHANGED, kept_name(swap.temporary))
                    sync(dork)
                if swap.new is None:
                    remove_empty(project, DORK)
        except OSError as error:
            return None if error.errno in GONE else trouble_of(error)
        return trouble

    def _was_saved_late(self, dork: int) -> bool:
        swap = self.swap
        if swap.previous is None or swap.new is None or not holds(dork, MANIFEST, swap.new):
            return False
        data = read_regular(dork, swap.temporary)
        return data is not None and hashlib.sha256(data).hexdigest() != swap.previous


def trouble_of(error: OSError) -> Trouble:
    """Return what an error of the kernel says of a task."""
    if error.errno in (errno.ENOTDIR, errno.ELOOP):
        return Trouble(Obstacle.NO_DORK, errno_word(error))
    if error.errno == errno.ENOENT:
        return Trouble(Obstacle.NO_PROJECT, errno_word(error))
    if error.errno == errno.EBUSY:
        return Trouble(Obstacle.MOUNT, errno_word(error))
    return Trouble(Obstacle.FAILED, errno_word(error))
