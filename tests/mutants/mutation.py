"""What one deliberate fault is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """One fault: in `file`, `old` becomes `new`, and `test` must fail.

    Attributes:
        name: the rule, guard or compensation that it breaks, and how.
        test: the test that catches it, as pytest names it: a file, `::` and a function.
    """

    name: str
    file: str
    old: str
    new: str
    test: str
