"""Every check of the repository by one command: `python -m tests`.

Owns the order of the checks: lint, format, types, then the tests, which hold the import
contracts too. Promises: each step runs although an earlier one failed, and is shown with its
time; every skip is shown with its reason; pytest's summary is the last line on standard output;
the exit code is 0 only when all passed. What failed before the tests is repeated on standard
error.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).parent.parent

CHECKS: Final = (
    ("ruff", "check"),
    ("ruff", "format", "--check"),
    ("mypy",),
)
"""Modules of the tools to run, each with its arguments."""

SIDE_BY_SIDE: Final = ("-n", "4", "--dist", "loadfile")
"""Four processes, each with whole files: most tests wait for a daemon, not for the processor.
`-n 0` after the command runs them one by one."""

TOOLS: Final = (
    "ruff",
    "mypy",
    "importlinter",
    "pytest",
    "pytest_timeout",
    "xdist",
    "hypothesis",
    "httpx",
)
"""What has to be importable: all of it is in the extra `dev`."""


def main(arguments: list[str]) -> int:
    """Run all checks and return the exit code: 0, or that of the first that failed."""
    parser = argparse.ArgumentParser(
        prog="python -m tests",
        description="Lint, types and tests. Further arguments are handed to pytest.",
    )
    parser.add_argument("--quick", action="store_true", help="leave out tests marked slow")
    options, for_pytest = parser.parse_known_args(arguments)
    missing = [tool for tool in TOOLS if importlib.util.find_spec(tool) is None]
    if missing:
        sys.stderr.write(
            f"error: not installed: {', '.join(missing)}\n"
            f"hint: run {sys.executable} -m pip install -e '.[dev]'\n"
        )
        return 2
    codes = {check: _run(check) for check in CHECKS}
    if options.quick:
        for_pytest = ["-m", "not slow", *for_pytest]
    tests = _run_pytest(for_pytest)
    failed = [" ".join(check) for check, code in codes.items() if code != 0]
    if failed:
        sys.stderr.write(f"error: failed before the tests: {', '.join(failed)}\n")
    return next((code for code in [*codes.values(), tests] if code != 0), 0)


def _run_pytest(arguments: list[str]) -> int:
    """Run the tests in a directory of their own: pytest's is tidied by every session of a user."""
    directory = Path(tempfile.mkdtemp(prefix="meshd-tests-"))
    directory.chmod(0o711)  # tests that run as another user go through it
    try:
        return _run(("pytest", *SIDE_BY_SIDE, f"--basetemp={directory}/base", *arguments))
    finally:
        # Not shutil: a test that was killed leaves trees deeper than Python's stack.
        subprocess.run(["rm", "-rf", directory], check=False)


def _run(command: tuple[str, ...]) -> int:
    """Run a tool of this Python in the repository; show its time, except behind the tests."""
    sys.stdout.write(f"== {' '.join(command)}\n")
    sys.stdout.flush()
    started = time.monotonic()
    code = subprocess.run([sys.executable, "-m", *command], cwd=REPOSITORY, check=False).returncode
    if command[0] != "pytest":
        verdict = "passed" if code == 0 else f"FAILED with exit code {code}"
        sys.stdout.write(f"   {verdict} in {time.monotonic() - started:.1f} s\n")
        sys.stdout.flush()
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
