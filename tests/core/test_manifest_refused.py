"""Manifests that are refused: with which word, and what a refusal never shows."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.core.manifest import CAP_BYTES, MAX_NESTING, Rejected, parse
from meshd.core.model import Reason

MINIMAL: dict[str, Any] = {
    "id": "01J9ZK3V5Q8W7X6Y5Z4A3B2C1D",
    "name": "builder",
    "runtime": "claude-code",
    "registeredAt": "2026-02-03T04:05:06.789Z",
    "registeredBy": "dorian",
}
SERVER: dict[str, Any] = {
    "name": "search",
    "enabled": True,
    "connection": {"transport": "stdio", "command": "node", "env": {"TOKEN": "canary-secret"}},
    "addedAt": "2026-02-03T04:05:06Z",
    "addedBy": "dorian",
}
URL_SERVER: dict[str, Any] = SERVER | {
    "connection": {
        "transport": "http",
        "url": "https://example.org/mcp",
        "headers": {"Authorization": "canary-secret"},
    }
}
DEEPEST = "[" * (MAX_NESTING - 1) + "]" * (MAX_NESTING - 1)


def encode(**members: object) -> bytes:
    return json.dumps(MINIMAL | members).encode()


def raw(members: str) -> bytes:
    """A manifest whose last members are written by hand, as json.dumps would not."""
    return encode()[:-1] + f", {members}}}".encode()


def refusal(data: bytes) -> Rejected:
    with pytest.raises(Rejected) as caught:
        parse(data)
    return caught.value


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"", Reason.EMPTY, id="an empty file, the commonest torn state"),
        pytest.param(b" \n\t", Reason.EMPTY, id="white space only"),
        pytest.param(b"\xef\xbb\xbf" + encode(), Reason.BOM, id="fault 30: UTF-8 BOM"),
        pytest.param(
            encode().decode().encode("utf-16"), Reason.NOT_UTF8, id="fault 31: UTF-16 with BOM"
        ),
        pytest.param(
            encode().decode().encode("utf-16-le"), Reason.NOT_JSON, id="fault 31: without BOM"
        ),
        pytest.param(b'{"id": "\xff"}', Reason.NOT_UTF8, id="fault 27: invalid UTF-8"),
        pytest.param(b'{"id": "\xed\xa0\x80"}', Reason.NOT_UTF8, id="fault 27: raw surrogate"),
        pytest.param(encode()[:-1], Reason.NOT_JSON, id="torn at the last byte"),
        pytest.param(b"\0" * 930, Reason.NOT_JSON, id="torn: blocks not yet written"),
        pytest.param(encode() + b"x", Reason.NOT_JSON, id="fault 32: trailing garbage"),
        pytest.param(encode() + encode(), Reason.NOT_JSON, id="fault 32: two documents"),
        pytest.param(encode() + b"\0\0", Reason.NOT_JSON, id="fault 32: trailing NULs"),
        pytest.param(encode() + b"// note", Reason.NOT_JSON, id="fault 32: comment"),
        pytest.param(encode()[:-1] + b",}", Reason.NOT_JSON, id="fault 32: trailing comma"),
        pytest.param(b"{'id': 'a'}", Reason.NOT_JSON, id="single quotes"),
        pytest.param(raw('"note": "a\nb"'), Reason.NOT_JSON, id="raw newline in a string"),
        pytest.param(raw('"id": "other"'), Reason.DUPLICATE_KEY, id="fault 21: second id"),
        pytest.param(
            raw('"x": [{"a": 1, "\\u0061": 2}]'), Reason.DUPLICATE_KEY, id="fault 21: nested"
        ),
        pytest.param(raw('"x": NaN'), Reason.NOT_FINITE, id="fault 22: NaN"),
        pytest.param(raw('"x": -Infinity'), Reason.NOT_FINITE, id="fault 22: infinity"),
        pytest.param(raw('"x": 1e999'), Reason.NOT_FINITE, id="fault 23: overflows to infinity"),
        pytest.param(raw('"x": ' + "9" * 5000), Reason.NOT_JSON, id="fault 25: 5,000 digits"),
        pytest.param(raw('"x": "\\ud800"'), Reason.LONE_SURROGATE, id="fault 26: value"),
        pytest.param(raw('"\\uDC00": 1'), Reason.LONE_SURROGATE, id="fault 26: key"),
        pytest.param(
            raw('"x": [["\\udc00\\ud800"]]'), Reason.LONE_SURROGATE, id="fault 26: reversed"
        ),
        pytest.param(b"null", Reason.NOT_OBJECT, id="fault 33: null"),
        pytest.param(b"[]", Reason.NOT_OBJECT, id="fault 33: a list"),
        pytest.param(b'"' + b"a" * 50 + b'"', Reason.NOT_OBJECT, id="fault 33: a string"),
        pytest.param(raw(f'"x": [{DEEPEST}]'), Reason.TOO_DEEP, id="one level too many"),
        pytest.param(b"[" * 1_100 + b"]" * 1_100, Reason.TOO_DEEP, id="fault 36: 1,100 levels"),
        pytest.param(b"[" * CAP_BYTES, Reason.TOO_DEEP, id="fault 36: as deep as the cap"),
        pytest.param(
            b'{"a":' * 5_000 + b"1" + b"}" * 5_000, Reason.TOO_DEEP, id="fault 36: objects"
        ),
        pytest.param(b" " * (CAP_BYTES + 1), Reason.TOO_BIG, id="one byte above the cap"),
        pytest.param(b"{}", Reason.BAD_SCHEMA, id="no key at all"),
    ],
)
def test_what_is_not_one_plain_json_object_is_refused(data: bytes, reason: Reason) -> None:
    assert reason is refusal(data).reason


@pytest.mark.parametrize(
    ("members", "detail"),
    [
        ({"id": 5}, "id: must be 1 to 64 letters, digits, - or _, the first a letter or digit"),
        (
            {"id": "../../etc"},
            "id: must be 1 to 64 letters, digits, - or _, the first a letter or digit",
        ),
        ({"name": ""}, "name: must be text, not empty, without control characters"),
        (
            {"runtime": "Claude"},
            "runtime: must be 1 to 64 lower-case letters, digits or -, the first not -",
        ),
        ({"isSystem": 1}, "isSystem: must be true or false"),
        ({"capabilities": "code"}, "capabilities: must be a list of texts without NUL"),
        ({"capabilities": ["a", 5, "b"]}, "capabilities[1]: must be a list of texts without NUL"),
        ({"behavior": None}, "behavior: must be an object"),
        (
            {"behavior": {"responseMode": "loud"}},
            "behavior.responseMode: must be always, engaged, direct-only, mention-only or silent",
        ),
        (
            {"behavior": {"escalationThreshold": True}},
            "behavior.escalationThreshold: must be a number",
        ),
        (
            {"behavior": {"escalationThreshold": 2**70}},
            "behavior.escalationThreshold: must be a number",
        ),
        (
            {"behavior": {"escalationThreshold": 10**400}},
            "behavior.escalationThreshold: must be a number",
        ),
        (
            {"budget": {"maxCallsPerHour": 0}},
            "budget.maxCallsPerHour: must be a whole number of at least 1",
        ),
        (
            {"budget": {"maxCallsPerHour": True}},
            "budget.maxCallsPerHour: must be a whole number of at least 1",
        ),
        (
            {"budget": {"maxCallsPerHour": 5.0}},
            "budget.maxCallsPerHour: must be a whole number of at least 1",
        ),
        (
            {"budget": {"maxHopsPerMessage": 2**63}},
            "budget.maxHopsPerMessage: must be a whole number of at least 1",
        ),
        ({"traits": {"humor": 6}}, "traits.humor: must be a whole number from 1 to 5"),
        ({"conventions": {"soul": "yes"}}, "conventions.soul: must be true or false"),
        ({"enabledToolGroups": {"mesh": 0}}, "enabledToolGroups.mesh: must be true or false"),
        (
            {"displayName": "x" * 101},
            "displayName: must be text of at most 100 characters, without control characters",
        ),
        (
            {"namespace": "x" * 65},
            "namespace: must be text of at most 64 characters, without control characters",
        ),
        (
            {"persona": "x" * 4001},
            "persona: must be text of at most 4000 characters, without NUL",
        ),
        ({"registeredBy": ""}, "registeredBy: must be text, not empty, without NUL"),
        ({"mcpServers": {}}, "mcpServers: must be a list of objects"),
        (
            {"mcpServers": [SERVER, SERVER | {"name": "bad name!"}]},
            "mcpServers[1].name: must be 1 to 64 letters, digits, - or _",
        ),
        (
            {"mcpServers": [SERVER | {"connection": {"transport": "ws"}}]},
            "mcpServers[0].connection: must be an object whose transport is stdio, http or sse",
        ),
        (
            {"mcpServers": [SERVER | {"connection": {"transport": "stdio", "command": ""}}]},
            "mcpServers[0].connection.command: must be text, not empty, without NUL",
        ),
        (
            {"mcpServers": [SERVER | {"connection": {"transport": "sse", "url": "nowhere"}}]},
            "mcpServers[0].connection.url: must be a URL",
        ),
        (
            {"mcpServers": [SERVER | {"addedAt": "yesterday"}]},
            "mcpServers[0].addedAt: must be an RFC 3339 time with its offset",
        ),
        (
            {"mcpServers": [{"name": "a", "connection": SERVER["connection"]}]},
            "mcpServers[0].addedAt: is required",
        ),
    ],
)
def test_a_broken_rule_is_named_by_key_and_rule(members: dict[str, Any], detail: str) -> None:
    refused = refusal(encode(**members))

    assert (Reason.BAD_SCHEMA, detail) == (refused.reason, refused.detail)


@pytest.mark.parametrize("key", list(MINIMAL))
def test_each_required_key_is_required(key: str) -> None:
    members = {name: value for name, value in MINIMAL.items() if name != key}

    assert f"{key}: is required" == refusal(json.dumps(members).encode()).detail


@pytest.mark.parametrize("key", ["id", "name", "displayName", "namespace", "runtime"])
@pytest.mark.parametrize(
    "character",
    [
        pytest.param("\0", id="NUL"),
        pytest.param("\n", id="newline"),
        pytest.param("\x1b", id="escape"),
        pytest.param("\x7f", id="delete"),
        pytest.param("\x85", id="next line, C1"),
        pytest.param("\u202e", id="right-to-left override"),
        pytest.param("\u200b", id="zero-width space"),
        pytest.param("\u2028", id="line separator"),
        pytest.param("\u2029", id="paragraph separator"),
        pytest.param("\U000e0041", id="tag letter, beyond 16 bits"),
    ],
)
def test_names_hold_no_control_characters(key: str, character: str) -> None:
    """Fault 29, wherever in the name the character stands; the end is where `$` errs."""
    for name in (f"{character}ab", f"a{character}b", f"ab{character}"):
        refused = refusal(encode(**{key: name}))
        assert Reason.BAD_SCHEMA is refused.reason
        assert (refused.detail or "").startswith(f"{key}: ")


@pytest.mark.parametrize(
    "members",
    [
        {"description": "a\0b"},
        {"registeredBy": "a\0"},
        {"capabilities": ["\0"]},
        {"persona": "\0"},
        {"color": "\0"},
        {"icon": "\0"},
        {"mcpServers": [SERVER | {"addedBy": "\0"}]},
        {"mcpServers": [SERVER | {"connection": {"transport": "stdio", "command": "a\0"}}]},
    ],
)
def test_no_known_text_holds_nul(members: dict[str, Any]) -> None:
    assert Reason.BAD_SCHEMA is refusal(encode(**members)).reason


@pytest.mark.parametrize(
    "written",
    [
        "2026-02-03",
        "2026-02-03T04:05:06",
        "2026-02-30T04:05:06Z",
        "2026-02-03T24:05:06Z",
        "2026-02-03T04:05:06+25:00",
        "2026-02-03T04:05:06Z\n",
        "٢٠٢٦-02-03T04:05:06Z",
        "2026-02-03T04:05:06.\u0667Z",
        "0001-01-01T00:00:00+01:00",
        "20260203T040506Z",
        1770091506,
    ],
)
def test_what_is_not_a_time_with_an_offset_is_refused(written: object) -> None:
    expected = "registeredAt: must be an RFC 3339 time with its offset"

    assert expected == refusal(encode(registeredAt=written)).detail


CANARY = "c4n4ry"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(f'{{"{CANARY}": '.encode(), id="torn"),
        pytest.param(f'{{"{CANARY}": 1, "{CANARY}": 2}}'.encode(), id="duplicate key"),
        pytest.param(b"\xff" + CANARY.encode(), id="not UTF-8"),
        pytest.param(raw(f'"{CANARY}": "\\ud800"'), id="surrogate"),
        pytest.param(encode(id=f"{CANARY}!"), id="bad id"),
        pytest.param(encode(behavior={"responseMode": CANARY}), id="bad enum"),
        pytest.param(
            encode(mcpServers=[SERVER | {"connection": {"transport": CANARY}}]), id="bad tag"
        ),
        pytest.param(
            encode(
                mcpServers=[
                    SERVER
                    | {"connection": {"transport": "stdio", "command": "x", "env": {CANARY: 5}}}
                ]
            ),
            id="name of a secret",
        ),
        pytest.param(
            encode(
                mcpServers=[
                    URL_SERVER
                    | {"connection": {"transport": "http", "url": "https://x", "headers": CANARY}}
                ]
            ),
            id="value of a secret",
        ),
        pytest.param(encode(registeredAt=CANARY), id="bad time"),
    ],
)
def test_nothing_of_a_refused_file_is_in_the_refusal(data: bytes) -> None:
    refused = refusal(data)

    assert CANARY not in f"{refused!r} {refused} {refused.reason} {refused.detail}"
    assert refused.__cause__ is None
    assert refused.__context__ is None or CANARY not in str(refused.__context__)


def test_thousands_of_faults_make_one_short_detail() -> None:
    """Fault 38: a validator's own text for this file is megabytes long."""
    expected = "capabilities[0]: must be a list of texts without NUL"

    assert expected == refusal(encode(capabilities=[5] * 10_000)).detail


def test_the_nesting_limit_does_not_depend_on_the_stack_of_the_caller() -> None:
    deep = raw(f'"x": {DEEPEST}')
    outcomes: list[object] = []

    def dig(frames: int) -> None:
        if frames:
            dig(frames - 1)
        else:
            outcomes.append(parse(deep).id)

    thread = threading.Thread(target=dig, args=(sys.getrecursionlimit() // 2,))
    thread.start()
    thread.join()

    assert [MINIMAL["id"]] == outcomes


@given(st.binary(max_size=200))
def test_any_bytes_end_in_a_manifest_or_a_refusal(data: bytes) -> None:
    with contextlib.suppress(Rejected):
        parse(data)
