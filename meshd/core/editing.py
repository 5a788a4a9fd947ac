"""Editing a manifest as its owner would: what is asked for changes, the rest stays as written.

Owns how changed keys go into the text of a manifest, and how a new one is written. Assumes a
text that `manifest.parse` has accepted. Promises that every member that is not asked for keeps
its place, its spelling and the space around it, unknown keys included; and that a change which
changes nothing gives the very same bytes.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from meshd.errors import BadRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CLEARABLE: Final = frozenset(
    {
        "displayName",
        "namespace",
        "persona",
        "traits",
        "conventions",
        "color",
        "icon",
        "model",
        "effort",
        "account",
    }
)
"""Keys that null takes away."""

EDITABLE: Final = CLEARABLE | {
    "name",
    "description",
    "runtime",
    "capabilities",
    "behavior",
    "budget",
    "personaEnabled",
    "enabledToolGroups",
}
"""Keys that a caller may set. Ids, origins and whom to trust are not the API's to give."""

_INDENT: Final = 2
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_DECODER: Final = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class _Member:
    """Where one member of the outermost object stands in the text.

    Attributes:
        start: of the key's opening quote.
        value: where the value begins.
        end: behind the value.
    """

    key: str
    start: int
    value: int
    end: int


def require_editable(changes: Mapping[str, Any]) -> None:
    """Refuse keys that no caller may set, and null where something must be said.

    Raises:
        BadRequestError: it names the first such key, escaped.
    """
    for key, value in changes.items():
        if key not in EDITABLE:
            raise BadRequestError(
                f"{key[:64]!a} cannot be set", hint=f"what can be: {', '.join(sorted(EDITABLE))}"
            )
        if value is None and key not in CLEARABLE:
            raise BadRequestError(
                f"{key} cannot be null", hint=f"what can be: {', '.join(sorted(CLEARABLE))}"
            )


def differing(document: Mapping[str, object], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the changes that would change a document; null and a missing key are the same."""
    return {key: value for key, value in changes.items() if not _same(document.get(key), value)}


def edited(data: bytes, changes: Mapping[str, Any]) -> bytes:
    """Return a manifest with some keys set, or taken away where the value is None.

    Args:
        data: the file as it stands; `manifest.parse` accepts it.
        changes: values by key, as JSON has them; a value replaces the whole old one.

    Raises:
        BadRequestError: a value cannot be written as JSON.
    """
    text = data.decode("utf-8")
    for key, value in differing(json.loads(text), changes).items():
        members = _members(text)
        place = next((at for at, one in enumerate(members) if one.key == key), None)
        if place is None:
            text = _with_member(text, members, key, value)
        elif value is None:
            text = _without_member(text, members, place)
        else:
            member = members[place]
            written = _written(text, members, member, value)
            text = text[: member.value] + written + text[member.end :]
    return _encoded(text)


def written_anew(document: Mapping[str, Any]) -> bytes:
    """Return a new manifest: indented by two, keys in the order given, None left out.

    Raises:
        BadRequestError: a value cannot be written as JSON.
    """
    members = {key: value for key, value in document.items() if value is not None}
    return _encoded(_dumped(members, indent=_INDENT) + "\n")


def _same(one: object, other: object) -> bool:
    """Whether two values are the same to every reader of JSON: 1 is not true, but is 1.0."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return one == other


def _members(text: str) -> list[_Member]:
    """Find the members of the outermost object, in their order."""
    members: list[_Member] = []
    at = _past_space(text, text.index("{") + 1)
    while text[at] != "}":
        if text[at] == ",":
            at = _past_space(text, at + 1)
        key, end = _DECODER.raw_decode(text, at)
        value = _past_space(text, _past_space(text, end) + 1)  # past the colon
        _, past = _DECODER.raw_decode(text, value)
        members.append(_Member(key, at, value, past))
        at = _past_space(text, past)
    return members


def _past_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return at if match is None else match.end()


def _with_member(text: str, members: Sequence[_Member], key: str, value: object) -> str:
    """Add a member behind the last one, spaced as that is."""
    last = members[-1]
    if len(members) > 1:
        comma = text[members[-2].end : last.start]
    else:
        lead = _lead(text, last)
        comma = "," + (lead if lead or _is_tight(text, members) else " ")
    colon = text[last.start : last.value].rpartition(":")
    gap = colon[0][len(colon[0].rstrip()) :] + ":" + colon[2]
    written = _written(text, members, None, value)
    member = f"{comma}{_dumped(key)}{gap}{written}"
    return text[: last.end] + member + text[last.end :]


def _lead(text: str, first: _Member) -> str:
    """Return the space between the opening brace and the first member."""
    return text[text.index("{") + 1 : first.start]


def _without_member(text: str, members: Sequence[_Member], place: int) -> str:
    """Take a member away with the comma that parted it from the next, or from the one before."""
    if place + 1 < len(members):
        return text[: members[place].start] + text[members[place + 1].start :]
    before = members[place - 1].end if place else text.index("{") + 1
    return text[:before] + text[members[place].end :]


def _written(text: str, members: Sequence[_Member], old: _Member | None, value: object) -> str:
    """Write a value in the style of the text: indented as it is, or on one line as it was."""
    lead = _lead(text, members[0])
    newline = "\r\n" if "\r\n" in lead else "\n"
    on_one_line = old is not None and "\n" not in text[old.value : old.end]
    if "\n" not in lead or (on_one_line and isinstance(value, list)):
        return _dumped(value, tight=_is_tight(text, members))
    unit = lead.rpartition("\n")[2]
    lines = _dumped(value, indent=unit).split("\n")
    return f"{newline}{unit}".join(lines)


def _is_tight(text: str, members: Sequence[_Member]) -> bool:
    """Whether nothing stands behind commas and colons."""
    first = members[0]
    return text[first.value - 1] == ":"


def _dumped(value: object, *, indent: int | str | None = None, tight: bool = False) -> str:
    try:
        return json.dumps(
            value,
            ensure_ascii=False,
            allow_nan=False,
            indent=indent,
            separators=(",", ":") if tight else None,
        )
    except (TypeError, ValueError, RecursionError):
        raise BadRequestError(
            "a value cannot be written as JSON", hint="use finite numbers, texts, lists, objects"
        ) from None


def _encoded(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise BadRequestError("a text holds half a character") from None
