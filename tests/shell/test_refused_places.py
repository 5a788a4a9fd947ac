"""Places with which a daemon would watch itself, or the whole machine: start and reload refuse."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from meshd.config.settings import ScanSettings, Settings
from meshd.errors import ConfigError
from meshd.reloading import check_places

if TYPE_CHECKING:
    from pathlib import Path


def settings_with(root: str) -> Settings:
    return Settings(scan=ScanSettings(roots=(root,)))


def test_a_state_directory_that_is_scanned_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lies in the scanned root"):
        check_places(settings_with(str(tmp_path)), tmp_path / "a" / "b" / "c" / "d" / "e" / "f")


def test_a_state_directory_below_a_dot_directory_is_not_scanned(tmp_path: Path) -> None:
    check_places(settings_with(str(tmp_path)), tmp_path / ".local" / "state")


def test_the_whole_machine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="would scan the whole machine"):
        check_places(settings_with("/"), tmp_path)
