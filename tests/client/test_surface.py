"""Every verb of the peer's library has something here that does the same."""

from __future__ import annotations

import contextlib
import os
import pkgutil
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from meshd.client import Client
from meshd.core.model import Kind
from meshd.errors import BadRequestError, ConflictError, MeshdError, NotFoundError, OutOfScopeError
from tests.api.running import Daemon
from tests.harness import delete_manifest, write_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLE: Final = (Path(__file__).parent.parent.parent / "docs" / "client.md").read_text("utf-8")

_MESH_CORE: Final = """
discover register registerByPath deny undeny listDenied update syncFromDisk unregister onUnregister
onLivenessChange onAgentAdopted list listWithHealth listWithPaths get getByPath getSubject
getSubjectByPath getProjectPath getTopology getAgentAccess allowCrossNamespace denyCrossNamespace
listCrossNamespaceRules updateLastSeen getAgentHealth getStatus inspect reconcileOnStartup
startPeriodicReconciliation stopPeriodicReconciliation
"""
_AGENT_REGISTRY: Final = """
upsert relocate get getByPath isRegistered list update remove updateHealth getWithHealth
listWithHealth getAggregateStats listByNamespace markUnreachable markReachable listUnreachable
listUnreachableBefore
"""


def rows(title: str) -> list[tuple[str, str]]:
    """Return (the peer's verb, what is here) of one table."""
    section = TABLE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \| (.*) \|$", section, re.MULTILINE)


@pytest.mark.parametrize(
    ("title", "verbs"),
    [("MeshCore", _MESH_CORE), ("AgentRegistry", _AGENT_REGISTRY)],
)
def test_every_verb_of_the_peer_has_its_row(title: str, verbs: str) -> None:
    assert verbs.split() == [verb for verb, _ in rows(title)]


@pytest.mark.parametrize(
    "here", sorted({here for title in ("MeshCore", "AgentRegistry") for _, here in rows(title)})
)
def test_what_a_row_names_exists(here: str) -> None:
    name, *kinds = re.findall(r"`([\w.]+)`", here)

    assert callable(resolved(name))
    assert set(kinds) <= set(Kind)


def resolved(name: str) -> object:
    """Return what a dotted name stands for."""
    owner, _, rest = name.partition(".")
    if owner == Client.__name__:
        return getattr(Client, rest)
    return pkgutil.resolve_name(name)


# the methods against a daemon


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with contextlib.closing(Daemon(tmp_path.resolve())) as running:
        yield running


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    with Client(daemon.path) as connected:
        yield connected


def ids(document: dict[str, list[dict[str, str]]]) -> list[str]:
    return [agent["id"] for agent in document["agents"]]


def test_discover_yields_what_it_finds_and_ends(daemon: Daemon, client: Client) -> None:
    (daemon.root / "new" / ".codex").mkdir(parents=True)

    events = list(client.discover([str(daemon.root)], max_depth=2))

    assert [str(daemon.root / "new")] == [
        one["path"] for kind, one in events if kind == "candidate"
    ]
    assert (events[-1][0], events[-1][1]["truncated"]) == ("done", False)
    with pytest.raises(MeshdError) as caught:
        next(client.discover(["/etc"]))
    assert caught.value.exit_code == 7


def test_register_update_and_unregister(daemon: Daemon, client: Client) -> None:
    project = daemon.root / "p"
    project.mkdir()
    path = str(project)

    would = client.register(path, {"name": "p", "runtime": "codex"}, dry_run=True)
    assert (would["name"], list(project.iterdir())) == ("p", [])
    agent = client.register(path, {"name": "p", "runtime": "codex"}, "me")
    assert (agent["registeredBy"], client.row(path)["id"]) == ("me", agent["id"])
    assert agent == client.agent(agent["id"])

    seen = client.row(agent["id"])["seq"]
    assert client.update(agent["id"], {"color": "red"}, expected_seq=seen)["color"] == "red"
    with pytest.raises(ConflictError):
        client.update(agent["id"], {"color": "blue"}, expected_seq=seen)
    assert "color" not in client.update(agent["id"], {"color": None})

    assert client.unregister(agent["id"], dry_run=True)["successor"] is None
    assert client.unregister(agent["id"], data=True)["deletedPath"] == f"{path}/.dork"
    assert client.registry() == {"agents": []}
    with pytest.raises(NotFoundError):
        client.unregister(agent["id"])
    with pytest.raises(ValueError, match="either"):
        client.unregister(agent["id"], data=True, keep_manifest=True)


def test_refusals_keep_their_classes_and_exit_codes(daemon: Daemon, client: Client) -> None:
    daemon.agent("a")

    with pytest.raises(OutOfScopeError):
        client.register(str(daemon.root / "missing"), {"name": "x", "runtime": "codex"})
    with pytest.raises(BadRequestError) as caught:
        client.update("a", {"id": "b"})
    assert caught.value.exit_code == 2
    with pytest.raises(BadRequestError, match="Validation failed"):
        client.update("a", {"name": 5})


def test_deny_denied_and_allow(daemon: Daemon, client: Client) -> None:
    path = str(daemon.agent("a"))

    client.deny(path, reason="noisy")
    assert [path] == [one["path"] for one in client.denied()["denied"]]
    client.allow(path)
    assert ids(client.agents()) == ["a"]


def test_rows_paths_subjects_and_rules(daemon: Daemon, client: Client) -> None:
    path = str(daemon.agent("a", namespace="one"))
    daemon.agent("b", namespace="two")

    assert (client.subject("a"), client.subject(path)) == ("relay.agent.one.a",) * 2
    assert client.row(path) == client.row("a")
    assert ids(client.registry(namespace="two")) == ["b"]
    with pytest.raises(NotFoundError):
        client.row("nobody")
    with pytest.raises(NotFoundError):
        client.subject("nobody")

    assert ids(client.access("a")) == []
    client.set_rule("one", "two", "allow")
    assert (ids(client.access("a")), client.route("a", "b")["rule"]) == (["b"], "explicit")
    assert [one["namespace"] for one in client.topology("one")["namespaces"]] == ["one", "two"]
    client.set_rule("one", "two", "deny")
    assert client.route("a", "b")["allowed"] is False
    explicit = [one for one in client.rules()["rules"] if one["origin"] == "explicit"]
    assert [one["action"] for one in explicit] in (["deny"], [])


def test_an_agent_is_named_by_a_path_that_is_not_utf_8(daemon: Daemon, client: Client) -> None:
    project = daemon.root / os.fsdecode(b"caf\xe9 &")
    write_manifest(project, "a", namespace="one")
    client.sweep()

    assert client.row(str(project))["id"] == "a"
    assert client.subject(str(project)) == "relay.agent.one.a"


def test_an_agent_that_is_unreachable_has_no_subject(daemon: Daemon, client: Client) -> None:
    project = daemon.agent("a")
    delete_manifest(project)
    client.sweep()

    assert client.subject("a") is None
    assert ids(client.unreachable()) == ["a"]


def test_heartbeats_are_told_and_subscribers_hear_of_their_kinds_alone(
    daemon: Daemon, client: Client
) -> None:
    project = daemon.agent("a")
    status = client.status()
    place = f"{status['epoch']}-{status['seq']}"

    client.heartbeat("a", "built")
    assert client.health("a")["lastSeenEvent"] == "built"
    delete_manifest(project)
    client.sweep()

    lively = client.subscribe({"unreachable", "returned", "health_changed"}, place)
    assert [next(lively)["kind"], next(lively)["kind"]] == ["health_changed", "unreachable"]
    lively.close()
    gone = client.subscribe({"unregistered"}, place)
    client.unregister("a")
    entry = next(gone)
    assert (entry["kind"], entry["agentId"]) == ("unregistered", "a")
    gone.close()
