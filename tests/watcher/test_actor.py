"""The actor: cookies, signs of life, failures, and the end."""

from __future__ import annotations

import shutil
import threading
from typing import TYPE_CHECKING

import pytest

from meshd.watcher import NotWatchingError
from meshd.watcher.scanner import Scanner
from meshd.watcher.translator import Translator
from tests.watcher.hearing import kernel_watches, make_project, save, watching

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from meshd.watcher.scans import Names
    from tests.watcher.hearing import Watched


def test_a_cookie_leaves_no_file(base: Path, watched: Watched) -> None:
    watched.sync()
    assert list((base / "state" / "canary").iterdir()) == []
    assert (base / "state" / "canary").stat().st_mode & 0o777 == 0o700


def test_cookies_left_by_a_killed_daemon_are_cleared_away(base: Path, root: Path) -> None:
    (base / "state" / "canary").mkdir(parents=True)
    (base / "state" / "canary" / "cookie-1").touch()
    with watching(base, root) as watched:
        watched.sync()
        assert list((base / "state" / "canary").iterdir()) == []


def test_a_cookie_waits_for_the_scans_before_it(
    root: Path, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    scanning, goes_on = threading.Event(), threading.Event()
    scan = Scanner._scan_names

    def slowly(self: Scanner, work: Names) -> None:
        scanning.set()
        goes_on.wait(20)
        scan(self, work)

    monkeypatch.setattr(Scanner, "_scan_names", slowly)
    make_project(root / "a" / "b")
    cookie = watched.watcher.cookie()
    assert scanning.wait(20)
    assert not cookie.done()
    goes_on.set()
    cookie.result(20)
    assert watched.drain()[0] == ["root/a/b"]


def test_a_cookie_without_a_state_directory_says_so(base: Path, watched: Watched) -> None:
    # With the directory above it, so that no beat can make it anew.
    (base / "state").rename(base / "gone")
    with pytest.raises(NotWatchingError, match="cannot be written"):
        watched.watcher.cookie().result(20)


def test_who_waits_for_a_cookie_is_told_when_the_watcher_stops(base: Path, root: Path) -> None:
    with watching(base, root) as watched:
        watched.watcher._canary._touch = lambda name: None  # type: ignore[method-assign]
        cookie = watched.watcher.cookie()
    with pytest.raises(NotWatchingError):
        cookie.result(20)
    with pytest.raises(NotWatchingError):
        watched.watcher.cookie().result(20)


def test_a_cookie_that_nobody_waits_for_any_more_harms_nobody(watched: Watched) -> None:
    for _ in range(20):
        watched.watcher.cookie().cancel()
    watched.sync()


def test_an_observer_that_stands_still_is_not_alive(watched: Watched) -> None:
    watched.sync()
    assert watched.watcher.alive(60.0)
    watched.watcher.observer.heard_at -= 120.0
    assert not watched.watcher.alive(60.0)
    watched.sync()
    assert watched.watcher.alive(60.0)


def test_an_event_that_cannot_be_understood_is_counted_and_the_root_swept(
    base: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_project(base / "other" / "project")
    project = make_project(root / "project")
    with watching(base, root, base / "other") as watched:
        with monkeypatch.context() as patch:
            patch.setattr(Translator, "_read", _fail)
            save(project, "{ }")
            assert watched.hear_all() == ([], ["root"])
        assert watched.coverage(root).failures == 1
        assert [record["event"] for record in watched.log] == ["event_not_understood"]
        save(other, "{ }")
        save(project, "{ }")
        assert watched.hear_due() == ["other/project", "root/project"]


def _fail(*_: object) -> None:
    raise ZeroDivisionError


def test_a_handler_that_raises_is_counted_and_the_roots_swept(
    root: Path, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(root / "project")
    watched.hear()
    with monkeypatch.context() as patch:
        patch.setattr(watched.watcher.observer.handler, "on_hinted", _fail)
        save(project, "{ }")
        assert watched.hear_all() == ([], ["root"])
    assert watched.coverage().failures == 1
    save(project, "{ }")
    assert watched.hear_due() == ["root/project"]


@pytest.mark.parametrize("method", ["_check_all", "_scan_names"])
def test_a_scanner_that_dies_ends_the_actor_with_its_error(
    base: Path, root: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    errors = run_until_it_ends(base, root, monkeypatch, Scanner, method)
    assert [type(error) for error in errors] == [ZeroDivisionError]


def test_an_observer_that_dies_ends_the_actor_with_its_error(
    base: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = run_until_it_ends(base, root, monkeypatch, Translator, "translate")
    assert [type(error) for error in errors] == [ZeroDivisionError]


def run_until_it_ends(
    base: Path, root: Path, monkeypatch: pytest.MonkeyPatch, broken: type, method: str
) -> list[BaseException]:
    """Run the actor with something broken in it, and return what it raised."""
    errors: list[BaseException] = []
    with watching(base, root) as watched:
        pass  # its own thread has ended; another one is run here
    watcher = type(watched.watcher)(watched.shared, base / "state")
    watcher.open()
    watched.walk_all()
    monkeypatch.setattr(broken, method, _fail)

    def run() -> None:
        try:
            watcher.run()
        except BaseException as error:  # noqa: BLE001 - it is what the test is about
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    (root / "new").mkdir()
    thread.join(20)
    assert not thread.is_alive()
    return errors


def test_a_closed_inbox_ends_nothing(root: Path, watched: Watched) -> None:
    """While the daemon stops, events still come; the next start's sweep has them."""
    project = make_project(root / "project")
    watched.hear()
    watched.shared.inbox.close()
    save(project, "{ }")
    watched.sync()
    assert watched.coverage().failures == 0


def test_what_waits_at_the_stop_ends(base: Path, root: Path) -> None:
    with watching(base, root) as watched:
        make_project(root / "a" / "b")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("meshd")]
    watched.watcher.stop()  # a second time, when all is closed


def remake(canary: Path) -> None:
    shutil.rmtree(canary, ignore_errors=True)
    canary.mkdir(exist_ok=True)


def move_away(canary: Path) -> None:
    canary.rename(canary.with_name("old"))


def replace(canary: Path) -> None:
    move_away(canary)
    canary.mkdir()


@pytest.mark.parametrize(("harm", "silence"), [(remake, 0.0), (move_away, 0.0), (replace, 9.0)])
def test_a_canary_that_was_removed_or_replaced_sings_again(
    base: Path, watched: Watched, harm: Callable[[Path], object], silence: float
) -> None:
    """Only a canary that is silent shows that another directory lies at its path."""
    watched.sync()
    harm(base / "state" / "canary")
    waiting = watched.watcher.cookie()
    if silence:
        watched.watcher.observer.heard_at -= silence
        watched.watcher._tick()
    with pytest.raises(NotWatchingError):
        waiting.result(20)
    watched.watcher._tick()
    watched.sync()
    assert kernel_watches(watched) == watched.coverage().watched
    assert watched.log == []


def test_a_canary_that_cannot_sing_says_so_once(base: Path, watched: Watched) -> None:
    watched.sync()
    (base / "state").rename(base / "away")
    for _ in range(3):
        watched.watcher._tick()
    assert watched.watcher.alive(60.0)
    (base / "away").rename(base / "state")
    watched.watcher._tick()
    watched.sync()
    assert [record["event"] for record in watched.log] == ["canary_failed"]
