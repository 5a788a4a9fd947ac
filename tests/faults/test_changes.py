"""Changes that hide: torn files, forged times, stores that no `stat` shows, a damaged row."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

import apsw
import pytest

from meshd.looker import look, walk
from meshd.opening import DATABASE
from tests.harness import World, write_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EDITOR: Final = """
import os, select, sys, itertools
text = open(sys.argv[1]).read()
descriptor = os.open(sys.argv[1], os.O_WRONLY)
for said in map(str, itertools.count()):
    if select.select([sys.stdin], [], [], 0)[0]:
        said = "the end"
    content = text.replace(sys.argv[2], said).encode()
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, content[: len(content) // 2], 0)
    os.sched_yield()
    os.pwrite(descriptor, content[len(content) // 2 :], len(content) // 2)
    if said == "the end":
        break
"""
ENOUGH, MOST_SWEEPS = 20, 20_000
"""Different texts that are to be read; sweeps within which they are."""
BEFORE, AFTER = "as it was before", "as it came after"
assert len(BEFORE) == len(AFTER)


@pytest.fixture
def world(tmp_path: Path, root: Path) -> Iterator[World]:
    write_manifest(root / "p", "a", description=BEFORE)
    world = World(tmp_path / "state", [root])
    world.sweep()
    yield world
    world.stop()


@pytest.fixture
def manifest(root: Path) -> Path:
    return root / "p" / ".dork" / "agent.json"


def described(world: World) -> str:
    return world.agents["a"].description


def signature(path: Path) -> tuple[int, ...]:
    status = path.stat()
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def test_051_what_an_editor_has_half_written_is_never_believed(
    world: World, manifest: Path
) -> None:
    """Truncated and written in two halves, again and again, while all is read all the time."""
    seen: set[str] = set()
    said: set[str] = set()
    with subprocess.Popen(
        [sys.executable, "-c", EDITOR, manifest, BEFORE], stdin=subprocess.PIPE
    ) as editor:
        for _ in range(MOST_SWEEPS):
            world.sweep(full=True)
            assert world.agents["a"].live
            seen.add(world.claims()[str(manifest.parent.parent)][0])
            said.add(described(world))
            if len(said) > ENOUGH and "invalid" in seen:
                break
        editor.communicate()
    assert len(said) > ENOUGH
    assert "invalid" in seen
    assert all(one == BEFORE or one.isdigit() for one in said)
    world.sweep()
    assert (described(world), world.agents["a"].flags) == ("the end", ())


def test_052_the_same_size_and_a_forged_time_hide_nothing(world: World, manifest: Path) -> None:
    status = manifest.stat()
    with manifest.open("r+") as file:
        text = file.read()
        file.seek(0)
        file.write(text.replace(BEFORE, AFTER))
    os.utime(manifest, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = manifest.stat()
    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (
        (status.st_ino, status.st_size, status.st_mtime_ns)
    )
    world.sweep()
    assert described(world) == AFTER


@pytest.fixture
def unseen_store(world: World, manifest: Path) -> None:
    """Change the manifest through a page that is dirty already: no time of the file moves."""
    with manifest.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        start = mapped.find(BEFORE.encode())
        for _ in range(10):
            mapped[start : start + len(BEFORE)] = BEFORE.encode()
            # The kernel may write the page out at any moment; the next store would show then.
            world.sweep(full=True)
            looked = signature(manifest)
            mapped[start : start + len(AFTER)] = AFTER.encode()
            if signature(manifest) == looked:
                break
    assert signature(manifest) == looked
    assert described(world) == BEFORE


def test_053_a_fingerprint_as_young_as_the_file_is_not_trusted(
    world: World, manifest: Path, request: pytest.FixtureRequest
) -> None:
    """A second write within one tick of the clock leaves the fingerprint of the first."""
    world.clock.wall_seconds = time.time()
    request.getfixturevalue("unseen_store")
    world.sweep()
    assert described(world) == AFTER


def test_054_what_no_stat_shows_is_found_by_a_full_sweep(world: World, unseen_store: None) -> None:
    world.sweep()
    assert described(world) == BEFORE
    world.sweep(full=True)
    assert described(world) == AFTER


def test_055_a_damaged_row_is_mended_from_its_file_by_a_full_sweep(
    tmp_path: Path, world: World
) -> None:
    connection = apsw.Connection(str(tmp_path / "state" / DATABASE))
    connection.execute("UPDATE agents SET description = 'damaged'")
    connection.close()
    assert described(world) == "damaged"
    world.sweep(full=True)
    assert described(world) == BEFORE


def test_056_a_file_renamed_over_another_is_another_whatever_its_times_say(
    world: World, root: Path, manifest: Path
) -> None:
    status = manifest.stat()
    write_manifest(root / "p", "a", description=AFTER)
    os.utime(manifest, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert manifest.stat().st_ino != status.st_ino
    world.sweep()
    assert described(world) == AFTER


def test_056_the_inode_alone_tells_a_renamed_file_from_the_one_before(
    world: World, root: Path, manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the clock of a file system is so coarse that `ctime` is the same too."""
    for module in (look, walk):
        signed = module.signature_of
        monkeypatch.setattr(
            module, "signature_of", lambda status, real=signed: real(status)._replace(ctime_ns=0)
        )
    world.sweep(full=True)
    status = manifest.stat()
    write_manifest(root / "p", "a", description=AFTER)
    os.utime(manifest, ns=(status.st_atime_ns, status.st_mtime_ns))
    world.sweep()
    assert described(world) == AFTER


@pytest.mark.parametrize("seconds", [-315_619_200, 0, 4_102_444_800], ids=["1960", "1970", "2100"])
def test_057_the_time_of_a_file_is_compared_and_never_ordered(
    world: World, root: Path, manifest: Path, seconds: int
) -> None:
    write_manifest(root / "p", "a", description=AFTER)
    os.utime(manifest, (seconds, seconds))
    assert manifest.stat().st_mtime == seconds
    world.sweep()
    assert described(world) == AFTER
    commits = world.store.writer.commits
    world.sweep()
    assert world.store.writer.commits == commits
    write_manifest(root / "p", "a", description=BEFORE)  # older, or younger, than the last
    world.sweep()
    assert described(world) == BEFORE
