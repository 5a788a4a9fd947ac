"""Deliberate faults, each caught by a named test: `python -m tests.mutations [NAME…]`.

Owns how a fault is tried: the test named beside it passes in a copy of the repository, the fault
is put in, and the test must fail by what it asserts. `tests.mutants` lists them. Not part of the
test run: it takes minutes. Exit code 1 when a fault was not caught, or could not be tried.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.mutants.guards import GUARDS
from tests.mutants.rules import RULES

if TYPE_CHECKING:
    from tests.mutants.mutation import Mutation

REPOSITORY: Final = Path(__file__).parent.parent
SECONDS: Final = 300
TOO_LONG: Final = (b"Timeout (>", b"+++ Timeout +++")
"""What pytest-timeout says: a test that waited in vain has not seen what is wrong."""


def main(names: list[str]) -> int:
    """Try every mutation whose name begins with one of `names` (all by default)."""
    verdicts: list[str] = []
    for mutation in (*RULES, *GUARDS):
        if names and not mutation.name.startswith(tuple(names)):
            continue
        verdicts.append(attempt(mutation))
        sys.stdout.write(f"{verdicts[-1]:8} {mutation.name}  ({mutation.test})\n")
        sys.stdout.flush()
    caught = verdicts.count("caught")
    sys.stdout.write(f"{caught} of {len(verdicts)} caught\n")
    return 0 if caught == len(verdicts) else 1


def attempt(mutation: Mutation) -> str:
    """Put one fault into a copy of the repository, and return what became of it.

    Returns:
        `caught`; `MISSED`, when the test passes; `LATE`, when it came to no end; `GONE`, when the
        code is another; `UNNAMED`, when no single test is named; `RED`, when it fails without
        the fault too.
    """
    if "::" not in mutation.test:
        return "UNNAMED"
    with tempfile.TemporaryDirectory(prefix="meshd-mutation-") as directory:
        copy = Path(directory) / "meshd"
        ignored = shutil.ignore_patterns(".git", ".venv", ".*_cache", ".hypothesis", "__pycache__")
        shutil.copytree(REPOSITORY, copy, ignore=ignored)
        file = copy / mutation.file
        text = file.read_text("utf-8")
        if text.count(mutation.old) == 0:
            return "GONE"
        if _run(copy, mutation.test) != "MISSED":
            return "RED"
        file.write_text(text.replace(mutation.old, mutation.new), "utf-8")
        return _run(copy, mutation.test)


def _run(copy: Path, test: str) -> str:
    """Run a test in a copy: `caught`, `LATE`, or `MISSED` when it passes."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--timeout=60"]
    try:
        run = subprocess.run(
            [*command, "-p", "no:cacheprovider", test],
            cwd=copy,
            # The copy, not an installed meshd, is what is tested.
            env={**os.environ, "PYTHONPATH": str(copy)},
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "LATE"
    if any(said in run.stdout + run.stderr for said in TOO_LONG):
        return "LATE"
    # 1: tests failed. Anything but that and 0 is no verdict of a test.
    return {0: "MISSED", 1: "caught"}.get(run.returncode, "NO TEST")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
