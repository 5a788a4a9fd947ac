"""Every way to save, replace or remove a manifest is heard."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING

import pytest

from meshd.watcher import inotify as kernel
from tests.watcher.hearing import make_project, save, watching

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.watcher.hearing import Watched


def exchange(one: Path, other: Path) -> None:
    """Exchange two names, as renameat2(2) with RENAME_EXCHANGE does."""
    rename = ctypes.CDLL(None, use_errno=True).renameat2
    if rename(-100, os.fsencode(one), -100, os.fsencode(other), 2) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def in_place(manifest: Path, _outside: Path) -> None:
    manifest.write_text('{"a": 1}')


def rename_over(manifest: Path, _outside: Path) -> None:
    save(manifest.parent.parent, "{ }")


def rename_from_outside(manifest: Path, outside: Path) -> None:
    (outside / "new").write_text("{ }")
    (outside / "new").rename(manifest)


def truncate(manifest: Path, _outside: Path) -> None:
    with manifest.open("r+") as file:
        file.truncate(0)


def exchange_files(manifest: Path, outside: Path) -> None:
    (outside / "new").write_text("{ }")
    exchange(outside / "new", manifest)


def remove(manifest: Path, _outside: Path) -> None:
    manifest.unlink()


def move_away(manifest: Path, outside: Path) -> None:
    manifest.rename(outside / "gone")


def dork_away(manifest: Path, outside: Path) -> None:
    manifest.parent.rename(outside / "dork")


def dork_away_and_back(manifest: Path, outside: Path) -> None:
    manifest.parent.rename(outside / "dork")
    (outside / "dork").rename(manifest.parent)


def remove_dork(manifest: Path, _outside: Path) -> None:
    manifest.unlink()
    manifest.parent.rmdir()


SETTLED = {
    "written in place": in_place,
    "renamed over": rename_over,
    "renamed over from outside the root": rename_from_outside,
    "truncated": truncate,
    "exchanged": exchange_files,
    "removed": remove,
    "moved away": move_away,
    ".dork moved away": dork_away,
    ".dork moved away and back": dork_away_and_back,
    ".dork removed": remove_dork,
}


@pytest.mark.parametrize("act", SETTLED.values(), ids=SETTLED)
def test_what_is_complete_is_heard_at_once(
    base: Path, root: Path, watched: Watched, act: Callable[[Path, Path], None]
) -> None:
    manifest = make_project(root / "project") / ".dork" / "agent.json"
    watched.hear()
    act(manifest, base)
    assert watched.hear_due() == ["root/project"]


def link(manifest: Path, outside: Path) -> None:
    (outside / "other").write_text("{ }")
    manifest.unlink()
    os.link(outside / "other", manifest)


def symlink(manifest: Path, outside: Path) -> None:
    manifest.unlink()
    manifest.symlink_to(outside)


def directory(manifest: Path, _outside: Path) -> None:
    manifest.unlink()
    manifest.mkdir()


@pytest.mark.parametrize("act", [link, symlink, directory])
def test_a_manifest_replaced_by_creation_is_heard(
    base: Path, root: Path, watched: Watched, act: Callable[[Path, Path], None]
) -> None:
    """`link` and a new symlink make nothing but a creation."""
    manifest = make_project(root / "project") / ".dork" / "agent.json"
    watched.hear()
    act(manifest, base)
    assert watched.hear() == ["root/project"]


def test_a_creation_waits_until_it_has_settled(root: Path, watched: Watched) -> None:
    (root / "project" / ".dork").mkdir(parents=True)
    watched.hear()
    descriptor = os.open(root / "project/.dork/agent.json", os.O_CREAT | os.O_WRONLY)
    assert watched.hear_due() == []
    os.close(descriptor)
    assert watched.hear_due() == ["root/project"]


def test_a_dork_that_is_a_symlink_is_heard(base: Path, root: Path, watched: Watched) -> None:
    (root / "project").mkdir()
    watched.hear()
    (root / "project" / ".dork").symlink_to(base)
    assert watched.hear() == ["root/project"]


def test_saves_in_a_dork_that_was_moved_back_are_heard(
    base: Path, root: Path, watched: Watched
) -> None:
    project = make_project(root / "project")
    watched.hear()
    dork_away_and_back(project / ".dork" / "agent.json", base)
    watched.hear()
    save(project, "{ }")
    assert watched.hear_due() == ["root/project"]


def test_a_save_in_a_dork_that_was_moved_out_is_not_heard(
    base: Path, root: Path, watched: Watched
) -> None:
    """Fault 93: its watch is removed, not left to report under the old path."""
    make_project(root / "project")
    watched.hear()
    (root / "project" / ".dork").rename(base / "dork")
    watched.hear()
    (base / "dork" / "agent.json").write_text("{ }")
    assert watched.hear() == []


def test_files_beside_the_manifest_are_not_heard(root: Path, watched: Watched) -> None:
    project = make_project(root / "project")
    watched.hear()
    (project / ".dork" / "notes").write_text("x")
    (project / "agent.json").write_text("x")
    assert watched.hear() == []


def test_a_burst_of_saves_of_one_manifest_is_one_hint(root: Path, watched: Watched) -> None:
    project = make_project(root / "project")
    watched.hear()
    for number in range(1_000):
        save(project, f'{{"a": {number}}}')
    assert watched.hear() == ["root/project"]
    assert watched.coverage().overflows == 0


def test_exchanged_dork_directories_stay_watched_when_each_event_is_read_late(
    root: Path, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = make_project(root / "one"), make_project(root / "other")
    watched.hear()
    monkeypatch.setattr(kernel, "READ_BYTES", 32)  # one event
    # All that an event says is done before the next one is read.
    watched.watcher.observer.before_read = lambda: watched.watcher.mark().result(20)
    exchange(one / ".dork", other / ".dork")
    assert watched.hear() == ["root/one", "root/other"]
    assert watched.coverage().is_full
    for project in (one, other):
        save(project, "{ }")
    assert watched.hear_due() == ["root/one", "root/other"]


def test_a_dork_symlink_that_is_removed_is_heard(base: Path, root: Path, watched: Watched) -> None:
    project = make_project(root / "project")
    watched.walk_all()
    (project / ".dork").rename(base / "away")
    (project / ".dork").symlink_to(base / "away")
    assert watched.hear() == ["root/project"]
    (project / ".dork").unlink()
    assert watched.hear_due() == ["root/project"]
    (project / ".dork").symlink_to(base / "away")
    watched.hear()
    (project / ".dork").unlink()
    make_project(project)
    assert watched.hear_due() == ["root/project"]
    assert watched.coverage().is_full


def test_a_dork_symlink_that_a_walk_found_is_heard_when_it_is_removed(
    base: Path, root: Path
) -> None:
    (base / "away").mkdir()
    (root / "project").mkdir()
    (root / "project" / ".dork").symlink_to(base / "away")
    with watching(base, root) as watched:
        (root / "project" / ".dork").unlink()
        assert watched.hear_due() == ["root/project"]


def test_a_truncation_by_path_is_heard(root: Path, watched: Watched) -> None:
    project = make_project(root / "project")
    watched.hear()
    os.truncate(project / ".dork" / "agent.json", 0)  # by path: nothing is closed
    assert watched.hear_due() == []  # more may follow
    assert watched.hear() == ["root/project"]


def test_what_is_written_to_a_file_that_stays_open_is_heard(root: Path, watched: Watched) -> None:
    project = make_project(root / "project")
    watched.hear()
    with (project / ".dork" / "agent.json").open("r+") as file:
        file.write("{ }")
        file.flush()
        assert watched.hear_due() == []
        assert watched.hear() == ["root/project"]


def test_what_is_written_to_other_files_of_a_project_is_no_hint(
    root: Path, watched: Watched
) -> None:
    project = make_project(root / "project")
    watched.hear()
    with (project / ".dork" / "log").open("w") as file:
        for line in range(100):
            print(line, file=file, flush=True)
        assert watched.hear() == []
