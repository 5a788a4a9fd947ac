"""The files of the service: ours as long as nobody changes them.

Owns writing, replacing and removing them. Promises: a file that somebody changed by hand, masked
or linked elsewhere is neither written over nor removed; one of ours changes at once or not at all.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from meshd.errors import MeshdError
from meshd.installing.units import is_untouched, sealed

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Written:
    """One file of the service.

    Attributes:
        path: where.
        changed: whether it was written now, else it was as it should be.
    """

    path: Path
    changed: bool


@dataclass(frozen=True, slots=True)
class File:
    """A file as it should be.

    Attributes:
        path: where.
        text: what it says.
    """

    path: Path
    text: str

    def refuse_if_changed(self, drop_ins: Path) -> None:
        """Refuse to replace what is somebody else's.

        Args:
            drop_ins: where their changes belong.

        Raises:
            MeshdError: it is not as an installation has left it.
        """
        if not (is_ours(self.path) or self._is_as_shipped()) and os.path.lexists(self.path):
            raise MeshdError(
                f"{self.path} was changed by hand, or is masked",
                hint=f"put what was changed into a file of its own in {drop_ins}, remove this one,"
                " and install again",
            )

    def write(self) -> Written:
        """Bring the file to its text, atomically."""
        text = sealed(self.text)
        if is_ours(self.path) and self.path.read_text("utf-8") == text:
            return Written(self.path, changed=False)
        self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        draft = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        draft.write_text(text, "utf-8")
        draft.chmod(0o644)
        draft.replace(self.path)
        return Written(self.path, changed=True)

    def _is_as_shipped(self) -> bool:
        """Whether somebody copied it from what is shipped, and changed nothing."""
        return not self.path.is_symlink() and _read(self.path) == self.text


def is_ours(path: Path) -> bool:
    """Whether a file is as an installation has left it."""
    return not path.is_symlink() and is_untouched(_read(path))


def _read(path: Path) -> str:
    """Return what a file says; nothing if it is none, or not text."""
    try:
        return path.read_text("utf-8") if path.is_file() else ""
    except UnicodeDecodeError:
        return ""
