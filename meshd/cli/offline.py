"""Answers from the database, while no daemon runs.

Owns the read-only look at a state directory that nobody may be tending. Assumes a database
file. Promises the same documents as the daemon's, `ready` false; nothing is written, migrated
or repaired (SQLite may leave the empty side files that a reader needs).
"""

from __future__ import annotations

import contextlib
from json import JSONDecodeError
from typing import TYPE_CHECKING

import apsw

from meshd import answers
from meshd.clock import SystemClock
from meshd.core.model import ClaimOutcome
from meshd.errors import ForeignDatabaseError, NewerDatabaseError, StoreError
from meshd.store.connection import open_reading
from meshd.store.migrations import APPLICATION_ID, migrations, version
from meshd.store.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from meshd.client import Document


class DatabaseReader:
    """What `Client` answers, from the database."""

    def __init__(self, registry: Registry, system_ids: Callable[[], Collection[str]]) -> None:
        self._registry = registry
        self._system_ids = system_ids
        self._now_ns = SystemClock().wall_ns()

    def registry(self) -> Document:
        """Return every row."""
        return answers.registry_document(self._registry, self._now_ns)

    def status(self) -> Document:
        """Return how the mesh was when the daemon stopped."""
        return answers.status_document(self._registry, self._now_ns)

    def unreachable(self, before: str | None = None) -> Document:
        """Return unreachable rows; `before` is as `meshd.answers.instant` gives it."""
        return answers.unreachable_document(self._registry, self._now_ns, before)

    def claims(self, outcome: str | None = None) -> Document:
        """Return what every manifest path said last, or those judged so."""
        chosen = None if outcome is None else ClaimOutcome(outcome)
        return answers.claims_document(self._registry, chosen)

    def roots(self) -> Document:
        """Return the roots as they were last known."""
        return answers.roots_document(self._registry)

    def denied(self) -> Document:
        """Return the denied paths."""
        return answers.denied_document(self._registry)

    def events(self, since: int = 0, limit: int = 1000) -> Document:
        """Return the change log after `since`."""
        return answers.events_document(self._registry, since, limit)

    def topology(self, namespace: str = "*") -> Document:
        """Return the mesh as a namespace saw it."""
        return answers.topology_document(
            self._registry, self._now_ns, namespace, self._system_ids()
        )

    def rules(self) -> Document:
        """Return the rules between namespaces."""
        return answers.rules_document(self._registry, self._system_ids())

    def route(self, source: str, target: str) -> Document:
        """Return whether one agent might reach another."""
        return answers.route_document(self._registry, source, target, self._system_ids())


@contextlib.contextmanager
def open_database(
    path: Path, system_ids: Callable[[], Collection[str]] = tuple
) -> Iterator[DatabaseReader]:
    """Lend a reader of a database for the length of a block.

    Args:
        path: the database.
        system_ids: gives the ids of `[relay] system`, which the configuration alone knows;
            asked only for answers that depend on them.

    Raises:
        ForeignDatabaseError: the file is another program's.
        NewerDatabaseError: a newer meshd wrote it.
        StoreError: it cannot be read, or has not been brought to this meshd's schema.
    """
    connection = open_reading(path)
    try:
        _require_ours(connection, path)
        yield DatabaseReader(Registry(connection), system_ids)
    except (apsw.Error, UnicodeDecodeError, JSONDecodeError) as error:  # damage shows as any
        raise StoreError(f"cannot read {path}: {error}", hint="see meshd db check") from error
    finally:
        connection.close()


def _require_ours(connection: apsw.Connection, path: Path) -> None:
    if int(connection.pragma("application_id")) != APPLICATION_ID:
        raise ForeignDatabaseError(f"{path} is not a database of meshd")
    present, known = version(connection), len(migrations())
    if present > known:
        raise NewerDatabaseError(
            f"{path} has schema {present}, this meshd knows {known}",
            hint="use the meshd that wrote it, or a newer one",
        )
    if present < known:
        raise StoreError(
            f"{path} has schema {present}, this meshd reads {known}",
            hint="start meshd once to bring it up to date: meshd run",
        )
