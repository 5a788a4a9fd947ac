"""What happens to events: lost, too many, of a tree that left, that came, or that is another now.

A sweep is a day away: only events can tell, unless a test asks for more.
The tests stand in the order in which one daemon lives: a later one begins where another ended.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.faults.tools import needs_root
from tests.system.daemon import DEADLINE, REPOSITORY, Daemon
from tests.system.live import configured, is_watched
from tests.system.trees import plant, save

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.slow

PROJECTS: Final = 200
DEPTH: Final = 1200
DEEPEST: Final = 64
"""The most that `scan.max_depth` may be."""
QUEUE: Final = Path("/proc/sys/fs/inotify/max_queued_events")


USERS: Final = """
import sys, meshd.daemon
found = set()
for name, module in sys.modules.items():
    if name.startswith("meshd."):
        for value in vars(module).values():
            source = getattr(value, "__module__", None) or ""
            if source.startswith("watchdog.observers"):
                found |= {name, source}
print(*sorted(found))
"""
"""Says which of our modules have something of the library's observers, and of which."""


@dataclass
class Watch:
    """A daemon that watches two roots; `outside` is neither.

    Attributes:
        fresh: a root that the tests of roots use up.
    """

    daemon: Daemon
    root: Path
    fresh: Path
    outside: Path

    def events(self) -> int:
        """Return how many events of the root were understood so far."""
        return int(self.daemon.root(self.root)["events"])

    def overflows(self) -> int:
        return int(self.daemon.root(self.root)["overflows"])

    def sees(self, agent_id: str, **fields: object) -> None:
        """Wait until a row says this."""

        def shows() -> bool:
            row = self.daemon.agents().get(agent_id, {})
            return all(row.get(key, ...) == value for key, value in fields.items()) and bool(row)

        self.daemon.wait_until(shows, f"{agent_id} with {fields}", 20)


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watch]:
    base = tmp_path_factory.mktemp("w")
    root, fresh, outside, home = (base / name for name in ("root", "fresh", "outside", "h"))
    for directory in (root, fresh, outside, home):
        directory.mkdir()
    plant(root, PROJECTS)
    for number in range(3):
        save(fresh / f"p{number}", f"fresh-{number}")
    config = configured(root, fresh).replace("[scan]", f"[scan]\nmax_depth = {DEEPEST}")
    strict = {"PYTHONWARNINGS": "error"}
    with Daemon(home, config=config, environ=strict) as daemon:
        assert is_watched(daemon, root)
        yield Watch(daemon, root, fresh, outside)
    # Deeper than the recursion of what clears the directory away.
    subprocess.run(["rm", "-rf", root, outside], check=True)


def test_085_and_086_lost_events_are_made_good_once(watch: Watch) -> None:
    """The recovery makes no events of its own, or it would never end."""
    victim = save(watch.root / "victim", "victim")
    watch.sees("victim")
    before = watch.overflows()
    os.kill(watch.daemon.process.pid, signal.SIGSTOP)
    try:
        draft = victim.manifest.with_suffix(".draft")
        for _ in range(int(QUEUE.read_text()) // 2 + 100):
            draft.touch()
            draft.unlink()
        found = save(watch.root / "team-000" / "found", "found")
        victim.manifest.unlink()
    finally:
        os.kill(watch.daemon.process.pid, signal.SIGCONT)
    watch.sees("found", status="active")
    watch.sees("victim", status="unreachable")
    assert watch.overflows() == before + 1
    watch.daemon.ask("sync")
    settled = watch.events()
    for _ in range(3):
        watch.daemon.sweep("--full")
    assert (watch.overflows(), watch.events()) == (before + 1, settled)
    save(found.path, "found", description="heard again")
    watch.sees("found", description="heard again")


def test_087_the_daemons_own_reading_is_no_event(watch: Watch) -> None:
    watch.daemon.ask("sync")
    before = watch.events()
    for _ in range(3):
        assert watch.daemon.sweep("--full")["drift"] == 0
    assert watch.events() == before


def test_088_a_tree_deeper_than_the_interpreters_stack_can_be_moved_in(watch: Watch) -> None:
    assert sys.getrecursionlimit() < DEPTH
    here = watch.outside / "deep"
    here.mkdir()
    for _ in range(DEPTH):
        here = here / "d"
        here.mkdir()
    seen = Path("deep").joinpath(*["d"] * (DEEPEST - 1))
    for project in (seen, seen / "d"):
        save(watch.outside / project, f"depth-{len(project.parts)}")
    (watch.outside / "deep").rename(watch.root / "deep")
    watch.sees(f"depth-{DEEPEST}", projectPath=str(watch.root / seen))
    save(watch.root / seen, f"depth-{DEEPEST}", description="watched down there")
    watch.sees(f"depth-{DEEPEST}", description="watched down there")
    assert f"depth-{DEEPEST + 1}" not in watch.daemon.agents()


def test_091_a_root_deleted_and_made_again_is_watched_again(watch: Watch) -> None:
    shutil.rmtree(watch.fresh)
    watch.daemon.wait_until(
        lambda: watch.daemon.root(watch.fresh)["state"] == "sick", "sick root", 20
    )
    assert {watch.daemon.agents()[f"fresh-{n}"]["status"] for n in range(3)} == {"active"}
    for number in range(3):
        save(watch.fresh / f"p{number}", f"fresh-{number}")
    watch.daemon.sweep()  # which recognises the root by the agents in it
    assert watch.daemon.root(watch.fresh)["state"] == "healthy"
    save(watch.fresh / "p0", "fresh-0", description="heard in the new one")
    watch.sees("fresh-0", description="heard in the new one")


@needs_root
def test_092_an_unmount_is_noticed_though_it_makes_no_event(
    home: Path, root: Path, tmp_path: Path, mount: Callable[..., None]
) -> None:
    disk = tmp_path / "disk"
    one = save(disk / "one", "one")
    mount("--bind", disk, root)
    with Daemon(home, config=configured(root)) as daemon:
        watch = Watch(daemon, root, root, tmp_path)
        subprocess.run(["umount", root], check=True)
        daemon.wait_until(lambda: daemon.root(root)["state"] == "sick", "sick root", 20)
        one.manifest.unlink()
        assert daemon.agents()["one"]["status"] == "active"
        save(one.path, "one", description="changed meanwhile")
        mount("--bind", disk, root)
        watch.sees("one", description="changed meanwhile", confirmed=True)
        save(one.path, "one", description="watched again")
        watch.sees("one", description="watched again")


def test_093_what_happens_to_a_directory_that_left_is_nobodys_business(watch: Watch) -> None:
    save(watch.root / "leaver", "leaver", description="as it left")
    watch.sees("leaver")
    away = (watch.root / "leaver").rename(watch.outside / "leaver")
    watch.sees("leaver", status="unreachable", unreachableReason="project-missing")
    before = watch.events()
    save(away, "somebody-else")
    save(away, "leaver", description="as it is outside")
    watch.daemon.ask("sync")
    assert watch.events() == before
    row = watch.daemon.agents()["leaver"]
    assert (row["status"], row["description"]) == ("unreachable", "as it left")
    assert "somebody-else" not in watch.daemon.agents()


def test_094_all_that_comes_in_with_a_directory_is_found(watch: Watch) -> None:
    for number in range(30):
        save(watch.outside / "full" / f"g{number % 3}" / f"p{number}", f"came-{number}")
    (watch.outside / "full").rename(watch.root / "full")
    for number in range(30):
        watch.sees(f"came-{number}", status="active")


def test_095_a_directory_deleted_and_made_again_is_heard(watch: Watch) -> None:
    for number in range(10):
        save(watch.root / "again" / "p", "again", description=str(number))
        watch.sees("again", status="active", description=str(number))
        shutil.rmtree(watch.root / "again")
    watch.sees("again", status="unreachable")


def test_096_the_library_that_warns_at_every_watch_is_not_used(watch: Watch) -> None:
    """The emitter is our own; and a warning of any kind would be an error of this daemon."""
    modules = subprocess.run(
        [sys.executable, "-c", USERS],
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
        timeout=DEADLINE,
    ).stdout.split()
    assert modules == ["meshd.watcher.observer", "watchdog.observers.api"]
    assert "Warning" not in watch.daemon.log


def test_097_a_storm_on_one_path_is_few_changes_and_ends_right(watch: Watch) -> None:
    saves = 2000
    project = save(watch.root / "storm", "storm")
    watch.sees("storm")
    seq = watch.daemon.status()["seq"]
    for number in range(saves):
        save(project.path, "storm", description=f"save {number}")
    watch.daemon.ask("sync")
    assert watch.daemon.agents()["storm"]["description"] == f"save {saves - 1}"
    with watch.daemon.client() as client:
        changes = [one for one in client.events(seq)["events"] if one["agentId"] == "storm"]
    assert {one["kind"] for one in changes} == {"updated"}
    assert len(changes) < saves / 2


def test_098_what_changes_while_a_sweep_walks_is_not_lost(watch: Watch) -> None:
    ended = threading.Event()

    def sweep() -> None:
        with watch.daemon.client() as client:
            while not ended.is_set():
                client.sweep(full=True)

    sweeping = threading.Thread(target=sweep)
    sweeping.start()
    try:
        for number in range(5):
            save(watch.root / "team-001" / "busy", "busy", description=str(number))
            with watch.daemon.client() as client:
                client.sync()
            assert watch.daemon.agents()["busy"]["description"] == str(number)
    finally:
        ended.set()
        sweeping.join()


def test_099_what_lies_behind_a_symlink_is_not_watched(watch: Watch) -> None:
    save(watch.outside / "behind" / "p", "behind")
    (watch.root / "link").symlink_to(watch.outside / "behind")
    watch.daemon.ask("sync")
    before = watch.events()
    save(watch.outside / "behind" / "p", "behind", description="changed")
    watch.daemon.ask("sync")
    assert watch.events() == before
    assert "behind" not in watch.daemon.agents()
    assert not [path for path in watch.daemon.claims() if "/link" in path]
