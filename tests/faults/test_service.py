"""The process as a service: it starts again whatever lies in its roots."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.hostile import plant
from tests.faults.tools import needs_root
from tests.system.daemon import Daemon
from tests.system.trees import save

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


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
