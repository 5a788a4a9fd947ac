"""Topology, rules, routes and heartbeats on the command line."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness import World, write_manifest
from tests.shell.command_line import CommandLine
from tests.shell.fake_daemon import FakeDaemon, fake_daemon

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WRITTEN = {"id": "a", "name": "b", "runtime": "codex"}
NO_AGENT = {"error": "no agent", "code": "not-found"}


@pytest.fixture
def meshd(tmp_path: Path) -> CommandLine:
    home = tmp_path / "h"
    home.mkdir()
    return CommandLine(home)


@pytest.fixture
def daemon(meshd: CommandLine) -> Iterator[FakeDaemon]:
    """A daemon where it listens by default."""
    meshd.state.mkdir(parents=True)
    with fake_daemon(meshd.state / "meshd.sock") as fake:
        yield fake


def rule(source: str, target: str, action: str, origin: str) -> dict[str, str]:
    return {
        "sourceNamespace": source, "targetNamespace": target, "action": action, "origin": origin,
    }  # fmt: skip


def member(agent_id: str, namespace: str) -> dict[str, Any]:
    return {
        "id": agent_id,
        "name": f"name-{agent_id}",
        "healthStatus": "stale",
        "relaySubject": f"relay.agent.{namespace}.{agent_id}",
    }


TOPOLOGY = {
    "callerNamespace": "*",
    "namespaces": [
        {
            "namespace": "shop",
            "agentCount": 2,
            "agents": [member("a", "shop"), member("b", "shop")],
        },
        {"namespace": "office", "agentCount": 1, "agents": [member("c", "office")]},
    ],
    "accessRules": [rule("shop", "office", "allow", "explicit")],
    "openMesh": False,
}


def test_the_topology_names_each_namespace_once(meshd: CommandLine, daemon: FakeDaemon) -> None:
    daemon.answer("GET /api/mesh/topology?namespace=%2A", TOPOLOGY)
    assert [line.split() for line in meshd("topology").out.splitlines()] == [
        ["NAMESPACE", "AGENT", "ID", "HEALTH", "SUBJECT"],
        ["shop", "name-a", "a", "stale", "relay.agent.shop.a"],
        ["name-b", "b", "stale", "relay.agent.shop.b"],
        ["office", "name-c", "c", "stale", "relay.agent.office.c"],
        [],
        ["SOURCE", "TARGET", "ACTION", "ORIGIN"],
        ["shop", "office", "allow", "explicit"],
        [],
        ["what", "no", "rule", "allows", "stays", "in", "its", "namespace"],
    ]
    assert meshd("--json", "topology").document == TOPOLOGY


def test_an_empty_and_open_mesh_is_said_in_words(meshd: CommandLine, daemon: FakeDaemon) -> None:
    empty = {"callerNamespace": "x", "namespaces": [], "accessRules": [], "openMesh": True}
    daemon.answer("GET /api/mesh/topology?namespace=x", empty)
    ran = meshd("topology", "--namespace", "x")
    assert (ran.out.strip(), ran.err) == ("the mesh is open: all reach all", "no namespaces\n")


def test_rules_are_listed_and_made(meshd: CommandLine, daemon: FakeDaemon) -> None:
    listed = {"rules": [rule("*", "*", "deny", "explicit")]}
    daemon.answer("GET /api/mesh/rules", listed)
    daemon.answer("PUT /api/mesh/topology/access", rule("a", "b", "allow", "explicit"))
    assert meshd("rules", "list").out.splitlines()[1].split() == ["*", "*", "deny", "explicit"]
    assert meshd("rules", "list", "--json").document == listed
    assert meshd("rules", "allow", "a", "b").out == "allowed: a to b\n"
    assert meshd("rules", "deny", "*", "*").out == "denied: * to *\n"
    assert daemon.asked[-1][2] == {
        "sourceNamespace": "*", "targetNamespace": "*", "action": "deny",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            {"allowed": True, "subject": "relay.agent.n.b", "rule": "explicit", "reason": "why"},
            "yes, at relay.agent.n.b: why (rule: explicit)\n",
        ),
        (
            {"allowed": False, "subject": None, "rule": "cross-namespace", "reason": "why"},
            "no: why (rule: cross-namespace)\n",
        ),
        (
            {
                "allowed": False,
                "subject": None,
                "rule": None,
                "reason": "the target is unreachable",
            },
            "no: the target is unreachable\n",
        ),
    ],
)
def test_a_route_is_answered_with_exit_code_0_whatever_it_is(
    meshd: CommandLine, daemon: FakeDaemon, answer: dict[str, object], said: str
) -> None:
    daemon.answer("GET /api/mesh/route?from=a&to=b", answer)
    ran = meshd("route", "a", "b")
    assert (ran.code, ran.out) == (0, said)
    assert meshd("route", "--json", "a", "b").document == answer


def test_both_ends_of_a_route_may_be_paths_or_names(meshd: CommandLine, daemon: FakeDaemon) -> None:
    """A path is asked for as it is, so that one that was refused is answered too."""
    path = str(meshd.home / "p")
    encoded = path.replace("/", "%2F")
    row = {"id": "b", "name": "second", "displayName": None, "projectPath": None, "lastPath": "/x"}
    daemon.answer("GET /api/mesh/registry", {"agents": [row]})
    answer = {"allowed": False, "subject": None, "rule": None, "reason": "refused"}
    daemon.answer(f"GET /api/mesh/route?from={encoded}&to=second", NO_AGENT, status=404)
    daemon.answer(f"GET /api/mesh/route?from={encoded}&to=b", answer)
    assert meshd("route", "./p", "second").out == "no: refused\n"


def test_a_route_of_an_unknown_agent_exits_3(meshd: CommandLine, daemon: FakeDaemon) -> None:
    daemon.answer("GET /api/mesh/registry", {"agents": []})
    daemon.answer("GET /api/mesh/route?from=a&to=b", NO_AGENT, status=404)
    assert meshd("route", "a", "b").code == 3


def test_a_heartbeat_by_id_asks_for_no_list(meshd: CommandLine, daemon: FakeDaemon) -> None:
    daemon.answer("POST /api/mesh/agents/a/heartbeat", {"success": True})
    ran = meshd("heartbeat", "a", "--event", "woke up")
    assert (ran.code, ran.out) == (0, "heard: a\n")
    assert daemon.asked == [("POST", "/api/mesh/agents/a/heartbeat", {"event": "woke up"})]


def test_a_heartbeat_by_name_or_path_finds_the_id(meshd: CommandLine, daemon: FakeDaemon) -> None:
    project = str(meshd.home / "p")
    row = {"id": "b", "name": "second", "displayName": None, "projectPath": project, "lastPath": ""}
    daemon.answer("GET /api/mesh/registry", {"agents": [row]})
    daemon.answer("POST /api/mesh/agents/second/heartbeat", NO_AGENT, status=404)
    daemon.answer("POST /api/mesh/agents/b/heartbeat", {"success": True})
    assert [meshd("heartbeat", one).code for one in ("second", "./p", "third")] == [0, 0, 3]


@pytest.mark.parametrize(
    "arguments",
    [
        "topology --namespace x",
        "rules list",
        "route a b",
        "heartbeat a",
        "register . --runtime codex",
        "agents show a",
    ],
)
def test_no_command_that_asks_a_daemon_imports_what_is_slow(
    meshd: CommandLine, daemon: FakeDaemon, arguments: str
) -> None:
    daemon.answer("GET /api/mesh/topology?namespace=x", {**TOPOLOGY, "namespaces": []})
    daemon.answer("GET /api/mesh/rules", {"rules": []})
    decision = {"allowed": False, "subject": None, "rule": None, "reason": "why"}
    daemon.answer("GET /api/mesh/route?from=a&to=b", decision)
    daemon.answer("GET /api/mesh/route?from=a&to=a", decision)
    daemon.answer("POST /api/mesh/agents/a/heartbeat", {})
    daemon.answer("POST /api/mesh/agents", WRITTEN, status=201)
    row = {"id": "a", "name": "a", "displayName": None, "projectPath": None, "lastPath": "/x"}
    daemon.answer("GET /api/mesh/registry", {"agents": [row]})
    program = (
        f"import sys; from meshd.cli import main; assert main({arguments.split()!r}) == 0;"
        "print(*sys.modules, file=sys.stderr)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env=meshd.whole_environ, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    slow = {"pydantic", "pydantic_settings", "fastapi", "uvicorn", "structlog", "apsw", "asyncio"}
    assert {name.partition(".")[0] for name in ran.stderr.split()} & slow == set()


# without a daemon


@pytest.fixture
def alone(meshd: CommandLine, tmp_path: Path) -> CommandLine:
    """A registry of two namespaces that no daemon tends."""
    meshd.state.mkdir(parents=True)
    root = tmp_path / "root"
    write_manifest(root / "shop" / "a", "a")
    write_manifest(root / "office" / "b", "b")
    world = World(meshd.state, [root])
    world.sweep()
    world.stop()
    return meshd


def test_who_reaches_whom_is_answered_from_the_database(alone: CommandLine) -> None:
    topology = alone("topology", "--json").document
    namespaces = topology["namespaces"]
    assert isinstance(namespaces, list)
    assert [one["namespace"] for one in namespaces] == ["office", "shop"]
    ran = alone("route", "a", "b")
    assert (ran.code, "no rule allows shop to reach office" in ran.out) == (0, True)
    assert "no daemon" in ran.err
    assert alone("rules", "list").code == 0


def test_the_database_alone_knows_the_system_agents_of_the_configuration(
    alone: CommandLine,
) -> None:
    config = alone.home / "config.toml"
    config.write_text('[relay]\nsystem = ["a"]\n')
    ran = alone("route", "a", "b", "--json", "--config", str(config))
    assert (ran.document["allowed"], ran.document["rule"]) == (True, "system")
