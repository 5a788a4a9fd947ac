"""What is watched follows the configuration and the denials."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.watcher.hearing import (
    blind_spots,
    kernel_watches,
    make_project,
    save,
    wait_until_idle,
    watching,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.watcher.hearing import Watched


def test_a_root_that_is_taken_out_leaves_no_watch(base: Path, root: Path) -> None:
    other = make_project(base / "other" / "project")
    make_project(root / "project")
    with watching(base, root, base / "other") as watched:
        watched.configure(roots=[str(base / "other")])
        save(root / "project", "{ }")
        save(other, "{ }")
        assert watched.hear() == ["other/project"]
        assert list(watched.watcher.coverage()) == [str(base / "other")]
        watches = watched.watcher._watches
        assert len(watches._nodes) == watched.coverage().watched == 3


def test_a_root_that_is_added_is_watched_by_its_first_walk(base: Path, root: Path) -> None:
    other = make_project(base / "other" / "project")
    with watching(base, root) as watched:
        watched.configure(roots=[str(root), str(base / "other")])
        watched.walk_all()
        save(other, "{ }")
        assert watched.hear_due() == ["other/project"]


def test_what_is_excluded_now_is_not_heard_any_more(root: Path, watched: Watched) -> None:
    project = make_project(root / "old" / "project")
    watched.hear()
    watched.configure(roots=[str(root)], exclude=["old"])
    watched.hear_all()
    save(project, "{ }")
    assert watched.hear() == []
    assert watched.coverage().watched == 1


def test_what_is_no_longer_excluded_is_watched_by_the_sweep_that_is_asked_for(
    base: Path, root: Path
) -> None:
    project = make_project(root / "old" / "deep" / "project")
    with watching(base, root, exclude=["old"], max_depth=1) as watched:
        watched.configure(roots=[str(root)], max_depth=5)
        assert watched.hear_all()[1] == ["root"]
        watched.walk_all()
        save(project, "{ }")
        assert watched.hear() == ["root/old/deep/project"]
        assert blind_spots(watched) == []


def test_what_is_denied_is_not_heard_and_what_is_allowed_again_is_hinted_at(
    root: Path, watched: Watched
) -> None:
    project = make_project(root / "a" / "project")
    watched.hear()
    watched.shared.roots.deny([str(root / "a")])
    watched.watcher.configure()
    watched.hear()
    save(project, "{ }")
    make_project(root / "a" / "other")
    assert watched.hear() == []
    watched.shared.roots.deny([])
    watched.watcher.configure()
    assert watched.hear_due() == ["root/a/other", "root/a/project"]
    save(project, "{ }")
    assert watched.hear_due() == ["root/a/project"]


def test_a_walk_that_restarted_the_watcher_needs_no_listing(base: Path, root: Path) -> None:
    """An unchanged directory that has no watch gets it without being listed."""
    make_project(root / "project")
    with watching(base, root, walk=False) as watched:
        looker = watched.looker()
        looker.watched(None)
        for node in looker.table.top.below():
            node.settled = True
        watched.walk_all()
        for node in looker.table.top.below():
            node.settled = True  # as if the racy window were over
        looker.watched(watched.watcher._watches)
        watched.walk_all()
        assert looker.walk_stats.listings == 0
        assert watched.coverage().watched == 3


def test_what_was_made_at_a_denied_path_is_hinted_at_when_it_is_allowed(
    root: Path, watched: Watched
) -> None:
    """When it was denied, nothing was there yet."""
    place = root / "a" / "b"
    watched.shared.roots.deny([str(place)])
    watched.watcher.configure()
    project = make_project(place / "project")
    assert watched.hear() == []
    watched.shared.roots.deny([])
    watched.watcher.configure()
    assert watched.hear_due() == ["root/a/b/project"]
    assert blind_spots(watched) == []
    save(project, "{ }")
    assert watched.hear_due() == ["root/a/b/project"]


def test_a_denied_path_that_was_never_made_is_allowed_without_a_trace(
    root: Path, watched: Watched
) -> None:
    for denied in ([str(root / "a" / "b")], [str(root / "c")], []):
        watched.shared.roots.deny(denied)
        watched.watcher.configure()
    wait_until_idle(watched)
    assert watched.hear_all()[1] == []
    assert [watched.coverage().wanted, watched.coverage().is_full] == [1, True]


def test_a_denied_root_wants_no_watch_until_it_is_allowed(root: Path, watched: Watched) -> None:
    make_project(root / "project")
    watched.hear()
    for denied, wanted in (([str(root)], 0), ([], 3)):
        watched.shared.roots.deny(denied)
        watched.watcher.configure()
        watched.hear_all()
        watched.walk_all()
        coverage = watched.coverage()
        assert (coverage.watched, coverage.wanted, coverage.is_full) == (wanted, wanted, True)


def test_a_root_that_is_taken_out_takes_what_just_left_it_along(base: Path, root: Path) -> None:
    (base / "other").mkdir()
    with watching(base, root, base / "other") as watched:
        make_project(root / "tree" / "project")
        watched.hear()
        (root / "tree").rename(base / "out")
        watched.sync()
        watched.configure(roots=[str(base / "other")])
        wait_until_idle(watched)
        assert kernel_watches(watched) == len(watched.watcher._watches._nodes) == 1
