"""What makes a burst cheap: it is not committed in crumbs, and is read and judged once."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import apsw
import pytest

from meshd.batch import load_for
from meshd.core.model import Source
from meshd.reconciler import BURST, REST
from tests.harness import World, write_manifest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from meshd.batch import Committed, Decidable

Result = TypeVar("Result")


@pytest.mark.parametrize(
    ("saves", "source", "rests"),
    [
        pytest.param(1, Source.WATCH, 0, id="one save is committed, and the next at once"),
        pytest.param(BURST.start - 1, Source.WATCH, 0, id="a few saves"),
        pytest.param(BURST.start, Source.WATCH, 1, id="a burst"),
        pytest.param(BURST.stop - 1, Source.WATCH, 1, id="a larger one"),
        pytest.param(BURST.stop, Source.WATCH, 0, id="what is large already"),
        pytest.param(BURST.start, Source.SWEEP, 0, id="what a sweep found"),
    ],
)
def test_the_reconciler_rests_after_a_part_of_a_burst_and_never_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saves: int, source: Source, rests: int
) -> None:
    root = tmp_path / "root"
    projects = [root / f"p{number}" for number in range(saves)]
    for number, project in enumerate(projects):
        write_manifest(project, f"a{number}")
    world = World(tmp_path / "state", [root])
    rested: list[float] = []
    monkeypatch.setattr(world.reconciler._stopping, "wait", rested.append)

    world.hint(*projects, source=source)
    world.inbox.close()
    world.reconciler.run()
    world.stop()

    assert rested == [REST] * rests


def test_a_rest_ends_with_the_daemon(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    world = World(tmp_path / "state", [tmp_path / "root"])

    world.reconciler.stop()

    assert world.reconciler._stopping.wait(0)
    world.stop()


@pytest.mark.parametrize("meanwhile", ["nothing", "another program writes"])
def test_a_batch_is_decided_on_what_it_was_judged_by_only_while_that_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    project = tmp_path / "root" / "p"
    write_manifest(project, "a")
    world = World(tmp_path / "state", [tmp_path / "root"])
    world.sweep()
    known = world.agents["a"]
    carry_out = world.parts.shared.committer.carry_out
    read_again: list[object] = []

    def late(decidable: Decidable) -> Committed:
        if meanwhile != "nothing":
            other = apsw.Connection(str(world.store.path))
            other.execute("UPDATE agents SET description = 'theirs'")
            other.close()
        return carry_out(decidable)

    monkeypatch.setattr(world.parts.shared.committer, "carry_out", late)
    monkeypatch.setattr("meshd.batch.load_for", counting(load_for, read_again))
    world.hint(project)
    world.drain()

    assert world.agents["a"].description == known.description
    # Once by the reader, and in the transaction only when it must be.
    assert len(read_again) == (1 if meanwhile == "nothing" else 2)
    world.stop()


def counting(function: Callable[..., Result], calls: list[object]) -> Callable[..., Result]:
    def counted(*arguments: object) -> Result:
        calls.append(arguments)
        return function(*arguments)

    return counted
