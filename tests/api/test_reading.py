"""What callers read is the registry, shaped as published."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from meshd import __version__
from meshd.api import schemas
from tests.api.running import MESH, Daemon
from tests.harness import delete_manifest, write_bytes, write_manifest

if TYPE_CHECKING:
    from pydantic import BaseModel


def test_each_answer_is_exactly_as_the_published_description_says(daemon: Daemon) -> None:
    daemon.agent("a", displayName="A", capabilities=["review"], traits={"chaos": 5})
    lost = daemon.agent("b")
    write_bytes(daemon.root / "c", b"not json")
    delete_manifest(lost)
    daemon.post("/sweep")
    daemon.post("/deny", {"path": str(daemon.root / "d"), "reason": "noisy"})

    shapes: dict[str, type[BaseModel]] = {
        "/registry": schemas.RegistryAnswer,
        "/agents": schemas.AgentsAnswer,
        "/agents/paths": schemas.PathsAnswer,
        "/agents/a": schemas.ManifestAnswer,
        "/agents/a/health": schemas.HealthAnswer,
        "/status": schemas.StatusAnswer,
        "/unreachable": schemas.RegistryAnswer,
        "/claims": schemas.ClaimsAnswer,
        "/roots": schemas.RootsAnswer,
        "/denied": schemas.DeniedAnswer,
        "/events": schemas.EventsAnswer,
    }
    for route, shape in shapes.items():
        body = daemon.get(route)
        shape.model_validate(body)
        assert any(body.values()), f"{route} has nothing to compare"


def test_an_unreachable_agent_is_kept_in_the_registry_and_never_discovered(
    daemon: Daemon,
) -> None:
    daemon.agent("a")
    project = daemon.agent("b")
    delete_manifest(project)
    daemon.post("/sweep")

    assert [agent["id"] for agent in daemon.get("/agents")["agents"]] == ["a"]
    assert [agent["id"] for agent in daemon.get("/agents/paths")["agents"]] == ["a"]
    assert [agent["id"] for agent in daemon.get("/unreachable")["agents"]] == ["b"]
    row = daemon.listed()["b"]
    assert (row["status"], row["unreachableReason"]) == ("unreachable", "manifest-missing")
    assert daemon.get("/agents/b")["id"] == "b"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param({}, ["a", "b"], id="no filter"),
        pytest.param({"runtime": "codex"}, ["b"], id="by runtime"),
        pytest.param({"capability": "review"}, ["a"], id="by capability"),
        pytest.param({"runtime": "codex", "capability": "review"}, [], id="both must hold"),
        pytest.param({"callerNamespace": "a"}, ["a"], id="what a namespace may reach"),
        pytest.param({"callerNamespace": "*"}, ["a", "b"], id="the whole mesh"),
        pytest.param({"callerNamespace": "other"}, [], id="a namespace that is not there"),
    ],
)
def test_agents_are_filtered(daemon: Daemon, query: dict[str, str], expected: list[str]) -> None:
    daemon.agent("a", capabilities=["review"])
    daemon.agent("b", runtime="codex")

    assert expected == [agent["id"] for agent in daemon.get("/agents", **query)["agents"]]


def test_unreachable_agents_are_asked_for_by_time(daemon: Daemon) -> None:
    project = daemon.agent("a")
    delete_manifest(project)
    daemon.post("/sweep")

    past, future = "2020-01-01T00:00:00Z", "2999-01-01T02:00:00+02:00"
    assert daemon.get("/unreachable", before=past)["agents"] == []
    assert [row["id"] for row in daemon.get("/unreachable", before=future)["agents"]] == ["a"]


def test_claims_are_asked_for_by_outcome(daemon: Daemon) -> None:
    daemon.agent("a")
    write_bytes(daemon.root / "torn", b"{")
    daemon.post("/sweep")

    claims = daemon.get("/claims", outcome="invalid")["claims"]

    expected = [(str(daemon.root / "torn"), "not-json")]
    assert expected == [(claim["path"], claim["reason"]) for claim in claims]


def test_status_tells_of_this_process_and_its_roots(daemon: Daemon) -> None:
    daemon.agent("a")

    status = daemon.get("/status")

    assert (os.getpid(), __version__, True) == (
        status["pid"],
        status["version"],
        status["ready"],
    )
    assert daemon.store.epoch == status["epoch"]
    entry = {
        "path": str(daemon.root),
        "state": "healthy",
        "reason": None,
        "watch": "none",
        "watchedDirectories": 0,
        "wantedDirectories": 0,
        "watchShortage": None,
        "events": 0,
        "overflows": 0,
        "lastOverflow": None,
        "agents": 1,
        "lastSweep": status["lastSweep"]["startedAt"],
    }
    assert [entry] == status["roots"] == daemon.get("/roots")["roots"]


def test_events_are_paged_by_number(daemon: Daemon) -> None:
    daemon.agent("a")
    daemon.agent("b")

    everything = daemon.get("/events")
    seen: list[Any] = []
    since = 0
    while page := daemon.get("/events", since=str(since), limit="1")["events"]:
        assert len(page) == 1
        seen += page
        since = page[-1]["seq"]

    assert everything["events"] == seen
    assert everything["seq"] == since
    assert {"a", "b"} <= {event["agentId"] for event in seen}


def test_a_path_that_is_not_utf8_arrives_with_every_byte(daemon: Daemon) -> None:
    project = daemon.root / os.fsdecode(b"caf\xe9")
    write_manifest(project, "a")
    daemon.post("/sweep")

    raw = daemon.http.get(f"{MESH}/registry").content

    assert raw.isascii()
    assert rb"caf\udce9" in raw
    assert str(project) == json.loads(raw)["agents"][0]["projectPath"]
