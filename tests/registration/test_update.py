"""Update: read, modify, write; nothing lost in between, and nothing told when nothing changes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from meshd.core.editing import CLEARABLE
from meshd.errors import (
    BadRequestError,
    ConflictError,
    InvalidManifestError,
    NotFoundError,
    NotWritableError,
    PermissionRefusedError,
    SystemAgentError,
)
from tests.harness import delete_manifest, manifest, write_bytes, write_manifest
from tests.registration.conftest import Acting, files_in, manifest_path

if TYPE_CHECKING:
    from pathlib import Path

FULL = {
    "displayName": "Ada",
    "namespace": "tea",
    "persona": "calm",
    "traits": {"humor": 1},
    "conventions": {"soul": False},
    "color": "red",
    "icon": "cup",
    "model": "m",
    "effort": "low",
    "account": "me",
}


@pytest.fixture
def acting(acting: Acting, project: Path) -> Acting:
    """The world, with the agent `a` in it."""
    text = json.dumps({**manifest("a"), **FULL, "x-team": {"lead": "ada"}}, indent="\t")
    write_bytes(project, text.encode())
    acting.world.sweep()
    return acting


def test_what_changes_is_in_the_file_and_the_row_and_the_rest_is_untouched(
    acting: Acting, project: Path
) -> None:
    before = manifest_path(project).read_text()
    result = acting.update("a", {"name": "bob", "budget": {"maxHopsPerMessage": 2}})
    budget = ',\n\t"budget": {\n\t\t"maxHopsPerMessage": 2\n\t}\n}'
    expected = before.replace('"agent a"', '"bob"').removesuffix("\n}") + budget
    assert manifest_path(project).read_text() == expected
    assert result.agent == acting.world.agents["a"]
    assert (result.agent.name, result.agent.budget["maxHopsPerMessage"]) == ("bob", 2)
    assert list(files_in(project)) == [".dork/agent.json"]


@pytest.mark.parametrize("key", sorted(CLEARABLE))
def test_null_takes_an_optional_key_away(acting: Acting, project: Path, key: str) -> None:
    acting.update("a", {key: None})
    assert key not in json.loads(manifest_path(project).read_bytes())


def test_a_change_that_changes_nothing_writes_nothing_and_tells_nobody(
    acting: Acting, project: Path
) -> None:
    before, seq = manifest_path(project).stat(), acting.world.seq()
    result = acting.update("a", {"color": "red", "traits": {"humor": 1}})
    assert not result.changed
    assert (manifest_path(project).stat(), acting.world.seq()) == (before, seq)


def test_a_dry_run_says_what_would_be(acting: Acting, project: Path) -> None:
    before = files_in(project)
    result = acting.update("a", {"name": "bob"}, dry_run=True)
    assert (result.agent.name, result.changed) == ("bob", True)
    assert files_in(project) == before
    assert acting.world.agents["a"].name == "agent a"


def test_a_second_update_on_the_same_number_is_refused(acting: Acting) -> None:
    seq = acting.world.agents["a"].seq
    first = acting.update("a", {"name": "bob"}, seq=seq)
    with pytest.raises(ConflictError):
        acting.update("a", {"name": "eve"}, seq=seq)
    assert acting.update("a", {"name": "eve"}, seq=first.agent.seq).agent.name == "eve"


def test_an_edit_that_no_event_told_of_is_not_overwritten_by_who_has_not_seen_it(
    acting: Acting, project: Path
) -> None:
    seq = acting.world.agents["a"].seq
    write_manifest(project, "a", name="by hand")
    with pytest.raises(ConflictError):
        acting.update("a", {"name": "bob"}, seq=seq)
    # The refusal itself had the project looked at: who reads again sees the edit.
    acting.world.settle()
    row = acting.world.agents["a"]
    assert row.name == "by hand"
    assert acting.update("a", {"name": "bob"}, seq=row.seq).agent.name == "bob"


def test_an_unknown_agent_is_not_found(acting: Acting) -> None:
    with pytest.raises(NotFoundError):
        acting.update("nobody", {"name": "bob"})


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "b"},
        {"registeredAt": "2026-01-01T00:00:00Z"},
        {"registeredBy": "me"},
        {"isSystem": True},
        {"mcpServers": []},
        {"x-team": None},
        {"name": None},
        {"name": 1},
        {"traits": {"humor": 6}},
        {"effort": "heroic"},
        {"model": ""},
    ],
)
def test_what_may_not_be_said_is_refused(
    acting: Acting, project: Path, changes: dict[str, Any]
) -> None:
    before = files_in(project)
    with pytest.raises(BadRequestError):
        acting.update("a", changes)
    assert files_in(project) == before


@pytest.mark.parametrize("key", ["name", "description", "namespace", "isSystem"])
@pytest.mark.parametrize("by", ["file", "configuration"])
def test_who_a_system_agent_is_cannot_be_changed(
    acting: Acting, project: Path, key: str, by: str
) -> None:
    if by == "file":
        write_manifest(project, "a", isSystem=True)
        acting.world.sweep()
    else:
        acting.world.parts.shared.trust.system = frozenset({"a"})
    before = files_in(project)
    with pytest.raises(SystemAgentError):
        acting.update("a", {key: "x"})
    assert issubclass(SystemAgentError, PermissionRefusedError)
    assert files_in(project) == before
    assert acting.update("a", {"color": "blue"}).agent.color == "blue"


def test_registering_a_system_agent_again_is_no_way_around_its_protection(
    acting: Acting, project: Path
) -> None:
    write_manifest(project, "a", isSystem=True)
    with pytest.raises(SystemAgentError):
        acting.register(project, {"name": "eve"})
    assert acting.register(project, {"name": "agent a"}).agent.is_system


def test_an_unreachable_agent_has_no_manifest_to_change(acting: Acting, project: Path) -> None:
    delete_manifest(project)
    acting.world.sweep()
    with pytest.raises(NotWritableError, match="unreachable"):
        acting.update("a", {"name": "bob"})
    assert not manifest_path(project).exists()


def test_a_manifest_that_just_went_is_not_made_anew(acting: Acting, project: Path) -> None:
    delete_manifest(project)
    with pytest.raises(ConflictError):
        acting.update("a", {"name": "bob"})
    assert not manifest_path(project).exists()
    assert acting.world.live() == {"a": str(project)}


def test_a_torn_manifest_is_not_overwritten_and_costs_nothing(
    acting: Acting, project: Path
) -> None:
    write_bytes(project, b'{"id": ')
    with pytest.raises(InvalidManifestError):
        acting.update("a", {"name": "bob"})
    assert manifest_path(project).read_bytes() == b'{"id": '
    assert acting.world.live() == {"a": str(project)}


def test_a_path_that_holds_another_id_by_now_is_left_alone(acting: Acting, project: Path) -> None:
    write_manifest(project, "b")
    before = files_in(project)
    with pytest.raises(ConflictError):
        acting.update("a", {"name": "bob"})
    assert files_in(project) == before


def test_an_update_leaves_what_the_registry_knows_besides(acting: Acting) -> None:
    before = acting.world.agents["a"]
    after = acting.update("a", {"color": "blue"}).agent
    same = replace(after, color=before.color, seq=before.seq, updated_at=before.updated_at)
    assert same == before
