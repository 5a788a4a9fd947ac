"""One daemon per state directory: the lock, held against real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from meshd.errors import AlreadyRunningError
from meshd.opening import locked

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory that exists."""
    directory = tmp_path / "state"
    directory.mkdir(mode=0o700)
    return directory


HOLD = """
import sys
from pathlib import Path
from meshd.opening import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


def start_another(directory: Path) -> subprocess.Popen[bytes]:
    """Start a process that holds the lock until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, directory], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"locked\n"
    return process


@pytest.mark.parametrize("end", ["kill -9", "a clean end"])
def test_a_second_process_is_refused_until_the_first_has_ended(end: str, state: Path) -> None:
    with start_another(state) as process:
        with pytest.raises(AlreadyRunningError, match=f"process {process.pid}"), locked(state):
            pass
        if end == "kill -9":
            process.kill()
        process.communicate(b"")
    with locked(state):
        assert (state / "meshd.lock").read_text() == f"{os.getpid()}\n"


def test_locking_creates_the_directory_private(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "state"
    with locked(directory):
        assert directory.stat().st_mode & 0o777 == 0o700


def test_a_lock_that_is_a_symlink_is_not_followed(state: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (state / "meshd.lock").symlink_to(tmp_path / "precious")

    with pytest.raises(OSError, match="symbolic link"), locked(state):
        pass
    assert (tmp_path / "precious").read_text() == "precious"
