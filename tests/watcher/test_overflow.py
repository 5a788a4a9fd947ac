"""Lost events are known to be lost, and one sweep makes up for them."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from meshd.watcher import NotWatchingError
from tests.watcher.hearing import (
    blind_spots,
    fill_the_queue,
    kernel_of,
    kernel_watches,
    make_project,
    save,
    stalled,
    wait_until_idle,
    watching,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.watcher.hearing import Watched


def overflow(watched: Watched, noisy: Path) -> None:
    with stalled(watched):
        fill_the_queue(noisy)


def wait_for_overflow(watched: Watched) -> tuple[list[str], list[str]]:
    """Return what was heard of events that were partly lost, cookies among them."""
    while True:
        try:
            return watched.hear_all()
        except NotWatchingError:
            continue


def test_an_overflow_is_told_counted_and_asks_for_every_root_once(base: Path, root: Path) -> None:
    other = base / "other"
    noisy = make_project(root / "noisy")
    other.mkdir()
    with watching(base, root, other) as watched:
        overflow(watched, noisy)
        assert wait_for_overflow(watched)[1] == ["other", "root"]
        for one in (root, other):
            assert watched.coverage(one).overflows == 1
            assert watched.coverage(one).last_overflow is not None
        assert [record["event"] for record in watched.log].count("events_lost") == 1
        watched.walk_all()
        assert watched.hear_all() == ([], [])


def test_a_cookie_that_is_lost_says_so(root: Path, watched: Watched) -> None:
    noisy = make_project(root / "noisy")
    watched.sync()
    with stalled(watched):
        fill_the_queue(noisy)
        cookie = watched.watcher.cookie()
    with pytest.raises(NotWatchingError, match="lost"):
        cookie.result(20)


def test_one_sweep_repairs_watches_whatever_was_lost(root: Path, watched: Watched) -> None:
    noisy = make_project(root / "noisy")
    for name in ("moved", "renamed/x", "remade", "deleted"):
        make_project(root / name)
    watched.hear()
    with stalled(watched):
        fill_the_queue(noisy)
        make_project(root / "new" / "project")
        (root / "moved").rename(root / "renamed" / "moved")
        (root / "renamed").rename(root / "now")
        shutil.rmtree(root / "deleted")
        shutil.rmtree(root / "remade")
        make_project(root / "remade")
    wait_for_overflow(watched)
    watched.walk_all()
    watched.hear()
    assert blind_spots(watched) == []
    expected = ["new/project", "noisy", "now/moved", "now/x", "remade"]
    for name in expected:
        save(root / name, "{ }")
    assert watched.hear_due() == [f"root/{name}" for name in expected]
    assert watched.coverage().overflows == 1


def test_a_watch_that_died_unheard_is_found_though_nothing_changed(
    root: Path, watched: Watched
) -> None:
    """Of a file system that was unmounted and mounted again, `stat` shows no change."""
    project = make_project(root / "project")
    noisy = make_project(root / "noisy")
    watched.hear()
    table = watched.looker().table
    node = table.top.child("project")
    assert node is not None
    with stalled(watched):
        fill_the_queue(noisy)
        kernel_of(watched).remove(node.dork_watch)  # its end is lost with the rest
    wait_for_overflow(watched)
    watched.walk_all()
    watched.hear()
    save(project, "{ }")
    assert watched.hear_due() == ["root/project"]


def test_events_lost_during_the_recovery_ask_for_one_more(root: Path, watched: Watched) -> None:
    noisy = make_project(root / "noisy")
    watched.hear()
    overflow(watched, noisy)
    assert wait_for_overflow(watched)[1] == ["root"]
    looker = watched.looker()
    walk = looker.walk(watched.shared.roots.view.scope, full=False, stop=lambda: False)
    next(walk)
    overflow(watched, noisy)
    assert wait_for_overflow(watched)[1] == ["root"]
    assert list(walk) == []
    assert looker.table.distrusted
    watched.walk_all()
    assert [looker.table.distrusted, watched.hear_all()[1]] == [False, []]
    assert watched.coverage().overflows == 2


def test_a_walk_that_was_abandoned_has_verified_nothing(root: Path, watched: Watched) -> None:
    noisy = make_project(root / "noisy")
    watched.hear()
    overflow(watched, noisy)
    wait_for_overflow(watched)
    scope = watched.shared.roots.view.scope
    assert list(watched.looker().walk(scope, full=False, stop=lambda: True)) == []
    assert watched.looker().table.distrusted


def test_the_recovery_of_more_watches_than_the_queue_holds_makes_no_overflow(
    base: Path, root: Path
) -> None:
    """Fault 86: watchdog removes and adds each watch, and so overflows for ever."""
    for number in range(17_000):
        (root / str(number % 17) / str(number)).mkdir(parents=True)
    noisy = make_project(root / "noisy")
    with watching(base, root) as watched:
        assert watched.coverage().watched > 17_000
        overflow(watched, noisy)
        wait_for_overflow(watched)
        reads: list[None] = []
        watched.watcher.observer.before_read = lambda: reads.append(None)
        watched.walk_all()
        assert watched.hear_all() == ([], [])
        assert len(reads) <= 3  # the cookie, and perhaps a beat: the observer is idle
        assert watched.coverage().overflows == 1
        assert watched.coverage().watched == watched.coverage().wanted


def test_more_watches_than_the_queue_holds_leave_without_an_overflow(
    base: Path, root: Path
) -> None:
    """Each watch that is removed puts one event into the queue."""
    for number in range(17_000):
        (root / "tree" / str(number % 17) / str(number)).mkdir(parents=True)
    with watching(base, root) as watched:
        assert watched.coverage().watched > 17_000
        (root / "tree").rename(base / "out")
        wait_until_idle(watched)
        assert [kernel_watches(watched), watched.coverage().watched] == [1, 1]
        assert watched.coverage().overflows == 0
        assert watched.hear_all() == ([], [])


def test_a_watch_that_waits_for_its_removal_and_is_wanted_again_stays(
    base: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(root / "tree" / "project")
    with watching(base, root) as watched:
        monkeypatch.setattr(watched.watcher._watches, "_allowance", 0)
        with stalled(watched):
            looker = watched.looker()
            with looker.table.lock:
                looker.table.clear()
            assert watched.watcher._watches.is_removing
            watched.walk_all()
        wait_until_idle(watched)
        assert kernel_watches(watched) == watched.coverage().watched == 4
        save(project, "{ }")
        assert watched.hear_due() == ["root/tree/project"]
