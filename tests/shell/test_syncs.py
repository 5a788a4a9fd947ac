"""What a sync promises, over losses, failures and scans that take their time."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from meshd.commands import Sync
from meshd.core.model import Hint, Source
from meshd.core.pending import LONGEST_SCAN
from meshd.errors import MeshdError, StoppingError, StoreError
from meshd.services import LONGEST_COOKIE, Services, SyncResult
from meshd.watcher import Coverage
from tests.harness import World, delete_manifest, write_bytes, write_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SETTLE = 0.2


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def world(tmp_path: Path, root: Path) -> Iterator[World]:
    world = World(tmp_path / "state", [root])
    for number in range(3):
        write_manifest(root / f"p{number}", f"a{number}")
    world.sweep()
    yield world
    world.stop()


def begin(world: World) -> Future[None]:
    """Begin a sync; return what it resolves to."""
    sync = Sync()
    world.inbox.post(sync)
    world.drain()
    return sync.future


def pass_time(world: World, seconds: float) -> None:
    """Let time pass, and the reconciler do what is due."""
    for _ in range(round(seconds / SETTLE)):
        world.clock.step(SETTLE)
        world.drain()


def scanning(world: World) -> list[Future[None]]:
    """Have scans in line that take their time; return the marks behind them."""
    marks: list[Future[None]] = []

    def put() -> Future[None]:
        marks.append(Future())
        return marks[-1]

    world.courses.marks.put = put
    return marks


def hint_unsettled(world: World, project: Path) -> None:
    """Hint at a project that may still be written."""
    hint = Hint(str(project), Source.WATCH)
    world.inbox.put([hint], root_of=lambda _: str(project.parent), settled=False)


def lose_events(world: World, root: Path) -> None:
    world.inbox.widen(str(root))
    world.drain()


def sweep_wanted(world: World) -> bool:
    return not world.sweeper._requests.empty()


# by events


def test_a_sync_with_nothing_to_wait_for_resolves_at_once(world: World) -> None:
    assert begin(world).done()


def test_a_sync_waits_for_the_second_look_at_what_it_owes(world: World, root: Path) -> None:
    delete_manifest(root / "p0")
    world.hint(root / "p0")
    synced = begin(world)
    assert not synced.done()
    pass_time(world, 3 * SETTLE)
    assert synced.done()
    assert "a0" not in world.live()


def test_no_time_that_passes_lets_a_sync_go_before_its_costs_are_decided(
    world: World, root: Path
) -> None:
    marks = scanning(world)
    delete_manifest(root / "p0")
    world.hint(root / "p0")
    synced = begin(world)
    pass_time(world, LONGEST_SCAN / 2)
    assert not synced.done()
    marks[0].set_result(None)
    pass_time(world, 3 * SETTLE)
    assert synced.done()
    assert "a0" not in world.live()


def test_a_sync_waits_for_what_does_not_parse_until_it_is_recorded(
    world: World, root: Path
) -> None:
    write_bytes(root / "p0", b"{")
    world.hint(root / "p0")
    synced = begin(world)
    assert not synced.done()
    pass_time(world, 3.0)
    assert synced.done()
    assert world.claims()[str(root / "p0")][0] == "invalid"


def test_what_comes_after_a_sync_does_not_hold_it_up(world: World, root: Path) -> None:
    for number in (0, 1):
        delete_manifest(root / f"p{number}")
    world.hint(root / "p0")
    synced = begin(world)
    for _ in range(4):
        # One project is lost and found all the time, so that something always waits.
        delete_manifest(root / "p2")
        world.hint(root / "p1", root / "p2")
        pass_time(world, SETTLE)
        write_manifest(root / "p2", "a2")
        world.hint(root / "p2")
    assert synced.done()
    assert "a0" not in world.live()
    assert world.parts.shared.looking.pending


def test_a_project_that_is_saved_all_the_time_holds_no_sync_up(world: World, root: Path) -> None:
    for number in range(5):
        write_manifest(root / "p0", "a0", description=f"save {number}")
        world.hint(root / "p0")
        if number == 0:
            synced = begin(world)
    assert synced.done()


def test_a_project_that_waits_again_whenever_it_is_looked_at_holds_no_sync_up(
    world: World, root: Path
) -> None:
    hint_unsettled(world, root / "p0")
    synced = begin(world)
    assert not synced.done()
    for _ in range(2):
        world.clock.step(2.0)
        batch = world.inbox.take(0.0)
        assert batch is not None
        hint_unsettled(world, root / "p0")
        world.reconciler.process(batch)
    assert synced.done()


def test_a_sync_that_waits_at_the_stop_is_refused(world: World, root: Path) -> None:
    delete_manifest(root / "p0")
    world.hint(root / "p0")
    synced = begin(world)
    world.inbox.close()
    world.drain()
    assert isinstance(synced.exception(), StoppingError)


# after a loss


def test_a_sync_after_a_loss_waits_for_the_sweep_that_makes_up_for_it(
    world: World, root: Path
) -> None:
    write_manifest(root / "new", "new")
    lose_events(world, root)
    synced = begin(world)
    pass_time(world, 10.0)
    assert not synced.done()
    assert sweep_wanted(world)
    world.sweep()
    pass_time(world, SETTLE)
    assert synced.done()
    assert "new" in world.live()


def test_a_loss_is_made_up_for_by_any_later_sweep_and_its_failure_is_told_to_nobody_after(
    world: World, root: Path
) -> None:
    lose_events(world, root)
    fail_the_sweep(world)
    world.sweep()
    assert begin(world).result(timeout=0) is None
    assert not sweep_wanted(world)


def test_a_sync_after_a_sweep_that_failed_has_another_one_and_waits_for_it(
    world: World, root: Path
) -> None:
    lose_events(world, root)
    fail_the_sweep(world)
    synced = begin(world)
    assert not synced.done()
    world.sweep()
    pass_time(world, SETTLE)
    assert synced.result(timeout=0) is None


def test_a_sync_fails_by_a_sweep_that_was_asked_for_after_it(world: World, root: Path) -> None:
    lose_events(world, root)
    fail_the_sweep(world)
    before = begin(world)  # asks for another
    after = begin(world)
    fail_the_sweep(world)
    pass_time(world, SETTLE)
    assert isinstance(before.exception(timeout=0), MeshdError)
    assert not after.done()
    fail_the_sweep(world)
    pass_time(world, SETTLE)
    assert isinstance(after.exception(timeout=0), MeshdError)
    assert not sweep_wanted(world)


def test_losses_without_end_do_not_hold_a_sync_up(world: World, root: Path) -> None:
    lose_events(world, root)
    synced = begin(world)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.courses, "begun", lambda: world.inbox.widen(str(root)))
        world.sweep()
    pass_time(world, SETTLE)
    assert synced.done()
    assert sweep_wanted(world)


def test_a_loss_while_a_sweep_walks_is_made_up_for_by_another(world: World, root: Path) -> None:
    lose_events(world, root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.courses, "begun", lambda: world.inbox.widen(str(root)))
        world.sweep()
    synced = begin(world)
    assert not synced.done()
    assert sweep_wanted(world)
    world.sweep()
    pass_time(world, SETTLE)
    assert synced.done()


def test_hints_that_are_dropped_for_a_root_are_owed_until_it_is_swept(
    world: World, root: Path
) -> None:
    write_bytes(root / "p0", b"{")
    world.hint(root / "p0")
    synced = begin(world)
    world.inbox.widen(str(root))
    pass_time(world, 5.0)
    assert not synced.done()
    world.sweep()
    pass_time(world, 3.0)
    assert synced.done()


def test_hints_that_are_dropped_just_now_are_owed_too(world: World, root: Path) -> None:
    hint_unsettled(world, root / "p0")
    synced = begin(world)
    world.clock.step(0.1)
    batch = world.inbox.take(0.0)
    assert batch
    world.inbox.widen(str(root))  # the reconciler does not know of it yet
    world.reconciler.process(batch)
    pass_time(world, 1.0)
    assert not synced.done()


def test_what_an_event_told_and_could_not_be_committed_is_swept_for(
    world: World, root: Path
) -> None:
    write_manifest(root / "new", "new")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.parts.shared.committer, "carry_out", raising(StoreError("disk full")))
        world.hint(root / "new")
        world.drain()
    assert sweep_wanted(world)
    synced = begin(world)
    assert not synced.done()
    world.sweep()
    pass_time(world, SETTLE)
    assert synced.done()
    assert "new" in world.live()


def raising(error: Exception) -> Any:  # noqa: ANN401 - stands for anything
    def fail(*_: object) -> None:
        raise error

    return fail


def fail_the_sweep(world: World) -> None:
    """Let the sweep that was asked for fail, as without descriptors."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.sweeper, "_known_paths", raising(MeshdError("no descriptor is left")))
        assert world.sweeper.sweep(world.sweeper._wait_for_requests(0.0)) is None
    world.drain()


# as the daemon offers it


class Watching:
    """A watcher that says all is watched."""

    def __init__(self, root: Path) -> None:
        self.cookies: list[Future[None]] = []
        self._root = str(root)

    def cookie(self) -> Future[None]:
        self.cookies.append(Future())
        return self.cookies[-1]

    def coverage(self) -> dict[str, Coverage]:
        return {self._root: Coverage("inotify", watched=1, wanted=1)}


def services_of(world: World, watcher: Watching | None) -> Services:
    daemon = SimpleNamespace(state=lambda: SimpleNamespace(ready=True))
    return Services(cast("Any", daemon), replace(world.parts, watcher=cast("Any", watcher)))


def swept(world: World, synced: Future[SyncResult]) -> SyncResult:
    world.drain()
    assert sweep_wanted(world)
    world.sweep(sync=True)
    world.drain()
    return synced.result(timeout=0)


def test_a_sync_by_events_follows_its_cookie(world: World, root: Path) -> None:
    watcher = Watching(root)
    synced = services_of(world, watcher).sync()
    world.drain()
    assert not synced.done()
    watcher.cookies[0].set_result(None)
    world.drain()
    assert synced.result(timeout=0).roots == {str(root): "events"}


def test_a_cookie_that_does_not_come_is_given_up_for_a_sweep(world: World, root: Path) -> None:
    synced = services_of(world, Watching(root)).sync()
    pass_time(world, LONGEST_COOKIE - 1)
    assert not sweep_wanted(world)
    pass_time(world, 2.0)
    assert swept(world, synced).roots == {str(root): "sweep"}


def test_a_sync_sweeps_while_a_root_is_sick_for_it_may_be_healthy_by_now(
    world: World, root: Path
) -> None:
    away = root.rename(root.with_name("away"))
    world.sweep()
    services = services_of(world, Watching(root))
    assert swept(world, services.sync()).roots == {str(root): "sick"}
    write_manifest(away / "new", "new")
    away.rename(root)
    assert swept(world, services.sync()).roots == {str(root): "sweep"}
    assert "new" in world.live()


def test_a_sync_at_the_stop_is_refused(world: World, root: Path) -> None:
    services = services_of(world, Watching(root))
    world.sweeper.stop()
    world.inbox.close()
    assert isinstance(services.sync().exception(timeout=0), StoppingError)


def test_a_sweep_does_not_end_without_what_an_event_had_put_off(world: World, root: Path) -> None:
    """It has met the loss too; and it waits for the scans in line, for there may be a move."""
    scanning(world)
    delete_manifest(root / "p0")
    world.hint(root / "p0")
    world.drain()
    synced = services_of(world, None).sync()
    assert sweep_wanted(world)
    began = world.clock.monotonic()
    assert world.sweep().unreachable == 1
    assert world.clock.monotonic() - began == pytest.approx(LONGEST_SCAN, abs=3 * SETTLE)
    world.drain()
    assert set(synced.result(timeout=0).roots.values()) == {"sweep"}
    assert "a0" not in world.live()
