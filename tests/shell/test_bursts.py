"""When the reconciler lets more of a burst come, so that it is not committed in crumbs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from meshd.core.model import Source
from meshd.reconciler import BURST, REST
from tests.harness import World, write_manifest

if TYPE_CHECKING:
    from pathlib import Path


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
