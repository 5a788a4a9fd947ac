"""Histories by chance, and what is left of one that fails without what does not matter.

Owns how often each operation happens. Promises: the same history for the same seed.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import TYPE_CHECKING, Final

from tests.stateful.planning import OPERATIONS, Operation, Planning

if TYPE_CHECKING:
    from collections.abc import Sequence

WEIGHTS: Final = (26, 4, 3, 7, 5, 3, 1, 2, 2, 1, 0.4, 26, 6, 5, 2)
"""In the order of `OPERATIONS`."""


def history(seed: int, steps: int) -> list[Operation]:
    """Return operations by chance."""
    chance = Random(seed)
    kinds = chance.choices(range(len(OPERATIONS)), WEIGHTS, k=steps)
    return [Operation(kind, *(chance.randrange(1 << 16) for _ in range(3))) for kind in kinds]


def fails(operations: Sequence[Operation], seen: Counter[str] | None = None) -> Exception | None:
    """Return why a history fails, None when it does not; count what was held into `seen`."""
    try:
        Planning(Counter() if seen is None else seen).run(operations)
    except (AssertionError, LookupError) as error:
        return error
    return None


def shortened(operations: list[Operation]) -> list[Operation]:
    """Return a history that fails with fewer operations: none of them can be left out."""
    size = len(operations) // 2
    while size:
        at = 0
        while at < len(operations):
            fewer = operations[:at] + operations[at + size :]
            if fails(fewer) is not None:
                operations = fewer
            else:
                at += size
        size //= 2
    return operations
