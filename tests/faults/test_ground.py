"""Roots that are not what they were: replaced, emptied, read only, or out of the daemon's reach.

Roots that are unmounted, missing or locked are held by `tests/system/test_roots.py`; those behind
a server by `test_servers.py`.
"""

from __future__ import annotations

import resource
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from meshd.errors import MeshdError
from tests.faults.tools import needs_root
from tests.system.daemon import Daemon
from tests.system.difference import UNREACHABLE, changed
from tests.system.trees import save

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.system.trees import Project

pytestmark = pytest.mark.slow

UNCONFIRMED: Final = {"confirmed": False}
UNWATCHED: Final = {"MESHD_WATCH__BACKEND": "none"}


def fill(root: Path, count: int = 6) -> list[Project]:
    return [save(root / f"p{number}", f"{root.name}-{number}") for number in range(count)]


def test_073_a_tree_put_in_the_place_of_a_root_is_not_believed(
    home: Path, root: Path, tmp_path: Path
) -> None:
    """Not even where it brings some of the agents along, with what it wants them to be."""
    projects = fill(root)
    other = tmp_path / "other"
    with Daemon(home, root) as daemon:
        before = daemon.agents()
        root.rename(tmp_path / "kept")
        for one in projects[:2]:
            save(other / one.path.name, one.id, name="forged")
        save(other / "newcomer", "newcomer")
        other.rename(root)
        assert daemon.sweep()["sickRoots"] == [str(root)]
        assert daemon.root(root)["reason"] == "identity-changed"
        frozen = {one.id: UNCONFIRMED for one in projects}
        assert changed(before, daemon.agents()) == frozen
        # Believed it is when the operator says so, and from then on.
        daemon.ask("roots", "accept", str(root))
        daemon.sweep("--confirm")
        agents = daemon.agents()
        assert {one.id for one in projects[2:]} == {
            agent_id for agent_id, agent in agents.items() if agent["status"] == "unreachable"
        }
        assert agents["newcomer"]["confirmed"]


def test_074_a_mass_disappearance_waits_for_another_sweep_or_the_operator(
    home: Path, root: Path, tmp_path: Path
) -> None:
    neighbours = tmp_path / "neighbours"
    gone, (neighbour, *_) = fill(root, 8), fill(neighbours, 8)
    with Daemon(home, root, neighbours, environ=UNWATCHED) as daemon:
        before = daemon.agents()
        for one in gone[:5]:
            shutil.rmtree(one.path)
        shutil.rmtree(neighbour.path)
        missing = {**UNREACHABLE, "unreachableReason": "project-missing"}
        expected = {one.id: UNCONFIRMED for one in gone[:5]} | {neighbour.id: missing}
        for _ in range(2):  # a sweep that comes too soon does not agree
            assert daemon.sweep()["held"] == 5
            assert changed(before, daemon.agents()) == expected
        with daemon.client() as client:
            assert {one.id for one in gone} <= {one["id"] for one in client.agents()["agents"]}
        assert daemon.sweep("--confirm")["unreachable"] == 5
        assert {one.id for one in gone[:5]} | {neighbour.id} == {
            agent_id
            for agent_id, agent in daemon.agents().items()
            if agent["status"] == "unreachable"
        }


@contextmanager
def no_descriptor_left(daemon: Daemon) -> Iterator[None]:
    """Forbid the daemon any descriptor beyond those it has."""
    pid = daemon.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    taken = {int(one.name) for one in Path(f"/proc/{pid}/fd").iterdir()}
    lowest_free = next(number for number in range(len(taken) + 1) if number not in taken)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest_free, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def test_080_without_a_descriptor_nothing_is_absent(home: Path, root: Path) -> None:
    gone = fill(root)[0]
    often = '[sweep]\ninterval = "1s"\nfull_every = 1\n[watch]\nbackend = "none"\n'
    with Daemon(home, root, config=often) as daemon:
        daemon.may_fail = True  # the server library tells with a traceback what it cannot accept
        before = daemon.agents()
        with no_descriptor_left(daemon):
            gone.manifest.unlink()
            daemon.wait_until(lambda: said_no_descriptors(daemon), "word of the descriptors")
        daemon.wait_until(daemon.answers, "answer")
        daemon.sweep()
        assert changed(before, daemon.agents()) == {
            gone.id: {**UNREACHABLE, "unreachableReason": "manifest-missing"}
        }
        with daemon.client() as client:
            lost = [one for one in client.events(0)["events"] if one["kind"] == "unreachable"]
        assert [one["agentId"] for one in lost] == [gone.id]


def said_no_descriptors(daemon: Daemon) -> bool:
    return "no-descriptors" in daemon.log or "descriptor is left" in daemon.log


@needs_root
def test_082_in_a_read_only_root_everything_works_but_writing(
    home: Path, root: Path, tmp_path: Path, mount: Callable[..., None]
) -> None:
    behind = tmp_path / "behind"
    agent = save(behind / "agent", "agent")
    (behind / "new").mkdir()
    mount("--bind", behind, root)
    mount("-o", "remount,bind,ro", root)
    with Daemon(home, root) as daemon, daemon.client() as client:
        before = daemon.agents()
        assert before.keys() == {"agent"}
        seq = daemon.status()["seq"]
        new = {"name": "new", "runtime": "claude-code"}
        acts: dict[str, Callable[[], object]] = {
            "register": lambda: client.register(str(root / "new"), new),
            "update": lambda: client.update("agent", {"description": "changed"}),
            "unregister": lambda: client.unregister("agent"),
        }
        for name, act in acts.items():
            with pytest.raises(MeshdError, match="EROFS"):
                act()
            assert changed(before, daemon.agents()) == {}, name
        assert daemon.status()["seq"] == seq
        assert sorted(one.name for one in (behind / "new").iterdir()) == []
        assert sorted(one.name for one in agent.manifest.parent.iterdir()) == ["agent.json"]
