"""Every failure is told in one of two forms, and by its code."""

from __future__ import annotations

import pytest

from meshd.api.replies import Reply
from meshd.errors import (
    ConfigError,
    InvalidManifestError,
    MeshdError,
    NotFoundError,
    PermissionRefusedError,
    StoppingError,
    StoreError,
)
from tests.api.running import MESH, Daemon, error_of


class OddError(MeshdError):
    code = "odd"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        pytest.param(NotFoundError("x"), 404, id="not found"),
        pytest.param(PermissionRefusedError("x"), 403, id="permission"),
        pytest.param(ConfigError("x", hint="fix it"), 422, id="refused configuration"),
        pytest.param(StoppingError("x"), 503, id="stopping"),
        pytest.param(StoreError("x"), 503, id="store"),
        pytest.param(InvalidManifestError("x"), 422, id="invalid manifest"),
        pytest.param(OddError("x"), 500, id="unknown code"),
    ],
)
def test_an_error_is_answered_by_its_code(daemon: Daemon, error: MeshdError, status: int) -> None:
    daemon.reloaded.set_exception(error)

    answer = daemon.http.post(f"{MESH}/reload")

    expected = {"error": {"code": error.code, "message": "x", "hint": error.hint}}
    assert (status, expected) == (answer.status_code, answer.json())


def test_what_takes_too_long_is_told_and_goes_on(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshd.api.acting.ACT_SECONDS", 0.01)

    assert error_of(daemon.http.post(f"{MESH}/reload")) == (504, "timeout")

    assert not daemon.reloaded.cancelled()
    daemon.reloaded.set_exception(StoppingError("late, and nobody waits"))
    assert daemon.http.get("/healthz").status_code == 200


def test_a_bug_is_answered_without_its_words(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_: object) -> None:
        raise LookupError("secret")

    monkeypatch.setattr("meshd.answers.registry_document", break_down)

    answer = daemon.http.get(f"{MESH}/registry")

    assert error_of(answer) == (500, "failed")
    assert "secret" not in answer.text


@pytest.mark.parametrize("route", ["/agents/nobody", "/agents/nobody/health"])
def test_an_unknown_agent_is_told_in_the_words_of_the_peer(daemon: Daemon, route: str) -> None:
    answer = daemon.http.get(MESH + route)

    assert (answer.status_code, answer.json()) == (404, {"error": "Agent not found"})


@pytest.mark.parametrize(
    ("method", "route", "body", "expected"),
    [
        pytest.param("GET", "/unreachable?before=today", None, (400, "bad-request"), id="time"),
        pytest.param("GET", "/claims?outcome=odd", None, (400, "bad-request"), id="outcome"),
        pytest.param("GET", "/events?since=-1", None, (400, "bad-request"), id="negative"),
        pytest.param("GET", "/events?since=1e3", None, (400, "bad-request"), id="no number"),
        pytest.param("GET", f"/events?since={2**63}", None, (400, "bad-request"), id="64 bits"),
        pytest.param("GET", "/events?limit=1001", None, (400, "bad-request"), id="limit"),
        pytest.param("POST", "/sweep", "{", (400, "bad-request"), id="torn body"),
        pytest.param("POST", "/sweep", "\udcff", (400, "bad-request"), id="no UTF-8"),
        pytest.param("POST", "/sweep", '{"ful": true}', (400, "bad-request"), id="misspelt"),
        pytest.param("POST", "/forget", "{}", (400, "bad-request"), id="neither"),
        pytest.param(
            "POST", "/forget", '{"id":"a","unscanned":true}', (400, "bad-request"), id="both"
        ),
        pytest.param("POST", "/roots/accept", "[" * 100_000, (400, "bad-request"), id="deep"),
        pytest.param("GET", "/nothing", None, (404, "not-found"), id="no such route"),
        pytest.param("GET", "/sweep", None, (405, "method-not-allowed"), id="wrong method"),
    ],
)
def test_a_bad_request_is_told_in_our_own_form(
    daemon: Daemon, method: str, route: str, body: str | None, expected: tuple[int, str]
) -> None:
    content = None if body is None else body.encode("utf-8", "surrogateescape")
    headers = {"content-type": "application/json"}

    answer = daemon.http.request(method, MESH + route, content=content, headers=headers)

    assert expected == error_of(answer)


def test_a_number_that_is_not_json_is_never_sent() -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        Reply({"seconds": float("nan")})
