"""What lies on a disk, byte for byte, and what a daemon takes of the machine.

Owns how both are measured. Promises: what is read is read without following links or waiting
for pipes.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_CAP: Final = 1 << 20
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def lies_below(*directories: Path) -> dict[str, str]:
    """Return a word for everything below some directories, by path; git's own is left out.

    A file's says its content, mode, owner and time of change, so that one that was touched, or
    written again with the same content, is another. A directory's says only that it is one.
    """
    found: dict[str, str] = {}
    for directory in directories:
        for path, names, files in os.walk(directory):
            names[:] = sorted(name for name in names if name != ".git")
            for name in sorted([*names, *files]):
                one = Path(path, name)
                found[str(one)] = _word(one)
    return found


def _word(path: Path) -> str:
    status = path.lstat()
    kind = stat.filemode(status.st_mode)[0]
    if kind == "l":
        return f"link to {path.readlink()}"
    if kind == "d":
        return kind
    owned = f"{status.st_mode:o} {status.st_uid}:{status.st_gid} {status.st_mtime_ns}"
    if kind != "-" or status.st_size > _CAP:
        return f"{kind} {status.st_size} {owned}"
    return f"{hashlib.sha256(path.read_bytes()).hexdigest()} {owned}"


@dataclass(frozen=True, slots=True)
class Footprint:
    """What one process takes."""

    descriptors: int
    threads: int
    megabytes: int
    wal_megabytes: int

    def __str__(self) -> str:
        return (
            f"{self.descriptors} descriptors, {self.threads} threads, {self.megabytes} MB,"
            f" {self.wal_megabytes} MB of journal"
        )

    def most(self, other: Footprint) -> Footprint:
        """Return the larger of each."""
        return Footprint(
            max(self.descriptors, other.descriptors),
            max(self.threads, other.threads),
            max(self.megabytes, other.megabytes),
            max(self.wal_megabytes, other.wal_megabytes),
        )


NOTHING: Final = Footprint(0, 0, 0, 0)
CEILING: Final = Footprint(descriptors=128, threads=64, megabytes=250, wal_megabytes=16)
"""More than any daemon of the soak needs, whatever befalls it (I17)."""


def footprint(pid: int, database: Path) -> Footprint:
    """Measure a daemon."""
    process = Path("/proc") / str(pid)
    journal = database.with_name(f"{database.name}-wal")
    return Footprint(
        len(list((process / "fd").iterdir())),
        len(list((process / "task").iterdir())),
        int((process / "statm").read_text().split()[1]) * _PAGE >> 20,
        journal.stat().st_size >> 20 if journal.exists() else 0,
    )
