"""The checks themselves: what `python -m tests` and the rules for every test promise.

Each test runs pytest on one small file beside a copy of the rules.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

pytestmark = pytest.mark.slow  # each starts a pytest of its own

RULES: Final = Path(__file__).with_name("conftest.py")

LEAK = """
import threading

def test_that_leaks():
    threading.Thread(target=threading.Event().wait, args=(4,), name="left-behind").start()

def test_that_tidies_up():
    thread = threading.Thread(target=threading.Event().wait, args=(0.05,), name="tidy")
    thread.start()
"""
SKIP = """
import pytest

@pytest.mark.skipif(True, reason="needs the moon")
def test_on_the_moon(): ...
"""
EXPECTED_FAILURE = """
import pytest

@pytest.mark.xfail(reason="the earth is round", strict=True)
def test_that_the_earth_is_flat():
    raise AssertionError
"""
SKIPPED_MODULE = """
import pytest

pytest.skip("needs the sun", allow_module_level=True)
"""
ENVIRONMENT = """
import os

def test_that_nothing_of_outside_is_seen():
    assert not {"MESHD_SOCKET", "XDG_RUNTIME_DIR", "NOTIFY_SOCKET"} & set(os.environ)
    assert os.environ["HOME"] != "/outside"
"""


def run(directory: Path, source: str, **environment: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(RULES, directory)
    (directory / "test_one.py").write_text(source, "utf-8")
    # A passing test beside it, for a run of skips alone collects nothing.
    (directory / "test_two.py").write_text("def test_two(): ...\n", "utf-8")
    base = f"--basetemp={directory / 'base'}"
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-ra", base, str(directory)],
        cwd=directory, env={**os.environ, **environment}, check=False, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def test_a_thread_that_is_left_behind_fails_the_test_by_name(tmp_path: Path) -> None:
    result = run(tmp_path, LEAK)
    assert "leaked threads: left-behind\n" in result.stdout
    assert "3 passed, 1 error" in result.stdout


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (SKIP, "test_one.py::test_on_the_moon: needs the moon"),
        (SKIPPED_MODULE, "test_one.py: needs the sun"),
    ],
    ids=["a test", "a module"],
)
def test_a_skip_fails_the_run_that_allows_none(tmp_path: Path, source: str, line: str) -> None:
    result = run(tmp_path, source, MESHD_NO_SKIPS="1")
    assert result.returncode == 1
    assert line in result.stdout.splitlines()


def test_an_expected_failure_is_no_skip(tmp_path: Path) -> None:
    assert run(tmp_path, EXPECTED_FAILURE, MESHD_NO_SKIPS="1").returncode == 0


def test_a_skip_is_shown_with_its_reason_and_fails_no_other_run(tmp_path: Path) -> None:
    result = run(tmp_path, SKIP)
    assert result.returncode == 0
    assert "needs the moon" in result.stdout


def test_no_test_sees_the_daemon_of_whoever_runs_it(tmp_path: Path) -> None:
    names = ("MESHD_SOCKET", "XDG_RUNTIME_DIR", "NOTIFY_SOCKET", "HOME")
    result = run(tmp_path, ENVIRONMENT, **dict.fromkeys(names, "/outside"))
    assert result.returncode == 0, result.stdout


def test_a_tool_that_is_missing_is_named_with_the_command_that_installs_it() -> None:
    without_packages = [sys.executable, "-S", "-m", "tests"]
    result = subprocess.run(
        without_packages, cwd=RULES.parent.parent, check=False, capture_output=True, text=True
    )
    assert result.returncode == 2
    assert "not installed: ruff, mypy" in result.stderr
    assert "pip install -e '.[dev]'" in result.stderr
