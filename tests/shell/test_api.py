"""HTTP as callers see it: a real server on a real socket, over the daemon's own parts."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import stat
import struct
import subprocess
import sys
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families

from meshd import __version__
from meshd.api import replies, schemas
from meshd.api.peers import BODY_LIMIT_BYTES, peer_of
from meshd.api.server import Server, bind_socket
from meshd.assembly import assemble
from meshd.clock import SystemClock
from meshd.config.settings import ScanSettings, Settings, SweepSettings, WatchSettings
from meshd.errors import (
    AlreadyRunningError,
    ConfigError,
    InvalidManifestError,
    MeshdError,
    NotFoundError,
    PermissionRefusedError,
    StoppingError,
    StoreError,
)
from meshd.opening import open_store
from meshd.services import DaemonState, ReloadOutcome, Services
from tests.harness import delete_manifest, write_bytes, write_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pydantic import BaseModel

LONG = 30.0  # seconds; a wait this long has failed
MESH = "/api/mesh"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: another user's process")


class Daemon:
    """The daemon's parts and the server, each in its thread; only the main thread is faked."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "root"
        self.root.mkdir()
        (directory / "state").mkdir()
        self.path = directory / "run" / "meshd.sock"
        self.reloaded: Future[ReloadOutcome] = Future()
        self.asked = threading.Event()
        self.ready = True
        clock = SystemClock()
        self.store = open_store(directory / "state", clock).store
        settings = Settings(
            scan=ScanSettings(roots=(str(self.root),)),
            sweep=SweepSettings.model_validate({"interval": "1h"}),
            watch=WatchSettings.model_validate({"settle": "10ms", "settle_max": "20ms"}),
        )
        log = structlog.wrap_logger(structlog.testing.CapturingLogger(), processors=[])
        self.parts = assemble(settings, self.store, clock, log)
        self.services = Services(
            self, self.store, self.parts.roots, self.parts.inbox, self.parts.sweeper, clock
        )
        self.listening = bind_socket(self.path, 0o600)
        self.server = Server(self.services, self.listening, self.path)
        self.threads: list[tuple[threading.Thread, Callable[[], None]]] = []
        parts = self.parts
        for actor in (self.store.writer, parts.reconciler, parts.sweeper, self.server):
            thread = threading.Thread(target=actor.run)
            thread.start()
            self.threads.append((thread, actor.stop))
        self.http = self.connect()
        # The first sweep is over: what a test writes from now on is found by its own.
        self.post("/sweep")

    def state(self) -> DaemonState:
        return DaemonState(
            ready=self.ready,
            started_at="2026-01-01T00:00:00.000Z",
            last_sweep=self.parts.courses.last,
            generation=1,
            last_reload_ok=True,
            last_reload_error=None,
            degraded=None,
        )

    def reload(self) -> Future[ReloadOutcome]:
        self.asked.set()
        return self.reloaded

    def connect(self) -> httpx.Client:
        transport = httpx.HTTPTransport(uds=str(self.path))
        return httpx.Client(transport=transport, base_url="http://meshd", timeout=LONG)

    def get(self, route: str, **query: str) -> Any:
        answer = self.http.get(MESH + route, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, route: str, body: object = None) -> Any:
        answer = self.http.post(MESH + route, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def agent(self, agent_id: str, **fields: Any) -> Path:
        """Register an agent by writing its manifest and sweeping."""
        project = self.root / agent_id
        write_manifest(project, agent_id, **fields)
        self.post("/sweep")
        return project

    def listed(self) -> dict[str, Any]:
        return {agent["id"]: agent for agent in self.get("/registry")["agents"]}

    def close(self) -> None:
        self.http.close()
        for thread, stop in reversed(self.threads):
            stop()
            thread.join(LONG)
            assert not thread.is_alive()
        self.store.close_readers()
        self.parts.roots.close()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with contextlib.closing(Daemon(tmp_path.resolve())) as running:
        yield running


def error_of(answer: httpx.Response) -> tuple[int, str]:
    """Return the status and the code of a failure in our own form."""
    body = answer.json()
    schemas.Failure.model_validate(body)
    return answer.status_code, body["error"]["code"]


# --- reading -------------------------------------------------------------------------------


def test_each_answer_is_exactly_as_the_published_description_says(daemon: Daemon) -> None:
    daemon.agent("a", displayName="A", capabilities=["review"], traits={"chaos": 5})
    lost = daemon.agent("b")
    write_bytes(daemon.root / "c", b"not json")
    delete_manifest(lost)
    daemon.post("/sweep")
    daemon.post("/deny", {"path": str(daemon.root / "d"), "reason": "noisy"})

    shapes: dict[str, type[BaseModel]] = {
        "/registry": schemas.RegistryAnswer,
        "/agents": schemas.AgentsAnswer,
        "/agents/paths": schemas.PathsAnswer,
        "/agents/a": schemas.ManifestAnswer,
        "/agents/a/health": schemas.HealthAnswer,
        "/status": schemas.StatusAnswer,
        "/unreachable": schemas.RegistryAnswer,
        "/claims": schemas.ClaimsAnswer,
        "/roots": schemas.RootsAnswer,
        "/denied": schemas.DeniedAnswer,
        "/events": schemas.EventsAnswer,
    }
    for route, shape in shapes.items():
        body = daemon.get(route)
        shape.model_validate(body)
        assert any(body.values()), f"{route} has nothing to compare"


def test_an_unreachable_agent_is_kept_in_the_registry_and_never_discovered(
    daemon: Daemon,
) -> None:
    daemon.agent("a")
    project = daemon.agent("b")
    delete_manifest(project)
    daemon.post("/sweep")

    assert ["a"] == [agent["id"] for agent in daemon.get("/agents")["agents"]]
    assert ["a"] == [agent["id"] for agent in daemon.get("/agents/paths")["agents"]]
    assert ["b"] == [agent["id"] for agent in daemon.get("/unreachable")["agents"]]
    row = daemon.listed()["b"]
    assert ("unreachable", "manifest-missing") == (row["status"], row["unreachableReason"])
    assert "b" == daemon.get("/agents/b")["id"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param({}, ["a", "b"], id="no filter"),
        pytest.param({"runtime": "codex"}, ["b"], id="by runtime"),
        pytest.param({"capability": "review"}, ["a"], id="by capability"),
        pytest.param({"runtime": "codex", "capability": "review"}, [], id="both must hold"),
        pytest.param({"callerNamespace": "other"}, ["a", "b"], id="accepted, not filtered by"),
    ],
)
def test_agents_are_filtered(daemon: Daemon, query: dict[str, str], expected: list[str]) -> None:
    daemon.agent("a", capabilities=["review"])
    daemon.agent("b", runtime="codex")

    assert expected == [agent["id"] for agent in daemon.get("/agents", **query)["agents"]]


def test_unreachable_agents_are_asked_for_by_time(daemon: Daemon) -> None:
    project = daemon.agent("a")
    delete_manifest(project)
    daemon.post("/sweep")

    past, future = "2020-01-01T00:00:00Z", "2999-01-01T02:00:00+02:00"
    assert [] == daemon.get("/unreachable", before=past)["agents"]
    assert ["a"] == [row["id"] for row in daemon.get("/unreachable", before=future)["agents"]]


def test_claims_are_asked_for_by_outcome(daemon: Daemon) -> None:
    daemon.agent("a")
    write_bytes(daemon.root / "torn", b"{")
    daemon.post("/sweep")

    claims = daemon.get("/claims", outcome="invalid")["claims"]

    expected = [(str(daemon.root / "torn"), "not-json")]
    assert expected == [(claim["path"], claim["reason"]) for claim in claims]


def test_status_tells_of_this_process_and_its_roots(daemon: Daemon) -> None:
    daemon.agent("a")

    status = daemon.get("/status")

    assert (os.getpid(), __version__, True) == (
        status["pid"],
        status["version"],
        status["ready"],
    )
    assert daemon.store.epoch == status["epoch"]
    entry = {
        "path": str(daemon.root),
        "state": "healthy",
        "reason": None,
        "watch": "none",
        "watchedDirectories": 0,
        "wantedDirectories": 0,
        "agents": 1,
        "lastSweep": status["lastSweep"]["startedAt"],
    }
    assert [entry] == status["roots"] == daemon.get("/roots")["roots"]


def test_events_are_paged_by_number(daemon: Daemon) -> None:
    daemon.agent("a")
    daemon.agent("b")

    everything = daemon.get("/events")
    seen: list[Any] = []
    since = 0
    while page := daemon.get("/events", since=str(since), limit="1")["events"]:
        assert len(page) == 1
        seen += page
        since = page[-1]["seq"]

    assert everything["events"] == seen
    assert everything["seq"] == since
    assert {"a", "b"} <= {event["agentId"] for event in seen}


def test_a_path_that_is_not_utf8_arrives_with_every_byte(daemon: Daemon) -> None:
    project = daemon.root / os.fsdecode(b"caf\xe9")
    write_manifest(project, "a")
    daemon.post("/sweep")

    raw = daemon.http.get(f"{MESH}/registry").content

    assert raw.isascii()
    assert rb"caf\udce9" in raw
    assert str(project) == json.loads(raw)["agents"][0]["projectPath"]


# --- acting --------------------------------------------------------------------------------


def test_a_sweep_is_answered_when_it_is_committed(daemon: Daemon) -> None:
    write_manifest(daemon.root / "a", "a")

    result = daemon.post("/sweep", {"full": True})

    schemas.SweepAnswer.model_validate(result)
    assert (1, True) == (result["discovered"], result["full"])
    assert ["a"] == list(daemon.listed())


def test_sync_brings_in_what_is_on_disk(daemon: Daemon) -> None:
    write_manifest(daemon.root / "a", "a")

    result = daemon.post("/sync")

    schemas.SyncAnswer.model_validate(result)
    assert [{"path": str(daemon.root), "by": "sweep"}] == result["roots"]
    assert daemon.get("/events")["seq"] == result["seq"]
    assert ["a"] == list(daemon.listed())


def test_a_denied_path_loses_its_agent_and_gets_it_back(daemon: Daemon) -> None:
    project = daemon.root / os.fsdecode(b"caf\xe9 /%2e \xff")
    write_manifest(project, "a")
    daemon.post("/sweep")

    # Written out here, for a client's own encoder refuses half characters.
    body = json.dumps({"path": f"{project}/", "reason": "noisy"})
    answer = daemon.http.post(
        f"{MESH}/deny", content=body, headers={"content-type": "application/json"}
    )
    assert (201, {"success": True}) == (answer.status_code, answer.json())
    assert {} == daemon.listed()
    denial = daemon.get("/denied")["denied"][0]
    assert (str(project), "noisy", "mesh") == (
        denial["path"],
        denial["reason"],
        denial["deniedBy"],
    )

    encoded = "".join(f"%{byte:02x}" for byte in os.fsencode(project))
    answer = daemon.http.delete(f"{MESH}/denied/{encoded}")
    assert (200, {"success": True}) == (answer.status_code, answer.json())
    assert ["a"] == list(daemon.listed())
    assert (404, "not-found") == error_of(daemon.http.delete(f"{MESH}/denied/{encoded}"))


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
        assert 400 == answer.status_code
        assert "Validation failed" == answer.json()["error"]
        schemas.PeerFailure.model_validate(answer.json())


def test_a_path_outside_the_roots_is_forbidden(daemon: Daemon) -> None:
    outside = f"{daemon.root}-other/a"

    assert (403, "permission") == error_of(daemon.http.post(f"{MESH}/deny", json={"path": outside}))
    assert (403, "permission") == error_of(
        daemon.http.delete(f"{MESH}/denied/{outside.replace('/', '%2F')}")
    )


def test_a_live_agent_is_not_forgotten_and_an_unreachable_one_is(daemon: Daemon) -> None:
    project = daemon.agent("a")

    assert (409, "still-live") == error_of(daemon.http.post(f"{MESH}/forget", json={"id": "a"}))
    assert (404, "not-found") == error_of(daemon.http.post(f"{MESH}/forget", json={"id": "x"}))
    delete_manifest(project)
    daemon.post("/sweep")
    assert {"forgotten": [{"id": "a", "lastPath": str(project)}]} == daemon.post(
        "/forget", {"id": "a"}
    )
    assert {} == daemon.listed()
    assert {"forgotten": []} == daemon.post("/forget", {"unscanned": True})


def test_a_root_that_was_replaced_is_sick_until_it_is_accepted(daemon: Daemon) -> None:
    daemon.agent("a")
    daemon.root.rename(daemon.root.with_name("aside"))
    daemon.root.mkdir()
    daemon.post("/sweep")
    assert "sick" == daemon.get("/roots")["roots"][0]["state"]

    assert {"success": True} == daemon.post("/roots/accept", {"path": str(daemon.root)})

    assert "healthy" == daemon.get("/roots")["roots"][0]["state"]
    unknown = daemon.http.post(f"{MESH}/roots/accept", json={"path": "/nowhere"})
    assert (404, "not-found") == error_of(unknown)


def test_a_reload_tells_what_changed_and_what_waits_for_a_restart(daemon: Daemon) -> None:
    daemon.reloaded.set_result(ReloadOutcome(2, ("scan.roots", "api.socket"), ("api.socket",)))

    expected = {
        "generation": 2,
        "changed": ["scan.roots", "api.socket"],
        "needsRestart": ["api.socket"],
    }
    assert expected == daemon.post("/reload")


# --- failures ------------------------------------------------------------------------------


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
        pytest.param(InvalidManifestError("x"), 500, id="no status of its own"),
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

    assert (504, "timeout") == error_of(daemon.http.post(f"{MESH}/reload"))

    assert not daemon.reloaded.cancelled()
    daemon.reloaded.set_exception(StoppingError("late, and nobody waits"))
    assert 200 == daemon.http.get("/healthz").status_code


def test_a_bug_is_answered_without_its_words(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_: object) -> None:
        raise LookupError("secret")

    monkeypatch.setattr("meshd.answers.registry_document", break_down)

    answer = daemon.http.get(f"{MESH}/registry")

    assert (500, "failed") == error_of(answer)
    assert "secret" not in answer.text


@pytest.mark.parametrize("route", ["/agents/nobody", "/agents/nobody/health"])
def test_an_unknown_agent_is_told_in_the_words_of_the_peer(daemon: Daemon, route: str) -> None:
    answer = daemon.http.get(MESH + route)

    assert (404, {"error": "Agent not found"}) == (answer.status_code, answer.json())


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


# --- the gate ------------------------------------------------------------------------------


def test_a_body_may_not_be_larger_than_the_limit(daemon: Daemon) -> None:
    at_limit = json.dumps({"full": True}).encode().ljust(BODY_LIMIT_BYTES)
    headers = {"content-type": "application/json"}

    def post(content: object) -> httpx.Response:
        with daemon.connect() as client:
            return client.post(f"{MESH}/sweep", content=content, headers=headers)  # type: ignore[arg-type]

    def in_pieces() -> Iterator[bytes]:
        yield at_limit
        yield b" "

    assert 200 == post(at_limit).status_code
    assert (413, "too-large") == error_of(post(at_limit + b" "))
    assert (413, "too-large") == error_of(post(in_pieces()))


ASK = """
import http.client, os, socket, sys
os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))
for method, route in (("GET", "/api/mesh/registry"), ("POST", "/api/mesh/sweep")):
    connection = http.client.HTTPConnection("meshd")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(sys.argv[1])
    connection.request(method, route)
    print(connection.getresponse().status)
"""


@needs_root
@pytest.mark.parametrize(
    ("uid", "expected"),
    [
        pytest.param(65534, ["200", "403"], id="another user reads only"),
        pytest.param(0, ["200", "200"], id="root may write"),
    ],
)
def test_who_may_write_is_the_kernels_word(daemon: Daemon, uid: int, expected: list[str]) -> None:
    for above in (daemon.path.parent, *daemon.path.parent.parents):
        above.chmod(above.stat().st_mode | stat.S_IXOTH)
    daemon.path.chmod(0o666)

    asked = subprocess.run(
        [sys.executable, "-c", ASK, str(daemon.path), str(uid)],
        capture_output=True,
        text=True,
        check=True,
        timeout=LONG,
        cwd="/",
    )

    assert expected == asked.stdout.split()


# --- watching over the daemon --------------------------------------------------------------


def test_health_is_the_writers_answer(daemon: Daemon) -> None:
    assert 200 == daemon.http.get("/healthz").status_code

    daemon.store.writer.stop()

    assert (503, "stopping") == error_of(daemon.http.get("/healthz"))


def test_a_writer_that_hangs_is_ill(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshd.api.health.WRITER_SECONDS", 0.05)
    free = threading.Event()
    stuck = daemon.store.writer.submit(lambda _: free.wait(LONG))

    assert (503, "timeout") == error_of(daemon.http.get("/healthz"))

    free.set()
    stuck.result(LONG)
    assert 200 == daemon.http.get("/healthz").status_code


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
    assert {"list_registry", "get_agent_health", "sweep", "allow", "metrics"} <= set(operations)
    for name, operation in operations.items():
        assert operation["description"], name
        done = next(code for code in operation["responses"] if code.startswith("2"))
        content = operation["responses"][done]["content"]
        if name == "metrics":
            assert ["text/plain"] == list(content)
        else:
            assert "$ref" in content["application/json"]["schema"], name


# --- the socket ----------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "new" / "directory" / "meshd.sock"


def test_the_socket_has_its_mode_from_the_first_moment(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    bind = socket.socket.bind

    class Watched(socket.socket):
        def bind(self, address: Any) -> None:
            bind(self, address)
            seen.append(stat.S_IMODE(place.stat().st_mode))

    monkeypatch.setattr("meshd.api.server.socket.socket", Watched)
    mask = os.umask(0)
    try:
        bind_socket(place, 0o640).close()
        assert 0 == os.umask(0)
    finally:
        os.umask(mask)

    assert [0o640] == seen
    assert 0o700 == stat.S_IMODE(place.parent.stat().st_mode)


def test_a_socket_that_was_left_behind_is_replaced(place: Path) -> None:
    bind_socket(place, 0o600).close()
    assert place.is_socket()

    with bind_socket(place, 0o600), socket.socket(socket.AF_UNIX) as asking:
        asking.connect(str(place))


def test_the_socket_of_a_living_program_is_not_taken(place: Path) -> None:
    with bind_socket(place, 0o600):
        before = place.stat().st_ino
        with pytest.raises(AlreadyRunningError):
            bind_socket(place, 0o600)

        assert before == place.stat().st_ino


def test_a_living_program_whose_queue_is_full_keeps_its_socket(place: Path) -> None:
    place.parent.mkdir(parents=True)
    with contextlib.ExitStack() as open_sockets:
        listening = open_sockets.enter_context(socket.socket(socket.AF_UNIX))
        listening.bind(str(place))
        listening.listen(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                waiting = open_sockets.enter_context(socket.socket(socket.AF_UNIX))
                waiting.setblocking(False)
                waiting.connect(str(place))

        with pytest.raises(AlreadyRunningError):
            bind_socket(place, 0o600)


@pytest.mark.parametrize("kind", ["file", "directory", "symlink"])
def test_what_is_no_socket_is_left_alone(place: Path, kind: str) -> None:
    place.parent.mkdir(parents=True)
    if kind == "file":
        place.write_text("precious")
    elif kind == "directory":
        place.mkdir()
    else:
        place.symlink_to("elsewhere")

    with pytest.raises(ConfigError, match="no socket"):
        bind_socket(place, 0o600)

    assert place.is_symlink() or place.exists()


def test_a_path_too_long_for_a_socket_is_refused_with_advice(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        bind_socket(tmp_path / ("x" * 108), 0o600)

    assert caught.value.hint is not None


def test_a_place_that_cannot_be_used_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(MeshdError, match="cannot listen"):
        bind_socket(tmp_path / "file" / "meshd.sock", 0o600)


def test_the_socket_file_goes_with_the_server_unless_it_is_anothers(tmp_path: Path) -> None:
    first = Daemon(tmp_path)
    first.close()
    assert not first.path.exists()

    second_directory = tmp_path / "second"
    second_directory.mkdir()
    second = Daemon(second_directory)
    second.path.unlink()
    with bind_socket(second.path, 0o600):
        second.close()
        assert second.path.is_socket()


def test_a_server_that_is_stopped_before_it_runs_ends_at_once(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    daemon.close()
    server = Server(daemon.services, bind_socket(daemon.path, 0o600), daemon.path)

    server.stop()
    server.run()

    assert not daemon.path.exists()


def test_stopping_lets_a_request_under_way_be_answered(daemon: Daemon) -> None:
    connection = http.client.HTTPConnection("meshd", timeout=LONG)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(daemon.path))
    connection.request("POST", f"{MESH}/reload")
    assert daemon.asked.wait(LONG)

    daemon.server.stop()
    daemon.reloaded.set_result(ReloadOutcome(1, (), ()))

    assert 200 == connection.getresponse().status
    connection.close()


def test_the_kernel_says_who_connected() -> None:
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        assert (os.getpid(), os.geteuid(), os.getegid()) == peer_of(one)
    with socket.socket(socket.AF_INET) as elsewhere:
        assert peer_of(elsewhere) is None
    assert struct.calcsize("iII") == 12


def test_a_reply_refuses_what_is_not_json() -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        replies.Reply({"seconds": float("nan")})
