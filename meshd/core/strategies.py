"""What speaks of an agent in a directory that has no manifest yet.

Owns the table of strategies, and how the hints of a candidate follow from what was found.
Assumes that the looker says which markers are there, and hands over the first bytes of the
files that describe a project. All of it is hostile (R9): hints are bounded, on one line, and
free of control characters, so that they may go into a manifest as they are. Never raises.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

LONGEST_DESCRIPTION: Final = 300
"""Characters of a description; one that is longer ends in an ellipsis."""

DESCRIPTION_BYTES: Final = 65_536
"""Bytes read of a file that describes a project: the first paragraph is near its beginning."""

UNNAMED: Final = "agent"
"""Name of a candidate whose directory has no character that a name may hold."""


class MarkerKind(StrEnum):
    """What a marker has to be. A symlink is neither: nothing is judged through one."""

    FILE = "file"
    DIRECTORY = "directory"


class Marker(NamedTuple):
    """Something that speaks of an agent.

    `path` is below the project; at most one directory lies between the two.
    """

    path: str
    kind: MarkerKind


@dataclass(frozen=True, slots=True)
class Strategy:
    """How the directories of one runtime are known.

    Attributes:
        name: of the strategy, and of the runtime that it detects.
        markers: any of them is enough.
        described_by: files whose first paragraph describes the project, the better one first.
        capabilities: what an agent of this runtime can be taken to do.
    """

    name: str
    markers: tuple[Marker, ...]
    described_by: tuple[str, ...] = ()
    # All that a directory of rules for a coding agent says of it; the peer infers no more.
    capabilities: tuple[str, ...] = ("code",)


@dataclass(frozen=True, slots=True)
class Hints:
    """What a manifest of a candidate could say.

    Attributes:
        suggested_name: the name of its directory.
        detected_runtime: the runtime of the strategy that decided.
        inferred_capabilities: of every strategy that applies, in the table's order.
        description: the first paragraph of its description; None when there is none.
    """

    suggested_name: str
    detected_runtime: str
    inferred_capabilities: tuple[str, ...]
    description: str | None


def _file(path: str) -> Marker:
    return Marker(path, MarkerKind.FILE)


def _directory(path: str) -> Marker:
    return Marker(path, MarkerKind.DIRECTORY)


# The order is the peer's, so that both give one directory the same runtime: of the strategies
# that apply to it, the first decides.
STRATEGIES: Final = (
    Strategy(
        "claude-code",
        (_file("CLAUDE.md"), _file("AGENTS.md")),
        described_by=("CLAUDE.md", "AGENTS.md"),
    ),
    Strategy("cursor", (_directory(".cursor"), _file(".cursorrules"))),
    Strategy("codex", (_directory(".codex"),)),
    Strategy("windsurf", (_file(".windsurfrules"), _directory(".windsurf"))),
    Strategy("gemini", (_file("GEMINI.md"), _directory(".gemini")), described_by=("GEMINI.md",)),
    Strategy("cline", (_file(".clinerules"), _directory(".clinerules"))),
    Strategy("roo-code", (_directory(".roo"), _file(".roorules"))),
    Strategy(
        "copilot",
        (
            _file(".github/copilot-instructions.md"),
            _directory(".github/instructions"),
            _directory(".github/agents"),
        ),
    ),
    Strategy("amazon-q", (_directory(".amazonq"),)),
    Strategy("continue", (_directory(".continue"),)),
)

MARKERS: Final = frozenset(marker for strategy in STRATEGIES for marker in strategy.markers)
"""Every marker of the table."""


def detect(found: Collection[Marker]) -> tuple[Strategy, ...]:
    """Return the strategies that apply where these markers were found, the decisive one first."""
    return tuple(
        strategy for strategy in STRATEGIES if any(marker in found for marker in strategy.markers)
    )


def described_by(strategies: Iterable[Strategy], found: Collection[Marker]) -> tuple[str, ...]:
    """Return which of the files found may describe the project, the one to ask first in front."""
    return tuple(
        name for strategy in strategies for name in strategy.described_by if _file(name) in found
    )


def hints(directory: str, strategies: Sequence[Strategy], description: str | None) -> Hints:
    """Return what a manifest of a candidate could say.

    Args:
        directory: its name.
        strategies: those that apply, at least one, the decisive one first.
        description: what `describe` made of the first file that had one.
    """
    capabilities = (one for strategy in strategies for one in strategy.capabilities)
    return Hints(
        suggested_name=_on_one_line(directory) or UNNAMED,
        detected_runtime=strategies[0].name,
        inferred_capabilities=tuple(dict.fromkeys(capabilities)),
        description=description,
    )


def describe(data: bytes) -> str | None:
    """Return the first paragraph of a Markdown file that says something of the project.

    Front matter, headings, rules, code, comments, and lines that are an image, a tag or an
    import are no paragraphs; nor is the sentence that tools open such a file with.

    Args:
        data: its first bytes.

    Returns:
        One line of at most LONGEST_DESCRIPTION characters; None when there is no paragraph, or
        the file is not text.
    """
    if b"\0" in data:
        return None
    # The end may cut a character in two; what is not UTF-8 is left out.
    lines = data.decode("utf-8-sig", "ignore").splitlines()
    for paragraph in _paragraphs(_prose(_without_front_matter([line.strip() for line in lines]))):
        text = _on_one_line(" ".join(paragraph))
        if text and not text.startswith(_BOILERPLATE):
            return _shortened(text)
    return None


_FRONT_MATTER: Final = "---"
_FENCES: Final = ("```", "~~~")
_COMMENT: Final = ("<!--", "-->")
# A heading, an image or badge, a tag, a quotation of another file into an agent's context.
_NO_PROSE: Final = ("#", "![", "[![", "<", "@")
_UNDERLINES: Final = "=-*_"
_BOILERPLATE: Final = "This file provides guidance to "
_UNSAFE_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def _without_front_matter(lines: list[str]) -> list[str]:
    if lines[:1] == [_FRONT_MATTER] and _FRONT_MATTER in lines[1:]:
        return lines[lines.index(_FRONT_MATTER, 1) + 1 :]
    return lines


def _prose(lines: Iterable[str]) -> Iterator[str]:
    """Yield every line, an empty one for what is no prose."""
    until: str | None = None  # what ends the code or the comment that is open
    for line in lines:
        if until is not None:
            until = None if until in line else until
            yield ""
        elif line.startswith(_FENCES):
            until = line[:3]
            yield ""
        elif line.startswith(_COMMENT[0]) and _COMMENT[1] not in line:
            until = _COMMENT[1]
            yield ""
        else:
            yield "" if line.startswith(_NO_PROSE) else line


def _paragraphs(lines: Iterable[str]) -> Iterator[list[str]]:
    """Yield runs of lines that are not empty. One that is underlined is a heading, and is not."""
    paragraph: list[str] = []
    for line in lines:
        if line and line == line[0] * len(line) and line[0] in _UNDERLINES:
            paragraph = []
        elif line:
            paragraph.append(line)
        elif paragraph:
            yield paragraph
            paragraph = []
    if paragraph:
        yield paragraph


def _on_one_line(text: str) -> str:
    """Return text that forges no line, hides nothing and turns no direction (fault 29)."""
    safe = (
        character
        for character in text
        if character.isspace() or unicodedata.category(character) not in _UNSAFE_CATEGORIES
    )
    return " ".join("".join(safe).split())


def _shortened(text: str) -> str:
    """Return text of at most LONGEST_DESCRIPTION characters, cut between two words if it can be."""
    if len(text) <= LONGEST_DESCRIPTION:
        return text
    kept = text[: LONGEST_DESCRIPTION - 1]
    return (kept.rpartition(" ")[0] or kept) + "…"
