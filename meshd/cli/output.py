"""Answers as text: tables, JSON, errors.

Owns every write to standard output and standard error. Assumes nothing of the text it is
handed (R9): what a file, a path or a caller said is escaped here. Promises: JSON is ASCII,
and colour appears on a terminal only, and not if NO_COLOR is set.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any
from unicodedata import east_asian_width

import click

from meshd.escaping import escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from meshd.errors import MeshdError

COLUMN_GAP = "  "

_COLOURS = {
    "active": "green",
    "healthy": "green",
    "truncated": "yellow",
    "stale": "yellow",
    "unscanned": "yellow",
    "duplicate": "yellow",
    "unreachable": "red",
    "sick": "red",
    "invalid": "red",
    "unreadable": "red",
}


def print_json(document: object) -> None:
    """Print one JSON document: on lines for a person, on one line for a program."""
    indent = 2 if sys.stdout.isatty() else None
    click.echo(json.dumps(document, indent=indent, allow_nan=False))


def print_json_line(document: object) -> None:
    """Print one JSON document of several, on a line of its own."""
    click.echo(json.dumps(document, allow_nan=False))


def print_line(text: str) -> None:
    """Print one line, whatever the text holds."""
    click.echo(escape(text))


def print_text(text: str) -> None:
    """Print text of our own, which may have several lines."""
    click.echo(text, nl=not text.endswith("\n"))


def print_note(text: str) -> None:
    """Print a remark that is not part of the answer."""
    click.echo(escape(text), err=True)


def print_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under their headings, in columns as wide as they need; None is left blank."""
    lines = [list(headings), *([_cell(value) for value in row] for row in rows)]
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    for number, line in enumerate(lines):
        cells = [
            _styled(cell, heading=number == 0) + " " * (width - _width(cell))
            for cell, width in zip(line, widths, strict=True)
        ]
        click.echo(COLUMN_GAP.join(cells).rstrip())


def print_fields(fields: Iterable[tuple[str, object]]) -> None:
    """Print names and values, one line for each."""
    known = [(name, _cell(value)) for name, value in fields]
    width = max(len(name) for name, _ in known)
    for name, value in known:
        click.echo(f"{name.ljust(width)}{COLUMN_GAP}{_styled(value)}".rstrip())


def print_error(error: MeshdError, *, as_json: bool) -> None:
    """Print what went wrong and what to do about it."""
    if as_json:
        said = {"code": error.code, "message": error.message, "hint": error.hint}
        print_json({"error": said})
        return
    for line in error.message.split("\n"):  # a configuration tells of all its errors at once
        print_note(f"error: {line}")
    if error.hint:
        print_note(f"hint: {error.hint}")


def seconds(value: float | None) -> str | None:
    """Return a length of time in the two largest units that matter: `3d 4h`, `12s`."""
    if value is None:
        return None
    left = int(value)
    parts = []
    for name, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{name}")
    return " ".join(parts[:2]) or "0s"


def _cell(value: Any) -> str:  # noqa: ANN401 - any value of a document
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join(map(_cell, value))
        case dict():
            return ", ".join(f"{escape(str(key))}: {_cell(item)}" for key, item in value.items())
        case _:
            return escape(str(value))


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)


def _styled(text: str, *, heading: bool = False) -> str:
    if not (sys.stdout.isatty() and not os.environ.get("NO_COLOR")):
        return text
    colour = _COLOURS.get(text)
    return click.style(text, fg=colour, bold=heading or None) if colour or heading else text
