"""One box for all tests of a worker, made clean for each.

MESHD_TEST_SYSTEM names the tree of another system to copy instead of this one, such as a
debootstrapped one with another systemd.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.systemd.box import Box, reason_against
from tests.systemd.service import SystemService, UserService

if TYPE_CHECKING:
    from collections.abc import Iterator

# Read before the tests' environment is cleared.
LOWER: Final = Path(os.environ.get("MESHD_TEST_SYSTEM", "/"))


HERE: Final = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave what boots a systemd out of the quick run."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    reason = reason_against()
    if reason is not None:
        pytest.skip(reason)
    with Box(tmp_path_factory.mktemp("systemd"), LOWER) as booted:
        yield booted


@pytest.fixture
def service(box: Box) -> Iterator[SystemService]:
    """meshd@ada as it is shipped, not started yet, over an empty home."""
    prepared = SystemService(box)
    prepared.prepare()
    yield prepared
    prepared.clear()


@pytest.fixture
def user_service(box: Box) -> Iterator[UserService]:
    """Ada's own meshd, under her own manager."""
    prepared = UserService(box)
    prepared.prepare()
    yield prepared
    prepared.clear()
