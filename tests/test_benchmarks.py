"""The benchmarks measure all that they say they do. No figure is judged here."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from benchmarks.figures import Bar, Figure, Row, percentile
from benchmarks.rendering import markdown
from benchmarks.suite import MEASURES, growth, names_for
from benchmarks.trees import INODES_PER_PROJECT, Shape, plan, plant
from meshd.core.manifest import parse

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY: Final = Path(__file__).parent.parent
PROJECTS: Final = 200

ROWS: Final = {
    "floor-walk", "floor-stat", "floor-read", "floor-parse", "floor-insert", "floor-watched",
    "burst-floor", "cold-import", "import-fanotify", "start-empty", "restart",
    "sweep-first", "sweep-warm", "sweep-edited",
    "latency-idle-p50", "latency-idle-p99", "latency-idle-max",
    "latency-loaded-p50", "latency-loaded-p99", "latency-loaded-max",
    "burst", "overflow", "checkout",
    "list", "list-registry", "get-idle", "get-burst", "feed", "cli",
    "idle-cpu", "memory", "memory-fanotify", "memory-empty", "memory-directory", "memory-agent",
}  # fmt: skip
"""What is to be measured; `find` and the plain import are the floors of some of these."""


def once(value: float) -> Figure:
    return Figure.of([value])


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory whose path leaves room for that of a socket, which has at most 107 bytes."""
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory).resolve()


@pytest.mark.slow
def test_one_command_measures_everything_and_leaves_nothing_behind(
    tmp_path: Path, short: Path
) -> None:
    results = tmp_path / "results.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--projects", str(PROJECTS), "--quick",
         "--json", str(results)],
        cwd=REPOSITORY, check=False, capture_output=True, text=True,
        env={"PATH": "/usr/bin:/bin", "TMPDIR": str(short)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    document = json.loads(results.read_text("utf-8"))
    (run,) = document["runs"]
    assert {row["name"] for row in run["rows"]} == ROWS
    for row in run["rows"]:
        assert math.isfinite(row["figure"]["median"]), row
        assert row["what"] in done.stdout
        assert (row["floor"] is None) == (row["against"] is None)
    against = {row["against"] for row in run["rows"]}
    assert {"find, pruned", "walk, read, parse, one-transaction insert"} < against
    # What depends on no clock is promised at any size.
    counted = {"restart", "sweep-edited", "checkout", "list", "list-registry"}
    assert not [row for row in run["rows"] if row["name"] in counted and row["broken"]]
    assert not list(short.iterdir())
    assert str(short) not in results.read_text("utf-8")


def test_what_grows_is_measured_at_every_size_and_all_of_it_once() -> None:
    sizes = (1_000, 10_000, 1_000_000)
    small, judged, huge = (set(names_for(size, sizes)) for size in sizes)
    assert huge < small < judged == set(MEASURES)
    assert set(names_for(1_000, [1_000])) == judged


def test_a_tree_is_the_same_for_the_same_seed_and_begins_with_the_smaller_one() -> None:
    assert plan(350, seed=3) == plan(350, seed=3)
    assert plan(350, seed=3)[:120] == plan(120, seed=3)
    assert plan(350, seed=3) != plan(350, seed=4)
    assert len({project.agent_id for project in plan(1000)}) == 1000


def test_a_tree_has_the_inodes_it_promises_and_valid_manifests() -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory) / "root"
        projects = plan(250)
        plant(root, projects)
        entries = list(root.rglob("*"))
        assert len(entries) == INODES_PER_PROJECT * len(projects) + 3  # three teams
        manifests = {
            str(entry.parent.parent.relative_to(root)): parse(entry.read_bytes()).id
            for entry in entries
            if entry.name == "agent.json"
        }
        assert manifests == {project.path: project.agent_id for project in projects}
        scanned = [
            entry
            for entry in entries
            if entry.is_dir() and not {".git", "node_modules", ".dork"} & {*entry.parts}
        ]
        assert 5.0 < len(scanned) / len(projects) < 5.5
        assert any("team" not in Path(project.path).parts[-2] for project in projects)


def test_a_bare_tree_has_no_manifest(tmp_path: Path) -> None:
    plant(tmp_path / "root", plan(20), Shape.BARE)
    assert not list((tmp_path / "root").rglob(".dork"))
    assert list((tmp_path / "root").rglob("core"))


@pytest.mark.parametrize(
    ("row", "projects", "met"),
    [
        (Row("r", "", "s", once(2.9), once(1), "", Bar(3.0, is_ratio=True)), 10_000, True),
        (Row("r", "", "s", once(3.1), once(1), "", Bar(3.0, is_ratio=True)), 10_000, False),
        (Row("r", "", "s", once(3.1), once(1), "", Bar(3.0, is_ratio=True)), 1_000, None),
        (Row("r", "", "ms", once(149), bar=Bar(150.0, projects=10_000)), 10_000, True),
        (Row("r", "", "ms", once(149), bar=Bar(150.0, projects=10_000)), 100_000, None),
        (Row("r", "", "ms", once(1), bar=Bar(3.0), broken=("one was lost",)), 10_000, False),
        (Row("r", "", "s", once(1)), 10_000, None),
    ],
)
def test_a_bar_is_judged_for_the_size_it_is_meant_for(
    row: Row, projects: int, met: bool | None
) -> None:
    assert row.is_met(projects) is met


@pytest.mark.parametrize(("part", "value"), [(0.5, 51), (0.99, 100), (1.0, 100), (0.0, 1)])
def test_a_percentile_is_one_of_the_values(part: float, value: int) -> None:
    assert percentile(list(range(100, 0, -1)), part) == value


def test_results_say_what_was_missed() -> None:
    figure = {"median": 0.25, "low": 0.2, "high": 0.3, "repetitions": 3, "peakMb": 81.5}
    document = {
        "machine": {
            "processor": "P", "cores": 2, "memoryMb": 1024, "kernel": "6", "fileSystem": "ext4",
            "python": "3.11", "sqlite": "3", "meshd": "1", "commit": "c", "loadBefore": 0.0,
        },
        "runs": [{"projects": 10_000, "shape": "sparse", "rows": [{
            "name": "burst", "what": "burst", "unit": "s", "figure": figure, "floor": figure,
            "against": "itself", "ratio": 1.0, "bar": {"limit": 0.5, "of": "ratio"}, "met": False,
            "broken": ["3 saves are not in the registry"],
        }]}],
        "growth": [],
    }  # fmt: skip
    told = markdown(document)
    assert "only what is scanned" in told
    assert (
        "| burst | 0.250 s | 0.200 to 0.300 | 0.250 (0.200 to 0.300) | 1.00 x | 0.5 x | MISSED |"
        in told
    )
    assert "- burst: 3 saves are not in the registry" in told


def test_growth_is_judged_up_to_the_size_that_its_bar_is_meant_for() -> None:
    seconds = {1_000: 0.1, 100_000: 10.0, 1_000_000: 400.0}

    def run(projects: int) -> dict[str, Any]:
        figure = {"median": seconds[projects]}
        row = {"name": "restart", "what": "restart", "unit": "s", "figure": figure}
        return {"projects": projects, "rows": [row]}

    (line,) = growth([run(projects) for projects in seconds])
    assert line["values"] == [0.1, 10.0, 400.0]
    assert line["slope"] == pytest.approx(1.0)
    assert line["met"] is True
    assert line["slope_of_all"] > 1.05
    (unjudged,) = growth([run(100_000), run(1_000_000)])
    assert unjudged["slope"] is None
    assert unjudged["met"] is None
