"""A live daemon under siege, for a moment; `python -m tests.soak` does it for hours."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest

from tests.faults.tools import needs_root, needs_tool
from tests.soak import FAULTS
from tests.system.daemon import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

# Read at import: a test runs in a cleared environment.
SEEDS: Final = tuple(os.environ.get("MESHD_SIEGE_SEEDS", "11").split())


@pytest.mark.slow
@pytest.mark.timeout(240)
@needs_root
@needs_tool("unshare")
@needs_tool("setpriv")
@pytest.mark.parametrize("seed", SEEDS)
def test_a_daemon_under_siege_is_right_whenever_it_comes_to_rest(seed: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.soak", "--seed", seed, "--episodes", "1"]
    done = subprocess.run(
        [*command, "--each", "--steps", "60", "--keep", tmp_path],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=220,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "violations 0" in done.stdout
    summary = done.stdout.splitlines()[-1]
    for fault in (*FAULTS, "answered kills", "unanswered kills"):
        assert re.search(rf"\b{fault.replace('_', ' ')} [1-9]", summary), f"no {fault}: {summary}"
