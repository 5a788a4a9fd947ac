"""The machine on which something was measured.

Owns what is said of it: what decides how fast it is, and nothing by which it could be found.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw

import meshd
from meshd.mounts import filesystem_name

if TYPE_CHECKING:
    from collections.abc import Mapping


def describe(directory: Path) -> Mapping[str, Any]:
    """Return what is worth knowing of this machine, and of the disk that holds a directory."""
    mounts = Path("/proc/self/mountinfo").read_bytes()
    return {
        "processor": _first(r"model name\s*:\s*(.+)", "/proc/cpuinfo"),
        "cores": len(os.sched_getaffinity(0)),
        "memoryMb": int(_first(r"MemTotal:\s*(\d+)", "/proc/meminfo") or 0) // 1024,
        "kernel": platform.release(),
        "fileSystem": filesystem_name(str(directory.resolve()), mounts),
        "python": platform.python_version(),
        "sqlite": apsw.sqlite_lib_version(),
        "meshd": meshd.__version__,
        "commit": _commit(),
        "inotifyWatches": int(Path("/proc/sys/fs/inotify/max_user_watches").read_text("ascii")),
        "loadBefore": os.getloadavg()[0],
    }


def _first(pattern: str, path: str) -> str | None:
    found = re.search(pattern, Path(path).read_text("ascii", "replace"))
    return None if found is None else found[1]


def _commit() -> str | None:
    """Return the commit that is measured, with a plus when the tree differs from it."""
    here = Path(__file__).parent
    try:
        said = subprocess.run(
            ["git", "-C", here, "describe", "--always", "--dirty=+", "--match="],
            check=True,
            capture_output=True,
            text=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return said.stdout.strip()
