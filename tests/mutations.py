"""Deliberate faults, each caught by a named test: `python -m tests.mutations [NAME…]`.

Owns the list of faults, one or more for each of the rules R1-R11. Each is put into a copy of
the repository, and the test named beside it must fail there. Not part of the test run: it
takes minutes. Exit code 1 when a fault was not caught, or when the code it changes is gone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).parent.parent
SECONDS: Final = 300


@dataclass(frozen=True)
class Mutation:
    """One fault: in `file`, `old` becomes `new`, and `test` must fail."""

    name: str
    file: str
    old: str
    new: str
    test: str


MACHINE: Final = "tests/stateful"

MUTATIONS: Final = (
    Mutation(
        "R1: a rebuild forgets the denials",
        "meshd/opening.py",
        "    for denial in policy.denials:\n",
        "    for denial in ():\n",
        "tests/store/test_opening.py",
    ),
    Mutation(
        "R1: policy.json is not mirrored with a commit",
        "meshd/opening.py",
        "    store = Store(path, epoch, lambda writing: mirror(writing, file, epoch))\n",
        "    store = Store(path, epoch)\n",
        "tests/store/test_opening.py",
    ),
    Mutation(
        "R2: an event is taken for what happened",
        "meshd/batch.py",
        "        return observations\n\n    def close(",
        "        return [\n"
        "            replace(one, outcome=Outcome.ABSENT, manifest=None)\n"
        "            if one.source is Source.WATCH\n"
        "            else one\n"
        "            for one in observations\n"
        "        ]\n\n    def close(",
        "tests/shell/test_second_look.py",
    ),
    Mutation(
        "R3: a denial writes past the plan",
        "meshd/acts.py",
        "            paths = registry.paths_within(act.path)\n",
        "            paths: list[str] = []\n",
        "tests/shell/test_acts.py",
    ),
    Mutation(
        "R4: what could not be told counts as absent",
        "meshd/core/verdict.py",
        "    if observation.outcome is Outcome.UNKNOWN:\n"
        "        return Verdict(path, Stand.FROZEN,",
        "    if observation.outcome is Outcome.UNKNOWN:\n"
        "        return Verdict(path, Stand.ABSENT,",
        "tests/core/test_verdict.py",
    ),
    Mutation(
        "R4: a sick root does not freeze",
        "meshd/core/verdict.py",
        "    if state is None or not state.healthy:\n",
        "    if state is None:\n",
        "tests/core/test_verdict.py",
    ),
    Mutation(
        "R4: an older look outranks a newer one",
        "meshd/core/verdict.py",
        "observation.look > other.look",
        "observation.look < other.look",
        "tests/core/test_verdict.py",
    ),
    Mutation(
        "R5: a batch is not closed over the other claims of an id",
        "meshd/core/closing.py",
        "            paths += claimed.get(agent_id, ())\n",
        "            pass\n",
        "tests/core/test_closing.py",
    ),
    Mutation(
        "R5: rows are judged one by one, so that a path has two owners",
        "meshd/store/apply.py",
        '"UPDATE agents SET project_path = NULL WHERE id = ? AND project_path IS NOT NULL"',
        '"UPDATE agents SET project_path = project_path WHERE id = ?"',
        "tests/store/test_apply.py",
    ),
    Mutation(
        "R6: a reader may write",
        "meshd/store/connection.py",
        "        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)\n"
        "        connection.set_busy_timeout(BUSY_TIMEOUT_MS)\n"
        '        connection.pragma("query_only", value=True)\n',
        "        connection = apsw.Connection(str(path))\n"
        "        connection.set_busy_timeout(BUSY_TIMEOUT_MS)\n",
        "tests/store",
    ),
    Mutation(
        "R7: a cost is applied at the first look",
        "meshd/reconciler.py",
        "looked_before: Container[str] = frozenset()\n    ) -> None:\n",
        "looked_before: Container[str] = frozenset()\n    ) -> None:\n"
        "        paths = list(paths)\n"
        "        looked_before = {path for path, _ in paths}\n",
        "tests/shell/test_second_look.py",
    ),
    Mutation(
        "R7: a row born in a sweep does not yield to a better claim of it",
        "meshd/core/closing.py",
        "    if sweep is None or row.born_sweep != sweep.number or place.agent_id != row.id:\n",
        "    if sweep is not None:\n",
        MACHINE,
    ),
    Mutation(
        "R8: downtime counts as observed absence",
        "meshd/core/cadence.py",
        "    return min(max(elapsed, 0.0), 2 * interval)\n",
        "    return max(elapsed, 0.0)\n",
        "tests/core/test_cadence.py",
    ),
    Mutation(
        "R8: an absence no sweep has seen expires",
        "meshd/core/plan.py",
        "        and row.absent_clock is not None\n"
        "        and clock - row.absent_clock >= sweep.grace\n",
        "        and clock - (row.absent_clock or 0.0) >= sweep.grace\n",
        "tests/core",
    ),
    Mutation(
        "R9: the owner of a manifest does not matter",
        "meshd/looker/look.py",
        "Reason.WRONG_OWNER",
        "Reason.EMPTY",
        "tests/shell/test_look.py",
    ),
    Mutation(
        "R9: duplicate keys are taken",
        "meshd/core/manifest.py",
        "object_pairs_hook=_unique_keys",
        "object_pairs_hook=dict",
        "tests/core/test_manifest_refused.py",
    ),
    Mutation(
        "R10: an observed clock is written while no row waits",
        "meshd/course.py",
        "            if root in waiting and ",
        "            if ",
        "tests/shell/test_quiet_sweep.py",
    ),
    Mutation(
        "R10: an unchanged claim is written again",
        "meshd/core/claims.py",
        "replace(new, look=old.look, looked_at_ns=old.looked_at_ns) != old",
        "new != old",
        "tests/shell/test_quiet_sweep.py",
    ),
    Mutation(
        "R11: the end of an actor is not noticed",
        "meshd/supervisor.py",
        "            self.wakeups.put(Exit(actor.name, error))\n",
        "            pass\n",
        "tests/shell/test_supervisor.py",
    ),
    Mutation(
        "mass guard: nothing is ever held",
        "meshd/core/guard.py",
        "AT_LEAST = 5",
        "AT_LEAST = 5_000_000",
        "tests/core/test_guard.py",
    ),
)


def main(names: list[str]) -> int:
    """Try every mutation whose name begins with one of `names` (all by default)."""
    missed = 0
    for mutation in MUTATIONS:
        if names and not mutation.name.startswith(tuple(names)):
            continue
        verdict = attempt(mutation)
        missed += verdict != "caught"
        sys.stdout.write(f"{verdict:8} {mutation.name}  ({mutation.test})\n")
        sys.stdout.flush()
    return 1 if missed else 0


def attempt(mutation: Mutation) -> str:
    """Put one fault into a copy of the repository: `caught`, `MISSED`, or `GONE`."""
    with tempfile.TemporaryDirectory(prefix="meshd-mutation-") as directory:
        copy = Path(directory) / "meshd"
        ignored = shutil.ignore_patterns(".git", ".venv", ".*_cache", ".hypothesis", "__pycache__")
        shutil.copytree(REPOSITORY, copy, ignore=ignored)
        file = copy / mutation.file
        text = file.read_text("utf-8")
        if text.count(mutation.old) == 0:
            return "GONE"
        file.write_text(text.replace(mutation.old, mutation.new), "utf-8")
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", mutation.test],
            cwd=copy,
            # The copy, not an installed meshd, is what is tested.
            env={**os.environ, "PYTHONPATH": str(copy)},
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
        # 1: tests failed. Anything else is no verdict of a test.
        return "caught" if run.returncode == 1 else "MISSED"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
