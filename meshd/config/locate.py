"""The line on which a TOML text sets a key.

Owns the way from a key to its line, which tomllib does not tell. It lets tomllib itself find
the statements: the shortest run of lines that parses is one. Assumes a text that parses as a
whole. Promises: the line where the statement begins that first sets the key, or the nearest
key above it; 1 if there is none. Slow for long texts, and used only to report an error.
"""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

Keys = tuple[str, ...]


class _Statement(NamedTuple):
    line: int
    text: str


def line_of(text: str, key: Keys) -> int:
    """Return the number, from 1, of the line that sets `key` or the nearest key above it."""
    lines: dict[Keys, int] = {}
    table: Keys = ()
    for statement in _statements(text):
        tree = tomllib.loads(statement.text)
        if statement.text.lstrip().startswith("["):
            table = _header(tree)
            lines.setdefault(table, statement.line)
            continue
        for below in _key_paths(tree):
            lines.setdefault(table + below, statement.line)
    above = (key[:length] for length in range(len(key), 0, -1))
    return next((lines[found] for found in above if found in lines), 1)


def _statements(text: str) -> Iterator[_Statement]:
    """Yield the statements of a text: each the shortest run of lines that parses alone."""
    run: list[str] = []
    # Only these end a line in TOML; str.splitlines() knows more.
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        run.append(line)
        statement = "\n".join(run)
        try:
            says_something = bool(tomllib.loads(statement))
        except tomllib.TOMLDecodeError:
            continue
        if says_something:
            yield _Statement(number - len(run) + 1, statement)
        run.clear()


def _header(tree: dict[str, object]) -> Keys:
    """Return the path of a table's header, `[a.b]` or `[[a.b]]`."""
    path: list[str] = []
    value: object = tree
    while isinstance(value, dict) and value:
        name, value = next(iter(value.items()))
        path.append(name)
    return tuple(path)


def _key_paths(tree: dict[str, object], above: Keys = ()) -> Iterator[Keys]:
    """Yield the path of every key in a tree, those of tables within it included."""
    for name, value in tree.items():
        yield (*above, name)
        if isinstance(value, dict):
            yield from _key_paths(value, (*above, name))
