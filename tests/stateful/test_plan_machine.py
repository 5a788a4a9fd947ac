"""100,000 steps of the pure plan: I1-I9 and I13 hold along every history."""

from __future__ import annotations

import os
from collections import Counter
from typing import Final

import pytest

from tests.stateful.histories import fails, history, shortened
from tests.stateful.planning import OPERATIONS

# Read at import: a test runs in a cleared environment. Raise them to search longer.
FIRST_SEED: Final = int(os.environ.get("MESHD_PLAN_SEED", "0"))
HISTORIES: Final = int(os.environ.get("MESHD_PLAN_HISTORIES", "250"))
STEPS: Final = 400


@pytest.mark.slow
def test_any_history_of_the_disk_and_the_rows_that_follow_it() -> None:
    seen: Counter[str] = Counter()
    for seed in range(FIRST_SEED, FIRST_SEED + HISTORIES):
        operations = history(seed, STEPS)
        if fails(operations, seen) is not None:
            short = shortened(operations)
            told = "\n".join(f"{OPERATIONS[one.kind].__name__} {one[1:]}" for one in short)
            pytest.fail(f"seed {seed}: {fails(short)}\n{told}")
    assert min(seen["absences"], seen["removals"]) > 0, f"I13 was not tried: {seen}"
