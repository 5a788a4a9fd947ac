"""Deliberate faults, each caught by a named test: `python -m tests.mutations [NAME…]`.

Owns how a fault is tried: it is put into a copy of the repository, and the test named beside it
must fail there. `tests.mutants` lists them. Not part of the test run: it takes minutes. Exit
code 1 when a fault was not caught, or when the code it changes is gone.
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
    """Put one fault into a copy of the repository: `caught`, `MISSED`, `LATE`, or `GONE`."""
    with tempfile.TemporaryDirectory(prefix="meshd-mutation-") as directory:
        copy = Path(directory) / "meshd"
        ignored = shutil.ignore_patterns(".git", ".venv", ".*_cache", ".hypothesis", "__pycache__")
        shutil.copytree(REPOSITORY, copy, ignore=ignored)
        file = copy / mutation.file
        text = file.read_text("utf-8")
        if text.count(mutation.old) == 0:
            return "GONE"
        file.write_text(text.replace(mutation.old, mutation.new), "utf-8")
        # A fault may make the daemon wait for ever, which is caught by the test's own limit.
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--timeout=60"]
        try:
            run = subprocess.run(
                [*command, "-p", "no:cacheprovider", mutation.test],
                cwd=copy,
                # The copy, not an installed meshd, is what is tested.
                env={**os.environ, "PYTHONPATH": str(copy)},
                capture_output=True,
                timeout=SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return "LATE"
        # 1: tests failed. Anything else is no verdict of a test.
        return "caught" if run.returncode == 1 else "MISSED"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
