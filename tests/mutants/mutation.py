"""What one deliberate fault is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """One fault: in `file`, `old` becomes `new`, and `test` must fail.

    Attributes:
        name: the rule, guard or compensation that it breaks, and how.
        test: what catches it: a file or a test of its own.
    """

    name: str
    file: str
    old: str
    new: str
    test: str
