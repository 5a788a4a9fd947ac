"""What a service manager, a scraper and a code generator ask."""

from __future__ import annotations

import threading

import pytest
from prometheus_client.parser import text_string_to_metric_families

from meshd import __version__
from tests.api.running import LONG, Daemon, error_of
from tests.harness import delete_manifest, write_bytes


def test_health_is_the_writers_answer(daemon: Daemon) -> None:
    assert daemon.http.get("/healthz").status_code == 200

    daemon.store.writer.stop()

    assert error_of(daemon.http.get("/healthz")) == (503, "stopping")


def test_a_writer_that_hangs_is_ill(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshd.api.health.WRITER_SECONDS", 0.05)
    free = threading.Event()
    stuck = daemon.store.writer.submit(lambda _: free.wait(LONG))

    assert error_of(daemon.http.get("/healthz")) == (503, "timeout")

    free.set()
    stuck.result(LONG)
    assert daemon.http.get("/healthz").status_code == 200


@pytest.mark.parametrize(("ready", "status"), [(True, 200), (False, 503)])
def test_readiness_is_what_the_daemon_says(daemon: Daemon, ready: bool, status: int) -> None:
    daemon.ready = ready

    answer = daemon.http.get("/readyz")

    assert (status, {"ready": ready}) == (answer.status_code, answer.json())


def test_metrics_tell_what_the_registry_holds_now(daemon: Daemon) -> None:
    daemon.agent("a")
    project = daemon.agent("b")
    write_bytes(daemon.root / "c", b"{")
    delete_manifest(project)
    daemon.post("/sweep")

    text = daemon.http.get("/metrics").text

    figures = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    expected = {
        ("meshd_agents", "stale"): 1.0,
        ("meshd_agents", "unreachable"): 1.0,
        ("meshd_agents", "active"): 0.0,
        ("meshd_claims", "invalid"): 1.0,
        ("meshd_roots", "healthy"): 1.0,
        ("meshd_roots", "sick"): 0.0,
        ("meshd_build_info", __version__): 1.0,
        ("meshd_ready",): 1.0,
        ("meshd_writer_commits_total",): float(daemon.store.writer.commits),
    }
    assert expected == {key: figures[key] for key in expected}
    assert figures["meshd_last_sweep_seconds",] > 0.0


def test_the_description_names_every_operation_readably(daemon: Daemon) -> None:
    document = daemon.http.get("/openapi.json").json()

    operations = {
        operation["operationId"]: operation
        for item in document["paths"].values()
        for operation in item.values()
    }
    # Bad requests are answered with 400 here, in our own forms.
    assert "HTTPValidationError" not in document["components"]["schemas"]
    assert {"list_registry", "get_agent_health", "sweep", "allow", "metrics"} <= set(operations)
    for name, operation in operations.items():
        assert operation["description"], name
        done = next(code for code in operation["responses"] if code.startswith("2"))
        content = operation["responses"][done]["content"]
        if name == "metrics":
            assert list(content) == ["text/plain"]
        else:
            assert "$ref" in content["application/json"]["schema"], name
