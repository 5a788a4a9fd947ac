"""What is measured: figures, the rows of the table, and the bars they are held to.

Owns how repetitions become one figure, and when a bar is met. Assumes a floor that was measured
in the same run on the same tree. Promises: values that stay as they are.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

DESIGN_PROJECTS: Final = 10_000
"""Projects of the tree for which the bars are meant, unless one says otherwise."""


@dataclass(frozen=True, slots=True)
class Figure:
    """The median of some repetitions, with the lowest and the highest of them.

    Attributes:
        peak_mb: the most memory that the process held meanwhile; None when that was not asked.
    """

    median: float
    low: float
    high: float
    repetitions: int
    peak_mb: float | None = None

    @classmethod
    def of(cls, values: Sequence[float], peak_mb: float | None = None) -> Self:
        """Return the figure of at least one repetition."""
        return cls(statistics.median(values), min(values), max(values), len(values), peak_mb)

    def times(self, factor: float) -> Self:
        """Return the figure of so many times the work, where time follows work."""
        return replace(
            self, median=factor * self.median, low=factor * self.low, high=factor * self.high
        )


@dataclass(frozen=True, slots=True)
class Bar:
    """The highest value that is good enough (design: §Speed).

    Attributes:
        limit: of the ratio to the floor, or of the figure itself.
        is_ratio: which of the two.
        projects: the size of tree for which it is judged; None for all from `DESIGN_PROJECTS`.
    """

    limit: float
    is_ratio: bool = False
    projects: int | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        name: for programs, such as `cold-import`.
        what: for people.
        unit: of the figures.
        figure: meshd's, or the floor's own in a row that is only a floor.
        floor: what it is compared with.
        against: what the floor is.
        broken: promises that were not kept while it was measured, in words; met needs none.
    """

    name: str
    what: str
    unit: str
    figure: Figure
    floor: Figure | None = None
    against: str | None = None
    bar: Bar | None = None
    broken: tuple[str, ...] = ()

    @property
    def ratio(self) -> float | None:
        """How often the floor goes into the figure."""
        if self.floor is None or self.floor.median == 0:
            return None
        return self.figure.median / self.floor.median

    def is_met(self, projects: int) -> bool | None:
        """Whether the bar is met, None when there is none for a tree of this size."""
        if self.broken:
            return False
        if self.bar is None:
            return None
        meant = self.bar.projects
        if projects != meant if meant is not None else projects < DESIGN_PROJECTS:
            return None
        value = self.ratio if self.bar.is_ratio else self.figure.median
        return value is not None and value <= self.bar.limit


def percentile(values: Collection[float], part: float) -> float:
    """Return the value that `part` of the values do not exceed; 1.0 is the highest."""
    ordered = sorted(values)
    return ordered[min(int(part * len(ordered)), len(ordered) - 1)]


def document(row: Row, projects: int) -> dict[str, Any]:
    """Return a row as JSON."""
    return {
        "name": row.name,
        "what": row.what,
        "unit": row.unit,
        "figure": _figure(row.figure),
        "floor": None if row.floor is None else _figure(row.floor),
        "against": row.against,
        "ratio": row.ratio,
        "bar": None
        if row.bar is None
        else {"limit": row.bar.limit, "of": "ratio" if row.bar.is_ratio else "figure"},
        "met": row.is_met(projects),
        "broken": list(row.broken),
    }


def _figure(figure: Figure) -> dict[str, Any]:
    return {
        "median": figure.median,
        "low": figure.low,
        "high": figure.high,
        "repetitions": figure.repetitions,
        "peakMb": figure.peak_mb,
    }
