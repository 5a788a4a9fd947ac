"""Roots that go away and come back, as disks and mounts do."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Final

import pytest

from tests.system.conftest import needs_root
from tests.system.daemon import Daemon
from tests.system.difference import changed
from tests.system.trees import save

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.system.trees import Project

BOUND_BY_MODES: Final = (
    ("setpriv", "--bounding-set", "-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
)
"""Runs a daemon whom permissions bind, root too."""


def fill(directory: Path, count: int = 6) -> list[Project]:
    return [save(directory / f"p{n}", f"{directory.name}-{n}") for n in range(count)]


def unmount(target: Path) -> None:
    subprocess.run(["umount", target], check=True)


@needs_root
def test_an_unmounted_root_freezes_its_agents_and_no_other(
    home: Path, root: Path, tmp_path: Path, mount: Callable[..., None]
) -> None:
    """Fault 72, with a file system that is empty when it comes back: it is another one."""
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    mount("-t", "tmpfs", "tmpfs", mounted)
    frozen, (neighbour,) = fill(mounted), fill(root, 1)
    with Daemon(home, mounted, root) as daemon:
        before = daemon.agents()
        unmount(mounted)
        neighbour.manifest.unlink()
        answer = daemon.sweep()
        assert [str(mounted)] == answer["sickRoots"]
        after = changed(before, daemon.agents())
        assert {neighbour.id, *(one.id for one in frozen)} == after.keys()
        assert [{"confirmed": False}] * len(frozen) == [after[one.id] for one in frozen]
        assert daemon.root(mounted)["reason"] == "not-mounted"
        mount("-t", "tmpfs", "tmpfs", mounted)
        daemon.sweep()
        assert daemon.root(mounted)["reason"] == "identity-changed"
        assert after == changed(before, daemon.agents())


@needs_root
def test_a_root_that_is_mounted_again_is_the_same_root(
    home: Path, root: Path, tmp_path: Path, mount: Callable[..., None]
) -> None:
    disk = tmp_path / "disk"
    projects = fill(disk)
    mount("--bind", disk, root)
    with Daemon(home, root) as daemon:
        before = daemon.agents()
        unmount(root)
        daemon.sweep()
        assert {one.id: {"confirmed": False} for one in projects} == changed(
            before, daemon.agents()
        )
        mount("--bind", disk, root)
        projects[0].manifest.unlink()
        assert daemon.sweep()["sickRoots"] == []
        # What happened while it was away is found at once: the root is healthy.
        assert {projects[0].id} == changed(before, daemon.agents()).keys()


@needs_root
def test_what_is_mounted_below_a_root_freezes_alone(
    home: Path, root: Path, mount: Callable[..., None]
) -> None:
    """An absence on another file system than the row's proves nothing."""
    below = root / "below"
    below.mkdir()
    mount("-t", "tmpfs", "tmpfs", below)
    frozen, (neighbour,) = fill(below, 2), fill(root, 1)
    with Daemon(home, root) as daemon:
        before = daemon.agents()
        unmount(below)
        daemon.sweep()
        assert {one.id: {"confirmed": False} for one in frozen} == changed(before, daemon.agents())
        assert daemon.root(root)["state"] == "healthy"
        assert daemon.agents()[neighbour.id]["confirmed"]


@needs_root
def test_an_accepted_root_is_judged_as_it_is_now(
    home: Path, root: Path, mount: Callable[..., None]
) -> None:
    mount("-t", "tmpfs", "tmpfs", root)
    old = fill(root, 2)
    with Daemon(home, root) as daemon:
        unmount(root)
        mount("-t", "tmpfs", "tmpfs", root)
        new = save(root / "new", "new")
        daemon.sweep()
        assert {one.id for one in old} == daemon.agents().keys()
        daemon.ask("roots", "accept", str(root))
        daemon.sweep()
        agents = daemon.agents()
        assert {one.id: "unreachable" for one in old} | {new.id: "active"} == {
            agent_id: agent["status"] for agent_id, agent in agents.items()
        }


def test_a_root_that_is_missing_at_the_start_is_sick_until_it_appears(
    home: Path, root: Path, tmp_path: Path
) -> None:
    """Fault 75."""
    late = tmp_path / "late"
    (early,) = fill(root, 1)
    with Daemon(home, late, root) as daemon:
        assert (daemon.root(late)["state"], daemon.root(late)["reason"]) == ("sick", "missing")
        assert {early.id} == daemon.agents().keys()
        assert [str(late)] == daemon.sweep()["sickRoots"]
        (one,) = fill(late, 1)
        assert daemon.sweep()["sickRoots"] == []
        assert {early.id, one.id} == daemon.agents().keys()
        assert daemon.root(late)["state"] == "healthy"


def test_a_root_that_is_missing_at_a_restart_keeps_its_agents(
    home: Path, root: Path, tmp_path: Path
) -> None:
    projects = fill(root)
    with Daemon(home, root) as daemon:
        before = daemon.agents()
        assert daemon.stop() == 0
        root.rename(tmp_path / "elsewhere")
        daemon.start()
        assert {one.id: {"confirmed": False} for one in projects} == changed(
            before, daemon.agents()
        )
        (tmp_path / "elsewhere").rename(root)
        daemon.sweep()
        assert changed(before, daemon.agents()) == {}


@pytest.mark.parametrize(
    ("mode", "change"),
    [
        pytest.param(0, {"confirmed": False}, id="79-nobody-may-enter"),
        pytest.param(0o311, {}, id="84-nobody-may-list"),
    ],
)
def test_a_directory_that_is_closed_takes_nothing_away(
    home: Path, root: Path, mode: int, change: dict[str, bool]
) -> None:
    """What may be entered but not listed is looked at where agents are known to be."""
    closed = root / "closed"
    projects = fill(closed, 2)
    with Daemon(home, root, through=BOUND_BY_MODES) as daemon:
        before = daemon.agents()
        closed.chmod(mode)
        try:
            daemon.sweep()
            after = changed(before, daemon.agents())
        finally:
            closed.chmod(0o700)
        assert {one.id: change for one in projects if change} == after
        daemon.sweep()
        assert changed(before, daemon.agents()) == {}


def test_an_agent_moved_to_another_root_keeps_its_row(
    home: Path, root: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (one,) = fill(root, 1)
    with Daemon(home, root, other) as daemon:
        before = daemon.agents()
        moved = one.path.rename(other / "moved")
        daemon.sweep()
        assert {
            one.id: {
                "projectPath": str(moved),
                "lastPath": str(moved),
                "scanRoot": str(other),
                "namespace": "moved",
            }
        } == changed(before, daemon.agents())


@needs_root
def test_a_copy_on_another_root_does_not_inherit_from_a_sick_one(
    home: Path, root: Path, tmp_path: Path, mount: Callable[..., None]
) -> None:
    """Fault 65: the freeze wins."""
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    mount("-t", "tmpfs", "tmpfs", mounted)
    (one,) = fill(mounted, 1)
    with Daemon(home, mounted, root) as daemon:
        before = daemon.agents()
        unmount(mounted)
        save(root / "copy", one.id)
        daemon.sweep()
        assert {one.id: {"confirmed": False}} == changed(before, daemon.agents())
        assert daemon.claims()[str(root / "copy")][0] == "duplicate"
