"""The floors: the same work by the plainest program that does it, without a promise.

Owns what each floor does. Each is run in a process of its own (`benchmarks.processes`), and
knows as much of the tree as meshd does: what is excluded by default, and no more. Promises: each
returns what it found, so that whoever measures can see that it did the work.
"""

from __future__ import annotations

import json
import os
import stat
import struct
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw

from meshd.core.scope import DEFAULT_EXCLUDES
from meshd.watcher.inotify import MOVED_TO, OVERFLOW, Inotify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from benchmarks.trees import Project

_FIND_EXPRESSION = (
    *("(", "-name", ".git", "-o", "-name", "node_modules", ")", "-prune"),
    *("-o", "-name", "agent.json", "-print0"),
)
_EVENT = struct.Struct("iIII")
_READ_BYTES = 1 << 18
_TABLE = "CREATE TABLE agents (id TEXT PRIMARY KEY, path TEXT UNIQUE, name TEXT, document TEXT)"
_INSERT = "INSERT OR REPLACE INTO agents VALUES (?, ?, ?, ?)"


def find(begin: Callable[[], None], root: Path) -> int:
    """Run `find` over the tree, pruned by what there is of it; return how many manifests it met.

    It asks for two names where meshd looks for all that it excludes, which favours the floor.
    """
    begin()
    found = subprocess.run(
        ["find", os.fspath(root), *_FIND_EXPRESSION],
        check=True,
        stdout=subprocess.PIPE,
    )
    return found.stdout.count(b"\0")


def walk(begin: Callable[[], None], root: Path) -> int:
    """List every directory that is not excluded; return how many manifests there are."""
    begin()
    return sum(1 for _ in _walked(root))


def stat_known(begin: Callable[[], None], root: Path, projects: Sequence[Project]) -> int:
    """Ask for the status of every manifest, its path being known."""
    paths = _manifests(root, projects)
    begin()
    return sum(stat.S_ISREG(os.stat(path).st_mode) for path in paths)


def read_known(begin: Callable[[], None], root: Path, projects: Sequence[Project]) -> int:
    """Read every manifest, its path being known."""
    paths = _manifests(root, projects)
    begin()
    return sum(_read(path) != b"" for path in paths)


def parse_known(begin: Callable[[], None], root: Path, projects: Sequence[Project]) -> int:
    """Read and parse every manifest, its path being known."""
    paths = _manifests(root, projects)
    begin()
    return sum("id" in json.loads(_read(path)) for path in paths)


def import_all(begin: Callable[[], None], root: Path, database: Path) -> int:
    """Walk, read, parse, and insert into one table in one transaction, durably."""
    begin()
    return _imported(_walked(root), database)


def import_and_watch(begin: Callable[[], None], root: Path, database: Path) -> int:
    """Do what `import_all` does, and watch each directory before it is listed.

    What a registry that hears of changes cannot do without; no bar is judged by it.
    """
    inotify = Inotify()
    begin()
    return _imported(_walked(root, lambda path: _add(inotify, path)), database)


def insert_all(
    begin: Callable[[], None], root: Path, projects: Sequence[Project], database: Path
) -> int:
    """Insert what was read and parsed before into one table in one transaction, durably."""
    rows = [_row(path) for path in _manifests(root, projects)]
    begin()
    connection = _open(database)
    with connection:
        connection.executemany(_INSERT, rows)
    connection.close()
    return len(rows)


def hear(
    begin: Callable[[], None], root: Path, projects: Sequence[Project], count: int
) -> tuple[int, bool]:
    """Read events and nothing else; return how many saves were heard, and whether any was lost."""
    inotify, _ = _watch(root, projects)
    begin()
    heard = 0
    while heard < count:
        for _, mask, _ in _events(inotify):
            if mask & OVERFLOW:
                return heard, True
            heard += bool(mask & MOVED_TO)
    return heard, False


def follow(
    begin: Callable[[], None], root: Path, projects: Sequence[Project], database: Path
) -> None:
    """Put each saved manifest into one table, each in a durable transaction, until ended."""
    inotify, paths = _watch(root, projects)
    connection = _open(database)
    begin()
    while True:
        for watch, mask, name in _events(inotify):
            if mask & MOVED_TO and name == b"agent.json":
                connection.execute(_INSERT, _row(paths[watch]))


def _walked(root: Path, enter: Callable[[str], object] = lambda _: None) -> Iterator[str]:
    """Yield the paths of manifests; `enter` is called with each directory before it is listed."""
    excluded = frozenset(DEFAULT_EXCLUDES)
    stack = [os.fspath(root)]
    while stack:
        directory = stack.pop()
        enter(directory)
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.name == ".dork":
                    enter(entry.path)
                    manifest = f"{entry.path}/agent.json"
                    if os.path.exists(manifest):
                        yield manifest
                elif (
                    entry.is_dir(follow_symlinks=False)
                    and entry.name[0] != "."
                    and entry.name not in excluded
                ):
                    stack.append(entry.path)


def _imported(manifests: Iterable[str], database: Path) -> int:
    """Insert what is read and parsed in one transaction, durably; return how many there are."""
    connection = _open(database)
    with connection:
        for path in manifests:
            connection.execute(_INSERT, _row(path))
    count: int = connection.execute("SELECT count(*) FROM agents").get
    connection.close()
    return count


def _manifests(root: Path, projects: Sequence[Project]) -> list[str]:
    return [f"{root}/{project.path}/.dork/agent.json" for project in projects]


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.read(descriptor, 1 << 16)
    finally:
        os.close(descriptor)


def _row(path: str) -> tuple[str, str, str, str]:
    text = _read(path)
    document: dict[str, Any] = json.loads(text)
    return document["id"], path, document["name"], text.decode("utf-8")


def _open(database: Path) -> apsw.Connection:
    """Open an empty database as durable as meshd's."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{database}{suffix}").unlink(missing_ok=True)
    connection = apsw.Connection(os.fspath(database))
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(_TABLE)
    return connection


def _watch(root: Path, projects: Sequence[Project]) -> tuple[Inotify, dict[int, str]]:
    """Watch the `.dork` of each project; return the manifests by their watches."""
    inotify = Inotify()
    paths = {}
    for path in _manifests(root, projects):
        paths[_add(inotify, os.path.dirname(path))] = path
    os.set_blocking(inotify.descriptor, True)
    return inotify, paths


def _add(inotify: Inotify, path: str) -> int:
    directory = os.open(path, os.O_PATH | os.O_DIRECTORY)
    try:
        return inotify.add(directory, MOVED_TO)
    finally:
        os.close(directory)


def _events(inotify: Inotify) -> Iterator[tuple[int, int, bytes]]:
    """Wait for events; yield the watch, the mask and the name of each."""
    data = os.read(inotify.descriptor, _READ_BYTES)
    place = 0
    while place < len(data):
        watch, mask, _, length = _EVENT.unpack_from(data, place)
        place += _EVENT.size
        yield watch, mask, data[place : place + length].rstrip(b"\0")
        place += length
