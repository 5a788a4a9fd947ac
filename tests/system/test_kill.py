"""Kill -9 at any moment: the next start and one sweep make the list what is on disk."""

from __future__ import annotations

import contextlib
import random
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest

from tests.system.daemon import Daemon
from tests.system.trees import Project, plant, save

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROUNDS: Final = 10


def test_a_daemon_killed_while_it_imports_imports_the_rest(home: Path, root: Path) -> None:
    """One round of what the slow tests do twenty times."""
    killed_while_importing(Daemon(home, root), plant(root, 300), 0.05)


@pytest.mark.slow
def test_a_daemon_killed_at_any_moment_of_an_import_imports_the_rest(
    home: Path, root: Path
) -> None:
    projects = plant(root, 1000)
    chance = random.Random(2)
    for _ in range(ROUNDS):
        killed_while_importing(Daemon(home, root), projects, chance.uniform(0.0, 0.4))


def killed_while_importing(daemon: Daemon, projects: list[Project], seconds: float) -> None:
    """Start over an empty state directory, die, and be right after the next start."""
    shutil.rmtree(daemon.state, ignore_errors=True)
    daemon.launch()
    with daemon:
        daemon.await_answering()
        die_after(daemon, seconds)
        assert_right(daemon, projects)
        daemon.kill()


@pytest.mark.slow
def test_a_daemon_killed_while_it_sweeps_is_right_after_the_next(home: Path, root: Path) -> None:
    projects = plant(root, 500)
    chance = random.Random(3)
    with Daemon(home, root) as daemon:
        for number in range(ROUNDS):
            projects = [shaken(one, number, chance) for one in projects]
            with sweeping(daemon):
                die_after(daemon, chance.uniform(0.1, 0.6))
            assert_right(daemon, projects)


def shaken(one: Project, number: int, chance: random.Random) -> Project:
    """Edit, delete or move a project, or leave it alone; return where it is then."""
    fate = chance.random()
    if not one.manifest.exists():
        return save(one.path, one.id) if fate < 0.5 else one
    if fate < 0.2:
        save(one.path, one.id, description=f"edited in round {number}")
    elif fate < 0.25:
        one.manifest.unlink()
    elif fate < 0.3:
        # The manifest alone moves: what lies inside the project stays where it is.
        target = one.path.with_name(f"moved-{one.id}-{number}")
        (target / ".dork").mkdir(parents=True)
        one.manifest.rename(target / ".dork" / "agent.json")
        return Project(one.id, target)
    return one


@contextlib.contextmanager
def sweeping(daemon: Daemon) -> Iterator[None]:
    """Ask for a sweep, and do not wait for its answer before the block has ended."""
    asked = subprocess.Popen(
        [sys.executable, "-m", "meshd", "sweep", "--full"],
        env=daemon.environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        asked.wait()


def die_after(daemon: Daemon, seconds: float) -> None:
    """Kill the daemon after a time, whatever it does then."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        daemon.process.wait(seconds)
        raise AssertionError(daemon.log)
    daemon.kill()


def assert_right(daemon: Daemon, projects: list[Project]) -> None:
    """Start and sweep once: the list is the disk, and the database is whole."""
    daemon.start(ready=False)
    daemon.sweep("--confirm")
    on_disk = {one.id: str(one.path) for one in projects if one.manifest.exists()}
    live = {
        agent_id: agent["projectPath"]
        for agent_id, agent in daemon.agents().items()
        if agent["status"] == "active"
    }
    assert live == on_disk
    assert daemon.cli("db", "check").returncode == 0
