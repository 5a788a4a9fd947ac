"""Measures of answers: one agent, all agents, the feed, and the command line.

Owns the rows that follow from asking. An answer is timed until its last byte; what the asker
does with it is not.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from benchmarks.daemon import MESHD
from benchmarks.figures import Bar, Figure, Row, percentile
from benchmarks.processes import Apart, forget_peak, peak_mb
from benchmarks.saving import draft, save_and_sync
from benchmarks.trees import Shape

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from benchmarks.site import Site

_CHUNK_BYTES: Final = 1 << 16
_LISTS: Final = (
    ("list", "/api/mesh/agents", "list of the agents"),
    ("list-registry", "/api/mesh/registry", "list of the registry"),
)
_CLI_AGENTS: Final = 100
_IMPORTS: Final = "import click, http.client"
_HEARD_IN: Final = 30.0


class _Asker:
    """One connection to the daemon, over which answers are read as bytes."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(os.fspath(path))

    def ask(self, target: str) -> bytes:
        """Return the body of an answer that says how long it is.

        Raises:
            RuntimeError: it is not an answer with status 200.
        """
        self._socket.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode("ascii"))
        answer = bytearray()
        while (end := answer.find(b"\r\n\r\n")) < 0:
            answer += self._receive()
        head = bytes(answer[:end]).lower()
        if not head.startswith(b"http/1.1 200"):
            raise RuntimeError(f"{target} was refused")
        length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
        while len(answer) < end + 4 + length:
            answer += self._receive()
        return bytes(answer[end + 4 :])

    def close(self) -> None:
        self._socket.close()

    def _receive(self) -> bytes:
        received = self._socket.recv(_CHUNK_BYTES)
        if not received:
            raise RuntimeError("the daemon went away")
        return received


def lists(site: Site) -> list[Row]:
    """Ask for all agents; the floor writes the same answer as JSON."""
    daemon = site.daemon
    asker = _Asker(daemon.socket)
    rows = []
    for name, target, what in _LISTS:
        forget_peak(daemon.pid)
        taken, dumped = [], []
        for _ in range(2 * site.scale.repetitions):
            began = time.perf_counter()
            body = asker.ask(target)
            taken.append(1000 * (time.perf_counter() - began))
            answer = json.loads(body)
            began = time.perf_counter()
            json.dumps(answer)
            dumped.append(1000 * (time.perf_counter() - began))
        missing = len(site.projects) - len(answer["agents"])
        broken = (f"{missing} agents are missing",) if missing else ()
        figure, floor = Figure.of(taken, peak_mb(daemon.pid)), Figure.of(dumped)
        bar = Bar(150.0, projects=10_000)
        rows.append(Row(name, what, "ms", figure, floor, "json.dumps of it", bar, broken))
    asker.close()
    return rows


def get(site: Site) -> list[Row]:
    """Ask for one agent after the other: when nothing else happens, and during a burst."""
    idle, during = [], []
    for repetition in range(site.scale.repetitions):
        asker = _Asker(site.daemon.socket)
        idle.append([_get(asker, site, number) for number in range(site.scale.probes)])
        saving = (site.root, site.projects, site.scale.saves, f"asked {repetition}")
        with Apart(save_and_sync, *saving, site.daemon.socket) as saver:
            saver.go()
            taken = [_get(asker, site, 0)]
            while saver.running:
                taken.append(_get(asker, site, len(taken)))
            during.append(taken)
        asker.close()
    return [
        _p99("get-idle", "get of one agent, p99, idle", idle, 3.0),
        _p99("get-burst", "get of one agent, p99, during a burst", during, 25.0),
    ]


def _get(asker: _Asker, site: Site, number: int) -> float:
    """Return the milliseconds of one answer; the agents are not asked for in their order."""
    project = site.projects[(7919 * number) % len(site.projects)]
    began = time.perf_counter()
    asker.ask(f"/api/mesh/agents/{project.agent_id}")
    return 1000 * (time.perf_counter() - began)


def _p99(name: str, what: str, taken: Iterable[list[float]], limit: float) -> Row:
    return Row(
        name, what, "ms", Figure.of([percentile(one, 0.99) for one in taken]), bar=Bar(limit)
    )


def feed(site: Site) -> list[Row]:
    """Save a manifest, and wait until every subscriber has heard of it."""
    daemon = site.daemon
    forget_peak(daemon.pid)
    taken = []
    with ExitStack() as stack:
        streams = [
            stack.enter_context(_subscribed(daemon.socket)) for _ in range(site.scale.subscribers)
        ]
        for number in range(site.scale.probes // 3 + 1):
            beside, path = draft(site.root, site.projects[0], f"told {number}")
            began = time.perf_counter()
            os.rename(beside, path)
            _await_all(streams)
            taken.append(1000 * (time.perf_counter() - began))
    what = f"rename to the last of {site.scale.subscribers} subscribers"
    return [Row("feed", what, "ms", Figure.of(taken, peak_mb(daemon.pid)))]


def _subscribed(path: Path) -> socket.socket:
    """Return a connection on which the feed has begun."""
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    stream.connect(os.fspath(path))
    stream.sendall(
        b"GET /api/mesh/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
    )
    received = b""
    while b"\r\n\r\n" not in received:
        received += stream.recv(_CHUNK_BYTES)
    stream.setblocking(False)
    return stream


def _await_all(streams: Iterable[socket.socket]) -> None:
    """Wait until each stream has brought one change.

    Raises:
        RuntimeError: one has not in time.
    """
    with selectors.DefaultSelector() as selector:
        for one in streams:
            selector.register(one, selectors.EVENT_READ)
        deadline = time.monotonic() + _HEARD_IN
        while selector.get_map():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{len(selector.get_map())} subscribers heard nothing")
            for key, _ in selector.select(1.0):
                stream = key.fileobj
                assert isinstance(stream, socket.socket), "bug: no other was registered"
                # A save is one entry, sent whole; what keeps the stream alive has no data.
                if b"data: " in stream.recv(_CHUNK_BYTES):
                    selector.unregister(stream)


def command_line(site: Site) -> list[Row]:
    """Run `meshd agents list` as a person does, beside a Python that imports what it must."""
    root = site.another_tree("hundred", _CLI_AGENTS, Shape.SPARSE)
    with site.another(root) as daemon:
        listing = [*MESHD, "--socket", str(daemon.socket), "agents", "list"]
        bare = [sys.executable, "-c", _IMPORTS]
        taken, floor = [], []
        _timed(listing, daemon.environ)
        for _ in range(site.scale.commands):
            taken.append(_timed(listing, daemon.environ))
            floor.append(_timed(bare, daemon.environ))
    what = f"meshd agents list, {_CLI_AGENTS} agents, whole process"
    row = Row("cli", what, "ms", Figure.of(taken), Figure.of(floor), _IMPORTS, Bar(1.5, True))
    return [row]


def _timed(command: list[str], environ: dict[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, env=environ, stdout=subprocess.DEVNULL)
    return 1000 * (time.perf_counter() - began)
