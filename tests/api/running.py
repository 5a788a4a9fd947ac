"""The daemon's own parts behind a real server on a real socket."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import httpx
import structlog

from meshd.api import schemas
from meshd.api.loopback import Loopback, Token, bind_loopback
from meshd.api.server import Server, bind_socket
from meshd.assembly import assemble
from meshd.clock import SystemClock
from meshd.config.settings import ScanSettings, Settings, SweepSettings, WatchSettings
from meshd.opening import open_store
from meshd.services import DaemonState, ReloadOutcome, Services
from tests.harness import write_manifest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


LONG = 30.0  # seconds; a wait this long has failed
MESH = "/api/mesh"


class Daemon:
    """The daemon's parts and the server, each in its thread; only the main thread is faked.

    Nothing is watched: what a test writes, it sweeps.

    Args:
        directory: an empty one, for everything.
        token: listen on a loopback port too, which this opens.
    """

    def __init__(self, directory: Path, token: str | None = None) -> None:
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
            watch=WatchSettings.model_validate(
                {"backend": "none", "settle": "10ms", "settle_max": "20ms"}
            ),
        )
        log = structlog.wrap_logger(structlog.testing.CapturingLogger(), processors=[])
        self.parts = assemble(settings, self.store, clock, log)
        self.services = Services(self, self.parts)
        self.listening = bind_socket(self.path, 0o600)
        self.loopback = None if token is None else self._loopback(directory / "token", token)
        self.server = Server(self.services, self.listening, self.path, self.loopback)
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

    def _loopback(self, file: Path, token: str) -> Loopback:
        file.touch(mode=0o600)
        file.write_text(f"{token}\n")
        return Loopback(bind_loopback("127.0.0.1:0"), Token(file))

    @property
    def port(self) -> int:
        """Of the loopback port."""
        assert self.loopback is not None
        port: int = self.loopback.listening.getsockname()[1]
        return port

    def get(self, route: str, **query: str) -> Any:  # noqa: ANN401 - a JSON document
        answer = self.http.get(MESH + route, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, route: str, body: object = None) -> Any:  # noqa: ANN401 - a JSON document
        answer = self.http.post(MESH + route, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def agent(self, agent_id: str, **fields: object) -> Path:
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
        self.parts.shared.roots.close()


def error_of(answer: httpx.Response) -> tuple[int, str]:
    """Return the status and the code of a failure, in the form of its route."""
    body = answer.json()
    if isinstance(body["error"], str):
        schemas.PeerFailure.model_validate(body)
        return answer.status_code, body["code"]
    schemas.Failure.model_validate(body)
    return answer.status_code, body["error"]["code"]
