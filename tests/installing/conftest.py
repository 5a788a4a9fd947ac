"""A home of its own, and a manager that is only told."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from meshd.installing import manager as module
from meshd.installing import user_target
from tests.installing.telling import Told

if TYPE_CHECKING:
    from pathlib import Path

    from meshd.installing import Target


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    stands_for = Told()
    monkeypatch.setattr(module, "run", stands_for)
    return stands_for


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Target:
    environ = {"HOME": str(tmp_path), "USER": "ada"}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return replace(user_target(environ), user="ada")
