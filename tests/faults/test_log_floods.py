"""Row 50 and I17, of the log: a flood of refused manifests is told in few lines.

Counts alone: the change log of the database has each of them, the log a bounded number of lines
for each time it comes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from meshd.committer import TOLD_ONE_BY_ONE
from tests.faults.hostile import CANARY
from tests.system.daemon import Daemon
from tests.system.trees import save, save_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

FLOOD: Final = 1000
LINES: Final = 30
"""What a start, a sweep and the reports of their commits take, and some room."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("floods") / "root"


@pytest.fixture(scope="module")
def daemon(root: Path) -> Iterator[Daemon]:
    home = root.parent / "h"
    home.mkdir()
    flood(root, CANARY.encode())
    save(root / "neighbour", "neighbour")
    with Daemon(home, root) as running:
        yield running


def flood(root: Path, content: bytes) -> None:
    for number in range(FLOOD):
        save_bytes(root / f"p{number}", "bad", content)


def lines(daemon: Daemon) -> int:
    return len(daemon.log.splitlines())


def test_050_a_flood_at_the_start_is_few_lines(daemon: Daemon) -> None:
    assert daemon.agents().keys() == {"neighbour"}
    assert daemon.status()["claims"]["invalid"] == FLOOD
    assert lines(daemon) < LINES


def test_050_a_flood_that_stays_is_told_no_more(daemon: Daemon) -> None:
    """A sweep over what is known adds its own line, a full one too; so does a new start."""
    before = lines(daemon)
    daemon.sweep()
    daemon.sweep("--full")
    assert lines(daemon) - before == 2
    assert daemon.stop() == 0
    daemon.start()
    assert lines(daemon) - before < LINES


def test_050_a_flood_that_changes_under_the_watch_is_few_lines(daemon: Daemon, root: Path) -> None:
    for content in (b"[]", b"", b"\xff"):
        before = lines(daemon)
        flood(root, content)
        daemon.ask("sync")
        assert lines(daemon) - before < TOLD_ONE_BY_ONE + LINES
    assert daemon.agents().keys() == {"neighbour"}
    assert daemon.agents()["neighbour"]["confirmed"]


def test_050_the_operator_finds_the_count_and_examples(daemon: Daemon, root: Path) -> None:
    assert daemon.status()["claims"]["invalid"] == FLOOD
    said = daemon.cli("doctor").stdout
    assert str(FLOOD) in said
    assert len(said.splitlines()) < 2 * LINES
    assert str(root) in said
