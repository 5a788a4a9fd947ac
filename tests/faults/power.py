"""A disk whose power can be cut, afterwards, at any point of what was written to it.

Owns a record of everything that reaches the files of a state directory: SQLite's writes, through
a VFS of its own, and those of `policy.json`. Assumes one state directory while it records, and
nothing of the order in which a disk writes what nobody has synced. Promises: an image of a cut
holds what was synced before it, and of the rest any part: lost sectors, a torn one, a file as
long as it was or as it was to be, names that are not there yet or still.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import apsw

from meshd import policy

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    import pytest

SECTOR: Final = 512
_NAMES: Final = itertools.count()


@dataclass(frozen=True, slots=True)
class Step:
    """Something that reached the disk.

    Attributes:
        kind: `create`, `write`, `truncate`, `sync`, `unlink`, `rename`, `sync-directory`, or
            `committed` for the word of the writer that a batch is durable.
        name: of the file in the directory.
        at: where a write begins, or how long a file is from now on.
        data: what was written.
        target: the new name of what was renamed.
        state: what the database holds by a commit.
    """

    kind: str
    name: str = ""
    at: int = 0
    data: bytes = b""
    target: str = ""
    state: Any = None


@dataclass(slots=True)
class _Content:
    """What is in a file: durable bytes, and what was written since the last sync."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[Step] = field(default_factory=list)

    def settle(self) -> None:
        for step in self.pending:
            _put(self.durable, step)
        self.pending.clear()

    def after_cut(self, chance: random.Random, share: float) -> bytes:
        """Return what is found after the cut: of the pending sectors, about this share."""
        found = bytearray(self.durable)
        for step in self.pending:
            for part in _sectors(step):
                if chance.random() < share:
                    _put(found, part)
        if self.pending and share < 1 and chance.random() < TORN:
            _put(found, _torn(self.pending[-1], found))
        return bytes(found)


TORN: Final = 0.5
"""How often the last sector under way is left half old, half new."""


@dataclass(frozen=True, slots=True)
class _Rename:
    """A change of names that is not durable yet; a content takes a name, or a name is gone."""

    step: Step
    content: _Content

    def happen(self, names: dict[str, _Content]) -> None:
        if self.step.kind == "create":
            names[self.step.name] = self.content
        elif self.step.kind == "unlink":
            names.pop(self.step.name, None)
        else:
            names.pop(self.step.name, None)
            names[self.step.target] = self.content


class Disk:
    """What the record says of the directory, played up to some step.

    Attributes:
        acknowledged: states of the database by the commits so far.
    """

    def __init__(self) -> None:
        self.acknowledged: list[Any] = []
        self._names: dict[str, _Content] = {}
        self._durable_names: dict[str, _Content] = {}
        self._pending_names: list[_Rename] = []
        self._synced_logs: list[_Content] = []

    def play(self, step: Step) -> None:
        """Let one more step happen."""
        if step.kind == "committed":
            self.acknowledged.append(step.state)
        elif step.kind in ("create", "unlink", "rename"):
            content = _Content() if step.kind == "create" else self._names[step.name]
            rename = _Rename(step, content)
            rename.happen(self._names)
            self._pending_names.append(rename)
        elif step.kind == "sync-directory":
            self._settle_names()
        elif step.kind == "sync":
            self._sync(step.name)
        else:
            self._names[step.name].pending.append(step)

    def image(self, directory: Path, chance: random.Random, share: float) -> None:
        """Write what is found after a cut here into an empty directory."""
        names = dict(self._durable_names)
        # Changes of names are journalled in their order: any first part of them is there.
        for rename in self._pending_names[: round(share * len(self._pending_names))]:
            rename.happen(names)
        for name, content in names.items():
            (directory / name).write_bytes(content.after_cut(chance, share))

    def _sync(self, name: str) -> None:
        content = self._names[name]
        content.settle()
        if name.endswith("-wal") and not any(content is one for one in self._synced_logs):
            # SQLite syncs the directory with the first sync of a log.
            self._synced_logs.append(content)
            self._settle_names()
            return
        created = [one for one in self._pending_names if one.content is content]
        if created and created[0].step.kind == "create":
            created[0].happen(self._durable_names)
            self._pending_names.remove(created[0])

    def _settle_names(self) -> None:
        self._durable_names = dict(self._names)
        self._pending_names.clear()


class Recorder:
    """Records a state directory while it is in use.

    Attributes:
        steps: all that has happened.
    """

    def __init__(self, directory: Path) -> None:
        self.steps: list[Step] = []
        self._directory = str(directory)
        self._known: set[str] = set()

    def note(self, kind: str, path: str, **more: Any) -> None:  # noqa: ANN401 - fields of a step
        """Note a step, if it concerns the directory."""
        if os.path.dirname(path) == self._directory and not path.endswith("-shm"):  # noqa: PTH120 - compared as text
            self.steps.append(Step(kind, os.path.basename(path), **more))  # noqa: PTH119 - as above

    def opened(self, path: str) -> None:
        """Note the creation of a file that was not there."""
        if path not in self._known:
            self._known.add(path)
            self.note("create", path)

    def unlinked(self, path: str) -> None:
        """Note that a name is gone."""
        self._known.discard(path)
        self.note("unlink", path)

    def renamed(self, path: str, target: str) -> None:
        """Note that a file has taken the place of another."""
        self._known.discard(path)
        self._known.add(target)
        self.note("rename", path, target=os.path.basename(target))  # noqa: PTH119 - as above

    def committed(self, state: object) -> None:
        """Note that the writer takes a commit for durable."""
        self.steps.append(Step("committed", state=state))


class _RecordingVfs(apsw.VFS):
    """SQLite's own way to files, with a record of what changes."""

    def __init__(self, name: str, recorder: Recorder) -> None:
        self._recorder = recorder
        self._base = apsw.vfs_names()[0]
        super().__init__(name, self._base)

    def xOpen(self, name: Any, flags: list[int]) -> _RecordingFile:  # noqa: ANN401, N802 - apsw's
        return _RecordingFile(self._base, name, flags, self._recorder)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802 - apsw's
        super().xDelete(filename, syncdir)
        self._recorder.unlinked(filename)
        if syncdir:
            self._recorder.note("sync-directory", filename)


class _RecordingFile(apsw.VFSFile):
    def __init__(self, base: str, name: Any, flags: list[int], recorder: Recorder) -> None:  # noqa: ANN401 - a name, or apsw's form of one
        super().__init__(base, name, flags)
        self._recorder = recorder
        self._path = str(name.filename() if isinstance(name, apsw.URIFilename) else name)
        recorder.opened(self._path)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - apsw's
        super().xWrite(data, offset)
        self._recorder.note("write", self._path, at=offset, data=bytes(data))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - apsw's
        super().xTruncate(newsize)
        self._recorder.note("truncate", self._path, at=newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802 - apsw's
        super().xSync(flags)
        self._recorder.note("sync", self._path)


class _RecordingOs:
    """What `policy.json` is written with: the real `os`, with a record."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever os has
        return getattr(os, name)

    def fsync(self, descriptor: int) -> None:
        os.fsync(descriptor)
        path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        if Path(path).is_dir():
            self._recorder.note("sync-directory", f"{path}/")
            return
        self.written(path)
        self._recorder.note("sync", path)

    def written(self, path: str) -> None:
        """Note a file that is written whole, as it is now."""
        self._recorder.opened(path)
        self._recorder.note("truncate", path)
        self._recorder.note("write", path, data=Path(path).read_bytes())


@contextlib.contextmanager
def recording(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    """Record what reaches the files of a state directory, for the length of a block."""
    recorder = Recorder(directory)
    name = f"recording-{next(_NAMES)}"
    vfs = _RecordingVfs(name, recorder)
    plain = apsw.Connection
    with monkeypatch.context() as patch:
        patch.setattr(policy, "os", _RecordingOs(recorder))
        real = Path.replace

        def connect(path: str, flags: int = apsw.SQLITE_OPEN_READWRITE) -> apsw.Connection:
            # A reader writes nothing; and at its end it tries a lock that it may not have.
            is_writing = bool(flags & apsw.SQLITE_OPEN_READWRITE)
            return plain(path, flags=flags, vfs=name if is_writing else None)

        def replace(self: Path, target: Path) -> Path:
            result = real(self, target)
            recorder.renamed(str(self), str(target))
            return result

        patch.setattr(Path, "replace", replace)
        patch.setattr(apsw, "Connection", connect)
        try:
            yield recorder
        finally:
            vfs.unregister()


def _put(content: bytearray, step: Step) -> None:
    """Let one write or truncation be in a file."""
    if step.kind == "truncate":
        del content[step.at :]
        content.extend(bytes(max(step.at - len(content), 0)))
        return
    end = step.at + len(step.data)
    content.extend(bytes(max(end - len(content), 0)))
    content[step.at : end] = step.data


def _sectors(step: Step) -> Iterator[Step]:
    """Yield the parts of a write that a disk writes whole."""
    if step.kind == "truncate":
        yield step
        return
    start = step.at
    end = step.at + len(step.data)
    while start < end:
        stop = min((start // SECTOR + 1) * SECTOR, end)
        yield Step("write", step.name, start, step.data[start - step.at : stop - step.at])
        start = stop


def _torn(step: Step, found: bytearray) -> Step:
    """Return the last sector of a write, half of it new."""
    *_, last = _sectors(step)
    if last.kind == "truncate":
        return Step("truncate", last.name, len(found))
    return Step("write", last.name, last.at, last.data[: len(last.data) // 2])
