"""fanotify: what it needs no watches for, where it is refused, and what its marks do."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from meshd.watcher import NotWatchingError, fanotify
from meshd.watcher.backend import is_limited
from meshd.watcher.fanotify import Fanotify
from meshd.watcher.inotify import (
    Inotify,
)
from tests.watcher.hearing import (
    blind_spots,
    fill_the_queue,
    make_project,
    mounted,
    save,
    stalled,
    watching,
)
from tests.watcher.test_shortage import in_user_namespace, with_limit

if TYPE_CHECKING:
    from tests.watcher.hearing import Watched

REPOSITORY = Path(__file__).parent.parent.parent

pytestmark = pytest.mark.parametrize("backend", ["fanotify"], indirect=True)


def inotify_watches(watched: Watched) -> int:
    """Return how many watches the kernel holds for inotify, the canary's included."""
    backend = watched.watcher._backend
    assert backend is not None
    assert backend._inotify is not None
    lines = Path(f"/proc/self/fdinfo/{backend._inotify.descriptor}").read_text(encoding="ascii")
    return lines.count("inotify wd:")


def marks(watched: Watched) -> int:
    """Return how many marks the kernel holds."""
    backend = watched.watcher._backend
    assert backend is not None
    assert backend._fanotify is not None
    lines = Path(f"/proc/self/fdinfo/{backend._fanotify.descriptor}").read_text(encoding="ascii")
    return lines.count("fanotify sdev:")


def said(watched: Watched, event: str) -> list[dict[str, object]]:
    return [record for record in watched.log if record["event"] == event]


def test_no_directory_costs_a_watch_of_inotify(base: Path, root: Path) -> None:
    for number in range(50):
        make_project(root / str(number))
    with watching(base, root) as watched:
        coverage = watched.coverage()
        assert (coverage.by, coverage.watched, coverage.wanted) == ("fanotify", 101, 101)
        assert coverage.is_full
        assert (inotify_watches(watched), marks(watched)) == (0, 1)
        assert watched.log == []


def test_a_host_without_watches_to_give_is_watched_whole(
    base: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(root / "a" / "b" / "project")
    monkeypatch.setattr(Inotify, "add", with_limit(0))
    with watching(base, root) as watched:
        assert watched.coverage().is_full
        save(project, "{ }")
        assert watched.hear_due() == ["root/a/b/project"]
        make_project(root / "new" / "project")
        assert watched.hear() == ["root/new/project"]
        assert blind_spots(watched) == []


def test_a_host_without_an_instance_of_inotify_is_watched_whole(
    base: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_self: Inotify) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(Inotify, "__init__", refuse)
    project = make_project(root / "project")
    with watching(base, root) as watched:
        assert watched.coverage().is_full
        save(project, "{ }")
        assert watched.hear_due() == ["root/project"]


def test_on_a_disk_as_on_a_file_system_in_memory(
    base: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Handles are laid out otherwise there; what else happens on it is nobody's matter."""
    base = tmp_path_factory.mktemp("disk").resolve()
    root = base / "root"
    project = make_project(root / "project")
    with watching(base, root) as watched:
        assert watched.coverage().by == "fanotify"
        save(project, "{ }")
        assert watched.hear_due() == ["root/project"]
        project.rename(root / "moved")
        assert watched.hear() == ["root/moved", "root/project"]
        make_project(base / "outside" / "other")
        assert watched.hear() == []
        assert blind_spots(watched) == []


# where it is refused


def test_without_the_right_inotify_watches_and_the_reason_is_said_once(
    base: Path, root: Path
) -> None:
    """In a user namespace root has every right but this one."""
    for number in range(50):
        make_project(root / str(number))
    by, watched, wanted, shortage, events = in_user_namespace(
        base, "watches", 1_000, backend="fanotify"
    )
    assert [by, watched, wanted, shortage] == ["inotify", 101, 101, None]
    assert events == ["backend_unavailable"]


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        pytest.param(errno.EPERM, "CAP_SYS_ADMIN", id="no right"),
        pytest.param(errno.ENOSYS, "Linux 5.17", id="a kernel without it"),
        pytest.param(errno.EINVAL, "Linux 5.17", id="a kernel with less of it"),
        pytest.param(errno.EMFILE, "fs.fanotify.max_user_groups", id="too many groups"),
        pytest.param(errno.EIO, "inotify", id="what nobody foresaw"),
    ],
)
def test_where_there_is_no_fanotify_inotify_watches(
    base: Path, root: Path, monkeypatch: pytest.MonkeyPatch, number: int, remedy: str
) -> None:
    def refuse(_self: Fanotify) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Fanotify, "__init__", refuse)
    project = make_project(root / "project")
    with watching(base, root) as watched:
        assert (watched.coverage().by, watched.coverage().is_full) == ("inotify", True)
        [told] = watched.log
        assert told["why"] == errno.errorcode[number]
        assert remedy in str(told["what_to_do"])
        save(project, "{ }")
        assert watched.hear_due() == ["root/project"]


def test_roots_that_can_be_marked_and_roots_that_cannot_are_watched_side_by_side(
    base: Path, root: Path, refusing: Path
) -> None:
    projects = [make_project(root / "project"), make_project(refusing / "project")]
    with watching(base, root, refusing) as watched:
        assert watched.coverage(root).by == "fanotify"
        assert watched.coverage(refusing).by == "inotify"
        assert all(watched.coverage(one).is_full for one in (root, refusing))
        assert (inotify_watches(watched), marks(watched)) == (3, 1)
        [told] = said(watched, "backend_unavailable")
        assert told["why"] == errno.errorcode[errno.EOPNOTSUPP]
        assert told["path"] == str(refusing)
        for number in range(200):
            for project in projects:
                save(project, f"{number}")
            # Whichever queue the cookie goes through, it speaks for both.
            assert watched.hear_due() == ["refusing/project", "root/project"]


@pytest.mark.parametrize("is_canary_refused", [False, True])
def test_a_cookie_follows_all_that_waits_in_either_queue(
    base: Path, root: Path, refusing: Path, *, is_canary_refused: bool
) -> None:
    """More than one reading holds, in the queue that the cookie is not in."""
    if is_canary_refused:
        (refusing / "state").mkdir()
        (base / "state").symlink_to(refusing / "state")
    refused_root = refusing / "root"
    names = [f"{number:04}-{'x' * 200}" for number in range(2_000)]
    for directory in (root, refused_root):
        make_project(directory / "last")
        for name in names:
            make_project(directory / name)
    with watching(base, root, refused_root) as watched:
        assert is_limited(watched.watcher._canary.watch) == is_canary_refused
        with stalled(watched):
            for directory in (root, refused_root):
                for name in names:
                    save(directory / name, "{ }")
                save(directory / "last", "{ }")
            cookie = watched.watcher.cookie()
        cookie.result(20)
        heard, lost = watched.drain()
        assert lost == []
        assert len(heard) == 2 * (len(names) + 1)


def test_a_shortage_beside_a_mark_takes_nothing_from_what_is_marked(
    base: Path, root: Path, refusing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for directory in (root, refusing):
        for number in range(20):
            (directory / f"{number:02}").mkdir()
    project = make_project(refusing / "project")
    monkeypatch.setattr(Inotify, "add", with_limit(5))
    with watching(base, refusing, root) as watched:
        assert watched.coverage(refusing).shortage == "watch-limit"
        assert watched.coverage(root).is_full
        make_project(root / "new" / "project")  # the shortage goes on, and is not its own
        assert watched.hear() == ["root/new/project"]
        assert watched.coverage(root).is_full
        assert project.name in {path.name for path in refusing.iterdir()}


def test_a_project_that_lacks_a_watch_takes_none_from_what_is_marked(
    base: Path, root: Path, refusing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There would be nothing to gain by it."""
    for number in range(20):
        (root / f"{number:02}").mkdir()
    make_project(refusing / "project")
    monkeypatch.setattr(Inotify, "add", with_limit(2))  # the root and the project
    with watching(base, root, refusing) as watched:
        assert watched.coverage(refusing).shortage == "watch-limit"
        assert watched.coverage(root).is_full


def test_what_is_mounted_below_a_root_and_cannot_be_marked_is_watched_by_inotify(
    base: Path, root: Path
) -> None:
    (root / "mount").mkdir()
    with mounted(root / "mount", "-t", "ramfs", "ramfs"):
        project = make_project(root / "mount" / "project")
        with watching(base, root) as watched:
            assert watched.coverage().by == "fanotify"
            assert watched.coverage().is_full
            assert inotify_watches(watched) == 3
            save(project, "{ }")
            assert watched.hear_due() == ["root/mount/project"]


# marks


def test_a_file_system_has_one_mark_whatever_lies_on_it(base: Path) -> None:
    roots = [base / str(number) for number in range(5)]
    for one in roots:
        make_project(one / "project")
    with mounted(roots[0], "-t", "tmpfs", "tmpfs"), watching(base, *roots) as watched:
        assert marks(watched) == 2


def test_a_mark_that_ended_with_its_file_system_is_set_anew(base: Path, root: Path) -> None:
    (root / "mount").mkdir()
    with watching(base, root) as watched:
        for name in ("one", "two", "three"):
            with mounted(root / "mount", "-t", "tmpfs", "tmpfs"):
                project = make_project(root / "mount" / name)
                walk_until_heard(watched)
                assert marks(watched) == 2
                save(project, "{ }")
                assert watched.hear_due() == [f"root/mount/{name}"]
        told = said(watched, "events_lost")
        assert told
        assert all("unmounted" in str(record["why"]) for record in told)


def walk_until_heard(watched: Watched) -> None:
    """Sweep until no loss is told; the end of a mark shows when the next file system comes."""
    while True:
        watched.walk_all()
        with suppress(NotWatchingError):
            watched.sync()
            if watched.drain()[1] == []:
                return
        watched.drain()


def test_what_happens_elsewhere_on_the_file_system_wakes_no_one_for_each_event(
    base: Path, root: Path
) -> None:
    """The reader rests after what told it nothing, so that a busy disk does not keep it busy."""
    make_project(root / "project")
    with watching(base, root) as watched, (base / "busy").open("wb", buffering=0) as busy:
        watched.sync()
        reads: list[None] = []
        watched.watcher.observer.before_read = lambda: reads.append(None)
        rests: list[None] = []
        rest = watched.watcher.observer._rest

        def resting() -> None:
            rests.append(None)
            rest()

        watched.watcher.observer._rest = resting  # type: ignore[method-assign]
        while len(rests) < 20:
            busy.write(b"x")
        assert len(reads) - len(rests) <= 2  # the beats of the canary
        assert watched.coverage().events == 0


def test_the_queue_that_was_full_is_named(base: Path, root: Path) -> None:
    project = make_project(root / "project")
    with watching(base, root) as watched:
        with stalled(watched):
            fill_the_queue(project)
        watched.wait_for_lost()
        [told] = said(watched, "events_lost")
        assert told["limit"] == fanotify.queue_limit()


AS_A_SERVICE = """
import sys
sys.path.insert(0, {repository!r})
import json
from pathlib import Path
from tests.watcher.hearing import watching, save
base = Path({base!r})
with watching(base, base / "root", backend="fanotify") as watched:
    save(base / "root" / "project", "[]")
    print(json.dumps([watched.coverage().by, watched.hear_due(), watched.log]))
"""


def test_the_one_capability_of_the_drop_in_is_enough(base: Path, root: Path) -> None:
    project = make_project(root / "project")
    (base / "state").mkdir()
    for path in (base, *base.parents[:-1]):
        path.chmod(path.stat().st_mode | 0o011)
    for path in (base, root, project, project / ".dork", base / "state"):
        os.chown(path, 65534, 65534)
    program = AS_A_SERVICE.format(repository=str(REPOSITORY), base=str(base))
    right = "+sys_admin"
    done = subprocess.run(
        ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--no-new-privs",
         "--bounding-set", f"-all,{right}", "--inh-caps", f"-all,{right}",
         "--ambient-caps", f"-all,{right}", sys.executable, "-c", program],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["fanotify", ["root/project"], []]
