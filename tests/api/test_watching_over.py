"""What a service manager, a scraper and a code generator ask."""

from __future__ import annotations

import threading

import pytest
from prometheus_client.parser import text_string_to_metric_families

from meshd import __version__
from meshd.watcher import Coverage
from tests.api.running import LONG, Daemon, error_of
from tests.harness import delete_manifest, write_bytes


def figures_of(daemon: Daemon) -> dict[tuple[str, ...], float]:
    """Return every figure by its name and the values of its labels."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(daemon.http.get("/metrics").text)
        for sample in family.samples
    }


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

    figures = figures_of(daemon)
    expected = {
        ("meshd_agents", "stale"): 1.0,
        ("meshd_agents", "unreachable"): 1.0,
        ("meshd_agents", "active"): 0.0,
        ("meshd_claims", "invalid"): 1.0,
        ("meshd_roots", "healthy"): 1.0,
        ("meshd_roots", "sick"): 0.0,
        ("meshd_roots", "truncated"): 0.0,
        ("meshd_inbox_length",): 0.0,
        ("meshd_feed_subscribers",): 0.0,
        ("meshd_relay_failures_total",): 0.0,
        ("meshd_build_info", __version__): 1.0,
        ("meshd_ready",): 1.0,
        ("meshd_writer_commits_total",): float(daemon.store.writer.commits),
        ("meshd_sweep_drift",): 1.0,
    }
    assert expected == {key: figures[key] for key in expected}
    assert figures["meshd_last_sweep_seconds",] > 0.0
    assert figures["meshd_writer_commit_seconds_total",] > 0.0


def test_metrics_tell_of_each_root_how_it_is_watched(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A root whose name is not UTF-8 must not cost the scraper all the others."""
    coverage = {
        "/a": Coverage("inotify", watched=3, wanted=4, events=5, overflows=2),
        "/\udcff": Coverage("none"),
    }
    monkeypatch.setattr(daemon.services, "coverage", lambda: coverage)

    figures = figures_of(daemon)

    expected = {
        ("meshd_watched_directories", "/a"): 3.0,
        ("meshd_wanted_directories", "/a"): 4.0,
        ("meshd_watch_events_total", "/a"): 5.0,
        ("meshd_watch_overflows_total", "/a"): 2.0,
        ("meshd_watched_directories", "/\\udcff"): 0.0,
        ("meshd_wanted_directories", "/\\udcff"): 0.0,
        ("meshd_watch_events_total", "/\\udcff"): 0.0,
        ("meshd_watch_overflows_total", "/\\udcff"): 0.0,
    }
    shown = {key: value for key, value in figures.items() if key[0].startswith("meshd_wa")}
    assert expected == shown


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
