"""An empty database for every test that asks for one."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from meshd.clock import SystemClock
from meshd.opening import open_store
from meshd.store.connection import open_writing
from tests.answers.filled import Base

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def base(tmp_path: Path) -> Iterator[Base]:
    store = open_store(tmp_path, SystemClock()).store
    with contextlib.closing(open_writing(store.path)) as connection:
        yield Base(connection, store.epoch)
