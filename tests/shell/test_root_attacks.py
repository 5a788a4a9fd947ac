"""Roots that are exchanged, unmounted, removed or cut short while they are swept.

Real directories and a real database. What must happen in the middle of a sweep is placed by
hooking one seam, and each such test says which.
"""

from __future__ import annotations

import resource
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from meshd.config.settings import ScanSettings
from meshd.core.model import Status
from meshd.looker import NoDescriptorsError
from tests.harness import World, delete_manifest, write_bytes, write_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from meshd.core.model import Observation, RootIdentity, Source
    from meshd.looker.health import RootLook
    from meshd.looker.walk import Found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def other(tmp_path: Path) -> Path:
    (tmp_path / "other").mkdir()
    return tmp_path / "other"


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


def exchange(root: Path) -> None:
    """Put another tree in a root's place: one project edited, one with another id, one new."""
    root.rename(root.with_name("the-real-one"))
    root.mkdir()
    write_manifest(root / "pa", "stranger")
    write_manifest(root / "pb", "b", name="edited elsewhere")
    write_manifest(root / "px", "invented")


# a root in whose place another tree lies


def test_nothing_is_believed_of_a_tree_exchanged_between_two_checks(
    state: Path, root: Path
) -> None:
    write_manifest(root / "pa", "a")
    write_manifest(root / "pb", "b")
    with running(state, root) as world:
        world.sweep()
        before = world.agents
        exchange(root)
        world.hint(root / "pa", root / "pb", root / "px")
        world.settle()
        assert world.agents == before


def test_nothing_is_believed_of_a_tree_exchanged_after_its_check_in_the_same_sweep(
    state: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hooks what the sweeper does between the check of a root and its walk."""
    write_manifest(root / "pa", "a")
    write_manifest(root / "pb", "b")
    with running(state, root) as world:
        world.sweep()
        before = world.agents
        known_paths = world.sweeper._known_paths

        def exchange_first() -> tuple[set[str], set[str]]:
            exchange(root)
            return known_paths()

        monkeypatch.setattr(world.sweeper, "_known_paths", exchange_first)
        result = world.sweep()
        assert result.sick_roots == (str(root),)
        assert world.agents == before


def tear(project: Path) -> None:
    write_bytes(project, b"{")


@pytest.mark.parametrize(
    ("change", "status"),
    [
        pytest.param(tear, Status.ACTIVE, id="torn"),
        pytest.param(delete_manifest, Status.UNREACHABLE, id="waiting out its grace"),
    ],
)
def test_an_empty_mount_point_is_not_recognised_for_want_of_valid_manifests(
    state: Path, root: Path, change: Callable[[Path], object], status: Status
) -> None:
    """No evidence is no recognition: nothing is lost there, and no grace runs out."""
    write_manifest(root / "p", "a")
    with running(state, root, grace=600) as world:
        world.sweep()
        change(root / "p")
        world.sweep(after=300)
        assert world.agents["a"].status is status
        before, clock = world.seq(), world.clock
    root.rename(root.with_name("unmounted"))
    root.mkdir()
    with running(state, root, grace=600, clock=clock) as world:
        for _ in range(5):
            assert world.sweep(after=300).sick_roots == (str(root),)
        assert world.agents["a"].status is status
        assert world.kinds(before) == [("root_sick", None)]


# a root that leaves the configuration while it is swept


def test_a_root_may_leave_the_configuration_during_the_last_check_of_a_sweep(
    state: Path, root: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hooks the check, which runs in another thread than the reload."""
    write_manifest(root / "p", "a")
    write_manifest(other / "q", "b")
    with running(state, root, other) as world:
        world.sweep()
        delete_manifest(root / "p")
        for looker in world.roots.view.lookers.values():

            def check_amid_reload(
                known: RootIdentity | None,
                check: Callable[[RootIdentity | None], RootLook] = looker.check,
            ) -> RootLook:
                if world.courses.current is not None:
                    world.roots.configure(ScanSettings(roots=(str(root),)))
                return check(known)

            monkeypatch.setattr(looker, "check", check_amid_reload)
        world.sweep(after=300)
        assert world.live() == {"b": str(other / "q")}


def test_a_root_may_leave_the_configuration_and_return_while_a_sweep_settles(
    state: Path, root: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hooks the end of the walk, after which the sweep waits for its second looks."""
    write_manifest(root / "p", "a")
    write_manifest(other / "q", "b")
    with running(state, root, other) as world:
        world.sweep()
        delete_manifest(root / "p")
        end_of_walk = world.reconciler._end_of_walk

        def end_amid_reloads(*arguments: Any, **keywords: Any) -> None:  # noqa: ANN401 - passed on
            end_of_walk(*arguments, **keywords)
            world.roots.configure(ScanSettings(roots=(str(root),)))
            world.roots.configure(world.settings.scan)

        monkeypatch.setattr(world.reconciler, "_end_of_walk", end_amid_reloads)
        world.sweep(after=300)
        assert world.live() == {"b": str(other / "q")}


def test_an_isolated_root_may_leave_the_configuration_while_it_is_looked_at(
    state: Path, root: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hooks the look; the reload ends the worker process that was asked."""
    write_manifest(root / "p", "a")
    write_manifest(other / "q", "b")
    with running(state, root, other, isolated=(str(other),)) as world:
        world.sweep()
        looker = world.roots.view.lookers[str(other)]
        look = looker.look

        def look_amid_reload(paths: Sequence[str], source: Source) -> list[Observation]:
            world.roots.configure(ScanSettings(roots=(str(root),)))
            return look(paths, source)

        monkeypatch.setattr(looker, "look", look_amid_reload)
        write_manifest(other / "q", "b", name="new")
        world.sweep(after=300)
        assert world.agents.keys() == {"a", "b"}


# a walk that is cut short


@contextmanager
def gone(root: Path) -> Iterator[None]:
    """Let a root be away for a moment, and be back as it was."""
    away = root.with_name("away")
    root.rename(away)
    try:
        yield
    finally:
        away.rename(root)


@contextmanager
def without_descriptors(root: Path) -> Iterator[None]:
    """Let no file be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("cut_short", [gone, without_descriptors])
def test_a_move_into_a_root_that_could_not_be_walked_is_one_relocation_later(
    state: Path,
    root: Path,
    other: Path,
    monkeypatch: pytest.MonkeyPatch,
    cut_short: Callable[[Path], AbstractContextManager[None]],
) -> None:
    """An absence counts only when every reachable root was walked to its end.

    Hooks the walk of the other root, so that it is cut short and nothing else is.
    """
    write_manifest(root / "p", "a")
    write_manifest(other / "q", "b")
    with running(state, root, other) as world:
        world.sweep()
        before = world.seq()
        (root / "p").rename(other / "p")
        looker = world.roots.view.lookers[str(other)]
        walk = looker.walk

        def walk_in_vain(*arguments: Any, **keywords: Any) -> Generator[list[Found], None, None]:  # noqa: ANN401 - passed on
            with cut_short(other):
                yield from walk(*arguments, **keywords)

        with monkeypatch.context() as patch, suppress(NoDescriptorsError):
            patch.setattr(looker, "walk", walk_in_vain)
            world.sweep(after=300)
        assert world.kinds(before) == []
        world.sweep(after=300)
        assert world.kinds(before) == [("relocated", "a")]


# many that vanish


def test_newborn_agents_do_not_make_what_vanished_a_smaller_part_of_the_root(
    state: Path, root: Path
) -> None:
    for number in range(10):
        write_manifest(root / f"volume/p{number}", f"old-{number}")
    with running(state, root) as world:
        world.sweep()
        (root / "volume").rename(root.with_name("unmounted"))
        for number in range(10):
            write_manifest(root / f"other/q{number}", f"new-{number}")
        result = world.sweep(after=300)
        assert (result.held, result.unreachable, result.discovered) == (10, 0, 10)
        assert len(world.live()) == 20
