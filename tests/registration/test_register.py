"""Register: file first, then the row, and the same id however often it is asked for."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from meshd.commands import Allow, Deny
from meshd.errors import (
    BadRequestError,
    BusyError,
    DuplicateError,
    InvalidManifestError,
    MeshdError,
    NotWritableError,
    OutOfScopeError,
    PermissionRefusedError,
)
from tests.harness import World, manifest, write_bytes, write_manifest
from tests.registration.conftest import NEW, Acting, files_in, manifest_path

if TYPE_CHECKING:
    from pathlib import Path


def test_a_new_manifest_is_on_disk_and_in_the_registry(acting: Acting, project: Path) -> None:
    result = acting.register(project, {**NEW, "capabilities": ["tea"]})
    document = json.loads(manifest_path(project).read_bytes())
    assert document == {
        "id": result.agent.id,
        "name": "ada",
        "runtime": "claude-code",
        "capabilities": ["tea"],
        "registeredAt": result.agent.registered_at,
        "registeredBy": "mesh",
    }
    assert len(result.agent.id) == 26
    assert (result.created, result.changed) == (True, True)
    assert acting.world.agents[result.agent.id] == result.agent
    assert (result.agent.project_path, result.agent.approver) == (str(project), "mesh")
    assert list(files_in(project)) == [".dork/agent.json"]
    assert acting.intents() == 0


def test_the_same_path_again_is_the_same_agent_and_nothing_is_written(
    acting: Acting, project: Path
) -> None:
    first = acting.register(project)
    before, seq = manifest_path(project).stat(), acting.world.seq()
    again = acting.register(project)
    assert (again.agent, again.created, again.changed) == (first.agent, False, False)
    assert manifest_path(project).stat() == before
    assert acting.world.seq() == seq


def test_overrides_go_over_what_is_there_and_leave_the_rest(acting: Acting, project: Path) -> None:
    text = json.dumps({**manifest("a"), "x-team": {"b": 1, "a": 2}}, indent=4) + "\n"
    write_bytes(project, text.encode())
    result = acting.register(project, {"description": "brews"})
    expected = text[:-3] + ',\n    "description": "brews"\n}\n'
    assert manifest_path(project).read_text() == expected
    assert (result.agent.id, result.agent.description) == ("a", "brews")
    assert (result.created, result.changed) == (False, True)


def test_a_manifest_that_no_sweep_has_seen_is_taken_as_it_is(acting: Acting, project: Path) -> None:
    write_manifest(project, "a")
    before = files_in(project)
    result = acting.register(project, {})
    assert (result.agent.id, result.changed) == ("a", False)
    assert acting.world.live() == {"a": str(project)}
    assert files_in(project) == before


def test_a_dry_run_says_what_would_be_and_changes_nothing(acting: Acting, project: Path) -> None:
    result = acting.register(project, dry_run=True)
    assert (result.agent.name, result.agent.namespace) == ("ada", "p")
    assert (result.created, result.changed) == (True, True)
    assert list(project.iterdir()) == []
    assert acting.world.agents == {}


def test_the_manifest_looks_at_once_as_it_will_after_a_sweep(acting: Acting, project: Path) -> None:
    acting.register(project)
    seq = acting.world.seq()
    acting.world.hint(project)
    acting.world.settle()
    result = acting.world.sweep(full=True)
    assert (result.drift, acting.world.seq()) == (0, seq)


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        ({"runtime": "codex"}, "name"),
        ({}, "name and runtime"),
        ({**NEW, "id": "mine"}, "'id'"),
        ({**NEW, "isSystem": True}, "'isSystem'"),
        ({**NEW, "name": ""}, "name"),
        ({**NEW, "runtime": None}, "runtime"),
        ({**NEW, "traits": {"humor": 9}}, "traits.humor"),
        ({**NEW, "effort": "heroic"}, "effort"),
        ({**NEW, "persona": "x" * 70_000}, "too-big"),
        ({**NEW, "description": "\ud800"}, "half a character"),
    ],
)
def test_what_breaks_a_rule_is_refused_by_name(
    acting: Acting, project: Path, overrides: dict[str, Any], names: str
) -> None:
    with pytest.raises(BadRequestError, match=names):
        acting.register(project, overrides)
    assert list(project.iterdir()) == []


def test_a_path_in_no_root_is_refused(acting: Acting, tmp_path: Path) -> None:
    with pytest.raises(PermissionRefusedError, match="no configured root"):
        acting.register(tmp_path)


def test_a_path_out_of_scope_is_refused_with_its_reason(acting: Acting, root: Path) -> None:
    deep = root / "a" / "b" / "c" / "d" / "e" / "f"
    for path in (deep, root / "node_modules" / "x", root / "denied"):
        path.mkdir(parents=True)
    acting.world.act(Deny(str(root / "denied"), None, "test"))
    for path, why in (
        (deep, "deeper"),
        (root / "node_modules" / "x", "excluded"),
        (root / "denied", "denied"),
        (root / "missing", "no directory"),
    ):
        with pytest.raises(OutOfScopeError, match=why) as caught:
            acting.register(path)
        assert caught.value.hint
    acting.world.act(Allow(str(root / "denied")))
    assert acting.register(root / "denied").created


def test_a_project_behind_a_symlink_is_refused(acting: Acting, root: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (root / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutOfScopeError):
        acting.register(root / "link")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_symlinked_dork_redirects_nothing(acting: Acting, project: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (project / ".dork").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidManifestError, match="dork-symlink"):
        acting.register(project)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_file_called_dork_is_not_replaced(acting: Acting, project: Path) -> None:
    (project / ".dork").write_text("mine")
    with pytest.raises(NotWritableError, match="not a directory"):
        acting.register(project)
    assert (project / ".dork").read_text() == "mine"
    assert acting.intents() == 0


@pytest.mark.parametrize("data", [b"", b"{", b"\xef\xbb\xbf{}", b'{"id": "a"}'])
def test_an_invalid_file_is_never_overwritten(acting: Acting, project: Path, data: bytes) -> None:
    write_bytes(project, data)
    with pytest.raises(InvalidManifestError) as caught:
        acting.register(project)
    assert caught.value.hint
    assert manifest_path(project).read_bytes() == data


def test_a_directory_in_the_place_of_the_manifest_stays(acting: Acting, project: Path) -> None:
    manifest_path(project).mkdir(parents=True)
    with pytest.raises(InvalidManifestError, match="not-regular"):
        acting.register(project)
    assert manifest_path(project).is_dir()


def test_an_id_that_lives_elsewhere_is_refused_and_the_file_left_alone(
    acting: Acting, root: Path
) -> None:
    write_manifest(root / "first", "a")
    acting.world.sweep()
    write_manifest(root / "second", "a")
    before = files_in(root)
    with pytest.raises(DuplicateError, match="first"):
        acting.register(root / "second", {"description": "mine"})
    assert files_in(root) == before
    assert acting.world.live() == {"a": str(root / "first")}


def test_an_agent_that_moved_is_taken_at_its_new_path(acting: Acting, root: Path) -> None:
    write_manifest(root / "old", "a")
    acting.world.sweep()
    (root / "old").rename(root / "new")
    assert acting.register(root / "new", {}).agent.project_path == str(root / "new")
    assert ("relocated", "a") in acting.world.kinds()


def test_before_the_first_check_of_a_root_nothing_is_written(tmp_path: Path, project: Path) -> None:
    world = World(tmp_path / "state", [project.parent])
    with pytest.raises(BusyError):
        Acting(world).register(project)
    assert list(project.iterdir()) == []
    world.stop()


def test_in_a_sick_root_nothing_is_written(acting: Acting, root: Path, project: Path) -> None:
    root.rename(root.with_name("away"))
    acting.world.sweep()
    with pytest.raises(BusyError, match="missing"):
        acting.register(project)
    assert not root.exists()


def test_every_refusal_is_an_error_that_a_surface_knows() -> None:
    refusals = (BadRequestError, BusyError, DuplicateError, NotWritableError, OutOfScopeError)
    assert all(issubclass(one, MeshdError) and one.code != "failed" for one in refusals)


def test_a_manifest_is_whole_though_each_write_takes_only_half(
    acting: Acting, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 103: `write` may take less than it is given, and say so by a number alone."""
    write, short = os.write, 0

    def write_half(descriptor: int, data: bytes) -> int:
        nonlocal short
        short += len(data) > 1
        return write(descriptor, data[: max(len(data) // 2, 1)])

    monkeypatch.setattr(os, "write", write_half)
    agent = acting.register(project).agent
    acting.update(agent.id, {"description": "x" * 1000})
    assert short > 10
    document = json.loads(manifest_path(project).read_bytes())
    assert (document["id"], document["description"]) == (agent.id, "x" * 1000)
    assert acting.world.sweep(full=True).drift == 0
