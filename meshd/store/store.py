"""The open database: one writer, and readers on loan.

Owns every connection of the daemon but the one the writer keeps to itself. Promises: a
reader is used by one thread at a time and sees only what is committed.
"""

from __future__ import annotations

import contextlib
import queue
from typing import TYPE_CHECKING, Final

import apsw

from meshd.errors import MeshdError, StoreError
from meshd.store.connection import open_reading, tells_of_damage
from meshd.store.registry import Registry
from meshd.store.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

GIVE_BACK_SECONDS: Final = 5.0
"""How long the writer may take to come to it."""


class Store:
    """The registry's database, examined, migrated and ready.

    Args:
        path: the database file.
        epoch: name of this database's life; it changes when the database is rebuilt.
        before_commit: passed to the writer.
    """

    def __init__(
        self,
        path: Path,
        epoch: str,
        before_commit: Callable[[apsw.Connection], None] = lambda _: None,
    ) -> None:
        self.path = path
        self.epoch = epoch
        self.writer = Writer(path, before_commit)
        self._idle: queue.SimpleQueue[apsw.Connection] = queue.SimpleQueue()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Registry]:
        """Lend a reader for the length of a block.

        Raises:
            StoreError: the database could not be read; a damaged one is made suspect.
        """
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = open_reading(self.path)
        sound = True
        try:
            yield Registry(connection)
        except apsw.Error as error:
            sound = False
            if tells_of_damage(error):
                self.writer.suspect = str(error)
            raise StoreError(
                f"the database could not be read: {error}", hint="`meshd db check` says more"
            ) from error
        finally:
            if sound:
                self._idle.put(connection)
            else:
                # What it remembers of the file may be what was misread.
                connection.close()

    def give_back(self) -> None:
        """Free the pages of the database that the writer keeps in memory, if it comes to it soon.

        They stay where it is busy for long, or could not write: that shows elsewhere.
        """
        with contextlib.suppress(MeshdError, TimeoutError):
            self.writer.submit(apsw.Connection.release_memory).result(timeout=GIVE_BACK_SECONDS)

    def close_readers(self) -> None:
        """Close the readers that are not on loan."""
        while True:
            try:
                self._idle.get_nowait().close()
            except queue.Empty:
                return
