"""Directories that come, go and move take their projects and their watches with them."""

from __future__ import annotations

import os
import shutil
import threading
from typing import TYPE_CHECKING

import pytest

from meshd.looker.nodes import find
from meshd.watcher import inotify as kernel
from meshd.watcher.scanner import Scanner
from tests.watcher import hearing
from tests.watcher.hearing import (
    age,
    blind_spots,
    kernel_watches,
    make_project,
    save,
    scan_settings,
    stalled,
    wait_for_departures,
    wait_until_idle,
    watched_directories,
    watching,
)
from tests.watcher.test_saves import exchange

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from meshd.watcher.scans import Names, Why
    from tests.watcher.hearing import Watched


def test_a_project_made_in_a_new_chain_of_directories_is_heard(
    root: Path, watched: Watched
) -> None:
    make_project(root / "a" / "b" / "c")
    assert watched.hear() == ["root/a/b/c"]
    assert blind_spots(watched) == []


def test_a_tree_moved_in_is_heard_at_once_and_watched(
    base: Path, root: Path, watched: Watched
) -> None:
    """Fault 94: its content makes no event of its own."""
    make_project(base / "tree" / "a")
    make_project(base / "tree" / "b" / "c")
    (base / "tree").rename(root / "tree")
    assert watched.hear_due() == ["root/tree/a", "root/tree/b/c"]
    save(root / "tree/b/c", "{ }")
    assert watched.hear_due() == ["root/tree/b/c"]


def test_a_tree_moved_out_is_heard_and_then_is_deaf(
    base: Path, root: Path, watched: Watched
) -> None:
    make_project(root / "tree" / "a")
    watched.hear()
    before = watched.coverage().watched
    (root / "tree").rename(base / "tree")
    assert watched.hear_due() == ["root/tree/a"]
    wait_for_departures(watched)
    assert watched.coverage().watched == before - 3  # tree, tree/a and its .dork
    assert kernel_watches(watched) == before - 3
    save(base / "tree" / "a", "{ }")
    assert watched.hear() == []


def test_a_tree_moved_inside_is_heard_at_both_places_and_keeps_its_watches(
    root: Path, watched: Watched
) -> None:
    make_project(root / "one" / "tree" / "a")
    (root / "two").mkdir()
    watched.hear()
    looker = watched.looker()
    before = {node.watch for node in looker.table.top.below()}
    (root / "one" / "tree").rename(root / "two" / "moved")
    assert watched.hear_due() == ["root/one/tree/a", "root/two/moved/a"]
    assert {node.watch for node in looker.table.top.below()} == before
    save(root / "two/moved/a", "{ }")
    assert watched.hear_due() == ["root/two/moved/a"]
    assert blind_spots(watched) == []


def test_a_rename_costs_the_same_whatever_lies_below(root: Path, watched: Watched) -> None:
    """No watch is placed for it, and nothing below it is visited."""
    for number in range(200):
        (root / "tree" / str(number)).mkdir(parents=True)
    watched.hear()
    looker, adds = watched.looker(), []
    place = watched.watcher._watches.place
    looker.table.placing.place = lambda *parts: (adds.append(parts), place(*parts))  # type: ignore[union-attr,method-assign,func-returns-value]
    (root / "tree").rename(root / "moved")
    watched.hear()
    assert adds == []


def test_halves_of_a_move_in_two_reads_belong_together(
    base: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "READ_BYTES", 32)  # one event with a short name
    make_project(root / "a" / "x")
    with watching(base, root) as watched:
        looker = watched.looker()
        before = {node.watch for node in looker.table.top.below()}
        (root / "a").rename(root / "b")
        assert watched.hear() == ["root/a/x", "root/b/x"]
        assert {node.watch for node in looker.table.top.below()} == before


def test_a_move_without_its_other_half_holds_nobody_up(
    base: Path, root: Path, watched: Watched
) -> None:
    make_project(root / "leaving")
    project = make_project(root / "staying")
    watched.hear()
    (root / "leaving").rename(base / "left")
    save(project, "{ }")
    assert watched.hear_due() == ["root/leaving", "root/staying"]
    assert watched.watcher._translator.next_deadline() is not None  # it is still waited for


def test_two_directories_that_change_places_are_heard_and_watched(
    root: Path, watched: Watched
) -> None:
    make_project(root / "a" / "x")
    make_project(root / "b" / "y")
    watched.hear()
    exchange(root / "a", root / "b")
    assert watched.hear() == ["root/a/x", "root/a/y", "root/b/x", "root/b/y"]
    save(root / "a" / "y", "{ }")
    save(root / "b" / "x", "{ }")
    assert watched.hear_due() == ["root/a/y", "root/b/x"]
    assert blind_spots(watched) == []


@pytest.mark.parametrize("pruned", ["node_modules", ".cache", "deep/er/and/deep/er/still"])
def test_what_moves_into_a_pruned_tree_leaves_and_comes_back_again(
    root: Path, watched: Watched, pruned: str
) -> None:
    make_project(root / "kept" / "a")
    (root / pruned).mkdir(parents=True)
    watched.hear()
    (root / "kept").rename(root / pruned / "kept")
    assert watched.hear_due() == ["root/kept/a"]
    wait_for_departures(watched)
    save(root / pruned / "kept" / "a", "{ }")
    assert watched.hear() == []
    (root / pruned / "kept").rename(root / "kept")
    assert watched.hear_due() == ["root/kept/a"]
    assert blind_spots(watched) == []


def test_a_directory_renamed_to_a_pruned_name_leaves(root: Path, watched: Watched) -> None:
    make_project(root / "kept" / "a")
    watched.hear()
    (root / "kept").rename(root / "node_modules")
    assert watched.hear_due() == ["root/kept/a"]
    wait_for_departures(watched)
    save(root / "node_modules" / "a", "{ }")
    assert watched.hear() == []


def test_depth_counts_from_the_root_after_a_move_too(base: Path, root: Path) -> None:
    make_project(root / "a" / "b" / "c")
    (root / "x").mkdir()
    with watching(base, root, max_depth=3) as watched:
        age(watched)
        (root / "a").rename(root / "x" / "a")  # c is now on level 4
        assert watched.hear() == ["root/a/b/c", "root/x/a/b/c"]
        save(root / "x/a/b/c", "{ }")
        assert watched.hear() == []
        age(watched)
        (root / "x" / "a").rename(root / "a")
        assert "root/a/b/c" in watched.hear()
        assert blind_spots(watched) == []


def test_a_tree_that_moves_from_root_to_root_is_heard_in_both(base: Path, root: Path) -> None:
    other = base / "other"
    other.mkdir()
    make_project(root / "a" / "x")
    with watching(base, root, other) as watched:
        (root / "a").rename(other / "a")
        assert watched.hear() == ["other/a/x", "root/a/x"]
        save(other / "a/x", "{ }")
        assert watched.hear_due() == ["other/a/x"]
        wait_for_departures(watched)
        assert watched.coverage(root).watched == 1
        assert blind_spots(watched, other) == []


def test_a_root_inside_a_root_hears_for_itself(base: Path, root: Path) -> None:
    """Fault 68: a change is heard once, below the longest root."""
    inner = root / "inner"
    project = make_project(inner / "a")
    with watching(base, root, inner) as watched:
        save(project, "{ }")
        assert watched.hear_due() == ["root/inner/a"]
        assert watched.coverage(root).watched == 1
        assert watched.coverage(inner).watched == 3


def test_names_that_are_not_utf_8_or_hold_a_newline_are_heard(root: Path, watched: Watched) -> None:
    """Faults 42 and 43."""
    names = sorted(os.fsdecode(name) for name in (b"caf\xe9", b"two\nlines"))
    for name in names:
        make_project(root / name)
    assert watched.hear() == [f"root/{name}" for name in names]
    for name in names:
        save(root / name, "{ }")
    assert watched.hear_due() == [f"root/{name}" for name in names]


def test_symlinks_are_not_followed(base: Path, root: Path, watched: Watched) -> None:
    """Faults 70 and 99."""
    project = make_project(base / "elsewhere")
    (root / "link").symlink_to(base / "elsewhere")
    (root / "loop").symlink_to(".")
    save(project, "{ }")
    assert watched.hear() == []
    assert watched.coverage().watched == 1


def test_a_tree_of_any_depth_can_be_moved_in(
    base: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 88: neither the stack of the interpreter nor PATH_MAX ends the watching.

    No configuration allows so many levels; without them, the stack would never be met.
    """
    deep = {"max_depth": 1_200}
    monkeypatch.setattr(
        hearing, "scan_settings", lambda values: scan_settings(values).model_copy(update=deep)
    )
    here = os.open(base, os.O_RDONLY)
    for name in ["deep", *["d" * 10] * 1_500]:
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    with watching(base, root) as watched:
        (base / "deep").rename(root / "deep")
        watched.hear()
        assert watched.coverage().watched == 1_201
        make_project(root / "other")
        assert watched.hear() == ["root/other"]
        (root / "deep").rename(base / "deep")
        wait_for_departures(watched)
        assert watched.coverage().watched == 3


def test_a_directory_deleted_and_made_again_is_watched(root: Path, watched: Watched) -> None:
    """Fault 95."""
    for text in ("1", "22", "333"):
        make_project(root / "a" / "b", text)
        assert watched.hear() == ["root/a/b"]
        shutil.rmtree(root / "a")
        assert watched.hear() == ["root/a/b"]
    make_project(root / "a" / "b")
    watched.hear()
    save(root / "a/b", "{ }")
    assert watched.hear_due() == ["root/a/b"]
    assert blind_spots(watched) == []


@pytest.mark.slow
def test_thousands_of_projects_made_and_deleted_at_once_are_all_heard(
    root: Path, watched: Watched
) -> None:
    projects = [root / f"{number % 30:02}" / f"{number:04}" for number in range(3_000)]
    for project in projects:
        make_project(project)
    expected = sorted(f"root/{project.relative_to(root)}" for project in projects)
    assert watched.hear() == expected
    assert blind_spots(watched) == []
    for path in list(root.iterdir()):
        shutil.rmtree(path)
    assert watched.hear() == expected
    assert watched.coverage().watched == 1
    assert watched.coverage().overflows == 0


def test_a_project_that_left_is_heard_although_a_sweep_saw_it_first(
    base: Path, root: Path, watched: Watched
) -> None:
    """When the event is read, the table no longer knows that there was a project."""
    for name in ("tree/a", "alone", "undorked"):
        make_project(root / name)
    watched.hear()
    with stalled(watched):
        (root / "tree").rename(base / "tree")
        (root / "alone").rename(base / "alone")
        shutil.rmtree(root / "undorked" / ".dork")
        watched.walk_all()
    assert watched.hear_due() == ["root/alone", "root/tree/a", "root/undorked"]


def test_a_scan_that_came_too_late_is_made_again_where_the_directory_went(
    root: Path, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scanner knows the path before, the disk has the one after, the event is still to come."""
    (root / "before").mkdir()
    watched.hear()
    scan = Scanner._scan_names
    begun, goes_on, ended = threading.Event(), threading.Event(), threading.Event()

    def held_up(self: Scanner, work: Names) -> None:
        begun.set()
        goes_on.wait(20)
        scan(self, work)
        ended.set()

    monkeypatch.setattr(Scanner, "_scan_names", held_up)
    make_project(root / "before" / "project")
    assert begun.wait(20)
    with stalled(watched):
        (root / "before").rename(root / "after")
        goes_on.set()
        assert ended.wait(20)
    assert watched.hear() == ["root/after/project", "root/before/project"]
    assert blind_spots(watched) == []


@pytest.mark.parametrize("is_project", [False, True])
def test_a_scan_that_came_too_late_takes_no_other_directory_for_the_one_that_moved(
    root: Path, watched: Watched, monkeypatch: pytest.MonkeyPatch, is_project: bool
) -> None:
    """As before, but where the directory was another lies now, with one of the same name in it."""
    (root / "before").mkdir()
    (root / "other" / "project").mkdir(parents=True)
    if is_project:
        make_project(root / "other" / "project")
    watched.hear()
    scan = Scanner._scan_names
    begun, goes_on, ended = threading.Event(), threading.Event(), threading.Event()

    def held_up(self: Scanner, work: Names) -> None:
        begun.set()
        goes_on.wait(20)
        scan(self, work)
        ended.set()

    monkeypatch.setattr(Scanner, "_scan_names", held_up)
    make_project(root / "before" / "project")
    assert begun.wait(20)
    with stalled(watched):
        (root / "before").rename(root / "after")
        (root / "other").rename(root / "before")
        goes_on.set()
        assert ended.wait(20)
    assert "root/after/project" in watched.hear()
    assert blind_spots(watched) == []
    save(root / "after" / "project", "{ }")
    assert "root/after/project" in watched.hear()


@pytest.mark.parametrize(("before", "after"), [("x", "z"), ("x/c", "y/c")])
def test_what_a_move_brought_into_bounds_is_found_though_it_moves_on_at_once(
    base: Path, root: Path, before: str, after: str
) -> None:
    """The first of the moves changes the level, and the second comes before it is scanned."""
    make_project(root / "a" / "b" / "c" / "project")
    (root / "y").mkdir()
    with watching(base, root, max_depth=3) as watched:
        watched.hear()
        with stalled(watched):
            (root / "a" / "b").rename(root / "x")
            (root / before).rename(root / after)
        assert f"root/{after[0]}/c/project" in watched.hear()
        assert blind_spots(watched) == []


def test_what_a_move_puts_over_an_empty_directory_takes_its_place(
    root: Path, watched: Watched
) -> None:
    make_project(root / "a" / "x")
    (root / "b").mkdir()
    watched.hear()
    (root / "a").rename(root / "b")
    assert watched.hear() == ["root/a/x", "root/b/x"]
    assert [node.name for node in watched.looker().table.top.children] == ["b"]
    assert blind_spots(watched) == []


def test_a_directory_that_is_carried_on_while_the_disk_is_asked_for_it_is_not_lost(
    root: Path, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`mv A/y P/x; mv P Q`: P/x is not found, because the second move is not read yet."""
    (root / "P").mkdir()
    make_project(root / "A" / "y" / "project")
    watched.hear()
    looker, moved, goes_on = watched.looker(), threading.Event(), threading.Event()
    entries = looker.entries

    def late(relative: str, names: Mapping[str, Why]) -> object:
        if relative == "P" and "x" in names and not moved.is_set():
            watched.watcher.observer.before_read = lambda: goes_on.wait(20)  # type: ignore[assignment]
            (root / "P").rename(root / "Q")
            moved.set()
        return entries(relative, names)

    monkeypatch.setattr(looker, "entries", late)
    (root / "A" / "y").rename(root / "P" / "x")
    assert moved.wait(20)
    watched.watcher.mark().result(20)  # P/x was not there
    watched.watcher.observer.before_read = lambda: None
    goes_on.set()
    assert "root/Q/x/project" in watched.hear()
    assert blind_spots(watched) == []
    assert watched.coverage().is_full


@pytest.mark.parametrize("part", ["project", "project/.dork"])
def test_a_project_that_came_and_went_unwatched_is_hinted_at_once_more(
    root: Path, watched: Watched, part: str
) -> None:
    """A look that was still owed to an older event may have seen it."""
    make_project(root / "project")
    watched.hear()
    shutil.rmtree(root / part)
    assert watched.hear() == ["root/project"]
    with stalled(watched):
        make_project(root / "project")
        shutil.rmtree(root / part)
    assert watched.hear() == ["root/project"]


def test_in_a_directory_that_appears_all_that_is_known_is_asked_for(
    base: Path, root: Path, watched: Watched
) -> None:
    """Something may have been there before it was watched, and seen by a look to an older event."""
    (root / "one" / "below").mkdir(parents=True)
    assert watched.hear() == []
    assert set(watched.entered) >= {str(root / "one")}
    watched.entered.clear()
    (base / "tree").mkdir()
    (base / "tree").rename(root / "one" / "moved")
    watched.hear()
    assert watched.entered == [str(root / "one" / "moved")]
    watched.entered.clear()
    save(make_project(root / "one" / "moved"), "{ }")
    (root / "one" / "file").touch()
    assert watched.hear() == ["root/one/moved"]
    assert watched.entered == []


def test_directories_that_were_made_and_removed_are_not_remembered(
    root: Path, watched: Watched
) -> None:
    kept = make_project(root / "kept")
    watched.hear()
    for number in range(500):
        (root / str(number)).mkdir()
        if number % 2:
            watched.sync()  # watched before it goes, and told by the end of the watch
        (root / str(number)).rmdir()
    wait_until_idle(watched)
    watched.hear()
    assert list(watched_directories(watched.looker())) == ["", "kept"]
    assert watched.coverage().wanted == kernel_watches(watched) == 3
    save(kept, "{ }")
    assert watched.hear_due() == ["root/kept"]


def test_a_tree_that_is_removed_leaves_nothing_in_the_table(root: Path, watched: Watched) -> None:
    for number in range(50):
        make_project(root / "tree" / str(number % 7) / str(number))
    watched.hear()
    shutil.rmtree(root / "tree")
    wait_until_idle(watched)
    assert list(watched_directories(watched.looker())) == [""]
    assert watched.coverage().wanted == watched.coverage().watched == 1


def test_a_directory_that_nobody_watches_shows_until_a_walk_has_been_there(
    root: Path, watched: Watched
) -> None:
    make_project(root / "a" / "project")
    watched.hear()
    assert watched.coverage().is_full
    table = watched.looker().table
    node, _ = find(table.top, "a/project")
    for forgotten in (watched.watcher._watches.release, watched.watcher._watches.release_dork):
        with table.lock:
            forgotten(table, node)
        assert not watched.coverage().is_full
        watched.walk_all()
        assert watched.coverage().is_full
    assert watched.coverage().wanted == 4


def test_what_is_looked_into_while_the_coverage_is_read_is_not_missing(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = watched.watcher._scans
    table = watched.watcher.observer.root_emitters()[0].looker.table
    wait_until_idle(watched)
    monkeypatch.setattr(scans, "concern", lambda _: False)
    table.wanted += 1
    # Twice, for the scanner may just have taken a turn of its own.
    assert not all(watched.coverage().is_full for _ in range(2))

    def over(_: object) -> bool:
        scans.turns += 1  # it was under way when both numbers were read
        return False

    monkeypatch.setattr(scans, "concern", over)
    assert watched.coverage().is_full
