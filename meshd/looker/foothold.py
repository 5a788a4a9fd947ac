"""Reaching deep into a root without long paths.

Owns one descriptor besides the root's. Assumes that paths come depth first, so that one
directory serves a whole subtree. Promises that no path given to the kernel is near PATH_MAX
(fault 46), and never more than one descriptor, however deep the tree.
"""

from __future__ import annotations

import os
from typing import Final

from meshd.looker.syscalls import open_directory

NEAR_CHARACTERS: Final = 512
"""Paths up to here go to the kernel as they are: at four bytes a character, half of PATH_MAX."""


class Foothold:
    """A directory deep in the root that is kept open, so that no path grows too long."""

    def __init__(self, root_fd: int) -> None:
        self._root_fd = root_fd
        self._descriptor: int | None = None
        self._prefix = ""

    def reach(self, relative: str) -> tuple[int, str]:
        """Return a descriptor and a short path from it that together mean `relative`.

        Raises:
            OSError: the directory above cannot be opened.
        """
        if len(relative) <= NEAR_CHARACTERS:
            return self._root_fd, relative
        is_near = len(relative) - len(self._prefix) <= NEAR_CHARACTERS
        if self._descriptor is None or not is_near or not relative.startswith(self._prefix):
            self.close()
            above = relative[: -NEAR_CHARACTERS // 2].rpartition("/")[0]
            self._descriptor = open_directory(self._root_fd, above, flags=os.O_PATH)
            self._prefix = above + "/"
        return self._descriptor, relative[len(self._prefix) :]

    def close(self) -> None:
        """Let go of the directory."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
