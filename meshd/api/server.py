"""The actor that serves HTTP.

Owns the socket file and uvicorn's loop. Assumes that whoever binds holds the lock of the
state directory, so that a socket nobody answers on is a leftover. Promises: the file never
has a wider mode than asked, a living program's socket is never taken, and at the end the file
is removed if it is still ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
from typing import TYPE_CHECKING, Final

import uvicorn
from anyio import to_thread

from meshd.api.app import make_app
from meshd.api.protocol import PeerProtocol
from meshd.errors import AlreadyRunningError, ConfigError, MeshdError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from meshd.api.feed import Feed
    from meshd.api.loopback import Loopback
    from meshd.services import Services

READER_THREADS: Final = 4
"""Handlers that read at the same time; each holds one connection to the database."""

DATE_SECONDS: Final = 1.0
"""How old the date of an answer may be."""

STOP_SECONDS: Final = 3
"""How long requests under way may take to end; below the supervisor's own deadline."""

_PATH_LIMIT_BYTES: Final = 107  # sun_path, less its closing NUL (unix(7))
_BACKLOG: Final = 128


def bind_socket(path: Path, mode: int) -> socket.socket:
    """Bind and listen on a Unix socket; its directory is created 0700 if it is missing.

    Not for use beside other threads that create files: the umask is changed meanwhile.

    Args:
        path: where, absolute.
        mode: permission bits of the socket file.

    Raises:
        AlreadyRunningError: a program answers there.
        ConfigError: the path is too long, or something lies there that is no socket.
        MeshdError: it could not be bound for another reason.
    """
    if len(os.fsencode(path)) > _PATH_LIMIT_BYTES:
        raise ConfigError(
            f"the socket's path {str(path)!a} is longer than {_PATH_LIMIT_BYTES} bytes",
            hint="set api.socket to a shorter one",
        )
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_leftover(path)
        with _umask(0o777 & ~mode):
            listening.bind(str(path))
        listening.listen(_BACKLOG)
        listening.setblocking(False)
    except BaseException as error:
        listening.close()
        if isinstance(error, OSError):
            raise MeshdError(
                f"cannot listen on {str(path)!a}: {error.strerror}",
                hint="set api.socket to a path in a directory of your own",
            ) from error
        raise
    return listening


def _remove_leftover(path: Path) -> None:
    """Unlink a socket whose program is gone (fault 167)."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    # A file that is no socket refuses connections too, and is not ours to remove.
    if not stat.S_ISSOCK(found.st_mode):
        raise ConfigError(
            f"something that is no socket lies at {str(path)!a}",
            hint="move it away, or set api.socket to another path",
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        # A full queue of a living program says EAGAIN at once instead of waiting.
        asking.setblocking(False)
        try:
            asking.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass
    raise AlreadyRunningError(
        f"a program already answers on {str(path)!a}",
        hint="stop it, or set api.socket to another path",
    )


@contextlib.contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


class _Uvicorn(uvicorn.Server):
    """uvicorn's server, told of its end: by itself it asks ten times a second whether it came."""

    _ended: asyncio.Event | None = None
    _loop: asyncio.AbstractEventLoop | None = None

    def end(self) -> None:
        """Have `serve` return when what is under way is answered, or late; from any thread."""
        self.should_exit = True
        loop, ended = self._loop, self._ended
        if loop is not None and ended is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended already
                loop.call_soon_threadsafe(ended.set)

    async def main_loop(self) -> None:
        """Serve until the end; the date that answers carry moves once a second."""
        self._ended, self._loop = asyncio.Event(), asyncio.get_running_loop()
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), DATE_SECONDS)


class Server:
    """Actor: answers requests on a bound socket until it is stopped.

    Args:
        services: the daemon, as the routes see it.
        listening: from `bind_socket`; closed at the end.
        path: the socket's file.
        loopback: the second way in, closed at the end too; None for none.
    """

    def __init__(
        self,
        services: Services,
        listening: socket.socket,
        path: Path,
        loopback: Loopback | None = None,
    ) -> None:
        self._listening = [listening] if loopback is None else [listening, loopback.listening]
        self._path = path
        self._file = _identity(path)
        app = make_app(services, None if loopback is None else loopback.token)
        self._feed: Feed = app.state.feed
        services.store.writer.committed = self._feed.wake
        self._uvicorn = _Uvicorn(
            uvicorn.Config(
                app,
                loop="asyncio",
                http=PeerProtocol,
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                log_level="error",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=STOP_SECONDS,
            )
        )

    def run(self) -> None:
        """Serve until stopped. The body of the API's thread."""
        try:
            asyncio.run(self._serve())
        finally:
            for listening in self._listening:
                listening.close()
            if self._file is not None and _identity(self._path) == self._file:
                self._path.unlink()

    def stop(self) -> None:
        """Take no more requests; `run` returns when those under way are answered, or late.

        Streams end at once; their clients go on from where they were.
        """
        self._uvicorn.end()
        self._feed.close()

    async def _serve(self) -> None:
        to_thread.current_default_thread_limiter().total_tokens = READER_THREADS
        with self._feed.open():
            await self._uvicorn.serve(sockets=self._listening)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return (found.st_dev, found.st_ino)
