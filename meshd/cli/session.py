"""What one call of the command line rests on.

Owns the shared options as values, the search for the daemon, and the choice between the
daemon and its database. Assumes nothing runs. Promises: what answers in a daemon's place
says so, and only questions are answered that way.
"""

from __future__ import annotations

import contextlib
import math
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import click

from meshd import places
from meshd.cli.group import META_PREFIX
from meshd.cli.output import print_note
from meshd.client import Client
from meshd.errors import ConfigError, NoDaemonError, PermissionRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from meshd.client import Document

DATABASE_NAME = "meshd.db"
"""The database in the state directory (`meshd.opening.DATABASE`, which is slow to import)."""


class Reader(Protocol):
    """The questions that the daemon and its database both answer; see `Client`."""

    def registry(self) -> Document: ...  # noqa: D102
    def status(self) -> Document: ...  # noqa: D102
    def unreachable(self, before: str | None = None) -> Document: ...  # noqa: D102
    def claims(self, outcome: str | None = None) -> Document: ...  # noqa: D102
    def roots(self) -> Document: ...  # noqa: D102
    def denied(self) -> Document: ...  # noqa: D102
    def events(self, since: int = 0, limit: int = 1000) -> Document: ...  # noqa: D102
    def topology(self, namespace: str = "*") -> Document: ...  # noqa: D102
    def rules(self) -> Document: ...  # noqa: D102
    def route(self, source: str, target: str) -> Document: ...  # noqa: D102


@dataclass(frozen=True)
class Session:
    """The shared options of a call, and what follows from them.

    Attributes:
        config_flag: the configuration file that was named, None for the first found.
        socket_flag: the socket that was named.
        as_json: whether the answer is to be JSON.
        environ: the environment of the process.
    """

    config_flag: Path | None
    socket_flag: Path | None
    as_json: bool
    environ: Mapping[str, str]

    @cached_property
    def config(self) -> Path | None:
        """The configuration file, None where there is none.

        Raises:
            ConfigError: the one that was named does not exist.
        """
        if self.config_flag is None:
            return places.find_config(self.environ)
        if not self.config_flag.is_file():
            raise ConfigError(
                f"there is no configuration file {self.config_flag}",
                hint="name another one with --config, or leave it out to use the first found",
            )
        return self.config_flag.absolute()

    @property
    def state_directory(self) -> Path:
        """The directory of the database; it need not exist."""
        configured = places.configured_path("store", "directory", self.config, self.environ)
        return places.client_state_directory(configured, self.environ)

    @property
    def database(self) -> Path:
        """The database file; it need not exist."""
        return self.state_directory / DATABASE_NAME

    def sockets(self) -> list[Path]:
        """Return where the daemon may listen, best first (design: §Surfaces, Socket)."""
        named = self.socket_flag or self.environ.get("MESHD_SOCKET")
        if named:
            return [Path(named)]
        return places.client_sockets(self.config, self.environ)

    def system_ids(self) -> tuple[str, ...]:
        """Return the ids of `[relay] system` as the configuration on disk has them.

        Raises:
            ConfigError: it is not valid.
        """
        from meshd.config import load

        return load(self.config, environ=self.environ).relay.system

    def client(self, until: float = math.inf) -> Client:
        """Return a client that is connected.

        Args:
            until: monotonic second at which its waits end, whatever is asked.

        Raises:
            NoDaemonError: no daemon answers anywhere.
            PermissionRefusedError: none answers, and one place refuses the caller.
        """
        refused: PermissionRefusedError | None = None
        sockets = self.sockets()
        for path in sockets:
            client = Client(path)
            client.give_up_at(until)
            try:
                client.connect()
            except NoDaemonError:
                continue
            except PermissionRefusedError as error:
                refused = refused or error
                continue
            return client
        if refused is not None:
            raise refused
        raise NoDaemonError(
            f"no daemon answers on {' or '.join(map(str, sockets))}",
            hint="start one: meshd run DIR, DIR being what to scan",
        )

    @contextlib.contextmanager
    def reading(self) -> Iterator[Reader]:
        """Lend what answers questions: the daemon or, while none runs, its database.

        Raises:
            NoDaemonError: there is neither.
            PermissionRefusedError: one of the two refuses the caller.
            StoreError: the database cannot be read.
        """
        try:
            client = self.client()
        except NoDaemonError as error:
            if not self.database.exists():
                raise NoDaemonError(
                    f"{error.message}, and there is no database {self.database}", hint=error.hint
                ) from error
        else:
            with client:
                yield client
            return
        from meshd.cli.offline import open_database

        print_note(f"no daemon: read from {self.database}")
        with open_database(self.database, self.system_ids) as reader:
            yield reader


def current_session() -> Session:
    """Return the session of the command that is running."""
    meta = click.get_current_context().meta
    return Session(
        meta.get(f"{META_PREFIX}config"),
        meta.get(f"{META_PREFIX}socket"),
        bool(meta.get(f"{META_PREFIX}json")),
        os.environ,
    )


def resolved(path: str, known: set[str] | None = None) -> str:
    """Return a path that was typed as the daemon knows it: absolute, without symlinks.

    Args:
        path: relative ones start from the current directory.
        known: paths the daemon knows. One of them is taken as written: what was a directory
            when the daemon heard of it may have become a symlink.
    """
    written = os.path.abspath(path)  # noqa: PTH100 - `..` is folded as written
    return written if written in (known or ()) else os.path.realpath(path)
