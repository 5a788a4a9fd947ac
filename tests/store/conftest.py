"""Fixtures of the store's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from meshd.store.connection import open_writing
from meshd.store.registry import Registry
from tests.store.builders import new_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import apsw


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A migrated database as bytes: migrating costs more waits for the disk than most tests."""
    path = tmp_path_factory.mktemp("migrated") / "meshd.db"
    new_database(path).close()
    return path.read_bytes()


@pytest.fixture
def database(tmp_path: Path, migrated: bytes) -> Path:
    """The path of a migrated database that nothing has open."""
    path = tmp_path / "meshd.db"
    path.write_bytes(migrated)
    return path


@pytest.fixture
def connection(database: Path) -> Iterator[apsw.Connection]:
    """The writing connection of a migrated database."""
    opened = open_writing(database)
    yield opened
    opened.close()


@pytest.fixture
def registry(connection: apsw.Connection) -> Registry:
    return Registry(connection)
