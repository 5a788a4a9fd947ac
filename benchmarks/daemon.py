"""A daemon to be measured: a process of its own over one state directory.

Owns the process from its start to its end. Promises: it sees nothing of the machine's own
configuration, sweeps only when asked, and does not outlive its context.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from meshd.client import Client
from meshd.errors import MeshdError

if TYPE_CHECKING:
    from collections.abc import Callable

REPOSITORY: Final = Path(__file__).parent.parent

START_DEADLINE: Final = 3600.0
"""Seconds until a first sweep is given up: a million projects take their time."""

_STOP_DEADLINE: Final = 60.0
_POLL: Final = 0.002

MESHD: Final = (sys.executable, "-c", "import sys; from meshd.cli import main; sys.exit(main())")
"""What the installed `meshd` does, whether or not it is installed."""


class Daemon:
    """A running daemon; a context manager that stops it.

    Args:
        home: of its state; that of an earlier daemon continues its registry.
        root: what it scans.
        backend: how it watches.

    Attributes:
        seconds: from the launch of the process until the first sweep was committed.
    """

    def __init__(self, home: Path, root: Path, *, backend: str = "auto") -> None:
        self.database = home / "meshd" / "meshd.db"
        self.environ = environment(home)
        self.socket = home / "meshd.sock"
        config = home / "config.toml"
        config.write_text(
            f"[scan]\nroots = [{json.dumps(str(root))}]\n"
            # Sweeps come when they are asked for, and read all again only at the start.
            '[sweep]\ninterval = "24h"\nfull_every = 1000000\n'
            f'[watch]\nbackend = "{backend}"\n[log]\nformat = "json"\n'
            f"[api]\nsocket = {json.dumps(str(self.socket))}\n",
            "utf-8",
        )
        self._log = home / "log"
        self._log_read = self._log.stat().st_size if self._log.exists() else 0
        self.client = Client(self.socket)
        began = time.perf_counter()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*MESHD, "--config", str(config), "run"],
                cwd=home,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            # Asking it all the time would slow down what is measured; its log costs nothing.
            self._wait_until(self._has_swept, START_DEADLINE)
            self._wait_until(self._is_ready, START_DEADLINE)
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise
        self.seconds = time.perf_counter() - began

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The number of its process."""
        return self._process.pid

    def stop(self) -> None:
        """End it, and wait for its end."""
        self.client.close()
        self._process.terminate()
        try:
            self._process.wait(_STOP_DEADLINE)
        finally:
            self._process.kill()
            self._process.wait()

    def first_sweep(self) -> float:
        """Return the seconds of the first sweep: from the walk's start to the last commit."""
        return float(self.client.status()["lastSweep"]["seconds"])

    def root(self) -> dict[str, Any]:
        """Return how its root is, and how much of it is watched."""
        root: dict[str, Any] = self.client.status()["roots"][0]
        return root

    def descriptions(self) -> list[str]:
        """Return the description of every agent."""
        return [agent["description"] for agent in self.client.registry()["agents"]]

    def _wait_until(self, condition: Callable[[], bool], seconds: float) -> None:
        """Wait for a condition, for as long as the daemon lives.

        Raises:
            RuntimeError: the daemon ended, or the condition did not come in time.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the daemon is not what it should be:\n{self._last_words()}")
            time.sleep(_POLL)

    def _has_swept(self) -> bool:
        """Whether it has logged the end of a sweep since this was asked last."""
        with self._log.open("rb") as log:
            log.seek(self._log_read)
            lines = log.read()
        if b'"event": "swept"' in lines:
            return True
        # A line that is being written is read again, whole.
        self._log_read += lines.rfind(b"\n") + 1
        return False

    def _is_ready(self) -> bool:
        try:
            return self.client.readyz()
        except MeshdError:
            return False

    def _last_words(self) -> str:
        return "\n".join(self._log.read_text("utf-8", "replace").splitlines()[-10:])


def environment(home: Path) -> dict[str, str]:
    """Return an environment in which nothing of this machine's meshd is found."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    places = dict.fromkeys(("HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"), home)
    return {**kept, "PYTHONPATH": str(REPOSITORY)} | {key: str(at) for key, at in places.items()}
