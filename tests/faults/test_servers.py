"""Roots behind a server: one that is dead, one that fails, one that never answers.

The file system is a real one (`fuse`): a mirror of a directory with switches. Only the deadline
of a request to a worker is shorter than in a daemon that nobody tests.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.faults.fuse import Mirror, needs_fuse
from tests.system.daemon import DEADLINE, Daemon
from tests.system.difference import UNREACHABLE, changed
from tests.system.trees import save

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [needs_fuse, pytest.mark.slow]

SECONDS: Final = 1.5
_RUN: Final = f"""
import runpy, sys, meshd.config.resolving, meshd.looker
meshd.config.resolving.ANSWER_SECONDS = meshd.looker.REQUEST_SECONDS = {SECONDS}
sys.argv[:4] = ["meshd"]
runpy.run_module("meshd", run_name="__main__", alter_sys=True)
"""
IMPATIENT: Final = (sys.executable, "-c", _RUN)
"""Runs the daemon, which need not wait for a server as long as people do."""
PROJECTS: Final = ("one", "two", "three")


@dataclass
class Place:
    """A daemon over a mirror and a local root.

    Attributes:
        mirror: the file system at `mirrored`.
        behind: the directory that is mirrored.
    """

    daemon: Daemon
    mirror: Mirror
    behind: Path
    mirrored: Path
    local: Path


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    base = tmp_path_factory.mktemp("s")
    behind, mirrored, local = (base / name for name in ("behind", "mirrored", "local"))
    mirrored.mkdir()
    for name in PROJECTS:
        save(behind / name, name)
    save(local / "neighbour", "neighbour")
    (base / "h").mkdir()
    unhurried = {"MESHD_SWEEP__INTERVAL": "24h"}
    with (
        Mirror(behind, mirrored) as mirror,
        Daemon(base / "h", mirrored, local, environ=unhurried, through=IMPATIENT) as daemon,
    ):
        yield Place(daemon, mirror, behind, mirrored, local)
        mirror.die()  # a worker that hangs would outlive the daemon


@pytest.fixture
def place(running: Place) -> Iterator[Place]:
    """The running daemon, with all well before and after each test."""
    yield running
    with contextlib.suppress(OSError):
        running.mirror.release()
    running.mirror.fail(0)
    running.daemon.sweep()
    assert running.daemon.root(running.mirrored)["state"] == "healthy"


UNCONFIRMED: Final = {"confirmed": False}


def test_076_a_dead_server_freezes_its_root_until_it_is_mounted_again(place: Place) -> None:
    before = place.daemon.agents()
    place.mirror.die()
    with pytest.raises(OSError, match="Transport endpoint is not connected"):
        place.mirrored.lstat()
    assert place.daemon.sweep()["sickRoots"] == [str(place.mirrored)]
    assert place.daemon.root(place.mirrored)["reason"] == "unreadable"
    assert changed(before, place.daemon.agents()) == dict.fromkeys(PROJECTS, UNCONFIRMED)
    place.mirror.unmount()
    assert place.daemon.sweep()["sickRoots"] == [str(place.mirrored)]
    assert changed(before, place.daemon.agents()) == dict.fromkeys(PROJECTS, UNCONFIRMED)
    place.mirror.mount()
    place.daemon.sweep()
    assert changed(before, place.daemon.agents()) == {}


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES], ids=errno.errorcode.get)
@pytest.mark.parametrize(
    ("at", "frozen"),
    [
        pytest.param("", PROJECTS, id="the root"),
        pytest.param("one", ("one",), id="a project"),
        pytest.param("one/.dork", ("one",), id="its .dork"),
        pytest.param("one/.dork/agent.json", ("one",), id="its manifest"),
    ],
)
def test_077_an_error_of_the_server_is_no_absence(
    place: Place, number: int, at: str, frozen: tuple[str, ...]
) -> None:
    before = place.daemon.agents()
    place.mirror.fail(number, at)
    with pytest.raises(OSError, match=os.strerror(number)):
        (place.mirrored / at).lstat()
    sick = place.daemon.sweep("--full")["sickRoots"]
    assert sick == ([] if at else [str(place.mirrored)])
    assert changed(before, place.daemon.agents()) == dict.fromkeys(frozen, UNCONFIRMED)
    place.mirror.fail(0)
    place.daemon.sweep("--full")
    assert changed(before, place.daemon.agents()) == {}


def test_081_a_look_without_memory_is_unknown_and_the_sweep_goes_on(place: Place) -> None:
    before = place.daemon.agents()
    place.mirror.fail(errno.ENOMEM, "one/.dork/agent.json", "two/.dork")
    description = {"description": "read in the same sweep"}
    save(place.behind / "three", "three", **description)
    try:
        assert place.daemon.sweep("--full")["sickRoots"] == []
        assert changed(before, place.daemon.agents()) == {
            "one": UNCONFIRMED,
            "two": UNCONFIRMED,
            "three": description,
        }
    finally:
        place.mirror.fail(0)
        save(place.behind / "three", "three")
        place.daemon.sweep("--full")
    assert changed(before, place.daemon.agents()) == {}


def test_078_a_server_that_never_answers_holds_up_its_own_root_only(place: Place) -> None:
    daemon, before = place.daemon, place.daemon.agents()
    place.mirror.hang()
    with ThreadPoolExecutor(1) as caller:
        sweep = caller.submit(daemon.sweep)
        daemon.wait_until(lambda: place.mirror.waiting() > 0, "request that hangs")
        stuck = workers(daemon)
        save(place.local / "newcomer", "newcomer")
        daemon.wait_until(lambda: "newcomer" in daemon.agents(), "news of the other root")
        assert not sweep.done()
        assert sweep.result(DEADLINE)["sickRoots"] == [str(place.mirrored)]
    assert daemon.root(place.mirrored)["reason"] == "timed-out"
    after = changed(before, daemon.agents())
    assert after.pop("newcomer")
    assert after == dict.fromkeys(PROJECTS, UNCONFIRMED)
    # Killed long ago, and still there: nothing but an answer wakes it.
    assert [state(pid) for pid in stuck] == ["D"]


def test_078_a_daemon_stops_and_starts_while_a_server_never_answers(place: Place) -> None:
    daemon, before = place.daemon, place.daemon.agents()
    place.mirror.hang()
    daemon.sweep()
    assert place.mirror.waiting() > 0
    assert daemon.stop() == 0
    daemon.start()
    assert place.mirror.waiting() > 0
    assert daemon.root(place.mirrored)["reason"] == "timed-out"
    assert changed(before, daemon.agents()) == dict.fromkeys(PROJECTS, UNCONFIRMED)
    place.mirror.release()
    daemon.sweep()
    assert changed(before, daemon.agents()) == {}


def test_078_a_directory_that_hangs_makes_its_root_sick_and_keeps_no_other_waiting(
    home: Path, root: Path, tmp_path: Path
) -> None:
    """The root itself answers; whatever vanished elsewhere is told without its walk."""
    behind, mirrored = tmp_path / "behind", tmp_path / "mirrored"
    mirrored.mkdir()
    for name in PROJECTS:
        save(behind / name, name)
    victim = save(root / "victim", "victim")
    alone = {"MESHD_SWEEP__INTERVAL": "24h", "MESHD_WATCH__BACKEND": "none"}
    with (
        Mirror(behind, mirrored) as mirror,
        Daemon(home, mirrored, root, environ=alone, through=IMPATIENT) as daemon,
    ):
        before = daemon.agents()
        mirror.hang("one/.dork")
        victim.manifest.unlink()
        daemon.sweep("--full")
        for _ in range(2):
            lost = changed(before, daemon.agents()).pop("victim")
            assert lost == {**UNREACHABLE, "unreachableReason": "manifest-missing"}
            assert daemon.root(mirrored)["reason"] == "timed-out"
            assert {daemon.agents()[name]["status"] for name in PROJECTS} == {"active"}
            assert daemon.sweep()["sickRoots"] == [str(mirrored)]
        assert len([one for one in daemon.logged("root_sick") if one["path"] == str(mirrored)]) == 1
        mirror.release()
        assert daemon.sweep()["sickRoots"] == []
        assert changed(before, daemon.agents()).keys() == {"victim"}
        mirror.die()


@pytest.mark.parametrize("backend", ["inotify", "none"])
def test_078_a_server_below_a_local_root_hangs_a_process_and_not_the_daemon(
    home: Path, root: Path, tmp_path: Path, backend: str
) -> None:
    """It is mounted while the daemon runs, by anybody; a call of the daemon's own never ended."""
    behind, mounted, other = tmp_path / "behind", root / "mounted", tmp_path / "other"
    mounted.mkdir()
    save(root / "one", "one")
    save(behind / "two", "two")
    save(other / "three", "three")
    alone = {"MESHD_SWEEP__INTERVAL": "24h", "MESHD_WATCH__BACKEND": backend}
    with (
        Daemon(home, root, other, environ=alone, through=IMPATIENT) as daemon,
        Mirror(behind, mounted) as mirror,
    ):
        daemon.sweep()
        assert daemon.agents().keys() == {"one", "two", "three"}
        before = daemon.agents()
        mirror.hang()
        assert daemon.sweep("--full")["sickRoots"] == [str(root)]
        save(other / "four", "four")
        daemon.sweep()
        assert changed(before, daemon.agents()).keys() <= {"one", "two", "four"}
        assert daemon.agents()["four"]["status"] == "active"
        assert daemon.stop() == 0
        assert mirror.waiting() > 0
        mirror.die()


def test_078_a_server_below_a_root_that_is_a_root_itself_costs_the_outer_one_nothing(
    home: Path, root: Path, tmp_path: Path
) -> None:
    behind, mounted = tmp_path / "behind", root / "mounted"
    mounted.mkdir()
    save(behind / "two", "two")
    alone = {"MESHD_SWEEP__INTERVAL": "24h"}
    with (
        Mirror(behind, mounted) as mirror,
        Daemon(home, root, mounted, environ=alone, through=IMPATIENT) as daemon,
    ):
        mirror.hang()
        save(root / "one", "one")
        assert daemon.sweep("--full")["sickRoots"] == [str(mounted)]
        assert daemon.agents().keys() == {"one", "two"}
        assert daemon.root(root)["watchedDirectories"] == daemon.root(root)["wantedDirectories"] > 0
        mirror.die()


def workers(daemon: Daemon) -> list[int]:
    """Return the processes that the daemon has started."""
    pid = daemon.process.pid
    children = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for listed in children for child in listed.read_text().split()]


def state(pid: int) -> str:
    """Return the letter of a process's state: D sleeps where no signal reaches it."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
