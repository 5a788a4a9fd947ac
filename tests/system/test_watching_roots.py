"""What is watched follows roots and denials, and costs no thread a root and no time idle."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.daemon import Daemon
from tests.system.live import (
    NO_SWEEP,
    TURNS_AT_REST,
    VISIBLE,
    configured,
    is_asleep,
    is_watched,
    turns_per_second,
)
from tests.system.trees import plant, save


def test_a_reload_that_adds_a_root_watches_it(home: Path, root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with Daemon(home, config=configured(root)) as daemon:
        daemon.configure(configured(root, other))
        daemon.ask("reload")
        daemon.wait_until(lambda: is_watched(daemon, other), "watched root")
        save(other / "one", "one")
        daemon.wait_until(lambda: "one" in daemon.agents(), "the new root's agent", VISIBLE)
        assert daemon.agents()["one"]["scanRoot"] == str(other)


def test_a_denied_directory_makes_no_event_and_an_allowed_one_does(home: Path, root: Path) -> None:
    one = save(root / "group" / "one", "one")
    save(root / "other", "other")
    with Daemon(home, root, config=NO_SWEEP) as daemon, daemon.client() as client:
        client.deny(str(one.path))
        client.sync()
        before = daemon.root(root)["events"]
        for number in range(50):
            save(one.path, "one", description=str(number))
        client.sync()
        assert before == daemon.root(root)["events"]
        assert daemon.agents().keys() == {"other"}
        client.allow(str(one.path))
        assert daemon.agents()["one"]["description"] == "49"
        save(one.path, "one", description="heard again")
        daemon.wait_until(
            lambda: daemon.agents()["one"]["description"] == "heard again", "update", VISIBLE
        )
        assert before < daemon.root(root)["events"]


def threads(daemon: Daemon) -> list[str]:
    """Return the names of the daemon's threads."""
    tasks = Path(f"/proc/{daemon.process.pid}/task").iterdir()
    return sorted((task / "comm").read_text().strip() for task in tasks)


def test_the_number_of_threads_does_not_depend_on_that_of_the_roots(tmp_path: Path) -> None:
    counts = []
    for number in (1, 20):
        home = tmp_path / f"h{number}"
        home.mkdir()
        roots = [tmp_path / f"roots-{number}" / str(n) for n in range(number)]
        for root in roots:
            save(root / "one", f"one-{root.name}")
        with Daemon(home, *roots, config=NO_SWEEP) as daemon:
            assert all(is_watched(daemon, root) for root in roots)
            counts.append(threads(daemon))
    assert len(counts[0]) == len(counts[1]), counts


@pytest.mark.slow
def test_a_daemon_without_work_hardly_stirs(home: Path, root: Path) -> None:
    plant(root, 500)
    with Daemon(home, root, config=NO_SWEEP) as daemon:
        daemon.ask("sync")
        daemon.wait_until(lambda: is_asleep(daemon), "rest")
        assert turns_per_second(daemon, 5.0) < TURNS_AT_REST
