"""The mesh as a person uses it: find a project, register it, ask who reaches whom, and undo it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.system.daemon import Daemon

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon over two projects without a manifest; the tests follow one another."""
    base = tmp_path_factory.mktemp("mesh")
    for project, marker in (("shop/cart", "AGENTS.md"), ("office/mail", "GEMINI.md")):
        (base / "root" / project).mkdir(parents=True)
        (base / "root" / project / marker).write_text("# Title\n\nWhat it is for.\n")
    (base / "h").mkdir()
    with Daemon(base / "h", base / "root") as daemon:
        yield daemon


def at(daemon: Daemon, project: str) -> str:
    return str(daemon.database.parents[3] / "root" / project)


def test_1_projects_are_found_and_registered(daemon: Daemon) -> None:
    found = daemon.ask("discover")["candidates"]
    assert {one["path"]: one["hints"]["detectedRuntime"] for one in found} == {
        at(daemon, "shop/cart"): "claude-code",
        at(daemon, "office/mail"): "gemini",
    }
    would = daemon.ask("register", at(daemon, "shop/cart"), "--dry-run")
    assert (would["name"], daemon.agents()) == ("cart", {})
    for project in ("shop/cart", "office/mail"):
        registered = daemon.ask("register", at(daemon, project))
        again = daemon.ask("register", at(daemon, project))
        assert registered["id"] == again["id"]
    rows = daemon.agents().values()
    assert {(one["name"], one["runtime"], one["namespace"]) for one in rows} == {
        ("cart", "claude-code", "shop"),
        ("mail", "gemini", "office"),
    }
    assert daemon.ask("discover")["candidates"] == []


def test_2_who_reaches_whom_is_asked_and_changed(daemon: Daemon) -> None:
    there, back = ("route", "cart", "mail"), ("route", at(daemon, "office/mail"), "cart")
    assert [daemon.ask(*one)["allowed"] for one in (there, back)] == [False, False]
    daemon.ask("rules", "allow", "shop", "office")
    assert [daemon.ask(*one)["allowed"] for one in (there, back)] == [True, False]
    assert daemon.ask(*there)["rule"] == "explicit"
    rules = daemon.ask("rules", "list")["rules"]
    assert [one["targetNamespace"] for one in rules if one["origin"] == "explicit"] == ["office"]
    topology = daemon.ask("topology", "--namespace", "shop")
    assert [one["namespace"] for one in topology["namespaces"]] == ["office", "shop"]
    daemon.ask("rules", "deny", "shop", "office")
    assert not daemon.ask(*there)["allowed"]


def test_3_a_heartbeat_makes_an_agent_active(daemon: Daemon) -> None:
    daemon.ask("heartbeat", "cart", "--event", "woke up")
    shown = daemon.ask("agents", "show", "cart")
    assert (shown["healthStatus"], shown["lastSeenEvent"]) == ("active", "woke up")
    assert shown["subject"] == f"relay.agent.shop.{shown['id']}"


def test_4_an_update_changes_what_is_said_unless_somebody_was_faster(daemon: Daemon) -> None:
    seen = str(daemon.ask("agents", "show", "cart")["seq"])
    updated = daemon.ask("update", "cart", "--description", "new", "--if-seq", seen)
    assert updated["description"] == "new"
    lost = daemon.cli("update", "cart", "--description", "lost", "--if-seq", seen)
    assert (lost.returncode, lost.stdout) == (1, "")
    daemon.ask("update", "cart", "--set", 'persona="calm"')
    daemon.ask("update", "cart", "--clear", "persona")
    shown = daemon.ask("agents", "show", "cart")
    assert (shown["description"], shown["persona"]) == ("new", None)


def test_5_what_is_unregistered_is_gone_or_denied(daemon: Daemon) -> None:
    assert daemon.ask("unregister", "cart", "--dry-run")
    assert len(daemon.agents()) == 2
    daemon.ask("unregister", "cart", "--yes")
    daemon.ask("unregister", "mail", "--keep-manifest", "--yes")
    assert daemon.agents() == {}
    with daemon.client() as client:
        assert [one["path"] for one in client.denied()["denied"]] == [at(daemon, "office/mail")]
    kept = f"{at(daemon, 'office/mail')}/.dork/agent.json"
    with open(kept, "rb") as manifest:  # noqa: PTH123 - the path is text here
        assert json.load(manifest)["name"] == "mail"
    assert daemon.cli("agents", "show", "cart").returncode == 3
    daemon.ask("allow", at(daemon, "office/mail"))
    found = daemon.ask("doctor")
    assert found["healthy"], found
