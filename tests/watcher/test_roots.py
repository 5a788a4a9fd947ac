"""A root that is deleted, renamed, unmounted or mounted over is noticed, and comes back."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from meshd.watcher import NotWatchingError
from tests.watcher.hearing import blind_spots, make_project, mounted, save, watching

if TYPE_CHECKING:
    from pathlib import Path

    from tests.watcher.hearing import Watched

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts")


def expect_hearing(watched: Watched, project: Path) -> None:
    """Expect that the next sweep has watched everything again."""
    watched.walk_all()
    watched.hear_all()
    save(project, "{ }")
    assert watched.hear_due() == [os.path.relpath(project, watched.base)]
    assert blind_spots(watched) == []


def test_a_root_that_is_deleted_and_made_again_is_watched_again(
    root: Path, watched: Watched
) -> None:
    """Fault 91."""
    make_project(root / "project")
    watched.hear()
    shutil.rmtree(root)
    assert watched.wait_for_lost()[1] == ["root"]
    assert watched.coverage().watched == 0
    make_project(root / "project")
    watched.wait_for_lost()
    expect_hearing(watched, root / "project")


def test_a_root_that_is_renamed_is_deaf_until_it_is_back(
    base: Path, root: Path, watched: Watched
) -> None:
    project = make_project(root / "project")
    watched.hear()
    root.rename(base / "away")
    watched.wait_for_lost()
    assert watched.coverage().watched == 0
    save(base / "away" / "project", "{ }")
    assert watched.hear() == []
    (base / "away").rename(root)
    watched.wait_for_lost()
    expect_hearing(watched, project)


def test_a_root_replaced_by_another_directory_is_lost(
    base: Path, root: Path, watched: Watched
) -> None:
    make_project(root / "project")
    make_project(base / "other" / "project")
    watched.hear()
    root.rename(base / "away")
    (base / "other").rename(root)
    watched.wait_for_lost()
    expect_hearing(watched, root / "project")


def test_a_root_that_does_not_exist_yet_is_noticed_when_it_does(base: Path) -> None:
    root = base / "root"
    with watching(base, root) as watched:
        assert watched.coverage().watched == 0
        watched.sync()
        make_project(root / "project")
        watched.wait_for_lost()
        expect_hearing(watched, root / "project")


def test_a_cookie_follows_the_loss_of_a_root_above_which_something_was_renamed(
    base: Path,
) -> None:
    """The root itself is not told of that."""
    root = base / "above" / "root"
    make_project(root / "project")
    with watching(base, root) as watched:
        watched.hear()
        (base / "above").rename(base / "away")
        assert watched.hear_all()[1] == ["above/root"]


def test_what_happens_to_one_root_does_not_touch_another(base: Path, root: Path) -> None:
    other = make_project(base / "other" / "project")
    with watching(base, root, base / "other") as watched:
        shutil.rmtree(root)
        assert watched.wait_for_lost()[1] == ["root"]
        save(other, "{ }")
        assert watched.hear_due() == ["other/project"]


@needs_root
def test_a_root_that_is_unmounted_and_mounted_again_is_watched_again(
    base: Path, root: Path
) -> None:
    """Fault 92. The image keeps its device and inode numbers, so nothing shows but the event."""
    image = base / "image"
    with image.open("wb") as file:
        file.truncate(8 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    with mounted(root, "-o", "loop", str(image)):
        make_project(root / "project")
    with watching(base, root) as watched:
        with mounted(root, "-o", "loop", str(image)):
            watched.wait_for_lost()
            expect_hearing(watched, root / "project")
        watched.wait_for_lost()
        assert watched.coverage().watched == 0
        with mounted(root, "-o", "loop", str(image)):
            watched.wait_for_lost()
            expect_hearing(watched, root / "project")


@needs_root
def test_a_root_that_is_mounted_over_is_lost_and_found(root: Path, watched: Watched) -> None:
    project = make_project(root / "project")
    watched.hear()
    with mounted(root, "-t", "tmpfs", "tmpfs"):
        watched.wait_for_lost()
        make_project(root / "over")
        expect_hearing(watched, root / "over")
    watched.wait_for_lost()
    expect_hearing(watched, project)


@needs_root
def test_a_mount_below_a_root_and_its_end_are_noticed_without_a_sweep(
    base: Path, root: Path, watched: Watched
) -> None:
    """A mount makes no event of inotify."""
    covered = make_project(root / "mount" / "covered")
    make_project(base / "elsewhere" / "project")
    watched.hear()
    with mounted(root / "mount", "--bind", str(base / "elsewhere")):
        assert watched.hear_all() == (["root/mount/covered", "root/mount/project"], [])
        assert blind_spots(watched) == []
        save(root / "mount" / "project", "{ }")
        assert watched.hear_due() == ["root/mount/project"]
    assert watched.hear_all() == (["root/mount/covered", "root/mount/project"], [])
    assert blind_spots(watched) == []
    save(covered, "{ }")
    assert watched.hear_due() == ["root/mount/covered"]


@needs_root
def test_a_cookie_follows_the_loss_of_a_root_that_was_mounted_over(
    root: Path, watched: Watched
) -> None:
    for _ in range(3):
        with mounted(root, "-t", "tmpfs", "tmpfs"):
            assert hear_loss(watched) == ["root"]
            watched.walk_all()
        assert hear_loss(watched) == ["root"]
        watched.walk_all()


def hear_loss(watched: Watched) -> list[str]:
    """Return what the cookie followed; the loss of a mark takes cookies along, and says so."""
    try:
        return watched.hear_all()[1]
    except NotWatchingError:
        return watched.wait_for_lost()[1]


@needs_root
def test_a_bind_mount_is_heard_at_both_of_its_places(root: Path, watched: Watched) -> None:
    project = make_project(root / "a" / "project")
    (root / "b").mkdir()
    with mounted(root / "b", "--bind", str(root / "a")):
        watched.walk_all()
        watched.hear()
        save(project, "{ }")
        assert watched.hear_due() == ["root/a/project", "root/b/project"]
        (root / "b" / "project" / ".dork" / "agent.json").unlink()
        assert watched.hear_due() == ["root/a/project", "root/b/project"]
    watched.walk_all()
    watched.hear()
    save(project, "{ }")
    assert watched.hear_due() == ["root/a/project"]


def test_a_root_that_may_hang_has_no_events(base: Path, root: Path) -> None:
    with watching(base, root, isolated=[str(root)], walk=False) as watched:
        watched.sync()
        assert watched.coverage().by == "none"
