"""What people do to projects in a day, seen by events alone.

The sweep is a day away and nobody asks for a sync: only the watch can tell. Every step takes
projects no other step has touched, and compares the whole list before and after.
"""

from __future__ import annotations

import json
import random
import shutil
from typing import TYPE_CHECKING, Final

import pytest

from tests.system.daemon import Daemon
from tests.system.difference import UNREACHABLE, changed
from tests.system.live import BACKENDS, NO_SWEEP, VISIBLE, Live
from tests.system.trees import Project, document, git, plant, save

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.system.daemon import Document

LOSSES: Final = frozenset({"unreachable", "displaced", "removed"})


@pytest.fixture(scope="module", params=BACKENDS)
def live(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Live]:
    """A daemon that watches a generated tree."""
    backend: str = request.param
    root = tmp_path_factory.mktemp("root")
    projects = plant(root, 150)
    parents = {project.path.parent.parent for project in projects}
    unused = [
        project
        for project in projects
        if project.path not in parents and project.path.parent.name != "src"
    ]
    config = f'{NO_SWEEP}[watch]\nbackend = "{backend}"\n'
    with Daemon(tmp_path_factory.mktemp("h"), root, config=config) as daemon:
        assert daemon.root(root)["watch"] == backend
        yield Live(root, daemon, unused)


def said(project: Project) -> Document:
    """Return what a project's manifest says."""
    found: Document = json.loads(project.manifest.read_bytes())
    return found


def at(path: Path) -> dict[str, object]:
    """Return the fields of a row that has moved."""
    return {"projectPath": str(path), "lastPath": str(path)}


def missing(what: str) -> dict[str, object]:
    """Return the fields of a row whose manifest or project is missing."""
    return {**UNREACHABLE, "unreachableReason": f"{what}-missing"}


def returned(project: Project, before: dict[str, Document]) -> dict[str, object]:
    """Return what changes when a project comes back as it was before it was lost."""
    return {key: before[project.id][key] for key in missing("project")}


# saving


def test_a_save_by_rename_is_an_update_and_nothing_else(live: Live) -> None:
    one = live.take()
    fields = said(one) | {"description": "renamed over"}
    kinds = live.after(
        lambda: save(one.path, one.id, **fields), {one.id: {"description": "renamed over"}}
    )
    assert kinds == ["updated"]


def test_a_save_in_place_is_an_update(live: Live) -> None:
    one = live.take()
    text = json.dumps(said(one) | {"description": "in place"})
    kinds = live.after(lambda: one.manifest.write_text(text), {one.id: {"description": "in place"}})
    assert kinds == ["updated"]


def test_a_save_that_truncates_and_writes_is_one_update(live: Live) -> None:
    one = live.take()
    text = json.dumps(said(one) | {"description": "in two steps"})

    def truncate_and_write() -> None:
        with one.manifest.open("w") as file:
            file.flush()
            file.write(text[:40])
            file.flush()
            file.write(text[40:])

    kinds = live.after(truncate_and_write, {one.id: {"description": "in two steps"}})
    assert kinds == ["updated"]


def test_a_torn_manifest_is_flagged_until_it_is_repaired(live: Live) -> None:
    one = live.take()
    whole = one.manifest.read_bytes()
    torn = {one.id: {"flags": ["invalid:not-json"]}}
    assert "invalid" in live.after(lambda: one.manifest.write_bytes(whole[:40]), torn)
    live.after(lambda: one.manifest.write_bytes(whole), {one.id: {"flags": []}})


# losing and finding


def test_a_deleted_manifest_makes_its_agent_unreachable_and_brought_back_returns(
    live: Live, tmp_path: Path
) -> None:
    one = live.take()
    gone = {one.id: missing("manifest")}
    before = live.daemon.agents()
    away = tmp_path / "away"
    assert live.after(lambda: one.manifest.rename(away), gone) == ["unreachable"]
    back = {one.id: returned(one, before)}
    assert live.after(lambda: away.rename(one.manifest), back) == ["returned"]


def test_a_deleted_project_makes_its_agent_unreachable_and_brought_back_returns(
    live: Live, tmp_path: Path
) -> None:
    one = live.take()
    before = live.daemon.agents()
    shutil.copytree(one.path, tmp_path / "copy", symlinks=True)
    gone = {one.id: missing("project")}
    assert live.after(lambda: shutil.rmtree(one.path), gone) == ["unreachable"]
    back = {one.id: returned(one, before)}
    kinds = live.after(lambda: shutil.copytree(tmp_path / "copy", one.path, symlinks=True), back)
    assert kinds[-1] == "returned"


def test_a_populated_directory_may_leave_the_root_and_come_back(live: Live, tmp_path: Path) -> None:
    projects = [live.new(live.root / "guests" / f"g{n}", f"guest-{n}") for n in range(5)]
    before = live.daemon.agents()
    away = tmp_path / "away"
    gone = {one.id: missing("project") for one in projects}
    kinds = live.after(lambda: (live.root / "guests").rename(away), gone)
    assert kinds == ["unreachable"] * 5
    back = {one.id: returned(one, before) for one in projects}
    assert live.after(lambda: away.rename(live.root / "guests"), back) == ["returned"] * 5


def test_a_directory_full_of_projects_that_comes_from_outside_is_found(
    live: Live, tmp_path: Path
) -> None:
    before = live.daemon.agents().keys()
    projects = plant(tmp_path / "outside", 20)
    for number, one in enumerate(projects):
        save(one.path, f"import-{number}")
    (tmp_path / "outside").rename(live.root / "imported")
    wanted = {f"import-{number}" for number in range(20)}
    live.daemon.wait_until(
        lambda: live.daemon.agents().keys() - before == wanted, "imports", VISIBLE
    )


def test_a_deleted_group_loses_each_of_its_agents(live: Live) -> None:
    projects = [live.new(live.root / "doomed" / f"d{n}", f"doomed-{n}") for n in range(5)]
    gone = {one.id: missing("project") for one in projects}
    kinds = live.after(lambda: shutil.rmtree(live.root / "doomed"), gone)
    assert kinds == ["unreachable"] * 5


def test_a_project_made_step_by_step_is_found(live: Live) -> None:
    before = live.daemon.agents().keys()
    path = live.root / "by" / "and" / "by" / "new"
    for directory in (*reversed(path.relative_to(live.root).parents), path):
        (live.root / directory).mkdir(exist_ok=True)
    (path / ".dork").mkdir()
    (path / ".dork" / "agent.json").write_text(json.dumps(document("step-by-step")))
    live.daemon.wait_until(
        lambda: live.daemon.agents().keys() - before == {"step-by-step"}, "new agent", VISIBLE
    )
    assert live.daemon.agents()["step-by-step"]["projectPath"] == str(path)


# moving


def test_a_moved_project_keeps_its_agent_and_is_never_lost(live: Live) -> None:
    one = live.take()
    target = one.path.with_name("moved-along")
    assert live.after(lambda: one.path.rename(target), {one.id: at(target)}) == ["relocated"]


def test_a_project_moved_to_another_group_is_never_lost(live: Live) -> None:
    one, other = live.unused.pop(), live.unused.pop(0)
    target = other.path.with_name("moved-across")
    assert target.parent != one.path.parent
    expected = {one.id: {**at(target), "namespace": target.parent.name}}
    kinds = live.after(lambda: one.path.rename(target), expected)
    assert kinds == ["relocated", "endpoint"]


def test_a_moved_group_moves_all_its_agents_and_loses_none(live: Live) -> None:
    projects = [live.new(live.root / "movers" / f"m{n}", f"mover-{n}") for n in range(5)]
    target = live.root / "moved"
    expected = {one.id: {**at(target / one.path.name), "namespace": "moved"} for one in projects}
    kinds = live.after(lambda: (live.root / "movers").rename(target), expected)
    assert sorted(kinds) == ["endpoint"] * 5 + ["relocated"] * 5


def test_two_projects_that_swap_their_ids_are_never_lost(live: Live) -> None:
    one, other = live.take(), live.take()

    def swap() -> None:
        between = one.path / "between"
        one.manifest.rename(between)
        other.manifest.rename(one.manifest)
        between.rename(other.manifest)

    kinds = live.after(swap, {one.id: at(other.path), other.id: at(one.path)})
    assert kinds == ["relocated", "relocated"]


def test_two_projects_that_swap_their_names_are_never_lost(live: Live) -> None:
    one, other = live.take(), live.take()

    def swap() -> None:
        between = one.path.rename(one.path.with_name("between"))
        other.path.rename(one.path)
        between.rename(other.path)

    kinds = live.after(swap, {one.id: at(other.path), other.id: at(one.path)})
    assert not LOSSES & set(kinds)


# copies


def test_a_clone_is_refused_and_takes_over_when_the_original_goes(live: Live) -> None:
    one = live.take()
    # Smaller than the original's path, so that nothing but who came first decides.
    clone = one.path.with_name("a-clone")
    before = live.daemon.agents()
    shutil.copytree(one.path, clone, symlinks=True)
    duplicate = ("duplicate", None)
    live.daemon.wait_until(
        lambda: live.daemon.claims().get(str(clone)) == duplicate, "refused clone", VISIBLE
    )
    assert changed(before, live.daemon.agents()) == {}
    kinds = live.after(lambda: shutil.rmtree(one.path), {one.id: at(clone)})
    assert not LOSSES & set(kinds)


def test_a_worktree_is_refused(live: Live) -> None:
    main = live.new_checkout(live.root / "with-git" / "main", "with-worktree")
    before = live.daemon.agents()
    git(main.path, "worktree", "add", "../a-worktree")
    worktree = str(main.path.with_name("a-worktree"))
    live.daemon.wait_until(lambda: worktree in live.daemon.claims(), "claim", VISIBLE)
    assert live.daemon.claims()[worktree][0] == "duplicate"
    assert changed(before, live.daemon.agents()) == {}


def test_a_branch_switch_there_and_back_is_never_a_loss(live: Live) -> None:
    main = live.new_checkout(live.root / "with-git" / "branches", "on-branches")
    git(main.path, "branch", "other")
    seq = live.daemon.status()["seq"]
    git(main.path, "rm", "-rf", ".")
    git(main.path, "reset", "--hard")
    fields = said(main) | {"description": "after the switch"}
    live.after(
        lambda: save(main.path, main.id, **fields),
        {main.id: {"description": "after the switch"}},
    )
    assert [entry["kind"] for entry in live.entries(seq)] == ["updated"]


def test_a_branch_without_the_manifest_costs_reachability_only_while_it_is_out(live: Live) -> None:
    main = live.new_checkout(live.root / "with-git" / "longer", "out-for-long")
    git(main.path, "checkout", "--orphan", "without")
    git(main.path, "rm", "-rf", ".")
    git(main.path, "commit", "--allow-empty", "--message", "empty")
    git(main.path, "checkout", "main")
    before = live.daemon.agents()
    gone = {main.id: missing("manifest")}
    assert "unreachable" in live.after(lambda: git(main.path, "checkout", "without"), gone)
    back = {main.id: returned(main, before)}
    assert "returned" in live.after(lambda: git(main.path, "checkout", "main"), back)


# what makes no event, and what a sync promises


def test_a_sweep_and_what_happens_in_node_modules_make_no_event(live: Live) -> None:
    one = live.take()
    live.daemon.ask("sync")
    before = live.daemon.root(live.root)["events"]
    live.daemon.sweep("--full")
    for number in range(2_000):
        file = one.path / "node_modules" / f"file-{number % 50}"
        file.write_text("x" * number)
        if number % 50 == 49:
            file.unlink()
    live.daemon.ask("sync")
    assert before == live.daemon.root(live.root)["events"]


@pytest.mark.slow
def test_every_sync_keeps_its_promise_by_events(live: Live) -> None:
    chance = random.Random(20_000)
    place = live.root / "synced"
    expected: dict[str, tuple[str, str]] = {}
    with live.daemon.client() as client:
        for turn in range(50):
            for _ in range(chance.randint(1, 20)):
                one = Project(name := f"sync-{chance.randrange(12)}", place / name)
                if name in expected and chance.random() < 0.3:
                    shutil.rmtree(one.path)
                    del expected[name]
                else:
                    description = f"turn {turn}, {chance.random()}"
                    save(one.path, name, description=description)
                    expected[name] = (str(one.path), description)
            answer = client.sync()
            by = [root["by"] for root in answer["roots"]]
            assert by == ["events"], live.daemon.log[-4000:]
            rows = client.registry()["agents"]
            assert expected == {
                row["id"]: (row["projectPath"], row["description"])
                for row in rows
                if row["id"].startswith("sync-") and row["status"] == "active"
            }, f"turn {turn}"


def test_after_all_that_a_sweep_finds_nothing_the_events_had_missed(live: Live) -> None:
    """The last step: everything above was heard."""
    seq = live.daemon.status()["seq"]
    result = live.daemon.sweep("--full")
    assert (result["drift"], result["held"]) == (0, 0), live.entries(seq)
    root = live.daemon.root(live.root)
    assert root["watchedDirectories"] == root["wantedDirectories"]
    assert root["overflows"] == 0
