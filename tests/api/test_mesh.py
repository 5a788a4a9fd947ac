"""Who sees whom, who reaches whom, who lives, and who could be registered."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from meshd.api import mesh_schemas
from tests.api.feeding import until
from tests.api.running import MESH, Daemon, error_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx


@pytest.fixture
def mesh(daemon: Daemon) -> Daemon:
    daemon.agent("a", namespace="one")
    daemon.agent("b", namespace="one")
    daemon.agent("c", namespace="two")
    return daemon


def ids(document: dict[str, Any]) -> list[str]:
    return [agent["id"] for agent in document["agents"]]


def set_rule(daemon: Daemon, source: str, target: str, action: str) -> httpx.Response:
    said = {"sourceNamespace": source, "targetNamespace": target, "action": action}
    return daemon.http.put(f"{MESH}/topology/access", json=said)


def explicit(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the operator's rules, without their times."""
    return [
        {key: value for key, value in rule.items() if key != "createdAt"}
        for rule in document["rules"]
        if rule["origin"] == "explicit"
    ]


def test_the_topology_shows_namespaces_and_the_boundaries_of_a_caller(mesh: Daemon) -> None:
    whole = mesh.get("/topology")
    mesh_schemas.TopologyAnswer.model_validate(whole)
    shown = {one["namespace"]: ids(one) for one in whole["namespaces"]}
    assert shown == {"one": ["a", "b"], "two": ["c"]}
    assert (whole["callerNamespace"], whole["openMesh"]) == ("*", False)

    own = mesh.get("/topology", namespace="one")
    assert [one["namespace"] for one in own["namespaces"]] == ["one"]


def test_a_rule_opens_the_way_in_one_direction(mesh: Daemon) -> None:
    answer = set_rule(mesh, "one", "two", "allow")

    expected = {
        "sourceNamespace": "one",
        "targetNamespace": "two",
        "action": "allow",
        "origin": "explicit",
    }
    assert (answer.status_code, answer.json()) == (200, expected)
    assert ids(mesh.get("/agents/a/access")) == ["b", "c"]
    assert ids(mesh.get("/agents/c/access")) == []
    assert ids(mesh.get("/agents", callerNamespace="one")) == ["a", "b", "c"]
    rules = mesh.get("/rules")
    mesh_schemas.RulesAnswer.model_validate(rules)
    assert [expected] == explicit(rules)


def test_the_mesh_is_opened_and_closed(mesh: Daemon) -> None:
    assert set_rule(mesh, "*", "*", "allow").status_code == 200
    assert mesh.get("/topology")["openMesh"] is True
    assert ids(mesh.get("/agents/c/access")) == ["a", "b"]

    assert set_rule(mesh, "*", "*", "deny").status_code == 200
    assert mesh.get("/topology")["openMesh"] is False
    assert ids(mesh.get("/agents/c/access")) == []


@pytest.mark.parametrize(
    ("source", "target", "action"),
    [
        pytest.param("*", "two", "allow", id="from all to one"),
        pytest.param("one", "*", "deny", id="from one to all"),
        pytest.param("", "two", "allow", id="empty"),
        pytest.param("One", "two", "allow", id="no namespace"),
        pytest.param("one", "two", "maybe", id="no action"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(
    asked: Daemon, source: str, target: str, action: str
) -> None:
    answer = set_rule(asked, source, target, action)

    assert (answer.status_code, answer.json()["error"]) == (400, "Validation failed")
    assert explicit(asked.get("/rules")) == []


def test_a_route_names_the_rule_that_decided(mesh: Daemon) -> None:
    within = mesh.get("/route", **{"from": "a", "to": str(mesh.root / "b")})
    across = mesh.get("/route", **{"from": "a", "to": "c"})

    for answer in (within, across):
        mesh_schemas.RouteAnswer.model_validate(answer)
    assert (within["subject"], within["rule"]) == ("relay.agent.one.b", "same-namespace")
    assert (across["allowed"], across["rule"]) == (False, "cross-namespace")
    assert error_of(mesh.http.get(f"{MESH}/route?from=a&to=x")) == (404, "not-found")
    assert error_of(mesh.http.get(f"{MESH}/route?from=a")) == (400, "bad-request")


def test_everyone_sees_and_reaches_a_system_agent_whatever_is_asked(mesh: Daemon) -> None:
    mesh.parts.shared.trust.system = frozenset({"c"})

    assert ids(mesh.get("/agents", callerNamespace="one")) == ["a", "b", "c"]
    assert ids(mesh.get("/agents/a/access")) == ["b", "c"]
    assert mesh.get("/route", **{"from": "a", "to": "c"})["rule"] == "system"
    topology = mesh.get("/topology", namespace="one")
    assert [one["namespace"] for one in topology["namespaces"]] == ["one", "two"]
    rules = [{**rule, "createdAt": None} for rule in mesh.get("/topology")["accessRules"]]
    assert rules == mesh.get("/rules")["rules"]


def test_rows_are_asked_for_by_agent_and_by_namespace(mesh: Daemon) -> None:
    assert ids(mesh.get("/registry", agent="b")) == ["b"]
    assert ids(mesh.get("/registry", agent=str(mesh.root / "c"))) == ["c"]
    assert ids(mesh.get("/registry", agent="nobody")) == []
    assert ids(mesh.get("/registry", namespace="one")) == ["a", "b"]
    assert ids(mesh.get("/registry", namespace="one", agent="c")) == []


# heartbeats


@pytest.mark.parametrize(
    ("body", "event"),
    [
        pytest.param(b'{"event": "built"}', "built", id="said"),
        pytest.param(b"{}", "heartbeat", id="not said"),
        pytest.param(b"", "heartbeat", id="nothing"),
        pytest.param(b"{", "heartbeat", id="torn"),
        pytest.param(b"[]", "heartbeat", id="a list"),
        pytest.param(b'"event"', "heartbeat", id="a text"),
        pytest.param(b"null", "heartbeat", id="null"),
        pytest.param(b'{"event": 5}', "heartbeat", id="a number"),
        pytest.param(b'{"event": ""}', "heartbeat", id="empty"),
        pytest.param(b'{"event": "\\ud800"}', "heartbeat", id="half a character"),
        pytest.param(b"\xff", "heartbeat", id="no text"),
        pytest.param(b"[" * 100_000, "heartbeat", id="deep"),
    ],
)
def test_a_heartbeat_is_readable_at_once_whatever_it_says(
    asked: Daemon, body: bytes, event: str
) -> None:
    asked.agent("a")

    answer = asked.http.post(
        f"{MESH}/agents/a/heartbeat", content=body, headers={"content-type": "application/json"}
    )

    assert (answer.status_code, answer.json()) == (200, {"success": True})
    health = asked.get("/agents/a/health")
    assert (health["status"], health["lastSeenEvent"]) == ("active", event)


# discovery


def discover(daemon: Daemon, **body: object) -> httpx.Response:
    return daemon.http.post(f"{MESH}/discover", json={"roots": [str(daemon.root)], **body})


def events_of(answer: httpx.Response) -> Iterator[tuple[str, Any]]:
    for block in answer.text.strip().split("\n\n"):
        name, data = block.split("\n")
        yield name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def test_candidates_are_found_and_agents_are_none(daemon: Daemon) -> None:
    agent = daemon.agent("a")
    (agent / "CLAUDE.md").write_text("An agent.")
    (daemon.root / "new").mkdir()
    (daemon.root / "new" / "CLAUDE.md").write_text("# Title\n\nTests the parser.\n")

    document = discover(daemon).json()

    mesh_schemas.DiscoverAnswer.model_validate(document)
    (found,) = document["candidates"]
    assert (str(daemon.root / "new"), "claude-code") == (found["path"], found["strategy"])
    assert found["hints"]["description"] == "Tests the parser."
    assert document["truncated"] is False


def test_a_search_is_streamed_when_asked_for(daemon: Daemon) -> None:
    (daemon.root / "new" / ".codex").mkdir(parents=True)

    answer = daemon.http.post(
        f"{MESH}/discover",
        json={"roots": [str(daemon.root)]},
        headers={"accept": "text/event-stream"},
    )

    assert answer.headers["content-type"].startswith("text/event-stream")
    events = list(events_of(answer))
    names = [name for name, _ in events]
    assert {"candidate", "progress", "done"} == set(names)
    assert (names[-1], events[-1][1]["candidates"]) == ("done", 1)
    (found,) = (document for name, document in events if name == "candidate")
    mesh_schemas.CandidateEntry.model_validate(found)


def test_a_search_keeps_to_the_depth_it_is_given(daemon: Daemon) -> None:
    (daemon.root / "above" / "below" / ".codex").mkdir(parents=True)

    assert discover(daemon, maxDepth=0).json()["candidates"] == []
    assert discover(daemon, maxDepth=1).json()["candidates"] == []
    assert len(discover(daemon, maxDepth=2).json()["candidates"]) == 1


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param({"roots": []}, (400, None), id="nowhere"),
        pytest.param({"roots": ["here"]}, (400, None), id="relative"),
        pytest.param({"maxDepth": -1}, (400, None), id="no depth"),
        pytest.param({"maxDepth": "5"}, (400, None), id="a text for a depth"),
        pytest.param({"roots": ["/etc"]}, (403, "permission"), id="outside the roots"),
    ],
)
def test_a_search_that_cannot_be_meant_is_refused(
    asked: Daemon, body: dict[str, Any], expected: tuple[int, str | None]
) -> None:
    answer = discover(asked, **body)

    assert expected == (answer.status_code, answer.json().get("code"))


def test_a_search_makes_room_for_others_when_its_caller_leaves(daemon: Daemon) -> None:
    for number in range(40):
        (daemon.root / f"p{number}" / ".codex").mkdir(parents=True)

    for _ in range(6):
        with (
            daemon.connect() as client,
            client.stream(
                "POST",
                f"{MESH}/discover",
                json={"roots": [str(daemon.root)]},
                headers={"accept": "text/event-stream"},
            ) as answer,
        ):
            assert answer.status_code in (200, 503)

    def found() -> bool:
        answer = discover(daemon)
        return answer.status_code == 200 and len(answer.json()["candidates"]) == 40

    until(found)
