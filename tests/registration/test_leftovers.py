"""Temporary files that no intent answers for any more are removed, and nothing else ever is.

The clock of a world is far ahead of every file, so that each is old unless a test turns it back.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from meshd.commands import Reap
from meshd.looker.leftovers import FindLeftovers, Leftover, RemoveLeftovers
from meshd.looker.local import LocalLooker
from meshd.looker.renaming import spare_name
from meshd.registration.deeds import temporary_name
from meshd.store import intents
from tests.faults.tools import needs_root
from tests.harness import SteppedClock, World, write_manifest
from tests.registration.conftest import Acting, files_in
from tests.registration.faults import DeathError

if TYPE_CHECKING:
    from pathlib import Path

ORPHAN = ".agent.json.4711.0123456789abcdef.tmp"


@pytest.fixture
def dork(acting: Acting, project: Path) -> Path:
    """The `.dork` of a known project."""
    write_manifest(project, "a")
    acting.world.sweep()
    return project / ".dork"


def put(dork: Path, name: str, text: str = "left") -> Path:
    file = dork / name
    file.write_text(text)
    return file


def test_every_name_that_a_change_uses_is_removed_once_it_is_an_orphan(
    acting: Acting, dork: Path
) -> None:
    name = temporary_name("agent.json")
    orphans = [put(dork, name), put(dork, spare_name(name)), put(dork, ORPHAN)]
    acting.world.sweep(full=True)
    assert not any(orphan.exists() for orphan in orphans)
    assert list(acting.world.live()) == ["a"]


def test_what_is_removed_is_told_by_name(acting: Acting, dork: Path) -> None:
    put(dork, ORPHAN)
    acting.world.sweep(full=True)
    assert logged(acting.world, "leftover_removed") == [
        {"event": "leftover_removed", "path": str(dork.parent), "left": f".dork/{ORPHAN}"}
    ]


def test_an_ordinary_sweep_lists_no_dork_for_it(acting: Acting, dork: Path) -> None:
    """An unchanged directory costs one `stat`; and the first sweep of a run is not held up."""
    orphan = put(dork, ORPHAN)
    acting.world.sweep()
    assert orphan.exists()


@pytest.mark.parametrize(
    "name",
    [
        "agent.json.4711.0123456789abcdef.tmp",
        ".agent.json.4711.0123456789abcdef.tmp~",
        ".agent.json.4711.0123456789abcdef.tmp\n",
        ".agent.json.4711.0123456789abcdef",
        ".agent.json.4711.0123456789ABCDEF.tmp",
        ".agent.json.4711.0123456789abcde.tmp",
        ".agent.json.mine.0123456789abcdef.tmp",
        ".agent.json.\u0664711.0123456789abcdef.tmp",
        ".agent.json.tmp",
        ".agent.json.swp",
        ".mcp.json.4711.0123456789abcdef.tmp",
        "agent.json.4711.0123456789abcdef.kept",
    ],
)
def test_a_users_file_with_a_similar_name_stays(acting: Acting, dork: Path, name: str) -> None:
    file = put(dork, name)
    acting.world.sweep(full=True)
    assert file.read_text() == "left"


def test_a_young_one_stays_until_it_is_an_hour_old(acting: Acting, dork: Path) -> None:
    world = acting.world
    orphan = put(dork, ORPHAN)
    # Its time of change cannot be set, and it is now.
    os.utime(orphan, (0, 0))
    world.clock.wall_seconds = time.time() + 3500
    world.sweep(full=True)
    assert orphan.exists()
    world.clock.wall_seconds = time.time() + 3700
    world.sweep(full=True)
    assert not orphan.exists()


@needs_root
def test_anothers_file_stays(acting: Acting, dork: Path) -> None:
    orphan = put(dork, ORPHAN)
    os.chown(orphan, 1234, 1234)
    acting.world.sweep(full=True)
    assert orphan.exists()


@pytest.mark.parametrize("kind", ["directory", "symlink", "fifo"])
def test_what_is_no_regular_file_stays(
    acting: Acting, dork: Path, tmp_path: Path, kind: str
) -> None:
    target = tmp_path / "target"
    target.write_text("outside")
    place = dork / ORPHAN
    if kind == "directory":
        place.mkdir()
    elif kind == "symlink":
        place.symlink_to(target)
    else:
        os.mkfifo(place)
    acting.world.sweep(full=True)
    assert os.path.lexists(place)
    assert target.read_text() == "outside"


@pytest.mark.parametrize("beside", ["nothing", "directory"])
def test_what_may_be_all_that_is_left_of_a_manifest_stays(
    acting: Acting, dork: Path, beside: str
) -> None:
    """A death between the setting aside of a manifest and its row's leaving leaves just this."""
    (dork / "agent.json").rename(dork / ORPHAN)
    if beside == "directory":
        (dork / "agent.json").mkdir()
    acting.world.sweep(full=True)
    assert (dork / ORPHAN).exists()


def test_what_an_unfinished_intent_names_stays_wherever_its_project_has_gone(
    tmp_path: Path, root: Path
) -> None:
    """The intent is of a path that is in no root any more: it cannot be finished now."""
    dork = write_manifest(root / "p", "a").parent
    world = World(tmp_path / "state", [root])
    document = {
        "temporary": ORPHAN, "previous": None, "new": "0" * 64, "makes_dork": False, "done": False,
    }  # fmt: skip
    elsewhere = str(tmp_path / "in-no-root")
    world.store.writer.submit(
        lambda connection: intents.add(connection, "manifest", elsewhere, document, "")
    ).result()
    world.sweep()
    named = [put(dork, ORPHAN), put(dork, spare_name(ORPHAN))]
    other = put(dork, temporary_name("agent.json"))
    world.sweep(full=True)
    assert all(file.exists() for file in named)
    assert not other.exists()
    world.stop()


def test_the_orphan_of_a_project_that_moved_before_its_undo_is_removed(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How an orphan comes about: the intent finds nothing at its path, and is done with it."""
    project = root / "p"
    write_manifest(project, "a")
    world = World(tmp_path / "state", [root])
    world.sweep()
    monkeypatch.setattr(world.parts.shared.committer, "commit", die)
    with pytest.raises(DeathError):
        Acting(world).update("a", {"description": "new"})
    world.stop()
    project.rename(root / "moved")
    world = World(tmp_path / "state", [root])
    world.sweep()
    assert len(files_in(root / "moved")) == 2
    world.sweep(full=True)
    assert list(files_in(root / "moved")) == [".dork/agent.json"]
    assert world.live() == {"a": str(root / "moved")}
    world.stop()


def test_a_root_that_fell_sick_since_loses_nothing(acting: Acting, dork: Path, root: Path) -> None:
    world = acting.world
    orphan = put(dork, ORPHAN)
    root.rename(root.with_name("away"))
    world.sweep()
    root.mkdir()
    reap = Reap(str(root), (Leftover(str(dork.parent), ORPHAN),), world.clock.wall_ns())
    assert world.act(reap) == 0
    assert (root.with_name("away") / orphan.relative_to(root)).exists()


def test_what_changed_between_finding_and_removing_stays(dork: Path, root: Path) -> None:
    """Both tasks judge for themselves; and one project that cannot be read stops no other."""
    put(dork, ORPHAN)
    looker = LocalLooker(str(root), clock=SteppedClock(), numbers=lambda: 1)
    paths = (str(root / "none"), str(dork.parent))
    found = looker.run(FindLeftovers(paths, SteppedClock().wall_ns()))
    assert found == [Leftover(str(dork.parent), ORPHAN)]
    task = RemoveLeftovers((Leftover(str(root / "none"), ORPHAN), *found), time.time_ns() - 10**12)
    assert looker.run(task) == []
    (dork / "agent.json").unlink()
    task = RemoveLeftovers(tuple(found), SteppedClock().wall_ns())
    assert looker.run(task) == []
    assert (dork / ORPHAN).exists()


def test_the_looker_of_an_isolated_root_tidies_too(tmp_path: Path, root: Path) -> None:
    """Both tasks cross to the process of a root that may hang."""
    orphan = put(write_manifest(root / "p", "a").parent, ORPHAN)
    world = World(tmp_path / "state", [root], isolated=(str(root),))
    world.sweep()
    world.sweep(full=True)
    assert not orphan.exists()
    world.stop()


def die(_: object) -> None:
    raise DeathError


def logged(world: World, event: str) -> list[dict[str, Any]]:
    return [call.kwargs for call in world.log.calls if call.kwargs.get("event") == event]
