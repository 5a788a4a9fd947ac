"""A disk that refuses under a whole daemon: each refusal is the kernel's own, made by strace.

One daemon bears them all, one after the other. While the disk refuses, it answers what is
committed, acknowledges nothing that is not, and says what is wrong; once the disk is well again,
so is the daemon: the same process, the same database, nothing to be done by anybody.
"""

from __future__ import annotations

import contextlib
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.faults.tools import needs_root, needs_tool
from tests.system.daemon import DEADLINE, Daemon
from tests.system.test_state import fill
from tests.system.trees import plant, save

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.slow, needs_root, needs_tool("strace")]

AGENTS: Final = 12


@dataclass(frozen=True)
class Refusal:
    """A way in which the disk refuses.

    Attributes:
        inject: what strace does to which calls.
        is_writing: whether only what writes is refused.
        may_sweep: whether a sweep that finds something may succeed meanwhile.
    """

    inject: str
    is_writing: bool = True
    may_sweep: bool = False

    @property
    def is_lasting(self) -> bool:
        """Whether every such call is refused."""
        return "when" not in self.inject


REFUSALS: Final = {
    "101_a_disk_is_full": Refusal("pwrite64,ftruncate,write:error=ENOSPC"),
    "101_a_quota_is_used_up": Refusal("pwrite64,write:error=EDQUOT"),
    "102_a_sync_fails": Refusal("fsync,fdatasync:error=EIO"),
    "102_one_sync_fails": Refusal("fsync,fdatasync:error=EIO:when=1"),
    "103_a_write_fails": Refusal("pwrite64,write:error=EIO"),
    "103_every_other_write_fails": Refusal("pwrite64,write:error=EIO:when=2+2"),
    "104_a_read_fails": Refusal("pread64:error=EIO", is_writing=False),
    "104_one_read_fails": Refusal("pread64:error=EIO:when=1", is_writing=False),
    # What is open stays open, and may do for a sweep; a denial needs its mirror to be written.
    "101_no_descriptor_is_left": Refusal("openat:error=EMFILE", is_writing=False, may_sweep=True),
}


class Stage:
    """A daemon, and the disk beneath it."""

    def __init__(self, daemon: Daemon, root: Path, notes: Path) -> None:
        self.daemon = daemon
        self.root = root
        self._notes = notes
        self.pid = daemon.process.pid
        self.epoch = daemon.status()["epoch"]

    @contextlib.contextmanager
    def refusing(self, refusal: Refusal) -> Iterator[Path]:
        """Let the disk refuse for the length of a block; yield what strace has noted."""
        state = self.daemon.state
        names = ("meshd.db", "meshd.db-wal", "policy.json", "policy.tmp")
        paths = [word for name in names for word in ("-P", str(state / name))]
        words = ["-f", "-o", str(self._notes), *paths, "-e", f"inject={refusal.inject}"]
        tracer = subprocess.Popen(
            ["strace", *words, "-p", str(self.pid)], stderr=subprocess.DEVNULL
        )
        try:
            self.daemon.wait_until(self._is_traced, "strace")
            yield self._notes
        finally:
            tracer.terminate()  # it lets go of the daemon
            tracer.wait(DEADLINE)

    def assert_well(self, agents: set[str], *, denied: bool) -> None:
        """The same process and database, in step with the files, with what was acknowledged."""
        daemon = self.daemon
        daemon.wait_until(lambda: daemon.cli("sweep").returncode == 0, "sweep")
        daemon.wait_until(lambda: daemon.status()["degraded"] is None, "end of degraded")
        assert daemon.agents().keys() == agents
        assert {agent["status"] for agent in daemon.agents().values()} == {"active"}
        assert len(daemon.ask("denied")["denied"]) >= denied
        daemon.cli("allow", str(self.root / "none"))
        assert daemon.cli("db", "check").returncode == 0
        assert (daemon.process.pid, daemon.running) == (self.pid, True)
        assert daemon.status()["epoch"] == self.epoch
        assert list(daemon.state.glob("*.corrupt-*")) == []
        # Nobody was interrupted: the database is opened anew only when it is another one.
        assert events(daemon, 0).count("started") == 1

    def _is_traced(self) -> bool:
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        states = [(task / "status").read_text() for task in tasks]
        return not any("TracerPid:\t0\n" in state for state in states)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    place = tmp_path_factory.mktemp("d")
    (place / "h").mkdir()
    (place / "root").mkdir()
    plant(place / "root", AGENTS)
    with Daemon(place / "h", place / "root") as daemon:
        yield Stage(daemon, place / "root", place / "strace")
        assert daemon.stop() == 0


@pytest.mark.parametrize("name", REFUSALS)
def test_101_to_104_a_disk_that_refuses_degrades_and_costs_nothing(stage: Stage, name: str) -> None:
    daemon, before = stage.daemon, stage.daemon.agents()
    refusal, said = REFUSALS[name], len(daemon.logged())
    newcomer = f"new-{len(before)}"
    with stage.refusing(refusal) as notes:
        save(stage.root / newcomer, newcomer)
        swept = daemon.cli("sweep")
        denied = daemon.cli("deny", str(stage.root / "none"))
        if refusal.is_lasting:
            assert denied.returncode == 1, denied.stderr
            assert swept.returncode == 1 or refusal.may_sweep, swept.stdout
            if refusal.is_writing:
                # What is committed is answered, and what is wrong is said.
                assert daemon.agents() == before
                daemon.wait_until(lambda: daemon.status()["degraded"] is not None, "degraded")
                assert "degraded" in daemon.cli("status").stdout
                findings = daemon.ask("doctor")["findings"]
                assert "degraded" in {finding["code"] for finding in findings}
            daemon.wait_until(lambda: "degraded" in events(daemon, said), "degraded in the log")
        assert daemon.running
    assert "(INJECTED)" in notes.read_text()
    stage.assert_well(before.keys() | {newcomer}, denied=denied.returncode == 0)
    if refusal.is_lasting:
        daemon.wait_until(lambda: "recovered" in events(daemon, said), "recovered in the log")


def events(daemon: Daemon, said: int) -> list[str]:
    """Return the events in the log after so many."""
    return [entry["event"] for entry in daemon.logged()[said:]]


def test_101_a_full_disk_is_borne_by_the_running_and_by_the_starting_daemon(
    tmp_path: Path, mount: Callable[..., None]
) -> None:
    """The last byte of a tmpfs is taken; killed, the daemon starts again and answers."""
    home, root = tmp_path / "h", tmp_path / "root"
    (home / "state").mkdir(parents=True)
    mount("-t", "tmpfs", "-o", "size=16m", "tmpfs", home / "state")
    plant(root, AGENTS)
    denied = save(root / "denied", "denied")
    with Daemon(home, root) as daemon:
        daemon.ask("deny", str(denied.path))
        before, epoch = daemon.agents(), daemon.status()["epoch"]
        ballast = home / "state" / "ballast"
        fill(ballast)
        for number in range(40):
            save(root / f"more-{number}", f"more-{number}", description="x" * 20_000)
        for start in ("running", "started"):
            if start == "started":
                daemon.kill()
                daemon.start(ready=False)
            assert daemon.cli("sweep").returncode == 1
            daemon.wait_until(lambda: daemon.status()["degraded"] is not None, "degraded")
            assert "degraded" in daemon.cli("status").stdout
            codes = {finding["code"] for finding in daemon.ask("doctor")["findings"]}
            assert codes >= {"degraded", "disk-full"}
            assert daemon.agents().items() >= before.items()
            assert [one["path"] for one in daemon.ask("denied")["denied"]] == [str(denied.path)]
        ballast.unlink()
        daemon.sweep()
        daemon.wait_until(lambda: daemon.status()["degraded"] is None, "end of degraded")
        assert len(daemon.agents()) == AGENTS + 40
        assert daemon.status()["epoch"] == epoch
        assert len(daemon.logged("degraded")) <= 4
        assert daemon.stop() == 0
