"""The map of the catalogue is held to the tests: each row has one, and each of them exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

FAULTS: Final = Path(__file__).parent
REPOSITORY: Final = FAULTS.parent.parent
ROW: Final = re.compile(r"^\| *(I?\d+) *\|(.*)\|$")
TEST: Final = re.compile(r"`([\w/]+\.py)(?:::(\w+))?`")

CATALOGUE: Final = [
    *range(1, 51), *range(51, 58), *range(61, 72), *range(72, 85), *range(85, 100),
    *range(101, 126), *range(131, 143), *range(151, 157), *range(161, 173),
]  # fmt: skip
INVARIANTS: Final = [f"I{number}" for number in range(1, 21)]


def rows() -> dict[str, list[str]]:
    """Return the cells beside each number, in the order of the map."""
    lines = (FAULTS / "README.md").read_text("utf-8").splitlines()
    found = {}
    for match in filter(None, map(ROW.match, lines)):
        assert match[1] not in found, f"row {match[1]} stands twice"
        found[match[1]] = [cell.strip() for cell in match[2].split("|")]
    return found


def names_of_tests(path: Path) -> set[str]:
    """Return the names of the tests that a file defines, those of classes too."""
    tree = ast.parse(path.read_text("utf-8"))
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and node.name.startswith(("test_", "Test"))
    }


def located(name: str) -> Path:
    """Return the file a row names: beside the map, or from the top of the repository."""
    return REPOSITORY / name if "/" in name else FAULTS / name


def test_the_map_has_every_row_of_the_catalogue() -> None:
    assert list(rows()) == [*map(str, CATALOGUE), *INVARIANTS]


def test_no_row_is_empty() -> None:
    assert {number: cells for number, cells in rows().items() if not all(cells)} == {}


def test_every_row_names_a_test_or_says_why_there_is_none() -> None:
    silent = [
        number
        for number, cells in rows().items()
        if not TEST.search(cells[-1]) and not cells[-1].startswith("cannot be tested: ")
    ]
    assert silent == []


def test_every_test_that_is_named_exists() -> None:
    missing = [
        f"{number}: {name}::{test}"
        for number, cells in rows().items()
        for name, test in TEST.findall(cells[-1])
        if not located(name).is_file() or (test and test not in names_of_tests(located(name)))
    ]
    assert missing == []


def test_every_test_of_the_suite_is_named_by_a_row() -> None:
    named = {
        (located(name), test) for cells in rows().values() for name, test in TEST.findall(cells[-1])
    }
    unnamed = [
        f"{path.name}::{test}"
        for path in sorted(FAULTS.glob("test_*.py"))
        if path != Path(__file__)
        for test in sorted(names_of_tests(path))
        if not {(path, test), (path, "")} & named
    ]
    assert unnamed == []
