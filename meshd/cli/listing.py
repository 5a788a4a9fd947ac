"""One way to answer with a list: a JSON document, a table, or that there is nothing.

Owns the choice between the three. Assumes a document whose `key` holds the list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshd.cli.output import print_json, print_note, print_table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from meshd.client import Document


def print_list(
    document: Document,
    key: str,
    columns: Mapping[str, str | Callable[[Document], object]],
    *,
    nothing: str,
    as_json: bool,
) -> None:
    """Print a list that was answered.

    Args:
        document: the answer, printed whole as JSON.
        key: where in it the list is.
        columns: by heading, the key of an element to show, or what makes a cell of an element.
        nothing: what is said of an empty list.
        as_json: whether JSON was asked for.
    """
    if as_json:
        print_json(document)
    elif document[key]:
        rows = (
            [_cell(element, column) for column in columns.values()] for element in document[key]
        )
        print_table(tuple(columns), rows)
    else:
        print_note(nothing)


def _cell(element: Document, column: str | Callable[[Document], object]) -> object:
    return element[column] if isinstance(column, str) else column(element)
