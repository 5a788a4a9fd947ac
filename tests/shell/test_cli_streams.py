"""What a command does when its standard streams are full, closed or left early."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.shell.command_line import CommandLine

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def meshd(tmp_path: Path) -> CommandLine:
    (tmp_path / "h").mkdir()
    return CommandLine(tmp_path / "h")


def run(meshd: CommandLine, line: str) -> subprocess.CompletedProcess[str]:
    """Run a line of a shell in which `$M` is meshd."""
    return subprocess.run(
        ["bash", "-c", f"M='{sys.executable} -m meshd'; {line}"],
        env=meshd.whole_environ, cwd=meshd.home, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip


FULL = "error: No space left on device\n"


@pytest.mark.parametrize(
    ("line", "code", "err"),
    [
        ("$M version >/dev/full", 1, FULL),
        ("$M version --json >/dev/full", 1, FULL),
        ("$M --help >/dev/full", 1, FULL),
        ("$M version >&-", 0, ""),
        ("$M version <&- >&- 2>&-", 0, ""),
        ("$M version 2>/dev/full", 0, ""),
        ("$M no-such-command 2>/dev/full", 2, ""),
        ("$M no-such-command 2>&-", 2, ""),
        ("$M no-such-command --json >/dev/full 2>&1", 2, ""),
        ("set -o pipefail; $M completion bash | true", 1, ""),
    ],
)
def test_a_stream_that_takes_nothing_costs_no_traceback(
    meshd: CommandLine, line: str, code: int, err: str
) -> None:
    ran = run(meshd, line)
    assert (ran.returncode, ran.stderr) == (code, err)


def test_an_error_that_the_answer_has_no_room_for_is_told_all_the_same(meshd: CommandLine) -> None:
    ran = run(meshd, "$M no-such-command --json >/dev/full")
    assert (ran.returncode, "no-such-command" in ran.stderr) == (2, True)


def test_a_closed_input_is_nobody_to_ask(meshd: CommandLine) -> None:
    meshd.state.mkdir(parents=True)
    (meshd.state / "meshd.db").touch()
    ran = run(meshd, "$M db rebuild --json <&-")
    error = json.loads(ran.stdout)["error"]
    assert (ran.returncode, error["code"], "--yes" in error["hint"]) == (2, "usage", True)
