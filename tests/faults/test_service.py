"""The process as a service: it starts again whatever lies in its roots."""

from __future__ import annotations

import contextlib
import gc
import shutil
import socket
import sys
from typing import TYPE_CHECKING, Final

import pytest

from meshd import daemon as serving
from meshd import memory, opening
from meshd.config.settings import ScanSettings, Settings
from meshd.errors import StoreError
from tests.faults.hostile import plant
from tests.faults.tools import needs_root
from tests.system.daemon import Daemon
from tests.system.trees import save

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow

PINGS: Final = 3


@needs_root
def test_171_no_manifest_keeps_the_daemon_from_starting_again(home: Path, root: Path) -> None:
    """First with an empty database; then with one that knows them all, after a kill."""
    save(root / "healthy", "healthy")
    plant(root / "hostile")
    daemon = Daemon(home, root)
    daemon.start()
    assert daemon.claims()
    daemon.kill()
    with daemon:
        daemon.start()
        assert daemon.agents()["healthy"]["status"] == "active"
        assert daemon.status()["degraded"] is None


def test_165_a_sick_root_does_not_starve_the_watchdog(home: Path, root: Path) -> None:
    """To be started again would not heal it."""
    save(root / "one", "one")
    other = root.with_name("other")
    save(other / "two", "two")
    with Daemon(home, root, other, environ={"WATCHDOG_USEC": "2000000"}) as daemon:
        shutil.rmtree(other)
        daemon.sweep()
        assert daemon.root(other)["state"] == "sick"
        daemon.notified()
        said: list[str] = []

        def is_fed() -> bool:
            said.append(daemon.notified())
            return "\n".join(said).count("WATCHDOG=1") >= PINGS

        daemon.wait_until(is_fed, "ping")
        assert daemon.root(other)["state"] == "sick"
        assert "1 sick roots" in "\n".join(said)


def test_166_more_time_is_asked_for_while_the_database_is_examined(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large one takes longer than the manager waits for a start."""
    notify = tmp_path / "notify"
    environ = {"NOTIFY_SOCKET": str(notify), "XDG_STATE_HOME": str(tmp_path / "state")}

    def examine_long(
        path: Path, *, expected: bool, thorough: bool, beat: Callable[[], None]
    ) -> None:
        assert (path.name, expected, thorough) == (opening.DATABASE, False, False)
        for _ in range(PINGS):
            beat()
        raise StoreError("examined for long enough")

    monkeypatch.setattr(serving, "TICK", 0.0)
    monkeypatch.setattr(opening, "examine", examine_long)
    # What a daemon sets for its whole process stays as it is in this one.
    monkeypatch.setattr(serving, "SWITCH_INTERVAL", sys.getswitchinterval())
    monkeypatch.setattr(memory, "YOUNG_OBJECTS", gc.get_threshold())
    settings = Settings(scan=ScanSettings(roots=(str(root),)))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(notify))
        manager.setblocking(False)
        with pytest.raises(StoreError, match="long enough"):
            serving.run(settings, lambda: settings, config_path=None, environ=environ)
        said = []
        with contextlib.suppress(BlockingIOError):
            while True:
                said.append(manager.recv(4096).decode())
    assert said == [f"EXTEND_TIMEOUT_USEC={round(serving.OPENING_STEP * 1_000_000)}"] * PINGS
