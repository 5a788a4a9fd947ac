"""Rows 1-41: everything hostile at `.dork/agent.json` at once, in one tree, under one daemon.

Each case is there twice: as a new project, which must leave nothing but a claim with its reason,
and in the place of a good manifest, whose row must keep what it said last. Healthy projects lie
beside them. The daemon meets the cases by events, by a sweep, by a full sweep and at a start.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest

from tests.faults.hostile import CASES, Case, plant
from tests.system.daemon import Daemon
from tests.system.difference import changed
from tests.system.trees import save

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.system.daemon import Document

pytestmark = pytest.mark.slow

NEIGHBOURS: Final = ("neighbour-one", "neighbour-two", "zz-neighbour")
MOMENTS: Final = ("by events", "after a sweep", "after a full sweep", "after a restart")


@dataclass(frozen=True)
class Seen:
    """What the daemon said at one moment."""

    agents: dict[str, Document]
    claims: dict[str, tuple[str, str | None]]
    sweep: Document
    root: Document


@dataclass(frozen=True)
class Story:
    """What was before the hostile projects came, and what was said of them.

    Attributes:
        root: it holds the neighbours, and a directory `new` and one `held` with each case.
    """

    root: Path
    daemon: Daemon
    before: dict[str, Document]
    moments: dict[str, Seen]


def seen(daemon: Daemon, root: Path) -> Seen:
    return Seen(daemon.agents(), daemon.claims(), daemon.status()["lastSweep"], daemon.root(root))


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    top = tmp_path_factory.mktemp("manifests")
    home, root = top / "h", top / "root"
    home.mkdir()
    for neighbour in NEIGHBOURS:
        save(root / neighbour, neighbour)
    for case in CASES:
        save(root / "held" / case.id, case.id, description="what was said last")
    with Daemon(home, root) as daemon:
        before = daemon.agents()
        plant(root / "new")
        plant(root / "held")
        daemon.ask("sync")
        moments = {"by events": seen(daemon, root)}
        daemon.sweep()
        moments["after a sweep"] = seen(daemon, root)
        daemon.sweep("--full")
        moments["after a full sweep"] = seen(daemon, root)
        assert daemon.stop() == 0
        daemon.start()
        moments["after a restart"] = seen(daemon, root)
        yield Story(root, daemon, before, moments)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_001_to_039_a_hostile_file_makes_a_claim_and_nothing_else(story: Story, case: Case) -> None:
    path = str(story.root / "new" / case.id)
    said = {moment: story.moments[moment].claims.get(path) for moment in MOMENTS}
    assert said == dict.fromkeys(MOMENTS, ("invalid", case.reason))
    for one in story.moments.values():
        assert path not in {agent["projectPath"] for agent in one.agents.values()}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_001_to_039_a_hostile_file_in_the_place_of_a_good_one_costs_the_row_nothing(
    story: Story, case: Case
) -> None:
    for moment in MOMENTS:
        now = {case.id: story.moments[moment].agents[case.id]}
        expected = {case.id: {"flags": [f"invalid:{case.reason}"]}}
        assert changed({case.id: story.before[case.id]}, now) == expected, moment


@pytest.mark.parametrize("moment", MOMENTS)
def test_001_to_039_the_neighbours_do_not_notice(story: Story, moment: str) -> None:
    """I14: no row of another project changed, and no sweep was cut short; the root is healthy."""
    at = story.moments[moment]
    neighbours = {name: story.before[name] for name in NEIGHBOURS}
    assert changed(neighbours, {name: at.agents[name] for name in NEIGHBOURS}) == {}
    assert at.agents.keys() == story.before.keys()
    assert len(at.claims) == len(NEIGHBOURS) + 2 * len(CASES)
    assert (at.sweep["unreachable"], at.sweep["removed"], at.sweep["held"]) == (0, 0, 0)
    assert at.sweep["sickRoots"] == []
    assert (at.root["state"], at.root["reason"]) == ("healthy", None)


def test_038_no_detail_is_longer_than_a_line(story: Story) -> None:
    with story.daemon.client() as client:
        claims = client.claims()["claims"]
    details = [claim["detail"] for claim in claims if claim["detail"]]
    assert details
    assert max(map(len, details)) <= 200
    assert max(map(len, story.daemon.log.splitlines())) < 1000
