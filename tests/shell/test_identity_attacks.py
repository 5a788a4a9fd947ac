"""Who holds an id, when clones, torn files, lost databases and crashes try to change it.

Real directories and a real database. Only the two races that no file operation can place hook
a seam, and say so.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from meshd.commands import Forget, RootCheck, SweepBegan
from meshd.core.model import Source
from tests.harness import World, delete_manifest, delete_project, write_bytes, write_manifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from meshd.core.model import Observation
    from meshd.roots import RootsView


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@contextmanager
def running(state: Path, *roots: Path, **options: Any) -> Iterator[World]:  # noqa: ANN401 - a World's
    """Run a world for the length of a block; the next block on the same state is a restart."""
    world = World(state, roots, **options)
    try:
        yield world
    finally:
        world.stop()


@contextmanager
def unreadable(path: Path) -> Iterator[None]:
    """Let nobody open a file, root included: it is leased, and a look does not wait for leases."""
    with path.open("r+b") as file:
        # A lease that is broken tells its holder; by default with a signal that would end us.
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        yield


def incumbents(state: Path) -> dict[str, str]:
    """Return who holds the contested ids, as a rebuild would hear of it."""
    found: dict[str, str] = json.loads((state / "policy.json").read_text())["incumbents"]
    return found


def lose_database(state: Path) -> None:
    for file in state.glob("meshd.db*"):
        file.unlink()


# contested ids and a lost database


def test_a_clone_that_is_torn_for_a_moment_contests_the_id_all_the_same(
    state: Path, root: Path
) -> None:
    """A rebuild right then must not hand the id to the clone, whose path is the smaller one."""
    write_manifest(root / "z-original", "a")
    with running(state, root) as world:
        world.sweep()
        shutil.copytree(root / "z-original", root / "a-clone")
        world.sweep()
        write_bytes(root / "a-clone", b"{")
        world.sweep()
        assert incumbents(state) == {"a": str(root / "z-original")}
    write_manifest(root / "a-clone", "a")
    lose_database(state)
    with running(state, root) as world:
        world.sweep()
        assert world.live() == {"a": str(root / "z-original")}


def test_a_clone_that_cannot_be_read_for_a_moment_contests_the_id_all_the_same(
    state: Path, root: Path
) -> None:
    write_manifest(root / "z-original", "a")
    with running(state, root) as world:
        world.sweep()
        shutil.copytree(root / "z-original", root / "a-clone")
        world.sweep()
        with unreadable(root / "a-clone/.dork/agent.json"):
            world.sweep(full=True)
            assert world.claims()[str(root / "a-clone")] == ("unreadable", "unreadable")
            assert incumbents(state) == {"a": str(root / "z-original")}


def test_an_incumbent_inherited_by_a_rebuild_withholds_nothing_once_it_is_gone(
    state: Path, root: Path
) -> None:
    write_manifest(root / "p", "a")
    write_manifest(root / "clone", "a")
    with running(state, root) as world:
        world.sweep()
        holder = Path(incumbents(state)["a"])
    lose_database(state)
    with running(state, root) as world:
        world.sweep()
        assert world.live() == {"a": str(holder)}
        delete_project(root / "clone")
        delete_project(root / "p")
        world.sweep()
        world.act(Forget("a"))
        world.sweep()
        assert world.agents == {}
        # What lies at the incumbent's old path now is somebody else's, and cannot be told.
        write_bytes(holder, b"not a manifest")
        write_manifest(root / "new-home", "a")
        world.sweep(full=True, after=300)
        assert world.live() == {"a": str(root / "new-home")}


# displaced agents


def test_forgetting_a_displaced_agent_leaves_the_claim_of_who_lives_there_now(
    state: Path, root: Path
) -> None:
    with running(state, root) as world:
        write_manifest(root / "p", "a")
        world.sweep()
        write_manifest(root / "p", "b")
        world.sweep()
        world.act(Forget("a"))
        world.settle()
        assert world.live() == {"b": str(root / "p")}
        assert world.claims() == {str(root / "p"): ("valid", None)}


def test_a_displaced_agent_found_elsewhere_returns_while_its_old_path_is_torn(
    state: Path, root: Path
) -> None:
    """The torn file is its successor's; the displaced agent has no part in it."""
    with running(state, root) as world:
        write_manifest(root / "p", "a")
        world.sweep()
        write_manifest(root / "p", "b")
        world.sweep(after=300)
        write_bytes(root / "p", b"{")
        world.sweep(after=300)
        write_manifest(root / "q", "a")
        world.sweep(after=300)
        assert world.live() == {"a": str(root / "q"), "b": str(root / "p")}
        assert world.claims()[str(root / "q")] == ("valid", None)


# races


def test_what_a_killed_sweep_registered_does_not_yield_to_a_clone_made_later(
    state: Path, root: Path
) -> None:
    """Births yield to a better claim within their own sweep; a smaller path is a better one.

    The sweep is played by its own messages, because it must end in the middle.
    """
    write_manifest(root / "z-original", "a")
    with running(state, root) as world:
        identity = world.roots.view.lookers[str(root)].check(None).identity
        checks = {str(root): RootCheck(True, None, identity, against=None)}
        world.inbox.post(SweepBegan(checks, Source.START))
        world.drain()
        world.hint(root / "z-original", source=Source.START)
        world.drain()
        assert world.live() == {"a": str(root / "z-original")}
    shutil.copytree(root / "z-original", root / "a-clone")
    with running(state, root) as world:
        world.sweep()
        assert world.live() == {"a": str(root / "z-original")}


@pytest.mark.parametrize("noticed_by", ["sweep", "event"])
def test_an_incumbent_that_only_a_second_look_meets_loses_nothing_while_it_is_being_saved(
    state: Path, root: Path, monkeypatch: pytest.MonkeyPatch, noticed_by: str
) -> None:
    """It was looked at once, and what is seen once costs nothing (R7).

    Hooks the looking, to change files between one look and the next.
    """
    write_manifest(root / "p", "a")
    write_manifest(root / "home", "b")
    with running(state, root) as world:
        world.sweep()
        delete_manifest(root / "p")
        looking = world.parts.shared.looking
        look = looking.look
        met: set[str] = set()
        saved = (root / "home/.dork/agent.json").read_bytes()

        def look_amid_changes(
            paths: Iterable[tuple[str, Source]], view: RootsView
        ) -> list[Observation]:
            paths = list(paths)
            new = {os.path.basename(path) for path, _ in paths} - met  # noqa: PTH119 - a text
            met.update(new)
            if "home" in new:
                delete_manifest(root / "home")  # an editor that unlinks and writes
            seen = look(paths, view)
            if "home" in new:
                write_bytes(root / "home", saved)
            if "p" in new:
                write_manifest(root / "p", "b")  # copied from home after the first look
            return seen

        monkeypatch.setattr(looking, "look", look_amid_changes)
        if noticed_by == "sweep":
            world.sweep(after=300)
        else:
            world.hint(root / "p")
            world.settle()
        assert met == {"p", "home"}
        assert world.live() == {"b": str(root / "home")}
