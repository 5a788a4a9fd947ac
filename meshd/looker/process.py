"""One worker process, and requests to it with a deadline.

Owns the process and the daemon's end of its socket. Assumes one request at a time. Promises
that no call outlasts its deadline, whatever state the process is in: a child stuck in the
kernel is killed and left to it, never waited for (fault 78).
"""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
from multiprocessing.connection import Connection
from os import environ
from pathlib import Path
from typing import TYPE_CHECKING, Final

import meshd
from meshd.errors import MeshdError
from meshd.looker.look import NoDescriptorsError, errno_word
from meshd.looker.syscalls import NO_DESCRIPTORS_ERRNOS

if TYPE_CHECKING:
    from meshd.looker.messages import Request

START_SECONDS: Final = 30.0
"""How long the interpreter may take to start; it does not touch the root yet."""

_REAP_SECONDS: Final = 1.0


class WorkerLostError(MeshdError):
    """The worker process died before it answered."""

    code = "worker-lost"


class WorkerLateError(MeshdError):
    """The worker process did not answer in time."""

    code = "worker-late"


class WorkerProcess:
    """A worker for one root, ready to take requests.

    Args:
        root: absolute path.
        seconds: how long each request may take.

    Raises:
        NoDescriptorsError: EMFILE or ENFILE.
        WorkerLostError: it cannot be started, or died at its start.
        WorkerLateError: it did not come up in time.
    """

    def __init__(self, root: str, *, seconds: float) -> None:
        self._seconds = seconds
        try:
            ours, theirs = socket.socketpair()
            with ours, theirs:
                _bound(ours, seconds)
                self._process = _start(root, theirs)
                self._connection = Connection(ours.detach())
        except OSError as error:
            if error.errno in NO_DESCRIPTORS_ERRNOS:
                raise NoDescriptorsError("no descriptor is left for a worker process") from error
            raise WorkerLostError(f"the worker cannot start: {errno_word(error)}") from error
        try:
            self._receive(START_SECONDS)  # it says `Ready`
        except MeshdError:
            self.discard()
            self.reap(wait=True)
            raise

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def ask(self, request: Request) -> object:
        """Send a request and return its answer.

        Raises:
            WorkerLostError: the process died.
            WorkerLateError: no answer in time. The process is of no more use.
        """
        try:
            self._connection.send(request)
        except BlockingIOError:
            raise WorkerLateError("the worker takes no request") from None
        except OSError:
            raise WorkerLostError("the worker process died") from None
        return self._receive(self._seconds)

    def kill(self) -> None:
        """Kill the process without waiting for it; a request under way ends at once."""
        self._process.kill()

    def discard(self) -> None:
        """Kill the process and close the socket. No request may be under way."""
        self.kill()
        self._connection.close()

    def reap(self, *, wait: bool = False) -> bool:
        """Collect the process after a kill; return whether it is gone.

        Args:
            wait: give it a second; one that is stuck in the kernel needs longer than anyone has.
        """
        try:
            self._process.wait(_REAP_SECONDS if wait else 0)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _receive(self, seconds: float) -> object:
        try:
            if not self._connection.poll(seconds):
                raise WorkerLateError(f"no answer within {seconds:g} s")
            answer: object = self._connection.recv()
        except BlockingIOError:
            raise WorkerLateError("the answer broke off") from None
        except (EOFError, OSError):
            raise WorkerLostError("the worker process died") from None
        return answer


def _start(root: str, theirs: socket.socket) -> subprocess.Popen[bytes]:
    package_parent = str(Path(meshd.__file__).parent.parent)
    return subprocess.Popen(  # noqa: S603 - our own interpreter and module
        # -P keeps the current directory, which may be a hostile project, off the import path.
        [sys.executable, "-P", "-m", "meshd.looker.worker", str(theirs.fileno()), root],
        pass_fds=(theirs.fileno(),),
        stdin=subprocess.DEVNULL,
        cwd="/",
        env={**environ, "PYTHONPATH": package_parent},
    )


def _bound(end: socket.socket, seconds: float) -> None:
    """Put a deadline on each transfer: a message may break off in the middle."""
    whole = int(seconds)
    deadline = struct.pack("@ll", whole, max(1, int((seconds - whole) * 1_000_000)))
    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, deadline)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, deadline)
