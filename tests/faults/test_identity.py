"""Ids that are copied, moved, swapped and fought over: one tree, one sweep, one daemon.

Everything happens at once while no event is heard, so that one sweep has to sort all of it out;
what events make of the same steps is held by `tests/system/test_watching.py`.
The tests stand in the order in which the daemon lives: a later one begins where another ended.
"""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pytest

from meshd.errors import MeshdError
from tests.faults.tools import needs_root
from tests.system.daemon import Daemon
from tests.system.difference import UNREACHABLE, changed
from tests.system.test_roots import BOUND_BY_MODES
from tests.system.trees import commit_project, git, save

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tests.system.daemon import Document

pytestmark = pytest.mark.slow

UNCONFIRMED: Final = {"confirmed": False}


@dataclass
class Case:
    """A daemon, and what one sweep made of everything that happened before it.

    Attributes:
        difference: by id, the fields of its row that are new.
        seq: the newest change before.
    """

    base: Path
    daemon: Daemon
    before: Mapping[str, Document] = field(default_factory=dict)
    difference: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    seq: int = 0

    def sweep(self) -> None:
        self.daemon.sweep()
        self.difference = changed(self.before, self.daemon.agents())

    def kinds(self, agent_id: str) -> list[str]:
        """Return the kinds of change that the sweep told of an agent."""
        with self.daemon.client() as client:
            events = client.events(self.seq)["events"]
        return [one["kind"] for one in events if one["agentId"] == agent_id]

    def claim(self, name: str) -> tuple[str, str | None]:
        """Return outcome and reason of the claim of a path below the base."""
        return self.daemon.claims()[str(self.base / name)]

    def at(self, name: str) -> dict[str, str]:
        """Return the fields of a row that has moved."""
        return {"projectPath": str(self.base / name), "lastPath": str(self.base / name)}


def plant(base: Path) -> None:
    """Make the projects as they are before."""
    commit_project(base / "one" / "cloned", "cloned")
    commit_project(base / "one" / "checkout", "checkout")
    for name in ("moved", "left", "right", "locked", "torn", "host", "Case"):
        save(base / "one" / name, name)
    save(base / "away" / "frozen", "frozen")
    save(base / "one" / "inner" / "nested", "nested")
    save(base / "one" / "inner-not" / "plain", "plain")
    save(base / "two" / "steady", "steady")
    (base / "two" / "spelling").symlink_to(base / "one")


def happen(base: Path) -> None:
    """Do to them what rows 61 to 71 tell of."""
    one, two = base / "one", base / "two"
    git(base, "clone", str(one / "cloned"), str(two / "clone"))  # 61
    git(one / "checkout", "worktree", "add", str(two / "worktree"))
    (one / "moved").rename(two / "moved")  # 62
    save(one / "left", "right")  # 63
    save(one / "right", "left")
    save(two / "copy-of-locked", "locked")  # 64
    save(two / "copy-of-torn", "torn")
    (one / "locked" / ".dork").chmod(0)
    (one / "torn" / ".dork" / "agent.json").write_bytes(b"")
    save(two / "copy-of-frozen", "frozen")  # 65
    (base / "away").rename(base / "elsewhere")
    save(one / "host", "guest")  # 66
    (two / "loop").mkdir()  # 70
    (two / "loop" / "back").symlink_to(two)
    (one / "Case").rename(one / "case")  # 71


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    base = tmp_path_factory.mktemp("i")
    plant(base)
    (base / "h").mkdir()
    roots = [str(base / root) for root in ("two/spelling", "one/inner", "two", "away")]
    config = f'[scan]\nroots = {json.dumps(roots)}\n[watch]\nbackend = "none"\n'
    with Daemon(base / "h", config=config, through=BOUND_BY_MODES) as daemon:
        case = Case(base, daemon, daemon.agents(), seq=daemon.status()["seq"])
        happen(base)
        try:
            case.sweep()
            yield case
        finally:
            (base / "one" / "locked" / ".dork").chmod(0o700)


@pytest.mark.parametrize(("agent_id", "copy"), [("cloned", "clone"), ("checkout", "worktree")])
def test_061_a_clone_and_a_worktree_are_refused(case: Case, agent_id: str, copy: str) -> None:
    assert agent_id not in case.difference
    assert case.claim(f"two/{copy}")[0] == "duplicate"
    assert case.kinds(agent_id) == ["refused"]


def test_062_a_project_that_moved_to_another_root_keeps_its_row(case: Case) -> None:
    moved = {**case.at("two/moved"), "scanRoot": str(case.base / "two"), "namespace": "moved"}
    row = case.difference["moved"]
    assert row is not None
    assert row.items() >= {key: moved[key] for key in ("projectPath", "scanRoot")}.items()
    assert "unreachable" not in case.kinds("moved")
    assert case.kinds("moved").count("relocated") == 1


def test_063_two_ids_that_were_swapped_are_right_after_one_sweep(case: Case) -> None:
    for agent_id, other in (("left", "right"), ("right", "left")):
        row = case.difference[agent_id]
        assert row is not None
        assert row.items() >= case.at(f"one/{other}").items()
        assert not {"unreachable", "displaced", "refused"} & set(case.kinds(agent_id))


@pytest.mark.parametrize(
    ("agent_id", "shown"),
    [("locked", UNCONFIRMED), ("torn", {"flags": ["invalid:empty"]})],
)
def test_064_a_copy_does_not_inherit_from_an_incumbent_that_cannot_be_read(
    case: Case, agent_id: str, shown: dict[str, object]
) -> None:
    assert case.difference[agent_id] == shown
    assert case.claim(f"two/copy-of-{agent_id}")[0] == "duplicate"


def test_065_a_copy_does_not_inherit_from_a_sick_root(case: Case) -> None:
    assert case.daemon.root(case.base / "away")["state"] == "sick"
    assert case.difference["frozen"] == UNCONFIRMED
    assert case.claim("two/copy-of-frozen")[0] == "duplicate"


def test_066_whoever_lost_its_path_to_another_is_kept_unreachable_without_one(case: Case) -> None:
    assert case.difference["host"] == {
        **UNREACHABLE,
        "unreachableReason": "displaced",
        "projectPath": None,
    }
    guest = case.difference["guest"]
    assert guest is not None
    assert guest.items() >= case.at("one/host").items()
    with case.daemon.client() as client:
        assert "host" not in {agent["id"] for agent in client.agents()["agents"]}
        assert not client.route("steady", "host")["allowed"]


def test_068_of_roots_that_overlap_the_longest_owns_a_path(case: Case) -> None:
    """And a root spelt through a symlink is the directory it leads to."""
    base, rows = case.base, case.daemon.agents()
    owners = {agent_id: rows[agent_id]["scanRoot"] for agent_id in ("nested", "plain", "steady")}
    assert owners == {
        "nested": str(base / "one" / "inner"),
        "plain": str(base / "one"),
        "steady": str(base / "two"),
    }
    assert not {"nested", "plain", "steady"} & case.difference.keys()
    assert not [path for path in case.daemon.claims() if "spelling" in path]


def test_068_one_directory_under_two_names_is_refused_as_a_configuration(case: Case) -> None:
    roots = json.dumps([str(case.base / "one"), str(case.base / "two" / "spelling")])
    with file_beside(case.daemon.config_file, f"[scan]\nroots = {roots}\n") as path:
        answer = case.daemon.cli("check-config", str(path))
    assert answer.returncode == 5
    assert "are the same directory" in answer.stdout + answer.stderr


def test_070_a_symlink_to_a_directory_above_is_not_followed(case: Case) -> None:
    assert not [path for path in case.daemon.claims() if "/loop/" in path]
    assert "steady" not in case.difference


def test_071_a_directory_renamed_in_case_only_has_moved(case: Case) -> None:
    row = case.difference["Case"]
    assert row is not None
    assert row.items() >= case.at("one/case").items()
    assert set(case.kinds("Case")) <= {"relocated", "endpoint"}


# What follows changes the case further, in the order it stands here.


def test_067_a_refused_registration_leaves_incumbent_and_files_alone(case: Case) -> None:
    clone = case.base / "two" / "clone"
    bytes_before, rows = read(clone), case.daemon.agents()
    with case.daemon.client() as client, pytest.raises(MeshdError):
        client.register(str(clone))
    with case.daemon.client() as client, pytest.raises(MeshdError):
        # A project whose own agent lives there, and an override that takes another's id.
        client.register(str(case.base / "two" / "steady"), {"id": "cloned"})
    assert changed(rows, case.daemon.agents()) == {}
    assert read(clone) == bytes_before
    assert json.loads(read(case.base / "two" / "steady"))["id"] == "steady"


def test_065_the_root_that_is_back_has_its_agent_still(case: Case) -> None:
    (case.base / "elsewhere").rename(case.base / "away")
    case.sweep()
    assert "frozen" not in case.difference


def test_061_a_clone_takes_over_when_the_original_goes(case: Case) -> None:
    shutil.rmtree(case.base / "one" / "cloned")
    case.sweep()
    row = case.difference["cloned"]
    assert row is not None
    assert row.items() >= case.at("two/clone").items()


@needs_root
def test_069_and_070_a_project_seen_through_a_bind_mount_is_an_alias(
    home: Path, root: Path, mount: Callable[..., None]
) -> None:
    """A bind mount of a directory above the mount point ends the walk there."""
    original = save(root / "original", "original")
    for name in ("seen-again", "above"):
        (root / name).mkdir()
    mount("--bind", original.path, root / "seen-again")
    mount("--bind", root, root / "above")
    with Daemon(home, root) as daemon:
        assert daemon.agents()["original"]["projectPath"] == str(original.path)
        assert daemon.agents().keys() == {"original"}
        assert daemon.claims()[str(root / "seen-again")][0] == "alias"
        assert not [path for path in daemon.claims() if "/above/" in path]


def read(project: Path) -> bytes:
    return (project / ".dork" / "agent.json").read_bytes()


@contextmanager
def file_beside(path: Path, text: str) -> Iterator[Path]:
    other = path.with_name("other.toml")
    other.write_text(text)
    yield other
    other.unlink()
