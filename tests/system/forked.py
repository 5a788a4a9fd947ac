"""A daemon that starts at once: forked from a process that has imported everything.

What is left out: the start of the interpreter and the imports. Everything after that is what
`meshd run` does, in a process of its own that can be killed.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from typing import TYPE_CHECKING, Final

from meshd.client import Client
from meshd.errors import MeshdError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.system.daemon import Daemon

DEADLINE: Final = 60.0
_POLL: Final = 0.003

_FORKING: Final = multiprocessing.get_context("forkserver")


class Forked:
    """One life of a daemon after the other.

    Args:
        daemon: says where its directories are, and is not started itself.
        home: working directory, and place of the log.
        roots: what to scan.
    """

    def __init__(self, daemon: Daemon, home: Path, *roots: Path) -> None:
        _FORKING.set_forkserver_preload(["meshd.cli.run", "meshd.daemon", "meshd.api.server"])
        self.socket = daemon.socket
        self._arguments = ["meshd", "run", *map(str, roots)]
        self._environ = daemon.environ
        self._home = home
        self._process: multiprocessing.process.BaseProcess | None = None

    @property
    def log(self) -> str:
        """Everything it wrote, earlier lives included."""
        return (self._home / "log").read_text("utf-8", "backslashreplace")

    def start(self) -> Client:
        """Start it, and return a client once the first sweep is committed."""
        process = _FORKING.Process(
            target=_run, args=(self._arguments, self._environ, str(self._home))
        )
        process.start()
        self._process = process
        client = Client(self.socket)
        self.wait_until(lambda: _is_ready(client), "first sweep")
        return client

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition for as long as it lives."""
        assert self._process is not None, "bug: never started"
        deadline = time.monotonic() + DEADLINE
        while not condition():
            assert self._process.is_alive(), self.log
            assert time.monotonic() < deadline, f"no {what} in {DEADLINE} s\n{self.log}"
            self._process.join(_POLL)

    def kill(self) -> None:
        """Kill it, if it lives."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process.close()
            self._process = None


def _is_ready(client: Client) -> bool:
    try:
        return client.readyz()
    except MeshdError:
        return False


def _run(arguments: list[str], environ: Mapping[str, str], home: str) -> None:
    """Be the daemon."""
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(home)
    log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    sys.argv = arguments
    from meshd.cli import main  # noqa: PLC0415 - as the program does, once it is itself

    main()
