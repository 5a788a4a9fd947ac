"""What `meshd install` cannot mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.shell.command_line import CommandLine

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "arguments",
    [("--config", "/x.toml"), ("--socket", "/x.sock"), ("--root", "")],
    ids=lambda one: one[0],
)
def test_what_a_service_would_never_hear_of_is_refused(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    ran = CommandLine(tmp_path)("install", "--user", *arguments)
    assert ran.code == 2
