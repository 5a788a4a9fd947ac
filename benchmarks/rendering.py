"""Results as a table.

Owns how results look on a terminal and in `RESULTS.md`. Assumes the document that
`benchmarks.suite` makes, which may have been read from a file. Promises: nothing is shown that
is not in the document.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TITLES: Final = ("what", "meshd", "spread", "floor", "ratio", "bar", "", "peak MB", "the floor is")
_VERDICTS: Final = {True: "met", False: "MISSED", None: ""}
GROWTH_BAR: Final = 1.05
"""Of the slope of time over projects, both as logarithms (design: §Speed)."""
GROWTH_TO: Final = 100_000
"""The most projects for which that bar is meant."""

_EXPLANATION: Final = """\
Written by `python -m benchmarks --write`. Medians, with the lowest and the highest of all
repetitions. Each floor is measured in the same run on the same tree: the plainest program that
does the work, without any of the promises. Where a floor is the row's only figure, it stands
in the first column. A bar holds for the ratio (x) or for the figure itself; it is judged for the
size of tree for which it is meant.
"""


def text(document: Mapping[str, Any]) -> str:
    """Return results for a terminal."""
    parts = [_aligned(_table(run)) for run in document["runs"]]
    if document["growth"]:
        parts.append(_aligned(_growth(document)))
    return "\n\n".join([_machine(document["machine"]), *parts])


def markdown(document: Mapping[str, Any]) -> str:
    """Return results as `RESULTS.md`."""
    parts = ["# Results", _EXPLANATION, _machine(document["machine"])]
    for run in document["runs"]:
        parts += [f"## {_title(run)}", _piped(_table(run))]
        broken = [f"- {row['name']}: {said}" for row in run["rows"] for said in row["broken"]]
        if broken:
            parts.append("\n".join(["Promises that were not kept:", "", *broken]))
    if document["growth"]:
        parts += ["## Growth", _piped(_growth(document))]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _title(run: Mapping[str, Any]) -> str:
    sparse = "" if run["shape"] == "full" else ", only what is scanned of each"
    return f"{run['projects']:,} projects{sparse}"


def _machine(machine: Mapping[str, Any]) -> str:
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memoryMb']:,} MB;"
        f" Linux {machine['kernel']}, {machine['fileSystem']}; Python {machine['python']},"
        f" SQLite {machine['sqlite']}; meshd {machine['meshd']} ({machine['commit']});"
        f" load before: {machine['loadBefore']:.1f}"
    )


def _table(run: Mapping[str, Any]) -> list[Sequence[str]]:
    lines: list[Sequence[str]] = [_TITLES]
    for row in run["rows"]:
        figure, floor, unit = row["figure"], row["floor"], row["unit"]
        peaks = [one["peakMb"] for one in (figure, floor) if one is not None and one["peakMb"]]
        lines.append(
            (
                row["what"],
                f"{_number(figure['median'])} {unit}",
                _spread(figure),
                "" if floor is None else f"{_number(floor['median'])} ({_spread(floor)})",
                "" if row["ratio"] is None else f"{row['ratio']:.2f} x",
                _bar(row),
                _VERDICTS[row["met"]],
                " / ".join(f"{peak:.0f}" for peak in peaks),
                row["against"] or "",
            )
        )
    return lines


def _bar(row: Mapping[str, Any]) -> str:
    if row["bar"] is None:
        return ""
    unit = "x" if row["bar"]["of"] == "ratio" else row["unit"]
    return f"{row['bar']['limit']:g} {unit}"


def _spread(figure: Mapping[str, Any]) -> str:
    if figure["repetitions"] == 1:
        return "once"
    return f"{_number(figure['low'])} to {_number(figure['high'])}"


def _number(value: float) -> str:
    """Return three digits that count, without an exponent."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def _growth(document: Mapping[str, Any]) -> list[Sequence[str]]:
    sizes = [f"{run['projects']:,}" for run in document["runs"]]
    lines: list[Sequence[str]] = [
        ("what", *sizes, f"slope to {GROWTH_TO:,}", f"bar {GROWTH_BAR}", "slope of all")
    ]
    for line in document["growth"]:
        slope = "" if line["slope"] is None else f"{line['slope']:.2f}"
        verdict = "" if line["met"] is None else _VERDICTS[line["met"]]
        values = [f"{_number(value)} {line['unit']}" for value in line["values"]]
        lines.append((line["what"], *values, slope, verdict, f"{line['slope_of_all']:.2f}"))
    return lines


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _piped(lines: Sequence[Sequence[str]]) -> str:
    head, *rest = (f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([head, "|" + "---|" * len(lines[0]), *rest])
