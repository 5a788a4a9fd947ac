"""Unregister: the manifest goes, or the path is denied, or `.dork` goes with all that is in it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from meshd.commands import Allow, Deny, Register, Removal, Unregister
from meshd.errors import (
    BadRequestError,
    BusyError,
    InvalidManifestError,
    NotFoundError,
    SystemAgentError,
)
from meshd.looker.removing import RemoveData
from tests.harness import World, delete_manifest, write_bytes, write_manifest
from tests.registration.conftest import NEW, Acting, files_in, manifest_path

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def acting(acting: Acting, project: Path) -> Acting:
    """The world, with the agent `a` in it."""
    write_manifest(project, "a")
    acting.world.sweep()
    return acting


def test_the_manifest_and_the_row_are_gone_and_the_log_says_who(
    acting: Acting, project: Path
) -> None:
    row, seq = acting.world.agents["a"], acting.world.seq()
    result = acting.unregister("a")
    assert (result.agent, result.path, result.successor) == (row, str(manifest_path(project)), None)
    assert list(project.iterdir()) == []
    assert acting.world.agents == {}
    assert ("unregistered", "a") in acting.world.kinds(seq)
    assert acting.world.claims() == {}


def test_a_dork_that_holds_anything_else_stays(acting: Acting, project: Path) -> None:
    (project / ".dork" / "notes").write_text("mine")
    acting.unregister("a")
    assert files_in(project) == {".dork/notes": b"mine"}


def test_a_kept_manifest_is_silenced_by_a_denial(acting: Acting, project: Path) -> None:
    before, seq = files_in(project), acting.world.seq()
    result = acting.unregister("a", Removal.NOTHING)
    assert result.path is None
    assert files_in(project) == before
    acting.world.sweep(full=True)
    assert acting.world.agents == {}
    assert ("unregistered", "a") in acting.world.kinds(seq)
    assert acting.world.act(Allow(str(project))) is True


def test_the_data_goes_with_everything_in_it_but_what_links_lead_to(
    acting: Acting, root: Path, project: Path
) -> None:
    (root / "precious").write_text("keep")
    deep = project / ".dork" / "deep"
    for level in range(40):
        deep = deep / str(level)
    deep.mkdir(parents=True)
    (deep / "note").write_text("n")
    (project / ".dork" / "link").symlink_to(root)
    os.link(root / "precious", project / ".dork" / "hard")
    (project / "code").write_text("c")
    result = acting.unregister("a", Removal.DATA)
    assert result.path == str(project / ".dork")
    assert files_in(root) == {"precious": b"keep", "p/code": b"c"}
    assert not (project / ".dork").exists()


@pytest.mark.slow
def test_a_tree_deeper_than_any_path_is_removed(acting: Acting, project: Path) -> None:
    here = os.open(project / ".dork", os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d" * 100, dir_fd=here)
        below = os.open("d" * 100, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    acting.unregister("a", Removal.DATA)
    assert list(project.iterdir()) == []


@pytest.mark.parametrize("removal", Removal)
def test_a_dry_run_says_what_would_go(acting: Acting, project: Path, removal: Removal) -> None:
    before = files_in(project)
    gone = {
        Removal.MANIFEST: str(manifest_path(project)),
        Removal.NOTHING: None,
        Removal.DATA: str(project / ".dork"),
    }
    assert acting.unregister("a", removal, dry_run=True).path == gone[removal]
    assert files_in(project) == before
    assert acting.world.live() == {"a": str(project)}


@pytest.mark.parametrize("removal", Removal)
def test_another_claim_of_the_id_takes_over(acting: Acting, root: Path, removal: Removal) -> None:
    write_manifest(root / "clone", "a")
    acting.world.sweep()
    expected = str(root / "clone")
    assert acting.unregister("a", removal, dry_run=True).successor == expected
    assert acting.unregister("a", removal).successor == expected
    assert acting.world.live() == {"a": expected}


def test_an_unknown_agent_is_not_found(acting: Acting) -> None:
    with pytest.raises(NotFoundError):
        acting.unregister("nobody")


@pytest.mark.parametrize("removal", Removal)
def test_a_system_agent_stays(acting: Acting, project: Path, removal: Removal) -> None:
    acting.world.parts.shared.trust.system = frozenset({"a"})
    with pytest.raises(SystemAgentError):
        acting.unregister("a", removal)
    assert acting.world.live() == {"a": str(project)}


@pytest.mark.parametrize("removal", [Removal.MANIFEST, Removal.DATA])
def test_an_unreachable_agent_leaves_without_a_file(
    acting: Acting, project: Path, removal: Removal
) -> None:
    delete_manifest(project)
    (project / ".dork" / "notes").write_text("mine")
    acting.world.sweep()
    assert acting.unregister("a", removal).path is None
    assert acting.world.agents == {}
    assert files_in(project) == {".dork/notes": b"mine"}


def test_an_agent_out_of_scope_leaves_and_its_file_stays(acting: Acting, project: Path) -> None:
    world = acting.world
    world.roots.configure(world.settings.scan.model_copy(update={"exclude": ("p",)}))
    world.sweep()
    before = files_in(project)
    assert acting.unregister("a").path is None
    assert files_in(project) == before
    assert world.agents == {}


def test_below_a_sick_root_only_a_kept_manifest_can_be_unregistered(
    acting: Acting, root: Path
) -> None:
    root.rename(root.with_name("away"))
    acting.world.sweep()
    with pytest.raises(BusyError, match="sick"):
        acting.unregister("a")
    assert list(acting.world.agents) == ["a"]
    acting.unregister("a", Removal.NOTHING)
    assert acting.world.agents == {}
    assert manifest_path(root.with_name("away") / "p").exists()


def test_a_torn_manifest_is_not_removed(acting: Acting, project: Path) -> None:
    write_bytes(project, b"{")
    with pytest.raises(InvalidManifestError):
        acting.unregister("a")
    assert manifest_path(project).read_bytes() == b"{"
    assert list(acting.world.agents) == ["a"]


def test_a_manifest_of_another_agent_is_not_removed(acting: Acting, project: Path) -> None:
    write_manifest(project, "b")
    before = files_in(project)
    assert acting.unregister("a").path is None
    assert files_in(project) == before
    assert list(acting.world.live()) == ["b"]


def test_what_was_unregistered_can_be_registered_again(acting: Acting, project: Path) -> None:
    acting.unregister("a")
    again = acting.register(project)
    assert again.created
    assert acting.world.live() == {again.agent.id: str(project)}


def test_a_denial_above_an_agent_leaves_nothing_to_unregister(acting: Acting, root: Path) -> None:
    acting.world.act(Deny(str(root), None, "test"))
    with pytest.raises(NotFoundError):
        acting.unregister("a")


def test_a_displaced_agent_leaves_and_who_took_its_place_stays(
    acting: Acting, project: Path
) -> None:
    write_manifest(project, "b")
    acting.world.hint(project)
    acting.world.settle()
    acting.unregister("a", Removal.NOTHING)
    acting.world.sweep(full=True)
    assert list(acting.world.agents) == ["b"]
    assert acting.world.live() == {"b": str(project)}


def test_a_kept_manifest_that_was_just_replaced_silences_nobody_else(
    acting: Acting, project: Path
) -> None:
    write_manifest(project, "b")
    acting.unregister("a", Removal.NOTHING)
    assert acting.world.live() == {"b": str(project)}


def test_an_unreachable_agent_leaves_no_denial_behind(acting: Acting, project: Path) -> None:
    delete_manifest(project)
    acting.world.sweep()
    acting.unregister("a", Removal.NOTHING)
    assert acting.world.agents == {}
    with acting.world.store.reading() as registry:
        assert registry.denials() == []


def test_a_torn_manifest_that_is_kept_stays_silenced(acting: Acting, project: Path) -> None:
    write_bytes(project, b"{")
    acting.unregister("a", Removal.NOTHING)
    write_manifest(project, "a")
    acting.world.sweep(full=True)
    assert acting.world.agents == {}


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_kept_manifest_takes_no_agent_below_it_along(
    acting: Acting, root: Path, dry_run: bool
) -> None:
    write_manifest(root, "top")
    for number in range(6):
        write_manifest(root / f"q{number}", f"q{number}")
    acting.world.sweep()
    before = acting.world.live()
    with pytest.raises(BadRequestError, match=r"root/p'.* and 2 more"):
        acting.unregister("top", Removal.NOTHING, dry_run=dry_run)
    assert acting.world.live() == before
    acting.unregister("top")
    assert acting.world.live() == {key: path for key, path in before.items() if key != "top"}


@pytest.mark.parametrize("removal", Removal)
@pytest.mark.parametrize("is_row", [True, False], ids=["row", "file"])
def test_an_agent_that_its_row_or_its_file_protects_stays(
    acting: Acting, project: Path, removal: Removal, is_row: bool
) -> None:
    if is_row:
        write_manifest(project, "a", isSystem=True)
        acting.world.sweep()
    write_manifest(project, "a", isSystem=not is_row)  # an event of it is on its way
    with pytest.raises(SystemAgentError):
        acting.unregister("a", removal)
    with pytest.raises(SystemAgentError):
        acting.update("a", {"name": "hijacked"})
    with pytest.raises(SystemAgentError):
        acting.register(project, {"description": "hijacked"})
    acting.world.sweep()
    assert acting.world.agents["a"].name == "agent a"


def test_very_much_data_goes_in_many_turns_and_keeps_nobody_waiting(
    acting: Acting, project: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(40):
        (project / ".dork" / str(number)).write_text("n")
    monkeypatch.setattr(RemoveData.__init__, "__defaults__", (10,))
    act, behind = Unregister("a", Removal.DATA), Register(str(root / "q"), NEW, "mesh")
    (root / "q").mkdir()
    for one in (act, behind):
        acting.world.inbox.post(one)
    turns = []
    while batch := acting.world.inbox.take(timeout=0.0):
        acting.world.reconciler.process(batch)
        left = len([path for path in project.rglob("*") if path.is_file()])
        turns.append((behind.future.done(), left))
    assert turns[0] == (True, 31)  # acknowledged, and so is who came behind
    assert [left for _, left in turns] == [31, 21, 11, 1, 0]
    assert act.future.result(timeout=0).path == str(project / ".dork")
    assert list(project.iterdir()) == []
    assert acting.intents() == 0


def test_a_project_may_be_registered_again_while_its_old_data_goes(
    acting: Acting, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(40):
        (project / ".dork" / str(number)).write_text("n")
    monkeypatch.setattr(RemoveData.__init__, "__defaults__", (10,))
    again = Register(str(project), NEW, "mesh")
    for act in (Unregister("a", Removal.DATA), again):
        acting.world.inbox.post(act)
    acting.world.drain()
    row = again.future.result(timeout=0).agent
    assert acting.world.live() == {row.id: str(project)}
    assert list(files_in(project)) == [".dork/agent.json"]
    assert acting.intents() == 0


def test_what_a_stop_has_left_of_the_data_goes_after_the_next_start(
    tmp_path: Path, root: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_manifest(project, "a")
    for number in range(40):
        (project / ".dork" / str(number)).write_text("n")
    world = World(tmp_path / "state", [root])
    world.sweep()
    monkeypatch.setattr(RemoveData.__init__, "__defaults__", (10,))
    act = Unregister("a", Removal.DATA)
    world.inbox.post(act)
    batch = world.inbox.take(timeout=0.0)
    assert batch is not None
    world.reconciler.process(batch)
    assert act.future.done()
    world.stop()
    world = World(tmp_path / "state", [root])
    world.sweep()
    world.drain()
    assert list(project.iterdir()) == []
    assert Acting(world).intents() == 0
    world.stop()
