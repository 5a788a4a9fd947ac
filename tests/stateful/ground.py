"""What the roots and the state directory stand on, and how it fails.

Owns the mounts. Assumes a mount namespace of its own, in which they end with the process.
Promises: every fault can be taken back, and what its users do to the disk is the same with it
or without it.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Final

STATE_BYTES: Final = "16m"
DEADLINE: Final = 10.0
"""Seconds until a root that cannot be unmounted counts as held open."""


class Ground:
    """Roots that are mounts of directories beside them, and a state directory of fixed size.

    Args:
        base: below it, each root is a mount point.
        disk: below it, each root's directory lies.
        state: the mount point of the state directory.
        roots: the names of the roots.
    """

    def __init__(self, base: Path, disk: Path, state: Path, roots: tuple[str, ...]) -> None:
        self._base, self._disk, self._state = base, disk, state
        state.mkdir(parents=True)
        _run("mount", "-t", "tmpfs", "-o", f"size={STATE_BYTES}", "tmpfs", str(state))
        for root in roots:
            (base / root).mkdir()
            self.mount(root)

    def mount(self, root: str) -> None:
        """Mount the directory of a root."""
        _run("mount", "--bind", str(self._disk / root), str(self._base / root))

    def unmount(self, root: str) -> None:
        """Unmount a root; nobody may hold it open for longer than a look takes."""
        deadline = time.monotonic() + DEADLINE
        while True:
            done = subprocess.run(["umount", self._base / root], capture_output=True, check=False)
            if done.returncode == 0:
                return
            assert time.monotonic() < deadline, f"{root} is held open: {done.stderr!r}"

    def replace(self, root: str) -> None:
        """Put a copy of a root in its place, as a restored disk is one."""
        directory = self._disk / root
        self.unmount(root)
        _run("cp", "-a", str(directory), f"{directory}-copy")
        _run("rm", "-rf", str(directory))
        Path(f"{directory}-copy").rename(directory)
        self.mount(root)

    def set_read_only(self, root: str, *, on: bool) -> None:
        """Let the daemon write below a root, or not."""
        _run("mount", "-o", f"remount,bind,{'ro' if on else 'rw'}", str(self._base / root))

    def set_shut(self, place: str, *, on: bool) -> None:
        """Let those whom permissions bind enter a place, or not."""
        (self._disk / place).chmod(0 if on else 0o755)

    def set_full(self, *, on: bool) -> None:
        """Fill the state directory to the last byte, or make room."""
        ballast = self._state / "ballast"
        if not on:
            ballast.unlink()
            return
        with ballast.open("wb", buffering=0) as file:
            size = 1 << 16
            while size:
                try:
                    file.write(b"\0" * size)
                except OSError:
                    size //= 2

    def close(self) -> None:
        """Unmount everything."""
        for mount in (*self._base.iterdir(), self._state):
            if os.path.ismount(mount):
                subprocess.run(["umount", "-l", mount], check=False)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
