"""What sweeps must notice, hold, count and tell, and how little they may look at for it.

Real directories and a real database. What must happen in the middle of a sweep is placed by
hooking one seam, and the test says which.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

import meshd.batch
from meshd.commands import Forget
from meshd.gathering import Gathering
from tests.harness import World, delete_project, write_manifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from meshd.core.model import Observation, Source
    from meshd.core.verdict import Known
    from meshd.roots import RootsView
    from meshd.store.registry import Registry


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


# what every sweep asks about


def test_a_live_agent_whose_look_left_no_signature_is_asked_about_after_a_restart(
    state: Path, root: Path
) -> None:
    """A symlink in the place of `.dork` is refused unread; then the project is deleted."""
    for agent_id in "abc":
        write_manifest(root / agent_id, agent_id)
    with running(state, root) as world:
        world.sweep()
        (root / "a/.dork").rename(root / "a/real")
        (root / "a/.dork").symlink_to("real")
        world.sweep()
        assert world.claims()[str(root / "a")] == ("invalid", "dork-symlink")
        assert world.live().keys() == {"a", "b", "c"}
    delete_project(root / "a")
    with running(state, root) as world:
        world.sweep(after=300)
        assert world.live().keys() == {"b", "c"}


def test_a_file_at_a_forgotten_path_is_seen_by_the_next_ordinary_sweep(
    state: Path, root: Path
) -> None:
    """The file never changed, so only having forgotten how it looked makes it news."""
    write_manifest(root / "home", "b")
    write_manifest(root / "p", "a")
    with running(state, root) as world:
        world.sweep()
        write_manifest(root / "p", "b")  # a copy, which displaces a and waits behind home
        world.sweep(after=300)
        world.act(Forget("a"))
        assert world.claims().keys() == {str(root / "home")}
        assert world.sweep(after=300).full is False
        assert world.claims()[str(root / "p")] == ("duplicate", None)
        delete_project(root / "home")
        world.sweep(after=300)
        assert world.live() == {"b": str(root / "p")}


# syncs


def test_syncs_do_not_put_off_the_sweep_of_the_timer(state: Path, root: Path) -> None:
    """It alone lets the grace run and agrees with what was held."""
    write_manifest(root / "p", "a")
    with running(state, root, interval=300) as world:
        world.sweep()
        sweeper = world.sweeper

        def due() -> float:
            return sweeper.cadence.next_due(sweeper._last_end, jitter=0)

        before = due()
        for _ in range(5):
            world.sweep(sync=True, after=60)
        assert due() == before
        assert world.clock.monotonic() >= before


def test_a_sync_before_the_first_sweep_of_a_run_is_that_sweep(state: Path, root: Path) -> None:
    """The daemon is ready by it."""
    write_manifest(root / "p", "a")
    with running(state, root) as world:
        result = world.sweep(sync=True)
        assert world.courses.last == result


# the mass guard


def test_a_held_mass_disappearance_is_agreed_to_by_a_sweep_a_minute_later(
    state: Path, root: Path
) -> None:
    for number in range(10):
        write_manifest(root / f"p{number}", f"id-{number}")
    with running(state, root) as world:
        world.sweep()
        before = world.seq()
        for number in range(6):
            delete_project(root / f"p{number}")
        held = world.sweep(after=300)
        assert (held.held, held.unreachable, len(world.live())) == (6, 0, 10)
        held = world.sweep(after=30)
        assert (held.held, held.unreachable, len(world.live())) == (6, 0, 10)
        agreed = world.sweep(after=30)
        assert (agreed.held, agreed.unreachable, len(world.live())) == (0, 6, 4)
        vanished = [("unreachable", f"id-{number}") for number in range(6)]
        assert sorted(world.kinds(before), key=str) == [("held", None), *vanished]


# a sweep that begins anew


def test_what_was_registered_before_the_scope_changed_is_told_and_counted(
    state: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hooks what the sweeper puts: the scope changes once the first hints are committed."""
    for agent_id in "abc":
        write_manifest(root / agent_id, agent_id)
    with running(state, root) as world:
        put = Gathering.put

        def put_amid_denial(gathering: Gathering) -> None:
            put(gathering)
            world.drain()
            world.roots.deny({str(root / "elsewhere")})

        monkeypatch.setattr(Gathering, "put", put_amid_denial)
        result = world.sweep()
        told = [call.kwargs["event"] for call in world.log.calls]
        assert result.discovered == 3
        assert told == ["registered", "registered", "registered", "swept"]


# chains of ids


class Effort:
    """Counts the paths that are looked at, and those whose rows and claims are loaded."""

    def __init__(self, world: World, patch: pytest.MonkeyPatch) -> None:
        self.looked = 0
        self.loaded = 0
        looking, load_for = world.parts.shared.looking, meshd.batch.load_for
        look = looking.look

        def count_looks(paths: Iterable[tuple[str, Source]], view: RootsView) -> list[Observation]:
            seen = look(paths, view)
            self.looked += len(seen)
            return seen

        def count_loads(registry: Registry, observations: Iterable[Observation]) -> Known:
            observations = list(observations)
            self.loaded += len(observations)
            return load_for(registry, observations)

        patch.setattr(looking, "look", count_looks)
        patch.setattr(meshd.batch, "load_for", count_loads)


def rotate(world: World, root: Path, length: int) -> None:
    """Give every project the id of the next one, after a sweep that knew them as they were."""
    for number in range(length):
        write_manifest(root / f"p{number:03}", f"id-{number}")
    world.sweep()
    for number in range(length):
        write_manifest(root / f"p{number:03}", f"id-{(number + 1) % length}")


def test_a_chain_of_ids_noticed_at_one_end_is_closed_in_as_many_looks_as_it_has_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every link is looked at twice and loaded a few times, however long the chain is."""
    efforts = {}
    for length in (40, 160):
        root = tmp_path / f"root-{length}"
        with running(tmp_path / f"state-{length}", root) as world, monkeypatch.context() as patch:
            rotate(world, root, length)
            effort = Effort(world, patch)
            world.hint(root / "p000")
            world.settle()
            assert world.live()["id-1"] == str(root / "p000")
            assert effort.looked == 2 * length
            efforts[length] = effort.loaded
    assert efforts[160] <= 4 * efforts[40]


def test_a_chain_of_ids_over_many_batches_of_a_sweep_loads_no_more_than_a_few_rows_per_look(
    state: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hooks the size of a batch, which a chain of thousands of projects would exceed, too."""
    with running(state, root) as world:
        rotate(world, root, 60)
        monkeypatch.setattr(world.inbox, "_limit", 10)
        effort = Effort(world, monkeypatch)
        world.sweep()
        assert world.live()["id-1"] == str(root / "p000")
        assert effort.loaded <= 3 * effort.looked
