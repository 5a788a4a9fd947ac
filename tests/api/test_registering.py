"""Manifests are written, changed and taken away by request."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from meshd.api import schemas
from meshd.api.members import GIVEN
from meshd.api.mesh_schemas import RegisteredAnswer, UnregisteredAnswer
from tests.api.running import MESH, Daemon, error_of
from tests.harness import write_bytes, write_manifest

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

SAID = {"name": "tester", "runtime": "codex"}
NO_RUNTIME = SAID | {"runtime": "No Such"}


def project(daemon: Daemon, name: str = "p") -> Path:
    path = daemon.root / name
    path.mkdir(exist_ok=True)
    return path


def register(daemon: Daemon, path: Path, query: str = "", **body: object) -> httpx.Response:
    said = {"path": str(path), "overrides": SAID, **body}
    return daemon.http.post(f"{MESH}/agents{query}", json=said)


def on_disk(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((path / ".dork" / "agent.json").read_text())
    return document


def test_a_project_is_registered_and_its_manifest_answered(daemon: Daemon) -> None:
    path = project(daemon)

    answer = register(daemon, path, scanRoot=str(daemon.root))

    assert answer.status_code == 201
    manifest = answer.json()
    RegisteredAnswer.model_validate(manifest)
    assert manifest == manifest | SAID | {"registeredBy": "mesh"}
    assert on_disk(path)["id"] == manifest["id"]
    row = daemon.listed()[manifest["id"]]
    assert (str(path), f'"{row["seq"]}"') == (row["projectPath"], answer.headers["etag"])


def test_registering_again_keeps_the_id_and_takes_what_is_said(daemon: Daemon) -> None:
    path = project(daemon)
    first = register(daemon, path).json()

    second = register(daemon, path, overrides={"description": "now with one"}, approver="me")

    assert second.status_code == 201
    assert second.json() == first | {"description": "now with one"}
    assert len(daemon.listed()) == 1


def test_a_dry_run_says_what_would_be_and_changes_nothing(daemon: Daemon) -> None:
    path = project(daemon)

    answer = register(daemon, path, "?dryRun=true")

    assert (answer.status_code, answer.json()["name"]) == (200, "tester")
    assert (list(path.iterdir()), daemon.listed()) == ([], {})


@pytest.mark.parametrize(
    ("place", "body", "expected"),
    [
        pytest.param("p", {"overrides": {}}, (400, "bad-request"), id="no name"),
        pytest.param("p", {"overrides": {"name": "x"}}, (400, "bad-request"), id="no runtime"),
        pytest.param("p", {"scanRoot": "{root}/p/q"}, (400, "bad-request"), id="no ancestor"),
        pytest.param("p", {"scanRoot": "/etc"}, (403, "permission"), id="scanRoot elsewhere"),
        pytest.param("../other", {}, (400, None), id="climbs"),
        pytest.param("/etc", {}, (403, "permission"), id="outside the roots"),
        pytest.param("missing", {}, (422, "out-of-scope"), id="missing directory"),
        pytest.param("node_modules", {}, (422, "out-of-scope"), id="excluded"),
        pytest.param("denied", {}, (422, "out-of-scope"), id="denied"),
        pytest.param("invalid", {}, (422, "invalid-manifest"), id="invalid manifest"),
        pytest.param("p", {"overrides": NO_RUNTIME}, (400, "bad-request"), id="no such runtime"),
    ],
)
def test_what_cannot_be_registered_is_told_by_its_status(
    daemon: Daemon, place: str, body: dict[str, Any], expected: tuple[int, str | None]
) -> None:
    for name in ("p", "node_modules", "denied"):
        project(daemon, name)
    daemon.post("/deny", {"path": str(daemon.root / "denied")})
    write_bytes(daemon.root / "invalid", b"{")
    text = json.dumps(body).replace("{root}", str(daemon.root))

    answer = register(daemon, daemon.root / place, **json.loads(text))

    told = answer.json()
    schemas.PeerFailure.model_validate(told)
    assert expected == (answer.status_code, told.get("code"))
    assert isinstance(told["error"], str)


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param({"name": ""}, id="empty name"),
        pytest.param({"name": 5}, id="a number for a name"),
        pytest.param({"name": None}, id="no name may be taken away"),
        pytest.param({"traits": {"humor": 6}}, id="a trait too high"),
        pytest.param({"capabilities": "review"}, id="no list"),
        pytest.param({"effort": "heroic"}, id="no effort"),
        pytest.param({"behavior": {"responseMode": "never"}}, id="no mode"),
        pytest.param({"budget": {"maxCallsPerHour": 0}}, id="no budget"),
        pytest.param({"persona": "x" * 4001}, id="too long"),
        pytest.param({"personaEnabled": "yes"}, id="no switch"),
        pytest.param({"unknown": float("nan")}, id="no number"),
        pytest.param({"unknown": ["\ud800"]}, id="half a character"),
    ],
)
def test_a_value_that_no_manifest_has_is_refused_before_it_is_tried(
    asked: Daemon, overrides: dict[str, Any]
) -> None:
    path = project(asked)
    agent_id = register(asked, path).json()["id"]
    before = on_disk(path)
    headers = {"content-type": "application/json"}
    body = json.dumps({"path": str(path), "overrides": overrides})

    for answer in (
        asked.http.post(f"{MESH}/agents", content=body, headers=headers),
        asked.http.patch(
            f"{MESH}/agents/{agent_id}", content=json.dumps(overrides), headers=headers
        ),
    ):
        assert (answer.status_code, answer.json()["error"]) == (400, "Validation failed")
    assert before == on_disk(path)


def test_a_path_that_is_not_utf_8_is_registered(daemon: Daemon) -> None:
    path = daemon.root / os.fsdecode(b"caf\xe9")
    path.mkdir()
    body = json.dumps({"path": str(path), "overrides": SAID})

    answer = daemon.http.post(
        f"{MESH}/agents", content=body, headers={"content-type": "application/json"}
    )

    assert answer.status_code == 201, answer.text
    assert str(path) == daemon.listed()[answer.json()["id"]]["projectPath"]
    found = daemon.http.get(f"{MESH}/registry?agent={daemon.root}/caf%E9").json()["agents"]
    assert [answer.json()["id"]] == [one["id"] for one in found]


# update


def test_a_manifest_is_changed_where_it_lies(daemon: Daemon) -> None:
    path = daemon.agent("a", color="red", **{"x-team": {"kept": True}})

    answer = daemon.http.patch(f"{MESH}/agents/a", json={"name": "b", "color": None})

    assert (answer.status_code, answer.json()["name"]) == (200, "b")
    assert "color" not in answer.json()
    assert (on_disk(path)["x-team"], on_disk(path)["name"]) == ({"kept": True}, "b")
    assert answer.headers["etag"] == daemon.http.get(f"{MESH}/agents/a").headers["etag"]


@pytest.mark.parametrize("form", ['"{}"', "{}"])
def test_a_change_for_an_older_state_is_refused(daemon: Daemon, form: str) -> None:
    path = daemon.agent("a")
    seen = form.format(daemon.listed()["a"]["seq"])

    def change(name: str, tag: str) -> httpx.Response:
        return daemon.http.patch(f"{MESH}/agents/a", json={"name": name}, headers={"if-match": tag})

    assert change("first", seen).status_code == 200
    assert error_of(change("second", seen)) == (412, "conflict")
    assert on_disk(path)["name"] == "first"
    assert change("third", "*").status_code == 200


@pytest.mark.parametrize("tag", ['W/"SEQ"', '"x"', '"SEQ0", "x"', '""', f'"{"9" * 19}"'])
def test_a_tag_that_is_not_the_agents_state_is_a_conflict(daemon: Daemon, tag: str) -> None:
    path = daemon.agent("a")
    seq = daemon.listed()["a"]["seq"]
    headers = {"if-match": tag.replace("SEQ", str(seq))}

    answer = daemon.http.patch(f"{MESH}/agents/a", json={"name": "n"}, headers=headers)
    unknown = daemon.http.patch(f"{MESH}/agents/b", json={"name": "n"}, headers=headers)

    assert (error_of(answer), on_disk(path)["name"]) == ((412, "conflict"), "agent a")
    assert unknown.status_code == 404


@pytest.mark.parametrize("tag", ['"1", "SEQ"', '"x","SEQ"', '"SEQ" , W/"1"', "SEQ", "*"])
def test_a_tag_among_several_lets_a_change_pass(daemon: Daemon, tag: str) -> None:
    daemon.agent("a")
    headers = {"if-match": tag.replace("SEQ", str(daemon.listed()["a"]["seq"]))}

    answer = daemon.http.patch(f"{MESH}/agents/a", json={"name": "n"}, headers=headers)

    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("tag", ["x", "-1", '"', '"1" "2"', '"1",', "9" * 19])
def test_a_tag_that_is_none_is_a_bad_request(asked: Daemon, tag: str) -> None:
    answer = asked.http.patch(f"{MESH}/agents/a", json={}, headers={"if-match": tag})

    assert (answer.status_code, answer.json()["error"]) == (400, "Validation failed")


@pytest.mark.parametrize("key", ["id", "registeredAt", "registeredBy", "isSystem", "mcpServers"])
def test_keys_that_are_not_the_callers_are_refused(daemon: Daemon, key: str) -> None:
    path = daemon.agent("a")
    before = on_disk(path)

    answer = daemon.http.patch(f"{MESH}/agents/a", json={key: ["other"]})

    assert error_of(answer) == (400, "bad-request")
    assert before == on_disk(path)


# system agents


def test_a_system_agent_is_protected(daemon: Daemon) -> None:
    path = daemon.agent("a", isSystem=True)
    agent = f"{MESH}/agents/a"

    for answer in (
        daemon.http.patch(agent, json={"name": "b"}),
        daemon.http.delete(agent),
        daemon.http.delete(f"{agent}/data"),
    ):
        assert error_of(answer) == (403, "system-agent")
    assert daemon.http.patch(agent, json={"color": "red"}).status_code == 200
    assert on_disk(path)["color"] == "red"


# keys


def test_keys_that_no_manifest_of_ours_has_are_ignored(daemon: Daemon) -> None:
    path = project(daemon)
    said = {**SAID, "entrypoint": "x"}

    answer = register(daemon, path, overrides=said)
    changed = daemon.http.patch(
        f"{MESH}/agents/{answer.json()['id']}", json={"projectPath": "/x", "color": "red"}
    )

    assert (answer.status_code, changed.status_code) == (201, 200)
    assert (on_disk(path).keys() & {"entrypoint", "projectPath"}, on_disk(path)["color"]) == (
        set(),
        "red",
    )


@pytest.mark.parametrize("key", sorted(GIVEN))
def test_what_is_not_the_callers_to_give_may_be_said_again_but_not_changed(
    daemon: Daemon, key: str
) -> None:
    path = daemon.agent("a")
    shown = daemon.get("/agents/a")
    other = {"id": "b", "isSystem": True, "mcpServers": [{"name": "n"}]}.get(key, "2001-01-01")

    again = daemon.http.patch(f"{MESH}/agents/a", json={**shown, "name": "new"})
    changed = daemon.http.patch(f"{MESH}/agents/a", json={key: other})
    registered = register(daemon, path, overrides={key: other})
    new = register(daemon, project(daemon, "other"), overrides={**SAID, key: other})

    assert (again.status_code, again.json()["name"]) == (200, "new")
    for refused in (changed, registered, new):
        assert (refused.status_code, key in refused.json()["error"]) == (400, True)


# unregister


def test_an_agent_is_unregistered_with_its_manifest(daemon: Daemon) -> None:
    path = daemon.agent("a")
    (path / ".dork" / "notes").write_text("kept")

    would = daemon.http.delete(f"{MESH}/agents/a?dryRun=true")
    assert (would.status_code, list(daemon.listed())) == (200, ["a"])
    answer = daemon.http.delete(f"{MESH}/agents/a")

    UnregisteredAnswer.model_validate(answer.json())
    removed = str(path / ".dork" / "agent.json")
    said = {"success": True, "deletedPath": removed, "successor": None}
    assert (answer.status_code, answer.json(), would.json()) == (200, said, said)
    assert [one.name for one in (path / ".dork").iterdir()] == ["notes"]
    assert daemon.listed() == {}


def test_an_agent_may_keep_its_manifest_and_is_denied(daemon: Daemon) -> None:
    path = daemon.agent("a")

    answer = daemon.http.delete(f"{MESH}/agents/a?keepManifest=true")

    assert (answer.status_code, on_disk(path)["id"]) == (200, "a")
    assert answer.json() == {"success": True, "deletedPath": None, "successor": None}
    assert [str(path)] == [one["path"] for one in daemon.get("/denied")["denied"]]
    assert daemon.listed() == {}


@pytest.mark.parametrize("query", ["?dryRun=true", "", "?keepManifest=true"])
def test_who_holds_the_id_from_then_on_is_said(daemon: Daemon, query: str) -> None:
    daemon.agent("a")
    write_manifest(daemon.root / "copy", "a")
    daemon.post("/sweep")

    answer = daemon.http.delete(f"{MESH}/agents/a{query}").json()

    assert answer["successor"] == str(daemon.root / "copy")


def test_an_agent_is_removed_with_all_its_data(daemon: Daemon) -> None:
    path = daemon.agent("a")
    (path / ".dork" / "notes").write_text("gone")

    answer = daemon.http.delete(f"{MESH}/agents/a/data")

    UnregisteredAnswer.model_validate(answer.json())
    assert answer.json()["deletedPath"] == str(path / ".dork")
    assert list(path.iterdir()) == []


@pytest.mark.parametrize(
    ("method", "route"),
    [
        ("PATCH", "/agents/nobody"),
        ("DELETE", "/agents/nobody"),
        ("DELETE", "/agents/nobody/data"),
        ("POST", "/agents/nobody/heartbeat"),
        ("GET", "/agents/nobody/access"),
    ],
)
def test_an_unknown_agent_is_told_in_the_words_of_the_peer(
    asked: Daemon, method: str, route: str
) -> None:
    answer = asked.http.request(method, MESH + route, json={} if method == "PATCH" else None)

    assert (answer.status_code, answer.json()) == (404, {"error": "Agent not found"})


@pytest.mark.parametrize("query", ["dryRun=yes", "keepManifest=1", "dryRun="])
def test_a_switch_is_true_or_false(daemon: Daemon, query: str) -> None:
    write_manifest(daemon.root / "a", "a")
    daemon.post("/sweep")

    answer = daemon.http.delete(f"{MESH}/agents/a?{query}")

    assert (answer.status_code, list(daemon.listed())) == (400, ["a"])
