"""Fixtures of the store's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from meshd.store.registry import Registry
from tests.store.builders import new_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import apsw


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """The path of a migrated database that nothing has open."""
    path = tmp_path / "meshd.db"
    new_database(path).close()
    return path


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[apsw.Connection]:
    """The writing connection of a migrated database."""
    opened = new_database(tmp_path / "meshd.db")
    yield opened
    opened.close()


@pytest.fixture
def registry(connection: apsw.Connection) -> Registry:
    return Registry(connection)
