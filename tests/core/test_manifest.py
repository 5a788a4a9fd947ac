"""Manifests that are taken: every field, its default, and how answers show it."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshd.core.document import to_document
from meshd.core.manifest import MAX_NESTING, Manifest, Rejected, parse

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


def test_a_minimal_manifest_gets_the_defaults_of_the_peer() -> None:
    expected = Manifest(
        id="01J9ZK3V5Q8W7X6Y5Z4A3B2C1D",
        name="builder",
        runtime="claude-code",
        registered_at="2026-02-03T04:05:06.789Z",
        registered_by="dorian",
        display_name=None,
        description="",
        capabilities=(),
        behavior={"responseMode": "always"},
        budget={"maxHopsPerMessage": 5, "maxCallsPerHour": 100},
        namespace=None,
        persona=None,
        persona_enabled=True,
        traits=None,
        conventions=None,
        color=None,
        icon=None,
        model=None,
        effort=None,
        account=None,
        is_system=False,
        enabled_tool_groups={},
        mcp_servers=(),
        document=MINIMAL,
    )

    assert expected == parse(encode())


FULL: dict[str, object] = {
    "displayName": "Builder",
    "description": "Builds\nthings",
    "capabilities": ["code", "review"],
    "behavior": {"responseMode": "engaged", "escalationThreshold": 0.5},
    "budget": {"maxHopsPerMessage": 2, "maxCallsPerHour": 9},
    "namespace": "tools",
    "persona": "calm",
    "personaEnabled": False,
    "traits": {"chaos": 5},
    "conventions": {"nope": False},
    "color": "#ff0000",
    "icon": "hammer",
    "model": "large",
    "effort": "xhigh",
    "account": "work",
    "isSystem": True,
    "enabledToolGroups": {"tasks": True, "mesh": False},
    "mcpServers": [SERVER, URL_SERVER | {"enabled": False}],
}


def test_every_field_of_both_generations_is_read_and_shown() -> None:
    shown = to_document(parse(encode(**FULL)))

    expected = (
        MINIMAL
        | FULL
        | {
            "traits": dict.fromkeys(
                ["verbosity", "autonomy", "chaos", "creativity", "humor", "spice"], 3
            )
            | {"chaos": 5},
            "conventions": {"soul": True, "nope": False, "dorkosKnowledge": True},
            "mcpServers": [
                {"name": "search", "enabled": True},
                {"name": "search", "enabled": False},
            ],
        }
    )
    assert expected == shown


def test_optional_keys_that_are_absent_are_left_out_of_answers() -> None:
    expected = {
        "description": "",
        "capabilities": [],
        "behavior": {"responseMode": "always"},
        "budget": {"maxHopsPerMessage": 5, "maxCallsPerHour": 100},
        "personaEnabled": True,
        "isSystem": False,
        "enabledToolGroups": {},
        "mcpServers": [],
    } | MINIMAL

    assert expected == to_document(parse(encode()))


def test_secrets_of_mcp_servers_stay_in_the_document_only() -> None:
    manifest = parse(encode(mcpServers=[SERVER, URL_SERVER]))

    assert "canary-secret" not in repr(manifest.mcp_servers)
    assert "canary-secret" not in json.dumps(to_document(manifest))
    assert "canary-secret" in json.dumps(manifest.document)


def test_the_document_keeps_unknown_keys_and_the_order_of_all() -> None:
    data = b'{"zebra": {"deep": [1.5, null]}, ' + encode(behavior={"own": 1})[1:]

    document = parse(data).document

    expected = {"zebra": {"deep": [1.5, None]}} | MINIMAL | {"behavior": {"own": 1}}
    assert expected == document
    assert list(expected) == list(document)


def test_a_manifest_and_a_refusal_survive_the_way_from_a_worker_process() -> None:
    manifest = parse(encode(**FULL))
    refused = refusal(encode(id=5))

    again = pickle.loads(pickle.dumps(refused))

    assert manifest == pickle.loads(pickle.dumps(manifest))
    assert (refused.reason, refused.detail, str(refused)) == (
        again.reason,
        again.detail,
        str(again),
    )


def test_what_is_only_odd_is_taken() -> None:
    members = {
        "name": "Bäcker 🥨 \u0645",
        "description": "two\nlines\tand a tab",
        "runtime": "not-known-yet",
        "displayName": "x" * 100,
    }
    empty = {"color": None, "namespace": None}
    unknown = {"id": 5, "note": "\x1b[31m", "big": 2**70, "deep": json.loads(DEEPEST[1:-1])}

    shown = to_document(parse(encode(**members, **empty, unknown=unknown)))

    assert members == {key: shown[key] for key in members}
    assert not empty.keys() & shown.keys()


def test_a_surrogate_pair_is_one_character() -> None:
    expected = "🥨"

    assert expected == parse(raw('"description": "\\ud83e\\udd68"')).description


@pytest.mark.parametrize("value", [5, "", None, [], {}, True, "a\0"])
@pytest.mark.parametrize("key", ["model", "effort", "account"])
def test_a_bad_model_effort_or_account_means_inherit(key: str, value: object) -> None:
    assert getattr(parse(encode(**{key: value})), key) is None


def test_an_unknown_effort_means_inherit() -> None:
    assert parse(encode(effort="heroic")).effort is None


@pytest.mark.parametrize(
    ("written", "in_utc"),
    [
        ("2026-02-03T04:05:06Z", "2026-02-03T04:05:06Z"),
        ("2026-02-03T04:05:06.123456789Z", "2026-02-03T04:05:06.123456789Z"),
        ("2026-02-03t04:05:06z", "2026-02-03T04:05:06Z"),
        ("2026-02-03T04:05:06+02:00", "2026-02-03T02:05:06Z"),
        ("2026-02-03T04:05:06.5-23:30", "2026-02-04T03:35:06.500000Z"),
    ],
)
def test_any_offset_is_taken_and_becomes_utc(written: str, in_utc: str) -> None:
    assert in_utc == parse(encode(registeredAt=written)).registered_at


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from([*MINIMAL, *FULL, "unknown"]), JSON, max_size=4))
def test_any_members_end_in_a_storable_manifest_or_a_refusal(members: dict[str, Any]) -> None:
    """What is taken can be dumped, encoded and pickled: nothing fails later, in a transaction."""
    try:
        manifest = parse(json.dumps(MINIMAL | members).encode())
    except Rejected:
        return
    json.dumps(to_document(manifest), allow_nan=False, ensure_ascii=False).encode("utf-8")
    assert manifest == pickle.loads(pickle.dumps(manifest))
