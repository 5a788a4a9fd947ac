"""Moves between roots and into what is being scanned: an agent that moves is never lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.system.daemon import Daemon
from tests.system.live import configured
from tests.system.trees import save

if TYPE_CHECKING:
    from pathlib import Path


def kinds(daemon: Daemon, since: int) -> set[str]:
    """Return the kinds of change the log tells of agents."""
    with daemon.client() as client:
        return {entry["kind"] for entry in client.events(since)["events"]} - {"endpoint"}


def test_projects_that_move_between_two_roots_are_never_lost(home: Path, tmp_path: Path) -> None:
    roots = [tmp_path / "one", tmp_path / "two"]
    for root in roots:
        root.mkdir()
    for number in range(30):
        save(roots[0] / f"p{number}", f"a{number}")
        save(roots[0] / "group" / f"g{number}", f"b{number}")
    with Daemon(home, config=configured(*roots)) as daemon, daemon.client() as client:
        seq = daemon.status()["seq"]
        here, there = roots
        for _ in range(4):
            (here / "group").rename(there / "group")
            for number in range(30):
                (here / f"p{number}").rename(there / f"p{number}")
            client.sync()
            found = {agent["scanRoot"] for agent in daemon.agents().values()}
            assert found == {str(there)}
            here, there = there, here
        assert kinds(daemon, seq) == {"relocated"}


def test_a_project_that_moves_while_a_large_tree_is_scanned_is_never_lost(
    home: Path, tmp_path: Path
) -> None:
    """The other half of the move stands in line behind the tree."""
    roots = [tmp_path / "one", tmp_path / "two"]
    for name in ("moved", "moved-into-new"):
        save(roots[0] / name, name)
    roots[1].mkdir()
    for number in range(6_000):
        (tmp_path / "large" / f"g{number // 100}" / f"d{number}").mkdir(parents=True)
    with Daemon(home, config=configured(*roots)) as daemon, daemon.client() as client:
        seq = daemon.status()["seq"]
        (tmp_path / "large").rename(roots[0] / "large")
        moved = (roots[0] / "moved").rename(roots[1] / "moved")
        (roots[0] / "new").mkdir()
        moved_into = (roots[0] / "moved-into-new").rename(roots[0] / "new" / "moved")
        client.sync()
        found = {agent["id"]: agent["projectPath"] for agent in daemon.agents().values()}
        assert found == {"moved": str(moved), "moved-into-new": str(moved_into)}
        assert kinds(daemon, seq) == {"relocated"}


def test_a_sync_right_after_a_root_came_back_finds_what_is_in_it(
    home: Path, root: Path, tmp_path: Path
) -> None:
    save(root / "one", "one")
    with Daemon(home, config=configured(root)) as daemon, daemon.client() as client:
        away = root.rename(tmp_path / "away")
        daemon.wait_until(lambda: daemon.root(root)["state"] == "sick", "sick root")
        assert [one["by"] for one in client.sync()["roots"]] == ["sick"]
        save(away / "two", "two")
        away.rename(root)
        assert [one["by"] for one in client.sync()["roots"]] == ["sweep"]
        assert daemon.agents().keys() == {"one", "two"}
