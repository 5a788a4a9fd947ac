"""The power is cut at every point of a life of the real store; the real opening finds it again.

One run is recorded; then each of its points is cut, once, each time with another part of what
nobody had synced. The directory of the images is in memory: what a sync costs is not the question.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import apsw
import pytest

from meshd.commands import Allow, Deny, Register, Removal, SetRule, Unregister, Update
from meshd.core.access import Action
from meshd.errors import MeshdError
from meshd.opening import DATABASE, open_store
from meshd.store import writer
from meshd.store.connection import Condition, open_writing
from tests.faults.power import Disk, Step, recording
from tests.harness import SteppedClock, World, write_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.power import Recorder

TABLES: Final = ("agents", "changes", "claims", "denials", "endpoints", "roots", "rules")
SHARES: Final = (0.0, 0.5, 1.0, 0.9, 0.1)
"""How much of what was not synced is found after a cut: nothing, a part, all but the torn end."""
MEMORY: Final = "/dev/shm" if Path("/dev/shm").is_dir() else None

State = dict[str, list[tuple[Any, ...]]]


def contents(database: Path) -> State:
    """Return every row of the database, as a reader of its own sees it."""
    connection = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return {
            table: connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()
            for table in TABLES
        }
    finally:
        connection.close()


def life(state: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> list[Step]:
    """Record two runs in which everything that writes does so; return all that happened."""
    with recording(state, monkeypatch) as recorder:
        for number in range(12):
            write_manifest(root / f"p{number:02}", f"a{number:02}", description="x" * 2000)
        for run in range(2):
            world = World(state, [root])
            tell_commits(world, recorder)
            world.sweep()
            (root / f"new-{run}").mkdir()
            new = {"name": "n", "runtime": "codex", "description": "y" * 2000}
            act = world.act(Register(str(root / f"new-{run}"), new, "mesh", False))
            world.act(Update(act.agent.id, {"description": "z" * 3000}, None, False))
            world.act(Deny(str(root / "p03"), "w" * 500, "mesh"))
            world.act(SetRule("p01", "p02", Action.ALLOW))
            checkpoint(world)
            world.act(Allow(str(root / "p03")))
            world.act(Unregister(f"a0{5 + run}", Removal.MANIFEST, False))
            world.sweep(after=60)
            world.stop()
    return recorder.steps


def tell_commits(world: World, recorder: Recorder) -> None:
    """Record what the database holds now, and after each commit once it is durable."""

    def tell() -> None:
        recorder.committed(contents(world.store.path))

    tell()
    world.store.writer.committed = tell


def checkpoint(world: World) -> None:
    """Bring the log into the file under way, as a long run does by itself."""
    connection = apsw.Connection(str(world.store.path))
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
    connection.close()


@dataclass(frozen=True)
class Cut:
    """What was found after one cut.

    Attributes:
        lost: how many of the newest commits are not there, None when what is there is the state
            of no commit, or is not sound.
    """

    at: int
    lost: int | None


class Life:
    """A recorded life, to be cut.

    Attributes:
        root: as the life left it.
        states: of the database, by commits.
    """

    def __init__(self, steps: list[Step], root: Path) -> None:
        self.steps = steps
        self.root = root
        self.states: list[State] = [step.state for step in steps if step.kind == "committed"]

    def cuts(self, seed: int, every: int = 1) -> Iterator[tuple[int, int, Path]]:
        """Yield each point, how many commits were acknowledged by then, and what is found."""
        disk, chance, acknowledged = Disk(), random.Random(seed), 0
        for at, step in enumerate(self.steps):
            disk.play(step)
            acknowledged += step.kind == "committed"
            if at % every == seed % every:
                with tempfile.TemporaryDirectory(dir=MEMORY) as place:
                    disk.image(Path(place), chance, SHARES[(at // every) % len(SHARES)])
                    yield at, acknowledged, Path(place)

    def judged(self, seed: int, every: int = 1) -> list[Cut]:
        """Open what is found with the code that starts the daemon; compare it with the commits."""
        return [Cut(*self._judge(*cut)) for cut in self.cuts(seed, every)]

    def _judge(self, at: int, acknowledged: int, directory: Path) -> tuple[int, int | None]:
        try:
            opened = open_store(directory, SteppedClock())
        except MeshdError:
            return at, None
        if acknowledged == 0:  # nothing but the making of it: begun anew where it was cut short
            return at, 0 if opened.rebuilt in (None, Condition.LOST) else None
        if opened.rebuilt is not None or opened.quarantined:
            return at, None
        try:
            found = contents(directory / DATABASE)
        except apsw.CorruptError:
            return at, None  # damage that the examination at the start did not see
        # The commit under way may be there already: it is durable before anybody is told.
        possible = self.states[: acknowledged + 1]
        if found not in possible:
            return at, None
        newest = max(number for number, state in enumerate(possible) if state == found)
        return at, max(acknowledged - 1 - newest, 0)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Life:
    """A life as it is."""
    return recorded(tmp_path_factory.mktemp("full"))


def recorded(place: Path, synchronous: str | None = None) -> Life:
    """Record a life, as it is or with less care."""
    (place / "state").mkdir(mode=0o700)
    (place / "root").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        if synchronous is not None:
            patch.setattr(writer, "open_writing", lambda path: careless(path, synchronous))
        return Life(life(place / "state", place / "root", patch), place / "root")


def careless(path: Path, synchronous: str) -> apsw.Connection:
    connection = open_writing(path)
    connection.pragma("synchronous", synchronous)
    return connection


def test_the_recorded_life_meets_all_that_is_written(full: Life) -> None:
    """Commits, checkpoints, mirrors, the making and the end of logs: each is cut somewhere."""
    kinds = Counter((step.kind, step.name) for step in full.steps)
    assert len(full.states) > 20
    assert kinds["write", "meshd.db-wal"] > 100
    assert kinds["write", "meshd.db"] > 50
    assert kinds["sync", "meshd.db"] >= 2
    assert kinds["rename", "policy.tmp"] > 10
    assert kinds["unlink", "meshd.db-wal"] >= 2


@pytest.mark.slow
def test_105_a_power_cut_at_any_point_loses_nothing_that_was_acknowledged(full: Life) -> None:
    assert [cut for cut in full.judged(seed=1) if cut.lost != 0] == []


def test_105_after_a_power_cut_the_first_sweep_brings_the_registry_in_step(full: Life) -> None:
    """Whatever of the newest was lost: the registry says what the files say, but for denials."""
    on_disk = {
        json.loads(file.read_bytes())["id"]: str(file.parent.parent)
        for file in full.root.rglob("agent.json")
    }
    assert len(on_disk) > 10
    for at, _, directory in full.cuts(seed=2, every=31):
        world = World(directory, [full.root])
        world.sweep(full=True)
        world.sweep(full=True, confirm=True)
        with world.store.reading() as registry:
            denied = {denial.path for denial in registry.denials()}
        expected = {key: path for key, path in on_disk.items() if path not in denied}
        assert world.live() == expected, at
        world.stop()


def test_110_denials_survive_a_power_cut_that_takes_the_database_along(full: Life) -> None:
    """The mirror is durable before anybody hears of a denial or a rule: no rebuild fails open."""
    for at, acknowledged, directory in full.cuts(seed=3, every=2):
        if acknowledged == 0:
            continue
        for file in directory.glob(f"{DATABASE}*"):
            file.unlink()
        assert open_store(directory, SteppedClock()).rebuilt is Condition.LOST, at
        found = contents(directory / DATABASE)
        possible = then_or_next(full.states, acknowledged)
        assert policy_of(found) in [policy_of(state) for state in possible], at


def then_or_next(states: list[State], acknowledged: int) -> list[State]:
    return states[acknowledged - 1 : acknowledged + 1]


def policy_of(state: State) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    return state["denials"], state["rules"]


def test_106_with_less_than_full_the_same_cuts_lose_the_newest_commits(tmp_path: Path) -> None:
    """Why every commit of the writer is FULL; and that these cuts would tell if one were not."""
    found = recorded(tmp_path, "normal").judged(seed=4, every=2)
    assert sum(bool(cut.lost) for cut in found) > len(found) // 10
    assert [cut for cut in found if cut.lost is None] == []


def test_107_without_any_sync_the_same_cuts_break_the_database(tmp_path: Path) -> None:
    found = recorded(tmp_path, "off").judged(seed=5, every=2)
    assert any(cut.lost is None for cut in found)
