"""What people do to projects in a day, each step followed by one sweep.

Every step takes projects no other step has touched, and compares the whole list before and
after: what is not named has not changed.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.system.daemon import Daemon
from tests.system.difference import UNREACHABLE, changed
from tests.system.trees import Project, commit_project, git, plant, save, save_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.system.daemon import Document

MEMORY = Path("/dev/shm")
"""A file system in memory: deleting a hundred thousand files elsewhere takes half a minute."""


@dataclass
class Estate:
    """A tree and the daemon over it.

    Attributes:
        unused: the projects no step has touched yet.
        listing: the agents as they were listed last; no step begins with another list.
    """

    root: Path
    daemon: Daemon
    projects: list[Project]
    unused: list[Project] = field(default_factory=list)
    listing: dict[str, Document] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Some projects lie inside others; a step that moves one must not move two.
        parents = {project.path.parent.parent for project in self.projects}
        self.unused = [
            project
            for project in self.projects
            if project.path not in parents and project.path.parent.name != "src"
        ]
        self.listing = self.daemon.agents()

    def take(self) -> Project:
        """Return a project for one step to use up."""
        return self.unused.pop()

    def take_from_different_teams(self) -> tuple[Project, Project]:
        """Return two projects that do not lie in one directory."""
        return self.unused.pop(), self.unused.pop(0)


@pytest.fixture(
    scope="module",
    params=[300, pytest.param(10_000, marks=pytest.mark.slow)],
    ids="{} projects".format,
)
def estate(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Estate]:
    """A daemon over a generated tree."""
    place = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=place, prefix="meshd-test-") as directory:
        root = Path(directory).resolve()
        projects = plant(root, request.param)
        # Here the sweep alone sees what happens; what events show is another file's.
        unwatched = {"MESHD_WATCH__BACKEND": "none"}
        with Daemon(tmp_path_factory.mktemp("home"), root, environ=unwatched) as daemon:
            yield Estate(root, daemon, projects)


def swept(estate: Estate, before: dict[str, Document]) -> dict[str, dict[str, object] | None]:
    """Sweep once, and return what the list of agents shows of it."""
    estate.daemon.sweep()
    estate.listing = estate.daemon.agents()
    return changed(before, estate.listing)


def test_every_project_is_imported(estate: Estate) -> None:
    listed = estate.daemon.ask("agents", "list")["agents"]
    agents = {agent["id"]: agent for agent in listed}
    assert agents == estate.listing
    assert {one.id: str(one.path) for one in estate.projects} == {
        agent_id: agent["projectPath"] for agent_id, agent in agents.items()
    }
    assert {"active"} == {agent["status"] for agent in agents.values()}
    assert {str(estate.root)} == {agent["scanRoot"] for agent in agents.values()}


def test_an_edit_is_an_update_of_what_was_edited(estate: Estate) -> None:
    before = estate.listing
    one = estate.take()
    save(one.path, one.id, **kept(before[one.id]) | {"description": "now something else"})
    assert {one.id: {"description": "now something else"}} == swept(estate, before)


def test_an_edit_in_place_of_the_same_length_is_noticed(estate: Estate) -> None:
    before = estate.listing
    one = estate.take()
    one.manifest.write_text(one.manifest.read_text().replace("Looks", "LOOKS"))
    description = str(before[one.id]["description"]).replace("Looks", "LOOKS")
    assert {one.id: {"description": description}} == swept(estate, before)


def test_a_deleted_manifest_makes_its_agent_unreachable(estate: Estate) -> None:
    before = estate.listing
    one = estate.take()
    one.manifest.unlink()
    expected = {one.id: {**UNREACHABLE, "unreachableReason": "manifest-missing"}}
    assert expected == swept(estate, before)
    assert {"projectPath": str(one.path), "lastPath": str(one.path)} == {
        key: estate.listing[one.id][key] for key in ("projectPath", "lastPath")
    }


def test_a_deleted_project_makes_its_agent_unreachable(estate: Estate) -> None:
    before = estate.listing
    one = estate.take()
    shutil.rmtree(one.path)
    expected = {one.id: {**UNREACHABLE, "unreachableReason": "project-missing"}}
    assert expected == swept(estate, before)


def test_what_is_brought_back_is_as_it_was(estate: Estate, tmp_path: Path) -> None:
    before = estate.listing
    one, other = estate.take(), estate.take()
    shutil.move(one.manifest, tmp_path / "manifest")
    shutil.move(other.path, tmp_path / "project")
    assert {one.id, other.id} == swept(estate, before).keys()
    shutil.move(tmp_path / "manifest", one.manifest)
    shutil.move(tmp_path / "project", other.path)
    assert swept(estate, before) == {}


def test_a_moved_project_keeps_its_agent(estate: Estate) -> None:
    before = estate.listing
    one = estate.take()
    target = one.path.rename(one.path.with_name("renamed"))
    assert {one.id: at(target)} == swept(estate, before)


def test_a_project_moved_to_another_team_takes_its_namespace(estate: Estate) -> None:
    before = estate.listing
    one, other = estate.take_from_different_teams()
    target = one.path.rename(other.path.with_name(one.path.name))
    namespace = other.path.parent.name
    assert {one.id: {**at(target), "namespace": namespace}} == swept(estate, before)


def test_a_moved_team_moves_all_its_agents(estate: Estate) -> None:
    before = estate.listing
    projects = [save(estate.root / "movers" / f"p{n}", f"mover-{n}") for n in range(3)]
    assert {one.id for one in projects} == swept(estate, before).keys()
    before = estate.listing
    (estate.root / "movers").rename(estate.root / "moved")
    assert {
        one.id: {**at(estate.root / "moved" / one.path.name), "namespace": "moved"}
        for one in projects
    } == swept(estate, before)


def test_two_projects_that_swap_their_ids_swap_their_paths(estate: Estate) -> None:
    before = estate.listing
    one, other = estate.take(), estate.take()
    between = one.path / "between"
    one.manifest.rename(between)
    other.manifest.rename(one.manifest)
    between.rename(other.manifest)
    assert {one.id: at(other.path), other.id: at(one.path)} == swept(estate, before)


def test_two_projects_that_swap_their_names_swap_their_paths(estate: Estate) -> None:
    before = estate.listing
    one, other = estate.take(), estate.take()
    between = one.path.rename(one.path.with_name("between"))
    other.path.rename(one.path)
    between.rename(other.path)
    assert {one.id: at(other.path), other.id: at(one.path)} == swept(estate, before)


def test_a_clone_is_refused_and_takes_over_when_the_original_goes(estate: Estate) -> None:
    before = estate.listing
    one = estate.take()
    # Smaller than the original's path, so that nothing but who came first decides.
    clone = one.path.with_name("a-clone")
    shutil.copytree(one.path, clone, symlinks=True)
    assert swept(estate, before) == {}
    assert estate.daemon.claims()[str(clone)] == ("duplicate", None)
    shutil.rmtree(one.path)
    assert {one.id: at(clone)} == swept(estate, before)
    assert estate.daemon.claims()[str(clone)] == ("valid", None)


def test_a_worktree_is_refused_and_the_main_checkout_keeps_its_agent(estate: Estate) -> None:
    main = commit_project(estate.root / "with-git" / "main", "with-worktree")
    assert swept(estate, estate.listing).keys() == {main.id}
    before = estate.listing
    git(main.path, "worktree", "add", "../a-worktree")
    assert (main.path.with_name("a-worktree") / ".dork/agent.json").is_file()
    assert swept(estate, before) == {}
    outcome, _ = estate.daemon.claims()[str(main.path.with_name("a-worktree"))]
    assert outcome == "duplicate"


def test_of_a_checkout_and_its_worktree_found_together_the_checkout_wins(estate: Estate) -> None:
    before = estate.listing
    main = commit_project(estate.root / "with-git" / "z-main", "found-together")
    git(main.path, "worktree", "add", "../b-worktree")
    assert {main.id} == swept(estate, before).keys()
    assert str(main.path) == estate.listing[main.id]["projectPath"]


def test_a_branch_without_the_manifest_costs_reachability_only_while_it_is_out(
    estate: Estate,
) -> None:
    main = commit_project(estate.root / "with-git" / "branches", "on-branches")
    git(main.path, "checkout", "--orphan", "without")
    git(main.path, "rm", "-rf", ".")
    git(main.path, "commit", "--allow-empty", "--message", "empty")
    git(main.path, "checkout", "main")
    assert swept(estate, estate.listing).keys() == {main.id}
    before = estate.listing
    git(main.path, "checkout", "without")
    expected = {main.id: {**UNREACHABLE, "unreachableReason": "manifest-missing"}}
    assert expected == swept(estate, before)
    git(main.path, "checkout", "main")
    assert swept(estate, before) == {}


def test_a_branch_that_was_out_between_two_sweeps_was_never_out(estate: Estate) -> None:
    main = commit_project(estate.root / "with-git" / "quick", "quick")
    git(main.path, "branch", "other")
    assert swept(estate, estate.listing).keys() == {main.id}
    before, seq = estate.listing, estate.daemon.status()["seq"]
    git(main.path, "rm", "-rf", ".")
    git(main.path, "reset", "--hard")
    assert swept(estate, before) == {}
    assert seq == estate.daemon.status()["seq"]


@pytest.mark.parametrize(
    ("left", "reason"),
    [(0.0, "empty"), (0.5, "not-json")],
    ids=["emptied first", "half written"],
)
def test_a_torn_manifest_keeps_the_last_good_fields_until_it_is_repaired(
    estate: Estate, left: float, reason: str
) -> None:
    before = estate.listing
    one = estate.take()
    whole = one.manifest.read_bytes()
    one.manifest.write_bytes(whole[: int(len(whole) * left)])
    assert {one.id: {"flags": [f"invalid:{reason}"]}} == swept(estate, before)
    one.manifest.write_bytes(whole)
    assert swept(estate, before) == {}


def test_a_project_that_left_a_symlink_behind_has_moved(estate: Estate) -> None:
    before = estate.listing
    one = estate.take()
    target = one.path.rename(one.path.with_name("behind-a-link"))
    one.path.symlink_to(target)
    assert {one.id: at(target)} == swept(estate, before)


def test_a_path_that_gets_another_agent_displaces_the_first(estate: Estate) -> None:
    before = estate.listing
    one = estate.take()
    save(one.path, "newcomer")
    after = swept(estate, before)
    assert {one.id, "newcomer"} == after.keys()
    displaced = {**UNREACHABLE, "unreachableReason": "displaced", "projectPath": None}
    assert displaced == after[one.id]
    assert str(one.path) == estate.listing["newcomer"]["projectPath"]
    assert str(one.path) == estate.listing[one.id]["lastPath"]


def test_a_new_project_inside_another_is_found(estate: Estate) -> None:
    before = estate.listing
    one = estate.take()
    inner = save(one.path / "packages" / "inner", "inner")
    assert {inner.id} == swept(estate, before).keys()


def test_what_lies_in_node_modules_is_no_project(estate: Estate) -> None:
    before = estate.listing
    save(estate.take().path / "node_modules" / "dotenv", "not-a-project")
    assert swept(estate, before) == {}


def test_an_invalid_save_by_rename_keeps_the_last_good_fields(estate: Estate) -> None:
    before = estate.listing
    one = estate.take()
    save_bytes(one.path, one.id, b"{}")
    assert {one.id: {"flags": ["invalid:bad-schema"]}} == swept(estate, before)


def test_a_held_mass_disappearance_is_applied_when_it_is_confirmed(estate: Estate) -> None:
    """The last step: it takes most of the tree away."""
    before = estate.listing
    live = {agent_id for agent_id, agent in before.items() if agent["status"] == "active"}
    teams = sorted(estate.root.glob("team-*"))
    for team in teams[: len(teams) * 3 // 4]:
        team.rename(team.with_name(f".away-{team.name}"))
    gone = {
        agent_id for agent_id in live if not Path(str(before[agent_id]["projectPath"])).exists()
    }
    assert len(gone) * 2 > len(live)
    assert len(gone) == estate.daemon.sweep()["held"]
    unconfirmed = {agent_id: {"confirmed": False} for agent_id in gone}
    assert changed(before, estate.daemon.agents()) == unconfirmed
    answer = estate.daemon.sweep("--confirm")
    assert (len(gone), 0) == (answer["unreachable"], answer["held"])
    missing = {**UNREACHABLE, "unreachableReason": "project-missing"}
    assert changed(before, estate.daemon.agents()) == dict.fromkeys(gone, missing)


def at(path: Path) -> dict[str, object]:
    """Return the fields of a row that has moved."""
    return {"projectPath": str(path), "lastPath": str(path)}


def kept(agent: Document) -> dict[str, object]:
    """Return what a manifest must say so that a row stays as it is."""
    names = ("runtime", "capabilities", "behavior", "budget")
    return {name: agent[name] for name in names}
