"""What meshd does for each entry, counted: system calls, statements, commits, looks, bytes.

Counts, because a noisy machine does not change them. Most are compared over two sizes of a tree,
so that what is done once falls out, and work that is done twice, or for every pair, shows.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tracemalloc
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import apsw
import pytest

from meshd.committer import TOLD_ONE_BY_ONE
from meshd.core.model import Change, Kind, Source
from meshd.course import Course
from meshd.looker.look import look
from tests.faults.tools import needs_tool
from tests.harness import World, write_manifest
from tests.system.walking import main as walk

if TYPE_CHECKING:
    from collections.abc import Iterator

FEW: Final = 40
MANY: Final = 160


class Work:
    """What one world did since `begin`.

    Attributes:
        statements: of SQLite, by their first word.
        looks: at projects.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._commits = 0
        self.statements: Counter[str] = Counter()
        self.looks = 0

    def begin(self) -> None:
        self.statements.clear()
        self.looks = 0
        self._commits = self._world.store.writer.commits

    @property
    def commits(self) -> int:
        return self._world.store.writer.commits - self._commits

    @property
    def reads(self) -> int:
        return self.statements["SELECT"]

    @property
    def writes(self) -> int:
        return sum(self.statements[word] for word in ("INSERT", "UPDATE", "DELETE"))


class Worlds:
    """Trees of projects, each with a world over it whose work is counted."""

    def __init__(self, directory: Path, patch: pytest.MonkeyPatch) -> None:
        self._directory = directory
        self._patch = patch

    def root(self, size: int) -> Path:
        return self._directory / f"root-{size}"

    def save(self, size: int, said: str, *, only: int | None = None) -> list[Path]:
        """Save every manifest, or the first few."""
        projects = [self.root(size) / f"p{number}" for number in range(only or size)]
        for number, project in enumerate(projects):
            write_manifest(project, f"a{number}", description=said)
        return projects

    @contextmanager
    def over(self, size: int) -> Iterator[tuple[World, Work]]:
        """Run a world over a new tree of so many projects."""
        self.save(size, "at first")
        works: list[Work] = []

        def trace(event: dict[str, object]) -> None:
            for work in works:
                work.statements[str(event["sql"]).split(maxsplit=1)[0]] += 1

        def hook(connection: apsw.Connection) -> None:
            connection.trace_v2(apsw.SQLITE_TRACE_STMT, trace)

        def counted(*arguments: object, **named: object) -> object:
            for work in works:
                work.looks += 1
            return look(*arguments, **named)  # type: ignore[arg-type]

        apsw.connection_hooks.append(hook)
        self._patch.setattr("meshd.looker.local.look", counted)
        world = World(self._directory / f"state-{size}", [self.root(size)])
        try:
            works.append(Work(world))
            works[0].begin()
            yield world, works[0]
        finally:
            world.stop()
            apsw.connection_hooks.remove(hook)
            self._patch.undo()


@pytest.fixture
def worlds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Worlds:
    return Worlds(tmp_path, monkeypatch)


# statements, commits, looks


@pytest.mark.parametrize(
    ("act", "written"),
    [
        # A log entry, the row, its path, the claim, the endpoint.
        pytest.param("import", 5, id="a cold import"),
        # The same without the endpoint, which stays.
        pytest.param("sweep", 4, id="a sweep after all were saved"),
        pytest.param("burst", 4, id="a burst of saves that events tell of"),
    ],
)
def test_a_project_more_is_one_look_and_a_fixed_number_of_statements(
    worlds: Worlds, act: str, written: int
) -> None:
    done = {}
    for size in (FEW, MANY):
        with worlds.over(size) as (world, work):
            if act != "import":
                world.sweep()
                projects = worlds.save(size, "again")
                work.begin()
            if act == "burst":
                for _ in range(3):  # what is told three times before it is looked at is one look
                    world.hint(*projects)
                world.drain()
            else:
                world.sweep()
            done[size] = (work.reads, work.writes, work.looks)

    (few_reads, few_writes, few_looks), (many_reads, many_writes, many_looks) = (
        done[FEW],
        done[MANY],
    )
    assert (many_looks, few_looks) == (MANY, FEW)
    assert many_writes - few_writes == written * (MANY - FEW)
    assert many_reads == few_reads  # what is asked is asked for all at once


def test_an_import_that_fits_one_part_is_one_commit_besides_that_of_the_root(
    worlds: Worlds,
) -> None:
    with worlds.over(MANY) as (world, work):
        world.sweep()

        assert work.commits == 2


def test_a_burst_of_saves_is_one_commit(worlds: Worlds) -> None:
    with worlds.over(MANY) as (world, work):
        world.sweep()
        projects = worlds.save(MANY, "again")
        work.begin()
        world.hint(*projects)
        world.drain()

        assert work.commits == 1


def test_a_sweep_that_finds_nothing_asks_as_much_of_a_large_tree_as_of_a_small_one(
    worlds: Worlds,
) -> None:
    asked = set()
    for size in (FEW, MANY):
        with worlds.over(size) as (world, work):
            world.sweep()
            work.begin()
            world.sweep()
            assert (work.looks, work.commits, work.writes) == (0, 0, 0)
            asked.add(work.reads)

    assert len(asked) == 1
    assert asked.pop() <= 10


def test_an_edit_costs_as_much_in_a_large_tree_as_in_a_small_one(worlds: Worlds) -> None:
    costs = set()
    for size in (FEW, MANY):
        with worlds.over(size) as (world, work):
            world.sweep()
            worlds.save(size, "again", only=1)
            work.begin()
            world.sweep()
            assert (work.looks, work.commits) == (1, 1)
            costs.add((work.reads, work.writes))

    assert len(costs) == 1


# system calls


def plant(root: Path, projects: int) -> Path:
    """Create projects, each of three directories and a `.dork` with a manifest."""
    for number in range(projects):
        project = root / f"p{number}"
        (project / "src" / "core").mkdir(parents=True)
        write_manifest(project, f"a{number}")
    return root


def calls(root: Path, walks: int, trace: Path) -> Counter[str]:
    """Return how often which system call was made by a program that walks so often."""
    command = [sys.executable, "-m", "tests.system.walking", str(root), str(walks)]
    subprocess.run(
        ["strace", "-f", "-qq", "-o", str(trace), *command], check=True, timeout=60, cwd=_REPOSITORY
    )
    names = re.findall(r"^\d+ +([a-z0-9_]+)\(", trace.read_text("utf-8", "replace"), re.MULTILINE)
    return Counter(names)


_REPOSITORY: Final = Path(__file__).parents[2]


@needs_tool("strace")
def test_a_directory_that_did_not_change_costs_one_stat_and_a_project_one_more(
    tmp_path: Path,
) -> None:
    per_walk = {}
    for size in (FEW, MANY):
        root = plant(tmp_path / str(size), size)
        once, thrice = (calls(root, walks, tmp_path / "trace") for walks in (1, 3))
        per_walk[size] = thrice - once
    more = MANY - FEW
    cost = per_walk[MANY] - per_walk[FEW]

    # Two further walks: the project, `src` and `src/core`, and its manifest.
    assert cost == Counter({"newfstatat": 2 * 4 * more})


# memory


def bytes_remembered(root: Path) -> int:
    """Return how many bytes a looker keeps of a root that it has walked."""
    tracemalloc.start()
    try:
        looker = walk(str(root), 1)
        remembered, _ = tracemalloc.get_traced_memory()
        assert looker.walk_stats.directories > 0
    finally:
        tracemalloc.stop()
    return remembered


def test_a_directory_takes_a_few_hundred_bytes(tmp_path: Path) -> None:
    roots = {size: plant(tmp_path / str(size), size) for size in (FEW, MANY)}
    bytes_remembered(roots[FEW])  # what is made once, at the first use, is made
    few, many = (bytes_remembered(roots[size]) for size in (FEW, MANY))

    directories = 3 * (MANY - FEW)
    assert (many - few) / directories < 320


def test_a_sweep_keeps_no_row_of_what_it_has_changed_but_what_the_log_tells_one_by_one() -> None:
    course = Course(1, Source.SWEEP)
    row = {"description": "long" * 1000}
    changes = [
        (seq, Change(Kind.REGISTERED, f"a{seq}", f"/r/{seq}", Source.SWEEP, after=row))
        for seq in range(3 * TOLD_ONE_BY_ONE)
    ]

    course.add(changes)

    assert len(course.changes) == len(changes)
    assert course.changes[:TOLD_ONE_BY_ONE] == changes[:TOLD_ONE_BY_ONE]
    assert all(change.after is None for _, change in course.changes[TOLD_ONE_BY_ONE + 1 :])
