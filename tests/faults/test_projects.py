"""Rows 7-20 and 35-41 that are no single file: links, mounts, races, and claims to be another.

One daemon meets all that can lie in one tree at once. What moves while the daemon looks has a
daemon of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from typing import TYPE_CHECKING, Final

import pytest

from meshd.errors import MeshdError
from tests.faults.hostile import NOBODY
from tests.faults.racing import exchange, over_and_over
from tests.faults.tools import needs_root
from tests.system.daemon import Daemon
from tests.system.difference import changed
from tests.system.trees import document, save, save_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

SWEEPS: Final = 10
CONFIG: Final = """
[scan]
roots = ["{root}"]
[scan.namespaces]
"{root}" = ["ours"]
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("projects") / "h"
    directory.mkdir()
    return directory


@pytest.fixture(scope="module")
def root(home: Path) -> Path:
    directory = home.parent / "root"
    directory.mkdir()
    return directory


@pytest.fixture(scope="module")
def daemon(home: Path, root: Path) -> Iterator[Daemon]:
    save(root / "victim", "victim", description="the first", namespace="ours")
    with Daemon(home, config=CONFIG.format(root=root)) as running:
        yield running


def test_007_a_symlink_to_a_project_is_no_project(daemon: Daemon, root: Path) -> None:
    save(root.parent / "outside", "outside")
    (root / "link").symlink_to(root / "victim")
    (root / "escape").symlink_to(root.parent / "outside")
    (root / "loop").symlink_to(root)
    daemon.sweep("--full")
    assert {"link", "escape", "loop"}.isdisjoint(
        path[len(str(root)) + 1 :] for path in places(daemon)
    )
    assert "outside" not in daemon.agents()


@contextlib.contextmanager
def bound(source: Path, target: Path) -> Iterator[None]:
    """Mount a directory over another for a while."""
    subprocess.run(["mount", "--bind", source, target], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", target], check=True)


@pytest.mark.parametrize("way", ["../outside", "victim/../../outside", "escape-too"])
def test_016_no_call_leads_out_of_the_roots(daemon: Daemon, root: Path, way: str) -> None:
    outside = root.parent / "outside"
    save(outside, "outside")
    (root / "escape-too").unlink(missing_ok=True)
    (root / "escape-too").symlink_to(outside)
    before = (outside / ".dork" / "agent.json").read_bytes()
    with daemon.client() as client, pytest.raises(MeshdError):
        client.register(f"{root}/{way}", {"name": "stolen"})
    assert daemon.cli("register", f"{root}/{way}", "--name", "stolen").returncode == 7
    assert (outside / ".dork" / "agent.json").read_bytes() == before
    assert [entry.name for entry in outside.iterdir()] == [".dork"]
    assert "outside" not in daemon.agents()


@needs_root
def test_017_what_is_mounted_over_a_dork_is_followed_and_an_alias_is_no_second_agent(
    daemon: Daemon, root: Path
) -> None:
    """Mounts below a root are followed (design): only root can make one."""
    mounted = save(root.parent / "elsewhere", "mounted")
    for name in ("over", "twin"):
        (root / name / ".dork").mkdir(parents=True)
    with (
        bound(mounted.path / ".dork", root / "over" / ".dork"),
        bound(root / "victim" / ".dork", root / "twin" / ".dork"),
    ):
        daemon.sweep("--full")
        assert daemon.agents()["mounted"]["projectPath"] == str(root / "over")
        assert daemon.agents()["victim"]["projectPath"] == str(root / "victim")
        assert daemon.claims()[str(root / "twin")][0] == "alias"


@needs_root
def test_018_a_manifest_of_mode_000_is_read_by_root(daemon: Daemon, root: Path) -> None:
    project = save(root / "closed", "closed")
    project.manifest.chmod(0)
    daemon.sweep("--full")
    assert daemon.agents()["closed"]["confirmed"]


def test_035_unknown_keys_outlive_an_update(daemon: Daemon, root: Path) -> None:
    unknown = {"x": 2**70, "y": {"deep": [1, None, "\u202e"]}, "ä": 0.1, "secret": "5ecret"}
    project = save(root / "extended", "extended", **unknown)
    daemon.ask("sync")
    daemon.ask("update", "extended", "--description", "new")
    expected = document("extended", **unknown) | {"description": "new"}
    assert json.loads(project.manifest.read_bytes()) == expected
    assert "5ecret" not in daemon.cli("agents", "show", "extended", "--json").stdout


@pytest.mark.parametrize("item", ["0.5", "[]", '{"a":1}', '"\\u00e4"', "1"])
def test_037_a_manifest_full_to_the_cap_is_read(daemon: Daemon, root: Path, item: str) -> None:
    frame = json.dumps(document("full"))[:-1] + ', "x": [%s]}'
    count = (64 * 1024 - len(frame)) // (len(item) + 1)
    save_bytes(root / "full", "full", (frame % ",".join([item] * count)).encode())
    daemon.ask("sync")
    assert daemon.claims()[str(root / "full")] == ("valid", None)
    assert daemon.agents()["full"]["confirmed"]


def test_039_ids_that_differ_by_case_are_two_ids(daemon: Daemon, root: Path) -> None:
    upper, lower = save(root / "upper", "TWIN"), save(root / "lower", "twin")
    daemon.ask("sync")
    paths = {one: agent["projectPath"] for one, agent in daemon.agents().items()}
    assert (paths["TWIN"], paths["twin"]) == (str(upper.path), str(lower.path))


@needs_root
def test_040_an_id_cannot_be_stolen(daemon: Daemon, root: Path) -> None:
    """Whoever comes first by name, comes last in time, and is another user, gets nothing."""
    before = daemon.agents()["victim"]
    thief = save(root / "a-thief", "victim", description="the thief")
    for path in (thief.path, thief.manifest.parent, thief.manifest):
        os.chown(path, NOBODY, NOBODY)
    for words in ("sync",), ("sweep",), ("sweep", "--full"):
        daemon.ask(*words)
        assert daemon.claims()[str(thief.path)][0] == "duplicate"
        assert changed({"victim": before}, {"victim": daemon.agents()["victim"]}) == {}
    assert "a-thief" in daemon.cli("status").stdout + daemon.cli("doctor").stdout


def test_041_a_manifest_names_itself_into_nobodys_namespace(daemon: Daemon, root: Path) -> None:
    save(root / "climber", "climber", namespace="system", isSystem=True)
    daemon.ask("sync")
    climber = daemon.agents()["climber"]
    assert climber["namespace"] == "climber"
    assert climber["flags"] == ["namespace-refused"]
    route = daemon.ask("route", "climber", "victim")
    assert not route["allowed"]


# what moves while it is looked at


def places(daemon: Daemon) -> set[str]:
    """Return every path at which meshd saw a claim or knows an agent."""
    agents = daemon.agents().values()
    return set(daemon.claims()) | {agent["projectPath"] or "" for agent in agents}


def test_014_a_file_that_grows_while_it_is_read_is_never_read_beyond_the_cap(
    tmp_path: Path,
) -> None:
    root, home = tmp_path / "root", tmp_path / "h"
    home.mkdir()
    grown = save(root / "grown", "grown", description="small")
    small = grown.manifest.read_bytes()
    size = [0]

    def grow() -> None:
        size[0] = (size[0] + 4096) % (128 * 1024)
        if size[0] == 0:
            grown.manifest.write_bytes(small)
        with grown.manifest.open("ab") as file:
            file.write(b" " * 4096)

    with Daemon(home, root) as daemon:
        before = daemon.agents()
        with over_and_over(grow) as turns, daemon.client() as client:
            for _ in range(SWEEPS):
                client.sweep(full=True)
                (agent,) = client.registry()["agents"]
                assert agent["description"] == "small"
                assert agent["status"] == "active"
        assert turns.count > SWEEPS
        grown.manifest.write_bytes(small + b" " * 128 * 1024)
        daemon.sweep()
        assert daemon.claims() == {str(grown.path): ("invalid", "too-big")}
        assert changed(before, daemon.agents()) == {"grown": {"flags": ["invalid:too-big"]}}


@pytest.mark.parametrize("level", ["agent.json", ".dork", "project", "group"])
def test_020_a_swap_for_a_symlink_opens_no_way_out(tmp_path: Path, level: str) -> None:
    """Neither looking nor writing follows the link, whenever it is put in."""
    root, home, outside = tmp_path / "root", tmp_path / "h", tmp_path / "outside"
    home.mkdir()
    inside = save(root / "group" / "project", "inside")
    trap = save(outside / "group" / "project", "trapped")
    kept = trap.manifest.read_bytes()
    chain = {
        "agent.json": inside.manifest,
        ".dork": inside.manifest.parent,
        "project": inside.path,
        "group": inside.path.parent,
    }
    link = root / "swapped"
    link.symlink_to(outside / chain[level].relative_to(root))
    with Daemon(home, root) as daemon:
        with over_and_over(lambda: exchange(chain[level], link)) as turns:
            for number in range(SWEEPS):
                with daemon.client() as client:
                    client.sweep(full=True)
                    with contextlib.suppress(MeshdError):
                        client.update("inside", {"description": f"number {number}"})
                    with contextlib.suppress(MeshdError):
                        client.register(str(inside.path), {"name": f"name {number}"})
                assert "trapped" not in daemon.agents()
        assert turns.count > SWEEPS
    assert trap.manifest.read_bytes() == kept
    assert sorted(subprocess.check_output(["find", outside, "-type", "f"]).split()) == [
        os.fsencode(trap.manifest)
    ]
