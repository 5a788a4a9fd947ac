"""Editing a manifest changes what is asked for and not one byte more."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from meshd.core.editing import EDITABLE, differing, edited, require_editable, written_anew
from meshd.errors import BadRequestError

INDENTED = b"""{
  "id": "a",
  "capabilities": ["x", "y"],
  "x-team": {
      "lead":   "ada"
  },
  "color": "red"
}
"""


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, INDENTED),
        ({"id": "a", "capabilities": ["x", "y"], "icon": None}, INDENTED),
        ({"id": "b"}, INDENTED.replace(b'"a"', b'"b"')),
        ({"capabilities": ["z"]}, INDENTED.replace(b'["x", "y"]', b'["z"]')),
        ({"color": None}, INDENTED.replace(b',\n  "color": "red"', b"")),
        ({"id": None}, INDENTED.replace(b'"id": "a",\n  ', b"")),
        ({"icon": "\N{ROBOT FACE}"}, INDENTED[:-3] + ',\n  "icon": "\N{ROBOT FACE}"\n}\n'.encode()),
        (
            {"budget": {"maxCallsPerHour": 1}},
            INDENTED[:-3] + b',\n  "budget": {\n    "maxCallsPerHour": 1\n  }\n}\n',
        ),
    ],
)
def test_only_what_is_asked_for_changes(changes: dict[str, Any], expected: bytes) -> None:
    assert edited(INDENTED, changes) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"id":"a"}', b'{"id":"a","traits":{"humor":5,"chaos":[1,2]}}'),
        (b'{"id": "a"}\n', b'{"id": "a", "traits": {"humor": 5, "chaos": [1, 2]}}\n'),
        (
            b'{\r\n\t"id" : "a"\r\n}\r\n',
            (
                b'{\r\n\t"id" : "a",\r\n\t"traits" : {\r\n\t\t"humor": 5,\r\n\t\t"chaos": ['
                b"\r\n\t\t\t1,\r\n\t\t\t2\r\n\t\t]\r\n\t}\r\n}\r\n"
            ),
        ),
    ],
)
def test_what_is_added_is_written_as_the_rest_is(data: bytes, expected: bytes) -> None:
    assert edited(data, {"traits": {"humor": 5, "chaos": [1, 2]}}) == expected


def test_true_is_not_one() -> None:
    assert differing({"a": True, "b": [1], "c": 1}, {"a": 1, "b": [True], "c": 1.0}) == {
        "a": 1,
        "b": [True],
    }


def test_a_new_manifest_is_indented_by_two_and_ends_in_a_newline() -> None:
    assert written_anew({"id": "a", "color": None, "name": "é"}) == (
        b'{\n  "id": "a",\n  "name": "\xc3\xa9"\n}\n'
    )


@pytest.mark.parametrize(
    "changes",
    [{"id": "b"}, {"isSystem": True}, {"mcpServers": []}, {"x-new": 1}, {"name": None}],
)
def test_what_no_caller_may_set_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(BadRequestError):
        require_editable(changes)


@pytest.mark.parametrize("value", [float("nan"), "\ud800", {"a": object()}])
def test_what_is_no_json_is_refused(value: object) -> None:
    with pytest.raises(BadRequestError):
        edited(INDENTED, {"persona": value})


values = some.recursive(
    some.none()
    | some.booleans()
    | some.integers()
    | some.floats(allow_nan=False, allow_infinity=False)
    | some.text(some.characters(exclude_categories=["Cs"])),
    lambda inner: (
        some.lists(inner, max_size=3)
        | some.dictionaries(
            some.text(some.characters(exclude_categories=["Cs"]), max_size=3), inner, max_size=3
        )
    ),
    max_leaves=5,
)
keys = some.sampled_from(sorted(EDITABLE)) | some.text(max_size=4).filter(
    lambda text: text.isprintable()
)
styles = some.sampled_from(
    [
        {"indent": 2},
        {"indent": 4},
        {"indent": "\t"},
        {"indent": 0},
        {},
        {"separators": (",", ":")},
        {"separators": (" , ", " : ")},
        {"indent": 2, "separators": (",", ":")},
    ]
)


@given(
    document=some.dictionaries(keys, values, min_size=1, max_size=6),
    changes=some.dictionaries(some.sampled_from(sorted(EDITABLE)), values, max_size=3),
    style=styles,
    is_ascii=some.booleans(),
    end=some.sampled_from(["", "\n", "\r\n", " \n\n"]),
)
def test_any_edit_of_any_text_says_what_a_merge_says(
    document: dict[str, Any],
    changes: dict[str, Any],
    style: dict[str, Any],
    is_ascii: bool,
    end: str,
) -> None:
    document = {"id": "a", **document}
    text = json.dumps(document, ensure_ascii=is_ascii, **style) + end
    asked = differing(document, changes)
    expected = document | asked
    expected = {key: value for key, value in expected.items() if asked.get(key, 0) is not None}
    result = edited(text.encode(), changes).decode()
    assert list(json.loads(result).items()) == list(expected.items())
    assert result.endswith(text[text.rindex("}") :])
    assert (result == text) == (not asked)
