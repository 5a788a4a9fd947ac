"""The FUSE server of `fuse`: `python -m tests.faults.fuse_server SOURCE TARGET`.

Owns the answers to the kernel's requests, and the switches that spoil them. Assumes commands on
the standard input, one JSON list a line, each answered by a line on the standard output; the
first line says that the file system is mounted. Promises that a switch holds for every request
that comes after its answer.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

from mfusepy import FUSE, Operations  # type: ignore[import-untyped] # it ships no types

if TYPE_CHECKING:
    from collections.abc import Iterator

Attributes = dict[str, int]


class Switches:
    """What the server does with a request; safe to use from its many threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._errors: dict[str, int] = {}
        self._hanging: str | None = None
        self._waiting = 0

    def turn(self, word: str, *values: Any) -> object:  # noqa: ANN401 - as they came by JSON
        """Do what one line of the standard input says, and return the answer."""
        with self._changed:
            match word:
                case "fail":
                    self._errors = {f"/{path}": values[0] for path in values[1:] if values[0]}
                case "hang":
                    self._hanging = f"/{values[0]}"
                case "release":
                    self._hanging = None
                    self._changed.notify_all()
                case "waiting":
                    return self._waiting
        return "done"

    def enter(self, path: str) -> None:
        """Let a request in, or not.

        Raises:
            OSError: what was switched on for the path.
        """
        with self._changed:
            self._waiting += 1
            while self._hanging is not None and _is_at_or_below(path, self._hanging):
                self._changed.wait()
            self._waiting -= 1
            for failing, number in self._errors.items():
                if _is_at_or_below(path, failing):
                    raise OSError(number, os.strerror(number))


def _is_at_or_below(path: str, top: str) -> bool:
    return path == top or path.startswith(top.rstrip("/") + "/")


class Mirrored(Operations):  # type: ignore[misc] # it has no types
    """A directory as it is, where the switches let a request in.

    Args:
        source: absolute path of the directory.
        switches: asked before each request.
    """

    use_ns = True

    def __init__(self, source: str, switches: Switches) -> None:
        self._source = source
        self._switches = switches

    def init(self, path: str) -> None:
        _say("mounted")

    def getattr(self, path: str, fh: int | None = None) -> Attributes:
        return _attributes(os.lstat(self._behind(path)))

    def readlink(self, path: str) -> str:
        return os.readlink(self._behind(path))  # noqa: PTH115 - text, as the kernel asked

    def readdir(self, path: str, fh: int) -> Iterator[tuple[str, Attributes, int]]:
        with os.scandir(self._behind(path)) as entries:
            for entry in entries:
                yield entry.name, _attributes(entry.stat(follow_symlinks=False)), 0

    def open(self, path: str, flags: int) -> int:
        if flags & os.O_ACCMODE != os.O_RDONLY:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return os.open(self._behind(path), os.O_RDONLY | os.O_CLOEXEC)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        self._switches.enter(path)
        return os.pread(fh, size, offset)

    def release(self, path: str, fh: int) -> int:
        os.close(fh)
        return 0

    def _behind(self, path: str) -> str:
        self._switches.enter(path)
        return self._source + path


def _attributes(status: os.stat_result) -> Attributes:
    names = ("st_mode", "st_ino", "st_nlink", "st_uid", "st_gid", "st_size", "st_blocks")
    times = ("st_atime", "st_mtime", "st_ctime")
    return {name: getattr(status, name) for name in names} | {
        name: getattr(status, f"{name}_ns") for name in times
    }


def _obey(switches: Switches) -> None:
    """Turn the switches as the standard input says, and end with it: nobody hangs for ever."""
    for line in sys.stdin:
        _say(str(switches.turn(*json.loads(line))))
    os._exit(0)


def _say(answer: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # whoever asked is gone, and so are we soon
        print(answer, flush=True)  # noqa: T201 - the answer to our parent


def main() -> None:
    """Serve a mirror of one directory over another, until killed or unmounted."""
    source, target = sys.argv[1:]
    switches = Switches()
    threading.Thread(target=_obey, args=(switches,), daemon=True).start()
    FUSE(
        Mirrored(source, switches),
        target,
        foreground=True,
        allow_other=True,
        use_ino=True,
        attr_timeout=0,
        entry_timeout=0,
        negative_timeout=0,
    )


if __name__ == "__main__":
    main()
