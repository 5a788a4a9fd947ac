"""Whatever step fails, or is the last before a death: all of a call is done, or none of it.

Every deed is first carried out whole, to count its steps; then once for each of them.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from meshd.commands import Forget, Removal
from meshd.errors import MeshdError, StoreError
from tests.harness import World, write_manifest
from tests.registration.conftest import NEW, Acting, files_in
from tests.registration.faults import DeathError, Faults

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Deed:
    """A call, and what lies in the project before it."""

    name: str
    is_new: bool
    call: Callable[[Acting, Path], Any]


DEEDS = [
    Deed("register", True, lambda acting, project: acting.register(project)),
    Deed("update", False, lambda acting, project: acting.update("a", {"description": "new"})),
    Deed("unregister", False, lambda acting, project: acting.unregister("a")),
    Deed("data", False, lambda acting, project: acting.unregister("a", Removal.DATA)),
]


class Stage:
    """One project that a deed is done to, again and again, each time from the start."""

    def __init__(self, directory: Path, deed: Deed) -> None:
        self.deed = deed
        self.root = directory / "root"
        self.project = self.root / "p"
        self.state = directory / "state"
        self.root.mkdir()
        self.acting = Acting(World(self.state, [self.root]))
        self._set()

    def _set(self) -> None:
        self.project.mkdir(parents=True)
        if not self.deed.is_new:
            write_manifest(self.project, "a", description="old", x=1)
            if self.deed.name == "data":
                (self.project / ".dork" / "memory" / "deep").mkdir(parents=True)
                (self.project / ".dork" / "memory" / "deep" / "note").write_text("n")
                (self.project / ".dork" / "outside").symlink_to(self.root)
        self.acting.world.sweep()
        self.before = (files_in(self.project), self.acting.world.live())

    def again(self) -> None:
        """Begin anew."""
        shutil.rmtree(self.project)
        self.acting.world.sweep()
        for agent_id in self.acting.world.agents:
            self.acting.world.act(Forget(agent_id))
        self._set()

    def restart(self) -> None:
        """Start the program again over the same state, and sweep."""
        self.acting.world.stop()
        self.acting = Acting(World(self.state, [self.root]))
        self.acting.world.sweep(full=True)

    def call(self) -> bool:
        """Make the call; return whether it was acknowledged."""
        try:
            self.deed.call(self.acting, self.project)
        except MeshdError:
            return False
        return True

    def assert_tidy(self) -> None:
        """Nothing is left of any call, and the registry says what the disk says."""
        assert not [path for path in self.project.rglob("*") if path.name.endswith(".tmp")]
        assert not [path for path in self.project.iterdir() if path.name.endswith(".tmp")]
        assert self.acting.intents() == 0
        holds = (self.project / ".dork" / "agent.json").exists()
        assert list(self.acting.world.live().values()) == [str(self.project)] * holds

    def is_done(self) -> bool:
        """Whether the call has had its effect; if not, everything must be as before."""
        if (files_in(self.project), self.acting.world.live()) == self.before:
            return False
        agents = list(self.acting.world.agents.values())
        if self.deed.name == "register":
            assert [one.name for one in agents] == [NEW["name"]]
        elif self.deed.name == "update":
            assert [one.description for one in agents] == ["new"]
            assert b'"x": 1' in (self.project / ".dork" / "agent.json").read_bytes()
        else:
            assert agents == []
            assert list(self.project.iterdir()) == []
        return True


@pytest.fixture(params=DEEDS, ids=lambda deed: deed.name)
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path, request.param)
    yield stage
    stage.acting.world.stop()


def every_step(stage: Stage, faults: Faults) -> range:
    """Do the deed whole; return its steps."""
    faults.heal()
    assert stage.call()
    assert stage.is_done()
    stage.assert_tidy()
    assert faults.steps > 5
    return range(1, faults.steps + 1)


@pytest.mark.parametrize("links", [False, True], ids=["exchange", "links"])
def test_a_step_that_fails_leaves_all_as_it_was(
    stage: Stage, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = Faults(monkeypatch, links=links)
    for step in every_step(stage, faults):
        faults.heal()
        stage.again()
        faults.fail(step)
        acknowledged = stage.call()
        faults.heal()
        # What could not be cleared up at once is by the next sweep.
        stage.acting.world.sweep()
        stage.assert_tidy()
        assert stage.is_done() >= acknowledged, step


def test_a_disk_that_fails_from_a_step_on_is_made_good_when_it_heals(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = Faults(monkeypatch)
    for step in every_step(stage, faults):
        faults.heal()
        stage.again()
        faults.fail(step, last=1_000_000)
        acknowledged = stage.call()
        faults.heal()
        stage.restart()
        stage.assert_tidy()
        assert stage.is_done() >= acknowledged, step


@pytest.mark.parametrize("links", [False, True], ids=["exchange", "links"])
def test_a_death_at_any_step_leaves_all_or_nothing_after_the_next_start(
    stage: Stage, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = Faults(monkeypatch, links=links)
    for step in every_step(stage, faults):
        faults.heal()
        stage.again()
        faults.die(step)
        with pytest.raises(DeathError):
            stage.call()
        faults.heal()
        stage.restart()
        stage.assert_tidy()
        stage.is_done()


def test_a_death_while_an_earlier_death_is_made_good_is_made_good_too(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = Faults(monkeypatch)
    last = every_step(stage, faults)[-1]
    for step in range(1, last + 1, 5):
        for second in (1, 3, 5, 7):
            faults.heal()
            stage.again()
            faults.die(step)
            with pytest.raises(DeathError):
                stage.call()
            faults.die(second)
            try:
                stage.restart()
            except DeathError:
                faults.heal()
                stage.restart()
            stage.assert_tidy()
            stage.is_done()


def test_a_commit_that_fails_undoes_what_was_done_to_files(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    committer = stage.acting.world.parts.shared.committer

    def refuse(_: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(committer, "commit", refuse)
    with pytest.raises(StoreError, match="the disk is full"):
        stage.deed.call(stage.acting, stage.project)
    monkeypatch.undo()
    assert not stage.is_done()
    stage.assert_tidy()


def test_an_intent_that_cannot_be_kept_stops_the_call_before_any_file(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = Faults(monkeypatch)
    stage.acting.world.store.writer.submit(
        lambda one: one.execute("ALTER TABLE intents RENAME TO elsewhere") and None
    ).result(timeout=10)
    with pytest.raises(StoreError):
        stage.deed.call(stage.acting, stage.project)
    # Reading what is there is all that was done.
    assert faults.steps <= 3
    assert not stage.is_done()
