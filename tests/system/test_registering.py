"""Many callers at once, over HTTP, with events watching what is written."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from meshd.errors import MeshdError
from tests.registration.conftest import files_in
from tests.system.daemon import Daemon
from tests.system.live import NO_SWEEP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CALLERS: Final = 8
NEW: Final = {"name": "ada", "runtime": "claude-code"}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon whose only hints besides the calls are events."""
    root = tmp_path_factory.mktemp("root")
    with Daemon(tmp_path_factory.mktemp("h"), root, config=NO_SWEEP) as daemon:
        yield daemon


def new_project(daemon: Daemon, name: str) -> Path:
    project = Path(daemon.status()["roots"][0]["path"]) / name
    project.mkdir()
    return project


def together(act: Callable[[int], str]) -> list[str]:
    """Let every caller act at the same moment; return what each got."""
    barrier = threading.Barrier(CALLERS)

    def run(number: int) -> str:
        barrier.wait()
        return act(number)

    with ThreadPoolExecutor(CALLERS) as pool:
        return list(pool.map(run, range(CALLERS)))


def test_callers_who_register_one_path_get_one_agent(daemon: Daemon) -> None:
    project = new_project(daemon, "one")

    def register(_: int) -> str:
        with daemon.client() as client:
            return str(client.register(str(project), NEW)["id"])

    ids = together(register)
    assert len(set(ids)) == 1
    assert list(files_in(project)) == [".dork/agent.json"]
    assert daemon.agents()[ids[0]]["projectPath"] == str(project)


def test_of_callers_who_have_read_the_same_one_may_write(daemon: Daemon) -> None:
    project = new_project(daemon, "two")
    with daemon.client() as client:
        agent_id = client.register(str(project), NEW)["id"]
    seq = daemon.agents()[agent_id]["seq"]

    def update(number: int) -> str:
        with daemon.client() as client:
            try:
                client.update(agent_id, {"description": f"by {number}"}, expected_seq=seq)
            except MeshdError as error:
                return error.code
            return f"by {number}"

    answers = together(update)
    (written,) = [answer for answer in answers if answer != "conflict"]
    assert daemon.agents()[agent_id]["description"] == written


def test_nothing_that_is_written_comes_back_as_a_change(daemon: Daemon) -> None:
    """Our own writes are events too; every one of them is looked at, and says nothing new."""
    project = new_project(daemon, "three")
    with daemon.client() as client:
        client.sync()
        seq = daemon.status()["seq"]
        agent_id = client.register(str(project), NEW)["id"]
        for number in range(5):
            client.update(agent_id, {"description": str(number)})
        client.unregister(agent_id)
        client.sync()
        told = [
            event["kind"]
            for event in client.events(since=seq)["events"]
            if event["kind"] != "endpoint"
        ]
    assert told == ["registered", *["updated"] * 5, "unregistered"]
    assert list(project.iterdir()) == []
