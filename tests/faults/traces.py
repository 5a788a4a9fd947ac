"""What a process asked of the kernel about files, as strace saw it.

Owns the way strace is started and read. Promises: calls that another thread interrupted are
put together again, and each call names the files it concerns by their whole paths: an open by
where the kernel ended, whatever links led there.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHANGING: Final = re.compile(
    r"(bind|f?chmod|fchmodat2?|[fl]?chown|fchownat|[fl]?(set|remove)xattr|f?truncate|link(at)?"
    r"|mkdir(at)?|mknod(at)?|mount|umount2?|rename(at2?)?|rmdir|symlink(at)?|unlink(at)?"
    r"|utimes?|utimensat|futimesat)"
)
"""Calls that change a file or a directory."""

OPENING: Final = frozenset({"open", "openat", "openat2", "creat"})
READING: Final = frozenset({"read", "pread64", "readv", "preadv"})

_TRACED: Final = (
    "%file,openat2,bind,fchmod,fchown,fsetxattr,fremovexattr,ftruncate,read,pread64,readv,preadv"
)
_END_BYTES: Final = 4096
_WRITING: Final = re.compile(r"\bO_(?:WRONLY|RDWR|CREAT|TRUNC|TMPFILE|APPEND)\b")
_LINE: Final = re.compile(r"(\d+) +(.*)")
_CALL: Final = re.compile(r"(\w+)\((.*)\) += (.*)")
_DESCRIPTOR_OR_NAME: Final = re.compile(r'(?:\d+|AT_FDCWD)<((?:[^>\\]|\\.)*)>|"((?:[^"\\]|\\.)*)"')
_OPENED: Final = re.compile(r"\d+<((?:[^>\\]|\\.)*)>")


@dataclass(frozen=True)
class Call:
    """One call, as it ended.

    Attributes:
        line: all that strace wrote of it.
        names: the names that were given, each beside the directory it starts from.
        opened: where an open ended, None where it failed.
        result: what the kernel returned, -1 where it failed.
    """

    name: str
    line: str
    names: tuple[tuple[str, str], ...]
    opened: str | None
    result: int

    @property
    def paths(self) -> tuple[str, ...]:
        """The files it concerns: what an open ended at, else each name or descriptor."""
        if self.opened is not None:
            return (self.opened,)
        # An empty name is the descriptor itself; an absolute one starts nowhere.
        return tuple(os.path.join(start, name) if name else start for start, name in self.names)  # noqa: PTH118 - text

    @property
    def writes(self) -> bool:
        """Whether it changes something, or opens it for that."""
        if self.name in OPENING:
            return self.opened is not None and _WRITING.search(self.line) is not None
        return CHANGING.fullmatch(self.name) is not None


def tracing(into: Path) -> tuple[str, ...]:
    """Return the command that traces another, which stays the child of whoever starts it."""
    return ("strace", "-D", "-f", "-q", "-y", "-s", "0", "-o", str(into), "-e", f"trace={_TRACED}")


def is_whole(trace: Path, process: int) -> bool:
    """Whether the trace has come to the end of a process."""
    with trace.open("rb") as file:
        file.seek(-min(_END_BYTES, file.seek(0, os.SEEK_END)), os.SEEK_END)
        return re.search(rb"^%d +\+\+\+ " % process, file.read(), re.MULTILINE) is not None


def calls(trace: Path) -> Iterator[Call]:
    """Yield the calls of a trace in the order in which they ended."""
    begun: dict[str, str] = {}
    for line in trace.read_text("utf-8", "backslashreplace").splitlines():
        thread, text = _LINE.fullmatch(line).groups()  # type: ignore[union-attr] # strace's form
        if text.endswith("<unfinished ...>"):
            begun[thread] = text.removesuffix("<unfinished ...>").rstrip()
        elif text.startswith("<... "):
            yield from _parsed(begun.pop(thread) + text.partition("resumed>")[2])
        else:
            yield from _parsed(text)


def _parsed(text: str) -> Iterator[Call]:
    """Yield the call of a line, if it is one; a signal or an exit is none."""
    found = _CALL.fullmatch(text)
    if found is None:
        assert text.startswith(("+++", "---")) or " = ?" in text, text
        return
    name, arguments, answer = found.groups()
    opened = _OPENED.match(answer) if name in OPENING else None
    number = re.match(r"-?\d+", answer)
    yield Call(
        name,
        text,
        tuple(_names(arguments)),
        opened.group(1) if opened else None,
        int(number.group()) if number else -1,
    )


def _names(arguments: str) -> Iterator[tuple[str, str]]:
    """Yield each name beside where it starts; a descriptor without a name stands for itself."""
    start: str | None = None
    for found in _DESCRIPTOR_OR_NAME.finditer(arguments):
        directory, name = found.groups()
        if directory is not None:
            if start is not None:
                yield start, ""
            start = directory
        else:
            yield start or "", name
            start = None
    if start is not None:
        yield start, ""
