"""What a hostile user can leave in the place of a manifest: rows 1-38 as projects on disk.

Owns how each is made, and what meshd has to say of it. Promises: the content of each carries
the canary, so whatever of a refused file gets anywhere is found by looking for it.
"""

from __future__ import annotations

import json
import os
import socket
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.system.trees import document

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CANARY: Final = "c4n4ry-7f31"
NOBODY: Final = 65534
GIB: Final = 1024**3


@dataclass(frozen=True)
class Case:
    """Something hostile: how it is made at `.dork/agent.json`, and the reason of its refusal.

    Attributes:
        privileged: only root can make it.
    """

    row: int
    name: str
    reason: str
    make: Callable[[Path], None]
    privileged: bool = False

    @property
    def id(self) -> str:
        """The row and the name, fit for a directory and for the id of an agent."""
        return f"{self.row:02}-{self.name.replace(' ', '-')}"


def said(**fields: object) -> bytes:
    """Return a manifest that would be good but for some fields."""
    return json.dumps(document("hostile", description=CANARY) | fields).encode()


def with_member(raw: str) -> bytes:
    """Return a manifest with a member written as no JSON library would write it."""
    return said()[:-1] + f", {raw}}}".encode()


def _link(row: int, name: str, target: str) -> Case:
    return Case(row, name, "symlink", lambda manifest: manifest.symlink_to(target))


def _content(row: int, name: str, reason: str, content: bytes) -> Case:
    def make(manifest: Path) -> None:
        draft = manifest.with_suffix(".draft")
        draft.write_bytes(content)
        draft.rename(manifest)

    return Case(row, name, reason, make)


def _device(row: int, name: str, kind: int, major: int, minor: int) -> Case:
    def make(manifest: Path) -> None:
        os.mknod(manifest, kind | 0o666, os.makedev(major, minor))

    return Case(row, name, "not-regular", make, privileged=True)


def _dork_to(target: str | None) -> Callable[[Path], None]:
    """Make `.dork` a symlink: to a place of the machine, or to a good one in the project."""

    def make(manifest: Path) -> None:
        elsewhere = manifest.parent.with_name("elsewhere")
        manifest.parent.rename(elsewhere)
        (elsewhere / "agent.json").write_bytes(said())
        manifest.parent.symlink_to(target or "elsewhere")

    return make


def _socket(manifest: Path) -> None:
    # Relative to where it lies, because a socket's path has 107 bytes.
    descriptor = os.open(manifest.parent, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"/proc/self/fd/{descriptor}/agent.json")
    os.close(descriptor)


def _large(size: int) -> Callable[[Path], None]:
    """Make a file that begins like a manifest and goes on; it takes no room on the disk."""

    def make(manifest: Path) -> None:
        draft = manifest.with_suffix(".draft")
        with draft.open("wb") as file:
            file.write(said())
            file.truncate(size)
        draft.rename(manifest)

    return make


def _hard_link(manifest: Path) -> None:
    """A link to a file of root's in a project of somebody else."""
    secret = manifest.parent.parent.with_suffix(".secret")
    secret.write_bytes(said())
    manifest.hardlink_to(secret)
    for directory in (manifest.parent.parent, manifest.parent):
        os.chown(directory, NOBODY, NOBODY)


PLACES: Final = (
    Case(1, "fifo", "not-regular", os.mkfifo),
    _link(2, "to shadow", "/etc/shadow"),
    _link(3, "to zero", "/dev/zero"),
    _link(3, "to a terminal", "/dev/tty"),
    _link(4, "to the environment", "/proc/self/environ"),
    _link(5, "to the kernel log", "/proc/kmsg"),
    Case(6, "dork to etc", "dork-symlink", _dork_to("/etc")),
    Case(6, "dork to a neighbour", "dork-symlink", _dork_to(None)),
    _link(8, "to itself", "agent.json"),
    _link(8, "to nothing", "missing"),
    Case(9, "directory", "not-regular", lambda manifest: manifest.mkdir()),
    Case(10, "socket", "not-regular", _socket),
    _device(11, "character device", stat.S_IFCHR, 1, 5),
    _device(11, "block device", stat.S_IFBLK, 7, 0),
    Case(12, "gibibyte", "too-big", _large(GIB)),
    Case(13, "sparse tebibyte", "too-big", _large(1024 * GIB)),
    Case(15, "hard link", "wrong-owner", _hard_link, privileged=True),
    _content(14, "one byte too many", "too-big", said() + b" " * 64 * 1024),
    _content(19, "empty", "empty", b""),
    _content(19, "blank", "empty", b" \n\t\n"),
)
"""Rows 1-20, but for those that are no single file."""

CONTENTS: Final = (
    _content(21, "duplicate id", "duplicate-key", with_member('"id": "hostile"')),
    _content(21, "inner duplicate", "duplicate-key", with_member('"budget": {"a": 1, "a": 2}')),
    _content(21, "escaped duplicate", "duplicate-key", with_member(r'"\u0069d": "other"')),
    _content(22, "not a number", "not-finite", with_member('"x": NaN')),
    _content(22, "infinity", "not-finite", with_member('"x": -Infinity')),
    _content(23, "overflow", "not-finite", with_member('"x": 1e999')),
    _content(24, "beyond int64", "bad-schema", said(budget={"maxCallsPerHour": 2**70})),
    _content(25, "5000 digits", "not-json", with_member('"x": ' + "9" * 5000)),
    _content(26, "lone surrogate", "lone-surrogate", with_member(r'"x": "\ud800"')),
    _content(26, "surrogate as key", "lone-surrogate", with_member(r'"\udfff": 1')),
    _content(27, "not utf8", "not-utf8", said().replace(b"agent-", b"\xff\xfe")),
    _content(27, "raw surrogate", "not-utf8", said().replace(b"agent-", b"\xed\xa0\x80")),
    _content(28, "nul", "bad-schema", said(description=f"{CANARY}\0")),
    _content(29, "escape in the name", "bad-schema", said(name=f"\x1b[2J{CANARY}")),
    _content(29, "newline in the name", "bad-schema", said(name=f"a\n{CANARY}")),
    _content(29, "direction in the name", "bad-schema", said(name=f"\u202e{CANARY}")),
    _content(29, "escape in the id", "bad-schema", said(id=f"\x1b]0;{CANARY}\x07")),
    _content(30, "bom", "bom", b"\xef\xbb\xbf" + said()),
    _content(31, "utf16 with bom", "not-utf8", said().decode().encode("utf-16")),
    _content(31, "utf16 without bom", "not-json", said().decode().encode("utf-16-le")),
    _content(32, "garbage behind", "not-json", said() + CANARY.encode()),
    _content(32, "two documents", "not-json", said() + said()),
    _content(32, "nuls behind", "not-json", said() + b"\0\0"),
    _content(32, "comment", "not-json", b"// " + CANARY.encode() + b"\n" + said()),
    _content(32, "trailing comma", "not-json", said()[:-1] + b",}"),
    _content(33, "null", "not-object", b"null"),
    _content(33, "list", "not-object", json.dumps([CANARY]).encode()),
    _content(34, "number as id", "bad-schema", said(id=5)),
    _content(34, "path as id", "bad-schema", said(id=f"../{CANARY}")),
    _content(34, "text as number", "bad-schema", said(budget={"maxCallsPerHour": "5"})),
    _content(34, "switch as number", "bad-schema", said(budget={"maxCallsPerHour": True})),
    _content(36, "deep", "nested-too-deep", with_member('"x": ' + "[" * 3000 + "]" * 3000)),
    _content(36, "deeper", "nested-too-deep", with_member('"x": ' + "[" * 30_000 + "]" * 30_000)),
    _content(36, "open", "not-json", b'{"x": ' + b"[" * 500 + CANARY.encode()),
    _content(37, "floats and a fault", "bad-schema", said(id=5, x=[0.5] * 12_000)),
    _content(37, "lists and a fault", "bad-schema", said(id=5, x=[[]] * 15_000)),
    _content(38, "wrong items", "bad-schema", said(capabilities=[1] * 20_000)),
    _content(38, "long word", "bad-schema", said(runtime=CANARY * 5000)),
    _content(
        38,
        "secret in a bad server",
        "bad-schema",
        said(mcpServers=[{"name": "x", "connection": {"env": {CANARY: CANARY}}}]),
    ),
    _content(38, "unknown key", "bad-schema", said(budget={CANARY: CANARY, "maxCallsPerHour": 0})),
    _content(39, "accent in the id", "bad-schema", said(id="caf\u00e9")),
    _content(39, "other accent in the id", "bad-schema", said(id="cafe\u0301")),
)
"""Rows 21-39."""

CASES: Final = tuple(case for case in PLACES + CONTENTS if os.geteuid() == 0 or not case.privileged)


def plant(directory: Path, cases: tuple[Case, ...] = CASES) -> None:
    """Make a project of each case; where one is already, only its manifest is replaced."""
    for case in cases:
        manifest = directory / case.id / ".dork" / "agent.json"
        manifest.parent.mkdir(parents=True, exist_ok=True)
        manifest.unlink(missing_ok=True)
        case.make(manifest)
