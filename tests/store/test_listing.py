"""Rows as lists show them: the same as alone, whole or passed on as text."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.core.document import FIELDS, to_document, without_absent
from meshd.store import apply, listing
from meshd.store.registry import Registry
from tests.store.builders import agent, claim, new_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import apsw

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
OBJECTS = st.dictionaries(WORDS, st.one_of(WORDS, st.integers(-9, 9), st.booleans()), max_size=4)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[apsw.Connection]:
    connection = new_database(tmp_path / "meshd.db")
    yield connection
    connection.close()


@pytest.fixture
def registry(connection: apsw.Connection) -> Registry:
    return Registry(connection)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[apsw.Connection]:
    connection = new_database(tmp_path_factory.mktemp("listing") / "meshd.db")
    yield connection
    connection.close()


@given(
    text=WORDS,
    mapping=OBJECTS,
    words=st.lists(WORDS, max_size=3),
    optional=st.none() | OBJECTS,
    truth=st.booleans(),
)
def test_a_manifest_is_listed_as_it_is_shown_alone(
    shared: apsw.Connection,
    text: str,
    mapping: dict[str, object],
    words: list[str],
    optional: dict[str, object] | None,
    truth: bool,
) -> None:
    row = agent(
        "a", description=text, declared_namespace=text, capabilities=tuple(words), budget=mapping,
        behavior=mapping, traits=optional, mcp_servers=(mapping,), is_system=truth, persona=None,
    )  # fmt: skip
    apply.upsert_agents(shared, [row])
    registry = Registry(shared)

    (read,) = registry.listed(FIELDS)
    (passed_on,) = registry.listed(FIELDS, passing=orjson.Fragment)

    assert without_absent(read) == to_document(row)
    assert json.loads(orjson.dumps(without_absent(passed_on))) == to_document(row)


DAMAGED = ["", "{", "[1", "5", '"text"', "null", "NaN", '{"a":1}x', "[" * 5000]


@pytest.mark.parametrize("text", DAMAGED, ids=lambda text: text[:9])
@pytest.mark.parametrize(
    ("field", "default"), [("behavior", {}), ("capabilities", ()), ("traits", None)]
)
def test_no_text_is_passed_on_that_is_not_what_it_should_be(
    connection: apsw.Connection, registry: Registry, text: str, field: str, default: object
) -> None:
    apply.upsert_agents(connection, [agent("a")])
    connection.execute(f"UPDATE agents SET {field}_json = ?", (text,))

    for passing in (json.loads, orjson.Fragment):
        assert registry.listed({"it": field}, passing=passing) == [{"it": default}]


def test_one_kind_of_structure_does_not_pass_for_the_other(
    connection: apsw.Connection, registry: Registry
) -> None:
    apply.upsert_agents(connection, [agent("a")])
    connection.execute("UPDATE agents SET capabilities_json = '{}', budget_json = '[]'")

    listed = registry.listed({"list": "capabilities", "object": "budget"})
    assert listed == [{"list": (), "object": {}}]


def test_a_path_that_is_not_utf8_is_passed_on_as_escapes(
    connection: apsw.Connection, registry: Registry
) -> None:
    path = os.fsdecode(b"/r/caf\xe9")
    apply.upsert_agents(connection, [agent("a", path)])
    wanted = {"path": "project_path"}

    assert registry.listed(wanted) == [{"path": path}]
    passed_on = registry.listed(wanted, passing=orjson.Fragment)
    assert orjson.dumps(passed_on) == rb'[{"path":"/r/caf\udce9"}]'


def test_agents_are_selected_by_what_they_run_and_what_they_can(
    connection: apsw.Connection, registry: Registry
) -> None:
    rows = [
        agent("a", runtime="codex", capabilities=("read", "write")),
        agent("b", runtime="codex", capabilities=("writes",)),
        agent("c", capabilities=("write",)),
        agent("d", runtime="codex"),
    ]
    apply.upsert_agents(connection, rows)
    connection.execute("UPDATE agents SET capabilities_json = '[\"write' WHERE id = 'd'")

    def found(runtime: str | None, capability: str | None) -> list[str]:
        rows = registry.listed({"id": "id"}, listing.live(runtime, capability))
        return [row["id"] for row in rows]

    assert found(None, "write") == ["a", "c"]
    assert found("codex", None) == ["a", "b", "d"]
    assert found("codex", "write") == ["a"]
    assert found("codex", "' OR 1 --") == []


def test_what_claim_and_root_say_may_be_asked_for(
    connection: apsw.Connection, registry: Registry
) -> None:
    apply.upsert_agents(connection, [agent("a")])
    apply.upsert_claims(connection, [claim("/r/a", "a")])
    connection.execute("UPDATE claims SET outcome = 'nonsense'")
    names = ("claim_outcome", "claim_reason", "root_healthy", "root_observed_seconds")

    (row,) = registry.listed({name: name for name in names})
    assert [str(row["claim_outcome"]), *list(row.values())[1:]] == ["unreadable", None, False, 0]
