"""The peer's own HTTP client, pointed at the loopback port, works as it is.

`PeerClient` asks what the peer's web client asks, in its way: a JSON content type on every
request, a body without the keys that were not given, ids as they are, an answer with an error
status read for `error`, `code` and nothing else. The bearer token is put before it by whatever
carries its requests, as the daemon's port cannot be open to everybody.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

import httpx
import pytest

from tests.api.running import Daemon
from tests.harness import write_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "open-sesame"

Document = dict[str, Any]


class PeerError(Exception):
    """What the peer's client makes of a refusal."""

    def __init__(self, message: str, status: int, body: Document) -> None:
        super().__init__(message)
        self.status = status
        self.body = body


class PeerClient:
    """The calls of the peer's client, by its names."""

    def __init__(self, base_url: str) -> None:
        self._http = httpx.Client(
            base_url=base_url, headers={"authorization": f"Bearer {TOKEN}"}, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def fetch_json(self, method: str, url: str, body: Document | None = None) -> Any:  # noqa: ANN401 - JSON
        given = {key: value for key, value in (body or {}).items() if value is not None}
        content = None if body is None else json.dumps(given)
        headers = {"content-type": "application/json"}
        answer = self._http.request(method, f"/mesh{url}", content=content, headers=headers)
        if not answer.is_success:
            said = answer.json()
            assert isinstance(said["error"], str), "the peer shows this text to a person"
            raise PeerError(said["error"], answer.status_code, said)
        return answer.json()

    def list(self, query: str = "") -> list[Document]:
        agents: list[Document] = self.fetch_json("GET", f"/agents{query}")["agents"]
        return agents

    def register(self, path: str, overrides: Document, scan_root: str | None = None) -> Document:
        said = {"path": path, "overrides": overrides, "approver": None, "scanRoot": scan_root}
        registered: Document = self.fetch_json("POST", "/agents", said)
        return registered


@pytest.fixture
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    directory = tmp_path_factory.mktemp("peer").resolve()
    with contextlib.closing(Daemon(directory, TOKEN)) as running:
        yield running


@pytest.fixture
def peer(daemon: Daemon) -> Iterator[PeerClient]:
    with PeerClient(f"http://localhost:{daemon.port}/api") as client:
        yield client


def test_the_peers_client_goes_through_the_life_of_an_agent(
    daemon: Daemon, peer: PeerClient
) -> None:
    project = daemon.root / "team" / "tester"
    (project / ".codex").mkdir(parents=True)
    (found,) = peer.fetch_json("POST", "/discover", {"roots": [str(daemon.root)]})["candidates"]
    hints = found["hints"]

    agent = peer.register(
        found["path"],
        {"name": hints["suggestedName"], "runtime": hints["detectedRuntime"]},
        str(daemon.root),
    )
    assert (agent["name"], agent["runtime"]) == ("tester", "codex")
    assert [agent["id"]] == [one["id"] for one in peer.list("?runtime=codex")]
    assert peer.list("?capability=review") == []
    agent_id = agent["id"]
    assert agent == peer.fetch_json("GET", f"/agents/{agent_id}")
    (placed,) = peer.fetch_json("GET", "/agents/paths")["agents"]
    assert str(project) == placed["projectPath"]

    changed = peer.fetch_json("PATCH", f"/agents/{agent_id}", {"color": "blue"})
    assert changed == agent | {"color": "blue"}
    assert peer.fetch_json("POST", f"/agents/{agent_id}/heartbeat", {}) == {"success": True}
    assert peer.fetch_json("GET", f"/agents/{agent_id}/health")["status"] == "active"
    status = peer.fetch_json("GET", "/status")
    assert (status["totalAgents"], status["activeCount"], status["unreachableCount"]) == (1, 1, 0)

    assert peer.fetch_json("DELETE", f"/agents/{agent_id}")["success"] is True
    assert peer.list() == []
    assert not (project / ".dork" / "agent.json").exists()


def test_the_peers_client_silences_a_project_and_takes_it_back(
    daemon: Daemon, peer: PeerClient
) -> None:
    project = daemon.agent("a")
    path = str(project)

    assert peer.fetch_json("POST", "/deny", {"path": path, "reason": "noisy"}) == {"success": True}
    (denial,) = peer.fetch_json("GET", "/denied")["denied"]
    assert denial == denial | {"path": path, "reason": "noisy", "deniedBy": "mesh"}
    assert peer.list() == []

    cleared = peer.fetch_json("DELETE", f"/denied/{quote(path, safe='')}")
    assert cleared == {"success": True}
    assert [one["id"] for one in peer.list()] == ["a"]


def test_the_peers_client_reads_and_changes_who_reaches_whom(
    daemon: Daemon, peer: PeerClient
) -> None:
    for name, namespace in (("a", "one"), ("b", "two")):
        write_manifest(daemon.root / name, name, namespace=namespace)
    daemon.post("/sweep")

    assert peer.fetch_json("GET", "/agents/a/access") == {"agents": []}
    rule = {"sourceNamespace": "one", "targetNamespace": "two", "action": "allow"}
    assert rule | {"origin": "explicit"} == peer.fetch_json("PUT", "/topology/access", rule)

    topology = peer.fetch_json("GET", "/topology?namespace=one")
    shown = {one["namespace"]: one["agents"] for one in topology["namespaces"]}
    assert sorted(shown) == ["one", "two"]
    assert shown["two"][0]["relaySubject"] == "relay.agent.two.b"
    assert rule | {"origin": "explicit"} in topology["accessRules"]
    assert [one["id"] for one in peer.fetch_json("GET", "/agents/a/access")["agents"]] == ["b"]
    assert [one["id"] for one in peer.list("?callerNamespace=two")] == ["b"]


def test_the_peers_client_removes_an_agent_with_its_data(daemon: Daemon, peer: PeerClient) -> None:
    project = daemon.agent("a")

    deleted = peer.fetch_json("DELETE", "/agents/a/data")

    # The successor is ours; the peer's client passes over keys it does not know.
    assert deleted == {"success": True, "deletedPath": str(project / ".dork"), "successor": None}
    assert not (project / ".dork").exists()


@pytest.mark.parametrize(
    ("method", "url", "body", "status", "said"),
    [
        ("GET", "/agents/nobody", None, 404, "Agent not found"),
        ("PATCH", "/agents/nobody", {"name": "x"}, 404, "Agent not found"),
        ("DELETE", "/agents/nobody", None, 404, "Agent not found"),
        ("POST", "/agents", {"overrides": {}}, 400, "Validation failed"),
        ("POST", "/deny", {"path": "/etc"}, 403, "lies in no configured root"),
        ("PUT", "/topology/access", {"action": "allow"}, 400, "Validation failed"),
    ],
)
def test_the_peers_client_is_told_of_failures_in_a_text(
    peer: PeerClient, method: str, url: str, body: Document | None, status: int, said: str
) -> None:
    with pytest.raises(PeerError, match=said) as caught:
        peer.fetch_json(method, url, body)
    assert caught.value.status == status
    assert ("details" in caught.value.body) == (status == 400)
