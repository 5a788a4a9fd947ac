"""R10: where nothing has changed, nothing happens."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from tests.system.daemon import Daemon
from tests.system.trees import commit_project, plant, save, save_bytes

if TYPE_CHECKING:
    from pathlib import Path


def commits(daemon: Daemon) -> float:
    """Return how many transactions have written so far."""
    found = re.search(
        r"^meshd_writer_commits_total (\S+)$", daemon.cli("metrics").stdout, re.MULTILINE
    )
    assert found is not None
    return float(found[1])


def test_a_sweep_that_finds_nothing_commits_nothing_and_logs_one_line(
    home: Path, root: Path
) -> None:
    plant(root, 20)
    with Daemon(home, root) as daemon:
        daemon.sweep()
        before = (commits(daemon), daemon.status()["seq"], daemon.agents())
        lines = len(daemon.log.splitlines())
        for options in ((), ("--full",), ()):
            daemon.sweep(*options)
        assert before == (commits(daemon), daemon.status()["seq"], daemon.agents())
        new = [json.loads(line)["event"] for line in daemon.log.splitlines()[lines:]]
        assert new == ["swept"] * 3


def test_what_is_wrong_but_known_is_told_once(home: Path, root: Path, tmp_path: Path) -> None:
    save_bytes(root / "broken", "broken", b"{")
    commit_project(root / "b", "twice")
    save(root / "a", "twice")
    with Daemon(home, root, tmp_path / "missing") as daemon:
        daemon.sweep()
        before = (commits(daemon), daemon.status()["seq"], daemon.agents())
        lines = len(daemon.log.splitlines())
        daemon.sweep()
        daemon.sweep("--full")
        assert before == (commits(daemon), daemon.status()["seq"], daemon.agents())
        new = [json.loads(line)["event"] for line in daemon.log.splitlines()[lines:]]
        assert new == ["swept"] * 2


def test_a_restart_over_an_unchanged_tree_changes_no_row(home: Path, root: Path) -> None:
    plant(root, 20)
    with Daemon(home, root) as daemon:
        before = (daemon.status()["seq"], daemon.status()["epoch"], daemon.agents())
        assert daemon.stop() == 0
        daemon.start()
        assert before == (daemon.status()["seq"], daemon.status()["epoch"], daemon.agents())


def test_while_a_row_waits_a_sweep_commits_its_clock_only(home: Path, root: Path) -> None:
    one = save(root / "one", "one")
    with Daemon(home, root) as daemon:
        one.manifest.unlink()
        daemon.sweep()
        seq, waited = daemon.status()["seq"], daemon.agents()["one"]["unreachableFor"]
        daemon.sweep()
        assert seq == daemon.status()["seq"]
        assert daemon.agents()["one"]["unreachableFor"] > waited
