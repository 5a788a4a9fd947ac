"""What a process took: processor time and memory, and functions run in one of their own.

Owns the reading of /proc. Assumes Linux, and processes of this user. Promises: no process
outlives its context, and the memory of a function that runs apart is its own alone.
"""

from __future__ import annotations

import gc
import multiprocessing
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Run(Generic[Result]):
    """What a function returned in a process of its own, and what that took.

    Attributes:
        seconds: from the end of its preparations to its return.
        peak_mb: of the whole process.
    """

    result: Result
    seconds: float
    peak_mb: float


class Apart(Generic[Result]):
    """A function in a process of its own, prepared and waiting; a context that ends it.

    Args:
        function: importable by name; its first argument is to be called when it is prepared.
        arguments: what else it takes.

    Raises:
        RuntimeError: it failed; the process has said why on standard error.
    """

    def __init__(self, function: Callable[..., Result], *arguments: object) -> None:
        # Forked from a process that has done nothing but import: none of our memory is its own.
        forked = multiprocessing.get_context("forkserver")
        self._ours, theirs = forked.Pipe()
        self._process = forked.Process(target=_work, args=(theirs, function, arguments))
        self._process.start()
        theirs.close()
        self._receive()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ours.close()
        self._process.kill()
        self._process.join()

    @property
    def running(self) -> bool:
        """Whether it has neither returned nor failed."""
        return self._process.is_alive() and not self._ours.poll()

    def go(self) -> None:
        """Let it begin what it is measured for."""
        self._ours.send(None)

    def result(self) -> Run[Result]:
        """Wait for its end."""
        run: Run[Result] = self._receive()
        return run

    def _receive(self) -> Run[Result]:
        try:
            received: Run[Result] = self._ours.recv()
        except EOFError:
            raise RuntimeError("a process of the benchmark failed") from None
        return received


def apart(function: Callable[..., Result], *arguments: object) -> Run[Result]:
    """Run a function in a process of its own, from its beginning to its end."""
    with Apart(function, *arguments) as process:
        process.go()
        return process.result()


def _work(
    channel: Connection, function: Callable[..., object], arguments: tuple[object, ...]
) -> None:
    began = 0.0

    def begin() -> None:
        nonlocal began
        gc.collect()
        channel.send(None)
        channel.recv()
        began = time.perf_counter()

    result = function(begin, *arguments)
    channel.send(Run(result, time.perf_counter() - began, peak_mb("self")))


def processor_seconds(process: int) -> float:
    """Return the processor time of all threads of a process, ended ones included."""
    # clock_getcpuclockid(3), which Python has for threads only: the clock of a whole process.
    return time.clock_gettime((~process << 3) | 2)


def forget_peak(process: int) -> None:
    """Let the peak of a process's memory be counted from now."""
    Path(f"/proc/{process}/clear_refs").write_text("5", "ascii")


def peak_mb(process: int | str) -> float:
    """Return the most memory a process held, in MB."""
    return _kilobytes(process, "VmHWM") / 1024


def resident_mb(process: int) -> float:
    """Return the memory a process holds now, in MB."""
    return _kilobytes(process, "VmRSS") / 1024


def _kilobytes(process: int | str, name: str) -> int:
    status = Path(f"/proc/{process}/status").read_text("ascii", "replace")
    found = re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None, f"bug: /proc says nothing of {name}"
    return int(found[1])
