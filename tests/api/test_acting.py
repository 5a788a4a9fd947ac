"""An act is answered when it is done."""

from __future__ import annotations

import json
import os

import pytest

from meshd.api import schemas
from meshd.services import ReloadOutcome
from tests.api.running import MESH, Daemon, error_of
from tests.harness import delete_manifest, write_manifest


def test_a_sweep_is_answered_when_it_is_committed(daemon: Daemon) -> None:
    write_manifest(daemon.root / "a", "a")

    result = daemon.post("/sweep", {"full": True})

    schemas.SweepAnswer.model_validate(result)
    assert (result["discovered"], result["full"]) == (1, True)
    assert list(daemon.listed()) == ["a"]


def test_sync_brings_in_what_is_on_disk(daemon: Daemon) -> None:
    write_manifest(daemon.root / "a", "a")

    result = daemon.post("/sync")

    schemas.SyncAnswer.model_validate(result)
    assert [{"path": str(daemon.root), "by": "sweep"}] == result["roots"]
    assert daemon.get("/events")["seq"] == result["seq"]
    assert list(daemon.listed()) == ["a"]


def test_a_denied_path_loses_its_agent_and_gets_it_back(daemon: Daemon) -> None:
    project = daemon.root / os.fsdecode(b"caf\xe9 /%2e \xff")
    write_manifest(project, "a")
    daemon.post("/sweep")

    # Written out here, for a client's own encoder refuses half characters.
    body = json.dumps({"path": f"{project}/", "reason": "noisy"})
    answer = daemon.http.post(
        f"{MESH}/deny", content=body, headers={"content-type": "application/json"}
    )
    assert (answer.status_code, answer.json()) == (201, {"success": True})
    assert daemon.listed() == {}
    denial = daemon.get("/denied")["denied"][0]
    assert (str(project), "noisy", "mesh") == (
        denial["path"],
        denial["reason"],
        denial["deniedBy"],
    )

    encoded = "".join(f"%{byte:02x}" for byte in os.fsencode(project))
    answer = daemon.http.delete(f"{MESH}/denied/{encoded}")
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert list(daemon.listed()) == ["a"]
    assert error_of(daemon.http.delete(f"{MESH}/denied/{encoded}")) == (404, "not-found")


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("relative", id="relative"),
        pytest.param("{root}/../etc", id="climbs"),
        pytest.param("{root}/a\x00b", id="NUL"),
        pytest.param("", id="empty"),
    ],
)
def test_a_path_that_is_not_one_is_a_bad_request(daemon: Daemon, path: str) -> None:
    path = path.format(root=daemon.root)
    encoded = "".join(f"%{byte:02x}" for byte in path.encode())

    for answer in (
        daemon.http.post(f"{MESH}/deny", json={"path": path}),
        daemon.http.delete(f"{MESH}/denied/{encoded}"),
    ):
        assert answer.status_code == 400
        assert answer.json()["error"] == "Validation failed"
        schemas.PeerFailure.model_validate(answer.json())


def test_half_a_character_that_no_file_name_has_is_a_bad_request(daemon: Daemon) -> None:
    body = json.dumps({"path": f"{daemon.root}/\ud800"})

    answer = daemon.http.post(
        f"{MESH}/deny", content=body, headers={"content-type": "application/json"}
    )

    assert (answer.status_code, answer.json()["error"]) == (400, "Validation failed")


def test_a_path_outside_the_roots_is_forbidden(daemon: Daemon) -> None:
    outside = f"{daemon.root}-other/a"

    assert error_of(daemon.http.post(f"{MESH}/deny", json={"path": outside})) == (403, "permission")
    assert error_of(daemon.http.delete(f"{MESH}/denied/{outside.replace('/', '%2F')}")) == (
        403,
        "permission",
    )


def test_a_live_agent_is_not_forgotten_and_an_unreachable_one_is(daemon: Daemon) -> None:
    project = daemon.agent("a")

    assert error_of(daemon.http.post(f"{MESH}/forget", json={"id": "a"})) == (409, "still-live")
    assert error_of(daemon.http.post(f"{MESH}/forget", json={"id": "x"})) == (404, "not-found")
    delete_manifest(project)
    daemon.post("/sweep")
    assert {"forgotten": [{"id": "a", "lastPath": str(project)}]} == daemon.post(
        "/forget", {"id": "a"}
    )
    assert daemon.listed() == {}
    assert daemon.post("/forget", {"unscanned": True}) == {"forgotten": []}


def test_a_root_that_was_replaced_is_sick_until_it_is_accepted(daemon: Daemon) -> None:
    daemon.agent("a")
    daemon.root.rename(daemon.root.with_name("aside"))
    daemon.root.mkdir()
    daemon.post("/sweep")
    assert daemon.get("/roots")["roots"][0]["state"] == "sick"

    assert daemon.post("/roots/accept", {"path": str(daemon.root)}) == {"success": True}

    assert daemon.get("/roots")["roots"][0]["state"] == "healthy"
    unknown = daemon.http.post(f"{MESH}/roots/accept", json={"path": "/nowhere"})
    assert error_of(unknown) == (404, "not-found")


def test_a_reload_tells_what_changed_and_what_waits_for_a_restart(daemon: Daemon) -> None:
    daemon.reloaded.set_result(ReloadOutcome(2, ("scan.roots", "api.socket"), ("api.socket",)))

    expected = {
        "generation": 2,
        "changed": ["scan.roots", "api.socket"],
        "needsRestart": ["api.socket"],
        "notices": [],
    }
    assert expected == daemon.post("/reload")
