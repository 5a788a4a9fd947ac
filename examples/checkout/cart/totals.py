"""Totals of a cart, in cents."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """One line of a cart."""

    article: str
    quantity: int
    cents_each: int


def total(lines: list[Line], *, discount_percent: int = 0) -> int:
    """Return what the customer pays; a discount is rounded in the customer's favour."""
    full = sum(line.quantity * line.cents_each for line in lines)
    return full - -(-full * discount_percent // 100)
