"""One look at one project: what its manifest says, or why that cannot be told.

Owns the safe read of `.dork/agent.json` (R9) and the sorting of every way it can fail into the
four outcomes (R4). Assumes an open root and nothing else: whatever lies below is hostile.
Promises that no symlink is followed, no device or FIFO is opened, at most 64 KiB and one byte
are read, no descriptor is left open, and nothing of the file's bytes is in a reason or detail.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from meshd.core.manifest import CAP_BYTES, Rejected, parse
from meshd.core.model import FileIdentity, Git, Observation, Outcome, Reason, Signature
from meshd.errors import MeshdError
from meshd.looker.syscalls import (
    NO_DESCRIPTORS_ERRNOS,
    closing,
    filesystem_of,
    open_directory,
)

if TYPE_CHECKING:
    from meshd.clock import Clock
    from meshd.core.manifest import Manifest
    from meshd.core.model import Source

_GONE_ERRNOS: Final = frozenset({errno.ENOENT, errno.ENOTDIR})
_NO_DIRECTORY_ERRNOS: Final = _GONE_ERRNOS | {errno.ELOOP}
# What an open says when the file was removed or replaced after it was judged.
_SWAPPED_ERRNOS: Final = _GONE_ERRNOS | {errno.ELOOP, errno.ENXIO}
# A FIFO does not block, a terminal does not become ours, a swapped-in symlink is refused.
READ_FLAGS: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC


class NoDescriptorsError(MeshdError):
    """The process or the system is out of descriptors: nothing that was seen proves anything."""

    code = "no-descriptors"


class OpenRoot(NamedTuple):
    """A root while a call holds it open."""

    descriptor: int
    path: str


@dataclass(frozen=True, slots=True)
class _Verdict:
    """The outcome of a look, and why."""

    outcome: Outcome
    reason: Reason | None = None
    detail: str | None = None
    manifest: Manifest | None = None


@dataclass(slots=True)
class _Facts:
    """What is known so far; it goes into the observation however the look ends."""

    signature: Signature | None = None
    content_hash: str | None = None
    dork: FileIdentity | None = None
    git: Git = Git.NONE
    filesystem: str | None = None
    owner: int | None = None


_MANIFEST_MISSING: Final = _Verdict(Outcome.ABSENT, Reason.MANIFEST_MISSING)
_CHANGED: Final = _Verdict(Outcome.UNKNOWN, Reason.CHANGED_WHILE_READ)


def signature_of(status: os.stat_result) -> Signature:
    """Return a file as `stat` shows it."""
    return Signature(
        status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    )


def below(root: str, path: str) -> str:
    """Return `path` relative to `root`, empty for the root itself.

    Args:
        root: absolute path.
        path: absolute path at or below it.
    """
    return path[len(root.rstrip("/")) + 1 :]


def errno_word(error: OSError) -> str:
    """Return the name of an error number, as `EACCES`; our own words, not the file's."""
    return errno.errorcode.get(error.errno or 0, f"errno {error.errno}")


def look(root: OpenRoot, path: str, *, number: int, source: Source, clock: Clock) -> Observation:
    """Look at one project.

    Args:
        root: where to look.
        path: the project directory, absolute, at or below the root.
        number: taken by the caller before this call.
        source: who asked.
        clock: stamps the look.

    Raises:
        NoDescriptorsError: EMFILE or ENFILE. The caller gives up everything it saw (fault 80).
    """
    looked_at_ns = clock.wall_ns()
    facts = _Facts()
    try:
        verdict = _look(root.descriptor, below(root.path, path), facts)
    except OSError as error:
        if error.errno in NO_DESCRIPTORS_ERRNOS:
            raise NoDescriptorsError(
                "no descriptor is left", hint="raise LimitNOFILE, or the system's fs.file-max"
            ) from error
        verdict = _Verdict(Outcome.UNKNOWN, Reason.UNREADABLE, errno_word(error))
    except (MemoryError, RecursionError) as error:
        # One hostile project must not end the looks at the others (fault 81).
        verdict = _Verdict(Outcome.UNKNOWN, Reason.UNREADABLE, type(error).__name__)
    return Observation(
        path=path,
        look=number,
        source=source,
        outcome=verdict.outcome,
        reason=verdict.reason,
        detail=verdict.detail,
        manifest=verdict.manifest,
        signature=facts.signature,
        content_hash=facts.content_hash,
        dork=facts.dork,
        git=facts.git,
        filesystem=facts.filesystem,
        owner=facts.owner,
        looked_at_ns=looked_at_ns,
    )


def _look(root_fd: int, relative: str, facts: _Facts) -> _Verdict:
    try:
        project = open_directory(root_fd, relative, flags=os.O_PATH)
    except OSError as error:
        if error.errno not in _NO_DIRECTORY_ERRNOS:
            raise
        facts.filesystem = _nearest_filesystem(root_fd, relative)
        return _Verdict(Outcome.ABSENT, Reason.PROJECT_MISSING)
    with closing(project):
        facts.filesystem = filesystem_of(project)
        facts.git = _git(project)
        facts.owner = os.fstat(project).st_uid
        return _look_at_dork(project, facts.owner, facts)


def _nearest_filesystem(root_fd: int, relative: str) -> str:
    """Return the file system of the nearest directory that exists at or below the root."""
    while relative:
        relative = relative.rpartition("/")[0]
        try:
            ancestor = open_directory(root_fd, relative, flags=os.O_PATH)
        except OSError as error:
            if error.errno not in _NO_DIRECTORY_ERRNOS:
                raise
            continue
        with closing(ancestor):
            return filesystem_of(ancestor)
    return filesystem_of(root_fd)


def _git(project: int) -> Git:
    """Say what `.git` is. It only ranks new claims, so what cannot be told is none."""
    try:
        mode = os.stat(".git", dir_fd=project, follow_symlinks=False).st_mode
    except OSError:
        return Git.NONE
    if stat.S_ISDIR(mode):
        return Git.MAIN
    return Git.WORKTREE if stat.S_ISREG(mode) else Git.NONE


def _look_at_dork(project: int, owner: int, facts: _Facts) -> _Verdict:
    """Judge `.dork` by a descriptor of it, so that it cannot be swapped under the look."""
    try:
        dork = os.open(".dork", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=project)
    except FileNotFoundError:
        return _MANIFEST_MISSING
    with closing(dork):
        status = os.fstat(dork)
        if stat.S_ISLNK(status.st_mode):
            return _Verdict(Outcome.INVALID, Reason.DORK_SYMLINK)
        if not stat.S_ISDIR(status.st_mode):
            return _MANIFEST_MISSING
        facts.dork = FileIdentity(status.st_dev, status.st_ino)
        return _look_at_manifest(dork, owner, facts)


def _look_at_manifest(dork: int, owner: int, facts: _Facts) -> _Verdict:
    try:
        status = os.stat("agent.json", dir_fd=dork, follow_symlinks=False)
    except FileNotFoundError:
        return _MANIFEST_MISSING
    facts.signature = signature_of(status)
    refusal = _refusal(status, owner)
    if refusal is not None:
        return _Verdict(Outcome.INVALID, refusal)
    try:
        manifest = os.open("agent.json", READ_FLAGS, dir_fd=dork)
    except OSError as error:
        if error.errno in _SWAPPED_ERRNOS:
            return _CHANGED
        raise
    with closing(manifest):
        return _read(manifest, facts)


def _refusal(status: os.stat_result, owner: int) -> Reason | None:
    """Say why a file is refused before it is opened, None when it may be read."""
    if stat.S_ISLNK(status.st_mode):
        return Reason.SYMLINK
    if not stat.S_ISREG(status.st_mode):
        return Reason.NOT_REGULAR
    if not _is_trusted_owner(status, owner):
        return Reason.WRONG_OWNER
    return Reason.TOO_BIG if status.st_size > CAP_BYTES else None


def _is_trusted_owner(status: os.stat_result, owner: int) -> bool:
    """Whether the file is the project owner's, or root's or ours and not a hard link (fault 15).

    Without the link count, anybody could link a file that only we can read into a project.
    """
    if status.st_uid == owner:
        return True
    return status.st_uid in (0, os.geteuid()) and status.st_nlink == 1


def _read(manifest: int, facts: _Facts) -> _Verdict:
    """Read and parse an open manifest, unless it is not the file that was judged."""
    if signature_of(os.fstat(manifest)) != facts.signature:
        return _CHANGED
    data = read_bounded(manifest)
    if signature_of(os.fstat(manifest)) != facts.signature:
        return _CHANGED
    facts.content_hash = hashlib.sha256(data).hexdigest()
    try:
        return _Verdict(Outcome.PRESENT, manifest=parse(data))
    except Rejected as rejected:
        return _Verdict(Outcome.INVALID, rejected.reason, rejected.detail)


def read_bounded(manifest: int) -> bytes:
    """Return the whole file, or one byte more than a manifest may have (fault 14)."""
    data = b""
    while len(data) <= CAP_BYTES:
        chunk = os.read(manifest, CAP_BYTES + 1 - len(data))
        if not chunk:
            break
        data += chunk
    return data
