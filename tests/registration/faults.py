"""Faults at every step: the system calls of a deed, counted, and one of them failing.

What is faked: the `os` that the writing tasks use, and the rename with flags, are the real ones
behind a counter. A death is an exception that nothing catches, so that all that was done stays
and nothing more is.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from meshd.looker import files, removing, renaming

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

_COUNTED = frozenset(
    {"open", "write", "fsync", "fchmod", "fchown", "mkdir", "rmdir", "link", "unlink", "rename"}
    | {"stat", "scandir"}
)


class DeathError(BaseException):
    """The process is killed here."""


class Faults:
    """Counts the steps of a deed; some of them fail.

    Attributes:
        steps: how many there were.

    Args:
        monkeypatch: puts everything back.
        links: whether the rename with flags is missing, as on an old file system.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, links: bool = False) -> None:
        self.steps = 0
        self._failing = range(0)
        self._death = False
        self._meanwhile: Callable[[], None] | None = None
        for module in (files, renaming, removing):
            monkeypatch.setattr(module, "os", self)
        real = renaming._renamed

        def renamed(*arguments: Any) -> bool:  # noqa: ANN401 - passed on
            self._step()
            return False if links else real(*arguments)

        monkeypatch.setattr(renaming, "_renamed", renamed)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever os has
        value = getattr(os, name)
        if name not in _COUNTED:
            return value

        def counted(*arguments: Any, **more: Any) -> Any:  # noqa: ANN401 - passed on
            self._step()
            return value(*arguments, **more)

        return counted

    def fail(self, first: int, *, last: int | None = None) -> None:
        """Let the steps from `first` to `last`, or that one, fail with an error."""
        self.steps, self._death = 0, False
        self._failing = range(first, (first if last is None else last) + 1)

    def die(self, step: int) -> None:
        """Let the process die at a step."""
        self.steps, self._death, self._failing = 0, True, range(step, 1_000_000)

    def meanwhile(self, step: int, act: Callable[[], None]) -> None:
        """Let somebody else do something just before a step."""
        self.steps, self._meanwhile, self._failing = 0, act, range(step, step + 1)

    def heal(self) -> None:
        """Let nothing fail any more."""
        self.steps, self._failing, self._meanwhile = 0, range(0), None

    def _step(self) -> None:
        self.steps += 1
        if self.steps in self._failing:
            if self._meanwhile is not None:
                self._meanwhile()
                return
            if self._death:
                raise DeathError
            raise OSError(errno.EIO, os.strerror(errno.EIO))
