"""A real daemon: its own process, its own directories, driven as a user drives it.

Owns the process from start to end. Assumes nothing of the machine but Python. Promises: no
daemon outlives its context, every wait has a deadline and notices a daemon that died, and a
daemon that wrote a traceback fails its test.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from meshd.client import Client
from meshd.errors import MeshdError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

REPOSITORY: Final = Path(__file__).parent.parent.parent
DEADLINE: Final = 60.0
"""Seconds until something that takes well under one is given up: machines are shared."""
POLL: Final = 0.01

Document = dict[str, Any]


class Daemon:
    """A daemon over some roots; a context manager that starts it and always ends it.

    One that was launched already is only ended.

    Args:
        home: an empty directory, or that of an earlier daemon whose state is to be kept.
        roots: what `meshd run` is told to scan; without any, the configuration says it.
        config: text of `config.toml`, None for no configuration.
        environ: further variables of the environment.
        through: a command that runs the daemon, such as one that takes privileges away.

    Attributes:
        environ: the environment in which its user's commands run.
        may_fail: the test breaks something of which an actor may die with a traceback.
    """

    def __init__(
        self,
        home: Path,
        *roots: Path,
        config: str | None = None,
        environ: Mapping[str, str] | None = None,
        through: Sequence[str] = (),
    ) -> None:
        self.may_fail = False
        self.state = home / "state" / "meshd"
        self.database = self.state / "meshd.db"
        self.socket = home / "run" / "meshd" / "meshd.sock"
        self.config_file = home / "config" / "meshd" / "config.toml"
        self._command = [*through, sys.executable, "-m", "meshd", "run", *map(str, roots)]
        self._home = home
        self._log = home / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._manager: socket.socket | None = None
        self.environ = _environment(home) | dict(environ or {})
        if config is not None:
            self.configure(config)

    def __enter__(self) -> Self:
        if self._process is None:
            try:
                self.start()
            except BaseException:
                self.kill()
                raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if self.running:
                self.stop()
        finally:
            self.kill()
        if kind is None and not self.may_fail:
            assert "Traceback" not in self.log, self.log

    # the process

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The daemon's process, which may have ended."""
        assert self._process is not None, "bug: never started"
        return self._process

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def start(self, *, ready: bool = True) -> None:
        """Start the process, and wait until it answers.

        Args:
            ready: wait for the end of the first sweep too.
        """
        self.launch()
        self.await_answering()
        if ready:
            self.await_ready()

    def launch(self) -> None:
        """Start the process and wait for nothing."""
        self._manager = self._listen()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._home,
                env=self.environ | {"NOTIFY_SOCKET": str(self._home / "notify")},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def await_answering(self) -> None:
        """Wait until the daemon tells its manager that it is ready to answer."""
        self.wait_until(lambda: "READY=1" in self.notified(), "READY=1")

    def await_ready(self) -> None:
        """Wait until the first sweep is committed."""
        with self.client() as client:
            self.wait_until(client.readyz, "/readyz")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask the process to end, and return its exit code."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        """Wait for the process to end by itself, and return its exit code."""
        code = self.process.wait(DEADLINE)
        self._hang_up()
        return code

    def kill(self) -> None:
        """End the process without a word, if it lives."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(DEADLINE)
        self._hang_up()

    def wait_until(
        self, condition: Callable[[], bool], what: str, seconds: float = DEADLINE
    ) -> None:
        """Wait for a condition for as long as the daemon lives."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"no {what} in {seconds} s\n{self.log}"
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self.process.wait(POLL)
                raise AssertionError(f"ended with {code} before {what}\n{self.log}")

    def notified(self) -> str:
        """Return what the daemon told its service manager since this was asked last."""
        assert self._manager is not None, "bug: never started"
        said = []
        with contextlib.suppress(BlockingIOError):
            while True:
                said.append(self._manager.recv(4096).decode("ascii"))
        return "\n".join(said)

    def _listen(self) -> socket.socket:
        self._hang_up()
        path = self._home / "notify"
        path.unlink(missing_ok=True)
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        manager.bind(str(path))
        manager.setblocking(False)
        return manager

    def _hang_up(self) -> None:
        if self._manager is not None:
            self._manager.close()
            self._manager = None

    # what a user does

    def configure(self, text: str) -> None:
        """Save the configuration, as an editor does: a new file in the place of the old."""
        self.config_file.parent.mkdir(parents=True, exist_ok=True)
        saved = self.config_file.with_suffix(".new")
        saved.write_text(text, "utf-8")
        saved.rename(self.config_file)

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of meshd's command line in the daemon's environment."""
        return subprocess.run(
            [sys.executable, "-m", "meshd", *arguments],
            cwd=self._home,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )

    def ask(self, *arguments: str) -> Document:
        """Run a command that must succeed, and return its JSON answer."""
        done = self.cli(*arguments, "--json")
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}\n{self.log}"
        document: Document = json.loads(done.stdout)
        return document

    def sweep(self, *options: str) -> Document:
        """Run `meshd sweep`, and return what it did."""
        return self.ask("sweep", *options)

    # what a program asks: the same answers, without a process for each

    def client(self) -> Client:
        """Return a client of the daemon's socket."""
        return Client(self.socket)

    def agents(self) -> dict[str, Document]:
        """Return the rows of `meshd agents list` by id."""
        with self.client() as client:
            return {agent["id"]: agent for agent in client.registry()["agents"]}

    def claims(self) -> dict[str, tuple[str, str | None]]:
        """Return outcome and reason of every claim by path."""
        with self.client() as client:
            claims = client.claims()["claims"]
        return {claim["path"]: (claim["outcome"], claim["reason"]) for claim in claims}

    def status(self) -> Document:
        """Return what `meshd status` shows."""
        with self.client() as client:
            return client.status()

    def root(self, path: Path) -> Document:
        """Return how `meshd roots list` shows a root."""
        roots = self.status()["roots"]
        return next(root for root in roots if root["path"] == str(path))

    def answers(self) -> bool:
        """Whether the daemon answers anything at all."""
        try:
            with self.client() as client:
                return client.healthz()
        except MeshdError:
            return False

    # what it said

    @property
    def log(self) -> str:
        """Everything the process wrote, earlier starts included."""
        return self._log.read_text("utf-8", "backslashreplace") if self._log.exists() else ""

    def reloaded(self) -> set[str]:
        """Return the keys that changed at any reload so far: an edit may be taken unasked."""
        return {key for entry in self.logged("reloaded") for key in entry["changed"]}

    def logged(self, event: str | None = None) -> list[Document]:
        """Return the log's entries: those of one event, or all."""
        entries = [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]
        return [entry for entry in entries if event in (None, entry["event"])]


def _environment(home: Path) -> dict[str, str]:
    """Return an environment in which nothing of this machine's meshd is found."""
    places = {
        "HOME": home,
        "XDG_STATE_HOME": home / "state",
        "XDG_RUNTIME_DIR": home / "run",
        "XDG_CONFIG_HOME": home / "config",
    }
    for place in places.values():
        place.mkdir(parents=True, exist_ok=True)
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return kept | {"PYTHONPATH": str(REPOSITORY)} | {key: str(at) for key, at in places.items()}
