"""The table of strategies, and what becomes of the words of a project."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.core.manifest import parse
from meshd.core.namespace import KNOWN_RUNTIMES
from meshd.core.strategies import (
    DESCRIPTION_BYTES,
    LONGEST_DESCRIPTION,
    MARKERS,
    STRATEGIES,
    UNNAMED,
    Hints,
    Marker,
    MarkerKind,
    describe,
    described_by,
    detect,
    hints,
)
from tests.harness import MANIFEST

CLAUDE = Marker("CLAUDE.md", MarkerKind.FILE)
AGENTS = Marker("AGENTS.md", MarkerKind.FILE)
GEMINI = Marker("GEMINI.md", MarkerKind.FILE)
CURSOR = Marker(".cursor", MarkerKind.DIRECTORY)


def test_the_strategies_are_the_peers_in_the_peers_order() -> None:
    names = [strategy.name for strategy in STRATEGIES]
    assert names == [
        "claude-code",
        "cursor",
        "codex",
        "windsurf",
        "gemini",
        "cline",
        "roo-code",
        "copilot",
        "amazon-q",
        "continue",
    ]
    assert set(names) < KNOWN_RUNTIMES


def test_no_two_strategies_share_a_marker() -> None:
    assert len(MARKERS) == sum(len(strategy.markers) for strategy in STRATEGIES)


def test_no_marker_lies_deeper_than_one_directory() -> None:
    assert max(marker.path.count("/") for marker in MARKERS) == 1


@pytest.mark.parametrize("marker", sorted(MARKERS), ids="-".join)
def test_each_marker_is_enough_for_its_strategy(marker: Marker) -> None:
    (found,) = detect({marker})
    assert marker in found.markers


def test_nothing_is_detected_where_no_marker_is() -> None:
    assert detect(set()) == ()


def test_of_several_strategies_the_first_of_the_table_comes_first() -> None:
    assert [one.name for one in detect({GEMINI, CURSOR, AGENTS})] == [
        "claude-code",
        "cursor",
        "gemini",
    ]


def test_the_files_that_describe_are_asked_in_the_tables_order_where_they_were_found() -> None:
    found = {GEMINI, AGENTS, CLAUDE, CURSOR}
    assert described_by(detect(found), found) == ("CLAUDE.md", "AGENTS.md", "GEMINI.md")
    assert described_by(detect({GEMINI, CURSOR}), {GEMINI, CURSOR}) == ("GEMINI.md",)


def test_hints_are_the_first_strategys_and_the_capabilities_of_all_once() -> None:
    assert hints("shop", detect({CURSOR, GEMINI}), "A shop.") == Hints(
        suggested_name="shop",
        detected_runtime="cursor",
        inferred_capabilities=("code",),
        description="A shop.",
    )


@pytest.mark.parametrize(
    ("directory", "name"),
    [
        ("shop", "shop"),
        ("два слова", "два слова"),
        ("a\nb\x1b[31m", "a b[31m"),
        ("\udcff\udcfe", UNNAMED),
        ("\u202eexe", "exe"),
        (" ", UNNAMED),
    ],
)
def test_a_suggested_name_is_one_that_a_manifest_may_have(directory: str, name: str) -> None:
    suggested = hints(directory, detect({CURSOR}), None).suggested_name
    assert suggested == name


@given(st.text(alphabet=st.characters(exclude_characters="/\0"), min_size=1))
def test_any_directory_suggests_a_name_that_is_not_refused(directory: str) -> None:
    suggested = hints(directory, detect({CURSOR}), None).suggested_name
    manifest = parse(json.dumps({**MANIFEST, "name": suggested}).encode())
    assert manifest.name == suggested


@pytest.mark.parametrize(
    ("text", "description"),
    [
        pytest.param("A shop.", "A shop.", id="a line"),
        pytest.param("A shop\n  for   tea.\n\nMore.", "A shop for tea.", id="lines are joined"),
        pytest.param("# Shop\n\nIt sells.", "It sells.", id="below a heading"),
        pytest.param("# Shop\nIt sells.\n## More", "It sells.", id="between two headings"),
        pytest.param("Shop\n====\n\nIt sells.", "It sells.", id="below an underlined heading"),
        pytest.param("---\nname: x\n---\nIt sells.", "It sells.", id="below front matter"),
        pytest.param("\ufeff---\nname: x\n---\nIt sells.", "It sells.", id="after a BOM"),
        pytest.param("---\n\nIt sells.", "It sells.", id="below a rule"),
        pytest.param(
            "[![ci](https://a/b.svg)](https://a)\n![logo](x.png)\n\nIt sells.",
            "It sells.",
            id="below badges",
        ),
        pytest.param('<p align="center">\n<img>\n</p>\n\nIt sells.', "It sells.", id="below tags"),
        pytest.param("<!-- a\n\nb\n-->\nIt sells.", "It sells.", id="below a comment"),
        pytest.param("<!-- a -->\nIt sells.", "It sells.", id="below a comment on one line"),
        pytest.param("```sh\nmake\n\nrun\n```\nIt sells.", "It sells.", id="below code"),
        pytest.param("@AGENTS.md\n\nIt sells.", "It sells.", id="below an import"),
        pytest.param(
            "# CLAUDE.md\n\nThis file provides guidance to Claude Code (claude.ai/code)\nwhen"
            " working here.\n\n## Overview\n\nIt sells.",
            "It sells.",
            id="below what tools write",
        ),
        pytest.param("It\x1b[31m sells\x07.\r\n", "It[31m sells.", id="control characters"),
        pytest.param("It \u202esells\u200b.", "It sells.", id="what hides or turns text"),
        pytest.param("- tea\n- coffee", "- tea - coffee", id="a list"),
        pytest.param("", None, id="empty"),
        pytest.param("# Shop\n\n## More\n", None, id="headings only"),
        pytest.param("<!-- It sells.", None, id="a comment without end"),
        pytest.param("It\0sells", None, id="binary"),
    ],
)
def test_a_description_is_the_first_paragraph(text: str, description: str | None) -> None:
    assert describe(text.encode()) == description


def test_text_that_is_not_utf_8_is_left_out() -> None:
    assert describe(b"It \xff\xfesells.") == "It sells."
    assert describe("It sells.".encode("utf-16")) is None


def test_a_long_description_ends_between_two_words() -> None:
    assert describe(b"word " * 1000) == " ".join(["word"] * 59) + "…"


def test_a_long_word_is_cut() -> None:
    assert describe(b"x" * 1000) == "x" * (LONGEST_DESCRIPTION - 1) + "…"


def test_a_description_as_long_as_may_be_is_whole() -> None:
    assert describe(b"x" * LONGEST_DESCRIPTION) == "x" * LONGEST_DESCRIPTION


def assert_is_harmless(description: str | None) -> None:
    if description is None:
        return
    assert 0 < len(description) <= LONGEST_DESCRIPTION
    assert description == " ".join(description.split())
    categories = {unicodedata.category(character) for character in description}
    assert not categories & {"Cc", "Cf", "Cs", "Zl", "Zp"}


@given(st.binary(max_size=2_000))
def test_any_bytes_have_a_harmless_description(data: bytes) -> None:
    assert_is_harmless(describe(data))


@given(
    st.lists(
        st.sampled_from(
            ["---", "```", "<!--", "-->", "# T", "![x", "@a", "===", "", "\x1b[0m", "w\u202e"]
        )
        | st.text(max_size=400),
        max_size=30,
    ).map("\n".join)
)
def test_any_text_has_a_harmless_description(text: str) -> None:
    assert_is_harmless(describe(text.encode("utf-8", "surrogatepass")))


@pytest.mark.parametrize("line", ["<!--", "![", "```", "#", "a\n\n", "---\n", "=", "\u200b\n"])
def test_no_file_is_slow_to_describe(line: str) -> None:
    """One pass over the lines: the longest file takes far less than a step's time."""
    data = (line.encode() * DESCRIPTION_BYTES)[:DESCRIPTION_BYTES]
    for _ in range(10):
        assert_is_harmless(describe(data))
