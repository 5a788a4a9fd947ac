"""Watches that cannot be had are counted, said once, and tried again."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from meshd.watcher import NotWatchingError
from meshd.watcher.inotify import Inotify
from tests.watcher.hearing import COOKIE_SECONDS, make_project, save, watching

if TYPE_CHECKING:
    from collections.abc import Callable

# What watches by fanotify has no limit.
pytestmark = pytest.mark.parametrize("backend", ["inotify"], indirect=True)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: setuid")

REPOSITORY = Path(__file__).parent.parent.parent


def with_limit(limit: int) -> Callable[[Inotify, int, int], int]:
    """Return an `Inotify.add` that has so many watches to give."""
    add, given = Inotify.add, set[int]()

    def adding(self: Inotify, directory: int, mask: int) -> int:
        watch = add(self, directory, mask)
        given.add(watch)
        if len(given) > limit:
            given.discard(watch)
            self.remove(watch)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return watch

    return adding


def test_a_shortage_is_counted_and_said_once(
    base: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        (root / str(number)).mkdir()
    monkeypatch.setattr(Inotify, "add", with_limit(11))  # the canary, the root and nine more
    with watching(base, root) as watched:
        coverage = watched.coverage()
        assert (coverage.watched, coverage.wanted) == (10, 21)
        assert coverage.shortage == "watch-limit"
        assert not coverage.is_full
        watched.walk_all()
        said = [record for record in watched.log if record["event"] == "watches_short"]
        assert len(said) == 1
        assert "fs.inotify.max_user_watches" in str(said[0]["what_to_do"])


def test_projects_come_first_when_watches_are_short(
    base: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        (root / f"a{number:02}").mkdir()
    projects = [make_project(root / f"z{number}") for number in range(5)]
    monkeypatch.setattr(Inotify, "add", _counting_limit(monkeypatch, 12))
    with watching(base, root) as watched:
        for project in projects:
            save(project, "{ }")
        assert watched.hear_due() == [f"root/z{number}" for number in range(5)]
        assert watched.coverage().watched == 11
        assert watched.coverage().wanted == 31


def _counting_limit(
    monkeypatch: pytest.MonkeyPatch, limit: int
) -> Callable[[Inotify, int, int], int]:
    """As `with_limit`, and what is removed can be given again."""
    add, remove, given = Inotify.add, Inotify.remove, set[int]()

    def adding(self: Inotify, directory: int, mask: int) -> int:
        watch = add(self, directory, mask)
        if watch not in given and len(given) >= limit:
            remove(self, watch)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        given.add(watch)
        return watch

    def removing(self: Inotify, watch: int) -> None:
        given.discard(watch)
        remove(self, watch)

    monkeypatch.setattr(Inotify, "remove", removing)
    return adding


def test_what_could_not_be_watched_is_once_there_is_room(
    base: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "directory").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(Inotify, "add", with_limit(2))
        with watching(base, root) as watched:
            assert watched.coverage().watched == 1
            patch.undo()
            watches = watched.watcher._watches
            watched.walk_all()
            assert watched.coverage().watched == 1  # it is not tried again before its time
            watches.retry_at = 0.0
            watched.watcher._scanner._retry()
            assert watched.hear_all()[1] == ["root"]  # a sweep does it
            watched.walk_all()
            assert watched.coverage().is_full
            assert watched.coverage().shortage is None
            watched.watcher._scanner._retry()
            assert watched.log[-1]["event"] == "watches_complete"


def test_the_longer_a_shortage_lasts_the_rarer_it_is_tried(
    base: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_project(root / "project")
    monkeypatch.setattr(Inotify, "add", with_limit(2))
    with watching(base, root) as watched:
        watches = watched.watcher._watches
        pauses = [watches._retry_seconds]
        for _ in range(6):
            watches.retry()
            watched.walk_all()
            pauses.append(watches._retry_seconds)
        assert pauses == [30, 60, 120, 240, 480, 600, 600]


def test_without_an_instance_all_is_left_to_the_sweep_and_tried_again(
    base: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_project(root / "project")

    def refuse(_self: Inotify) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(Inotify, "__init__", refuse)
        with watching(base, root) as watched:
            assert watched.coverage().by == "none"
            assert watched.coverage().shortage == "instance-limit"
            assert watched.watcher.alive(60.0)
            with pytest.raises(NotWatchingError):
                watched.sync()
            patch.undo()
            watched.watcher._retry_at = 0.0
            batch = watched.shared.inbox.take(COOKIE_SECONDS)  # the scanner tries again
            assert batch is not None
            assert batch.widened == (str(root),)
            watched.walk_all()
            assert watched.coverage().is_full
            save(root / "project", "{ }")
            assert watched.hear_due() == ["root/project"]


LIMITED = """
import sys
sys.path.insert(0, {repository!r})
from pathlib import Path
Path("/proc/sys/user/max_inotify_{limit}").write_text("{value}")
from tests.watcher.hearing import watching
import json
base = Path({base!r})
with watching(base, base / "root", backend={backend!r}) as watched:
    coverage = watched.coverage()
    events = [record["event"] for record in watched.log]
print(json.dumps([coverage.by, coverage.watched, coverage.wanted, coverage.shortage, events]))
"""


def in_user_namespace(
    base: Path, limit: str, value: int, *, backend: str = "inotify"
) -> list[object]:
    """Watch in a user namespace whose limit is real, and return what the coverage says."""
    program = LIMITED.format(
        repository=str(REPOSITORY), base=str(base), limit=limit, value=value, backend=backend
    )
    done = subprocess.run(
        ["unshare", "-Ur", sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if "unshare failed" in done.stderr or "write failed" in done.stderr:
        pytest.skip("needs user namespaces, which this kernel or container forbids")
    assert done.returncode == 0, done.stderr
    answer: list[object] = json.loads(done.stdout)
    return answer


def test_the_real_limit_of_watches(base: Path, root: Path) -> None:
    for number in range(50):
        make_project(root / str(number))
    by, watched, wanted, shortage, events = in_user_namespace(base, "watches", 31)
    assert [by, watched, wanted, shortage] == ["inotify", 30, 101, "watch-limit"]
    assert events == ["watches_short"]


def test_the_real_limit_of_instances(base: Path, root: Path) -> None:
    by, watched, _, shortage, events = in_user_namespace(base, "instances", 0)
    assert [by, watched, shortage, events] == ["none", 0, "instance-limit", ["nothing_watched"]]


AS_NOBODY = """
import os, sys
sys.path.insert(0, {repository!r})
from pathlib import Path
from tests.watcher.hearing import watching, save
import json
os.setgroups([]); os.setgid(65534); os.setuid(65534)
base = Path({base!r})
with watching(base, base / "root") as watched:
    coverage = watched.coverage()
    save(base / "root" / "open", "[]") if {saves} else None
    print(json.dumps([coverage.watched, coverage.wanted, coverage.shortage, watched.hear()]))
"""


def as_nobody(base: Path, *, saves: bool) -> list[object]:
    program = AS_NOBODY.format(repository=str(REPOSITORY), base=str(base), saves=saves)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    answer: list[object] = json.loads(done.stdout)
    return answer


@pytest.fixture
def public(base: Path, root: Path) -> Path:
    """A base that everybody may reach and write to."""
    for path in (base, root):
        path.chmod(0o777)
    for path in base.parents:
        mode = path.stat().st_mode
        if not mode & 0o001:
            path.chmod(mode | 0o011)
    (base / "state").mkdir()
    (base / "state").chmod(0o777)
    return base


@needs_root
def test_a_directory_that_may_not_be_read_is_wanted_and_missing(public: Path, root: Path) -> None:
    for name in ("open", "shut"):
        project = make_project(root / name)
        for path in (project, project / ".dork", project / ".dork" / "agent.json"):
            path.chmod(0o777)
    (root / "shut").chmod(0o000)
    assert as_nobody(public, saves=True) == [3, 4, "permission", ["root/open"]]


@needs_root
def test_a_root_that_may_not_be_read_has_no_coverage(public: Path, root: Path) -> None:
    root.chmod(0o000)
    assert as_nobody(public, saves=False) == [0, 1, "permission", []]
