"""Kill -9 while agents are registered, changed and unregistered, again and again.

What was acknowledged is there after the next start; what was not is there whole, or not at all;
and no file of a call lies about.
"""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import pytest

from meshd.client import Client
from meshd.errors import MeshdError
from tests.system.daemon import Daemon
from tests.system.forked import Forked

if TYPE_CHECKING:
    from pathlib import Path

KILLS: Final = 200
CALLERS: Final = 4
PROJECTS_EACH: Final = 3

CONFIG: Final = """
[watch]
settle = "10ms"
settle_max = "20ms"
"""

State = tuple[str, str] | None
"""Id and description of the agent of a project, None when it has no manifest."""


@dataclass(slots=True)
class Project:
    """One project, and what may be in it.

    Attributes:
        known: its state by the last call that was answered.
        hoped: what a call that was not answered would have made of it; ids are not known yet.
        is_in_doubt: whether there is such a call.
    """

    path: Path
    known: State = None
    hoped: State = None
    is_in_doubt: bool = False

    def settle(self) -> None:
        """Take what lies on disk for known, if it may be so."""
        found = on_disk(self.path)
        if self.is_in_doubt and found != self.known:
            assert (found is None) == (self.hoped is None), (self, found)
            if found is not None and self.hoped is not None:
                assert found[1] == self.hoped[1]
                assert self.hoped[0] in ("", found[0])
        else:
            assert found == self.known, (self, found)
        self.known, self.is_in_doubt = found, False


@dataclass(slots=True)
class Caller:
    """Somebody who calls without a pause until nobody answers.

    Attributes:
        calls: how many were answered, by kind.
    """

    client: Client
    projects: list[Project]
    chance: random.Random
    calls: dict[str, int] = field(default_factory=dict)

    def run(self) -> None:
        """Call until the daemon is gone."""
        try:
            while True:
                self.call(self.chance.choice(self.projects))
        except MeshdError:
            return
        finally:
            self.client.close()

    def call(self, project: Project) -> None:
        """Make one call; the project is in doubt until it is answered."""
        text = f"{self.chance.random()}"
        kind = "register" if project.known is None else self.chance.choice(
            ["update", "update", "unregister", "data"]
        )  # fmt: skip
        agent_id = "" if project.known is None else project.known[0]
        is_kept = kind in ("register", "update")
        project.hoped = (agent_id, text) if is_kept else None
        project.is_in_doubt = True
        if kind == "register":
            overrides = {"name": "n", "runtime": "codex", "description": text}
            agent_id = self.client.register(str(project.path), overrides)["id"]
        elif kind == "update":
            self.client.update(agent_id, {"description": text})
        else:
            self.client.unregister(agent_id, data=kind == "data")
        project.known = (agent_id, text) if is_kept else None
        project.is_in_doubt = False
        self.calls[kind] = self.calls.get(kind, 0) + 1


def on_disk(project: Path) -> State:
    try:
        document = json.loads((project / ".dork" / "agent.json").read_bytes())
    except FileNotFoundError:
        return None
    return document["id"], document["description"]


def loop(home: Path, root: Path, kills: int) -> tuple[int, dict[str, int]]:
    """Kill a daemon so often, and look after each start; return what happened."""
    places = Daemon(home, root, config=CONFIG)
    daemon = Forked(places, home, root)
    chance = random.Random(4)
    projects = [Project(root / f"p{number}") for number in range(CALLERS * PROJECTS_EACH)]
    for project in projects:
        project.path.mkdir()
    in_doubt, calls = 0, dict[str, int]()
    try:
        for _ in range(kills):
            client = daemon.start()
            assert_right(client, daemon, places, root, projects)
            callers = [
                Caller(Client(daemon.socket), projects[at::CALLERS], chance)
                for at in range(CALLERS)
            ]
            in_doubt += killed_under(daemon, callers, chance.uniform(0.0, 0.08))
            for caller in callers:
                calls = {
                    kind: calls.get(kind, 0) + caller.calls.get(kind, 0)
                    for kind in calls.keys() | caller.calls.keys()
                }
            client.close()
        client = daemon.start()
        assert_right(client, daemon, places, root, projects)
        client.close()
    finally:
        daemon.kill()
    assert "Traceback" not in daemon.log, daemon.log
    return in_doubt, calls


def killed_under(daemon: Forked, callers: list[Caller], seconds: float) -> int:
    """Let callers call for a time, and kill; return how many calls were under way."""
    threads = [threading.Thread(target=caller.run) for caller in callers]
    for thread in threads:
        thread.start()
    threads[0].join(seconds)
    daemon.kill()
    for thread in threads:
        thread.join()
    return sum(project.is_in_doubt for caller in callers for project in caller.projects)


def assert_right(
    client: Client, daemon: Forked, places: Daemon, root: Path, projects: list[Project]
) -> None:
    """Every acknowledged call is there, no other is there by half, nothing lies about."""
    assert [path for path in root.rglob("*") if path.name.endswith(".tmp")] == []
    for project in projects:
        project.settle()
    registry = {
        agent["projectPath"]: (agent["id"], agent["description"])
        for agent in client.registry()["agents"]
        if agent["status"] == "active"
    }
    assert registry == {str(one.path): one.known for one in projects if one.known is not None}
    # Nobody waits for an intent to be dropped when all that it stood for is done.
    daemon.wait_until(lambda: intents_in(places.database) == 0, "end of every intent")


def intents_in(database: Path) -> int:
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    with contextlib.closing(connection):
        return int(connection.execute("SELECT count(*) FROM intents").fetchone()[0])


def test_a_few_kills_lose_nothing_that_was_acknowledged(home: Path, root: Path) -> None:
    """One round of what the slow test does two hundred times."""
    loop(home, root, 3)


@pytest.mark.slow
def test_no_kill_at_any_moment_loses_what_was_acknowledged(home: Path, root: Path) -> None:
    in_doubt, calls = loop(home, root, KILLS)
    # The kills did meet calls under way, of every kind.
    assert in_doubt > KILLS / 2
    assert min(calls.get(kind, 0) for kind in ("register", "update", "unregister", "data")) > 5
