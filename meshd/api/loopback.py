"""The second way in: TCP on the loopback address, for whoever has the token.

Owns the token, the listening socket, and what a request over TCP has to show. Assumes that the
Unix socket is judged elsewhere, by the kernel's word. Promises: without the token nothing is
answered; a page that a browser was made to load from elsewhere is refused, token or not, by the
host and the origin it names (DNS rebinding); a token never reaches a log or an answer.
"""

from __future__ import annotations

import hmac
import os
import re
import socket
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from meshd.errors import ConfigError, MeshdError

if TYPE_CHECKING:
    from collections.abc import Collection

TOKEN_LIMIT_BYTES: Final = 4096
_BACKLOG: Final = 128
_TOKEN: Final = re.compile(rb"[!-~]+")  # what a header can carry in one piece
_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_SCHEME: Final = b"bearer "


class Refusal(NamedTuple):
    """Why a request is not let in."""

    status: int
    code: str
    message: str
    hint: str


class Token:
    """The secret that opens the loopback port.

    Args:
        path: the file that holds it.

    Raises:
        ConfigError: the file cannot serve.
    """

    def __init__(self, path: str | Path | None) -> None:
        if path is None:
            raise ConfigError("api.listen needs api.token_file", hint="name a file of mode 0600")
        self._path = Path(path)
        self._value = read_token(self._path)

    def reread(self) -> None:
        """Take what the file holds now.

        Raises:
            ConfigError: the file cannot serve; the token stays as it was.
        """
        self._value = read_token(self._path)

    def fits(self, given: bytes) -> bool:
        """Whether this is the token; takes as long for a wrong one that is nearly right."""
        return hmac.compare_digest(self._value, given)


@dataclass(frozen=True, slots=True)
class Loopback:
    """A port that listens, and the token that opens it."""

    listening: socket.socket
    token: Token


def read_token(path: Path) -> bytes:
    """Return the token in a file, without the white space around it.

    Raises:
        ConfigError: it cannot be read, others may read it, or it holds no token.
    """
    try:
        # Not to wait for a writer, should a FIFO lie there.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _unfit(path, f"cannot be read: {error.strerror}", "create it, mode 0600") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _unfit(path, "is not a file", "write the token into a file of its own")
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise _unfit(path, "may be read by others", "chmod 600 it, and write a new token")
        token = os.read(descriptor, TOKEN_LIMIT_BYTES + 1).strip()
    finally:
        os.close(descriptor)
    if not token:
        raise _unfit(path, "is empty", "write one line of letters and digits into it")
    if len(token) > TOKEN_LIMIT_BYTES or not _TOKEN.fullmatch(token):
        raise _unfit(path, "holds no token", "write one line of letters and digits into it")
    return token


def _unfit(path: Path, why: str, hint: str) -> ConfigError:
    return ConfigError(f"api.token_file: {str(path)!a} {why}", hint=hint)


def bind_loopback(listen: str) -> socket.socket:
    """Bind and listen on a loopback address.

    Args:
        listen: `HOST:PORT` as the configuration has it; port 0 takes a free one.

    Raises:
        MeshdError: it cannot be bound.
    """
    host, _, port = listen.rpartition(":")
    # Not looked up: a name service must not decide what this machine's own address is.
    address = "127.0.0.1" if host == "localhost" else host.strip("[]")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    # With its protocol named, for asyncio lets no other send small answers at once (TCP_NODELAY).
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        # The port of a daemon that ended just now is free again.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address, int(port)))
        listening.listen(_BACKLOG)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        raise MeshdError(
            f"cannot listen on {listen}: {error.strerror}",
            hint="set api.listen to another port, or end the program that has it",
        ) from error
    return listening


def address_of(listening: socket.socket) -> str:
    """Return where a socket listens, as `HOST:PORT`."""
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if listening.family == socket.AF_INET6 else f"{host}:{port}"


def refusal(headers: Collection[tuple[bytes, bytes]], token: Token | None) -> Refusal | None:
    """Return why a request over TCP is refused, None when it is let in.

    Args:
        headers: of the request, names in lower case.
        token: what it must show; None when nobody is to come in this way.
    """
    given = dict(headers)
    if not _is_loopback(b"//" + given.get(b"host", b"")):
        hint = "ask for http://127.0.0.1 or http://localhost"
        return Refusal(403, "permission", "the Host is not this machine's loopback", hint)
    # Each of them, should there be several: of two hosts the server itself refuses.
    if not all(_is_loopback(value) for name, value in headers if name == b"origin"):
        hint = "a page from elsewhere may not talk to meshd"
        return Refusal(403, "permission", "the Origin is not this machine's loopback", hint)
    shown = given.get(b"authorization", b"")
    if token is None or shown[: len(_SCHEME)].lower() != _SCHEME:
        return Refusal(401, "unauthorized", "a bearer token is needed", _TOKEN_HINT)
    if not token.fits(shown[len(_SCHEME) :].strip()):
        return Refusal(401, "unauthorized", "the bearer token is not the right one", _TOKEN_HINT)
    return None


_TOKEN_HINT: Final = "send `Authorization: Bearer TOKEN`, with the token of api.token_file"  # noqa: S105 - not a token


def _is_loopback(url: bytes) -> bool:
    """Whether a URL's host is this machine, be its port what it may: it may be forwarded."""
    try:
        parts = urlsplit(url.decode("ascii"))
        port = parts.port
    except ValueError:
        return False
    is_plain = port != 0 and parts.username is None and not parts.path.strip("/")
    return parts.hostname in _HOSTS and is_plain
