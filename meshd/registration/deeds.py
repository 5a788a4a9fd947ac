"""What is done to the files of a project, with how it is undone and cleared up.

Owns the forms of a deed and their documents in the database. Promises that a deed read back
from its document undoes and clears what the one that was written would have.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from meshd.errors import ConflictError, NotWritableError, OutOfScopeError
from meshd.looker.removing import Aside, RemoveData, TakeData, UndoData
from meshd.looker.writing import (
    ClearSwap,
    Obstacle,
    PutManifest,
    Swap,
    TakeManifest,
    Trouble,
    UndoSwap,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshd.core.model import FileIdentity
    from meshd.errors import MeshdError
    from meshd.looker import Task

_MANIFEST_DEED: Final = "manifest"
_DATA_DEED: Final = "data"


@dataclass(frozen=True, slots=True)
class ManifestDeed:
    """A manifest is put, replaced or taken away.

    Attributes:
        data: what is put, None when nothing is or when the deed was read back.
    """

    swap: Swap
    data: bytes | None = None

    kind = _MANIFEST_DEED

    @property
    def path(self) -> str:
        """The project."""
        return self.swap.path

    def task(self) -> Task[FileIdentity | Trouble | None]:
        """Return what does it."""
        if self.data is None:
            return TakeManifest(self.swap)
        return PutManifest(self.swap, self.data)

    def undo(self, done: FileIdentity | None) -> Task[Trouble | None]:
        """Return what undoes it, given what doing it returned."""
        return UndoSwap(self.swap, done)

    def clear(self) -> Task[Trouble | bool | None]:
        """Return what clears up behind it; False when there is more to clear."""
        return ClearSwap(self.swap)

    def unclear(self, _trouble: Trouble) -> MeshdError | None:
        """Return what to tell a caller when that fails; a file too many harms nobody."""
        return None


@dataclass(frozen=True, slots=True)
class DataDeed:
    """The whole of `.dork` is removed."""

    aside: Aside

    kind = _DATA_DEED

    @property
    def path(self) -> str:
        """The project."""
        return self.aside.path

    def task(self) -> Task[FileIdentity | Trouble | None]:
        """Return what does it."""
        return TakeData(self.aside)

    def undo(self, _done: FileIdentity | None) -> Task[Trouble | None]:
        """Return what undoes it."""
        return UndoData(self.aside)

    def clear(self) -> Task[Trouble | bool | None]:
        """Return what clears up behind it; False when there is more to clear."""
        return RemoveData(self.aside)

    def unclear(self, trouble: Trouble) -> MeshdError | None:
        """Return what to tell a caller when that fails: the data was to be gone."""
        why = refusal(trouble, self.path)
        return NotWritableError(
            f"the agent is unregistered, and {self.aside.name} in {self.path!a} is not removed yet:"
            f" {trouble.detail or trouble.obstacle}",
            hint=f"{why.hint}; every sweep tries again",
        )


Deed: TypeAlias = ManifestDeed | DataDeed


def temporary_name(name: str) -> str:
    """Return a name that nobody can foresee (fault 138)."""
    return f".{name.removeprefix('.')}.{os.getpid()}.{secrets.token_hex(8)}.tmp"


def to_document(deed: Deed, *, done: bool) -> dict[str, object]:
    """Return a deed as the database keeps it; the path is kept beside it.

    Args:
        deed: what is done.
        done: whether the registry has taken it in: then it is cleared up, else undone.
    """
    names: dict[str, Any] = asdict(deed.swap if isinstance(deed, ManifestDeed) else deed.aside)
    del names["path"]
    return {**names, "done": done}


def from_document(kind: str, path: str, document: Mapping[str, Any]) -> tuple[Deed, bool]:
    """Return a deed that was kept, and whether the registry has taken it in."""
    names = {key: value for key, value in document.items() if key != "done"}
    if kind == _DATA_DEED:
        return DataDeed(Aside(path=path, **names)), document["done"]
    return ManifestDeed(Swap(path=path, **names)), document["done"]


def refusal(trouble: Trouble, path: str) -> MeshdError:
    """Return the error that tells of a trouble."""
    if trouble.obstacle is Obstacle.CHANGED:
        return ConflictError(
            f"{path!a} was changed meanwhile", hint="look at what it says now, and try again"
        )
    if trouble.obstacle is Obstacle.NO_PROJECT:
        return OutOfScopeError(f"there is no directory at {path!a} any more")
    if trouble.obstacle is Obstacle.NO_DORK:
        return NotWritableError(
            f"`.dork` in {path!a} is not a directory", hint="move it away, and try again"
        )
    if trouble.obstacle is Obstacle.TAKEN:
        return NotWritableError(
            f"{path!a} has a new `.dork`; what is left of the old one is {trouble.detail} there",
            hint="move what you need of it into `.dork`, and remove the rest",
        )
    if trouble.obstacle is Obstacle.MOUNT:
        return NotWritableError(
            f"something is mounted in `.dork` of {path!a}",
            hint="unmount it first, or keep the data",
        )
    return NotWritableError(
        f"the files of {path!a} cannot be changed: {trouble.detail}",
        hint="see that meshd may write there, and that the disk has room",
    )
