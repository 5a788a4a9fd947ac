"""A file system with switches: it mirrors a directory, and fails when it is told to.

Owns the process of a FUSE server (`fuse_server`), and the mount. Assumes root, /dev/fuse and the
fuse3 library. The mirror is read only: what changes is written to the directory behind it.
Promises: nothing is cached, inodes are those behind, a switch holds once its call returned, and
the end of the context leaves no mount, no server and nobody hanging.
"""

from __future__ import annotations

import ctypes.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final, Self

import pytest

REPOSITORY: Final = Path(__file__).parent.parent.parent

needs_fuse = pytest.mark.skipif(
    not os.access("/dev/fuse", os.W_OK) or ctypes.util.find_library("fuse3") is None,
    reason="needs root, /dev/fuse and the fuse3 library",
)


class Mirror:
    """A mounted mirror of a directory; a context manager.

    Args:
        source: what is mirrored.
        target: an existing directory, over which it is mounted.
    """

    def __init__(self, source: Path, target: Path) -> None:
        self._source = source
        self._target = target
        self._server: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.mount()
        return self

    def __exit__(self, *_: object) -> None:
        self.die()
        self.unmount()

    def mount(self) -> None:
        """Start a server and mount its file system; after `unmount` it is mounted again."""
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.fuse_server", self._source, self._target],
            cwd=REPOSITORY,
            env={**os.environ, "FUSE_LIBRARY_NAME": "fuse3"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._answer() == "mounted"

    def unmount(self) -> None:
        """Take the mount away, whatever still uses it."""
        subprocess.run(["umount", "--lazy", self._target], check=False, stderr=subprocess.DEVNULL)

    def fail(self, number: int, *paths: str) -> None:
        """Answer each request at or below some paths, relative to the mirror, by an error.

        Args:
            number: an errno such as ESTALE; 0 takes the fault back.
            paths: `""` is the whole mirror.
        """
        self._tell("fail", number, *paths)

    def hang(self, path: str = "") -> None:
        """Take each request at or below a path, and answer none until `release` or `die`.

        Whoever asks sleeps in the kernel, where no signal reaches them (fault 78).
        """
        self._tell("hang", path)

    def release(self) -> None:
        """Answer everything again, what waits included."""
        self._tell("release")

    def waiting(self) -> int:
        """Return how many requests hang."""
        return int(self._tell("waiting"))

    def die(self) -> None:
        """Kill the server: each request, what hangs too, ends with ENOTCONN or the like.

        The kernel does on the server's death what a write to its file `abort` in
        /sys/fs/fuse/connections would do.
        """
        if self._server is not None:
            self._server.kill()
            self._server.communicate()
            self._server = None

    def _tell(self, *words: str | int) -> str:
        assert self._server is not None, "bug: the server is dead"
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(words) + "\n")
        self._server.stdin.flush()
        return self._answer()

    def _answer(self) -> str:
        assert self._server is not None, "bug: the server is dead"
        assert self._server.stdout is not None
        return self._server.stdout.readline().strip()
