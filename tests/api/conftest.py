"""A running daemon for every test that asks for one."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.api.running import Daemon

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with contextlib.closing(Daemon(tmp_path.resolve())) as running:
        yield running


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that the tests of a module share; what they ask changes nothing for the others."""
    with contextlib.closing(Daemon(tmp_path_factory.mktemp("asked").resolve())) as running:
        running.get("/status")  # the thread that reads is not one that a test has started
        yield running
