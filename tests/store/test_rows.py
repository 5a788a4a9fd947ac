"""Rows as values: every field survives the database, and damage does not stop reading."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshd.core.model import (
    Agent,
    Claim,
    ClaimOutcome,
    FileIdentity,
    Reason,
    RootIdentity,
    RootState,
    Signature,
    Status,
)
from meshd.store import apply
from meshd.store.migrations import migrate
from meshd.store.registry import Registry
from tests.store.builders import agent, claim, write

if TYPE_CHECKING:
    from collections.abc import Iterator

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
words = texts.filter(bool)
paths = st.binary(min_size=1, max_size=12).map(lambda raw: os.fsdecode(b"/" + raw))
numbers = st.integers(0, 2**64 - 1)
# JSON has neither infinities nor NaN, and a manifest with one is refused (faults 22 and 23).
finite = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=4,
)
objects = st.dictionaries(texts, json_values, max_size=3)
reasons = st.none() | st.sampled_from(Reason)
agents = st.builds(
    Agent,
    id=words,
    name=texts,
    runtime=texts,
    registered_at=texts,
    registered_by=texts,
    namespace=texts,
    scan_root=paths,
    project_path=st.none() | paths,
    last_path=paths,
    display_name=st.none() | texts,
    description=texts,
    declared_namespace=st.none() | texts,
    capabilities=st.lists(texts, max_size=3).map(tuple),
    behavior=objects,
    budget=objects,
    persona=st.none() | texts,
    persona_enabled=st.booleans(),
    traits=st.none() | objects,
    conventions=st.none() | objects,
    color=st.none() | texts,
    icon=st.none() | texts,
    model=st.none() | texts,
    effort=st.none() | texts,
    account=st.none() | texts,
    is_system=st.booleans(),
    enabled_tool_groups=objects,
    mcp_servers=st.lists(objects, max_size=2).map(tuple),
    approver=st.none() | texts,
    status=st.sampled_from(Status),
    unreachable_reason=reasons,
    unreachable_since=st.none() | texts,
    absent_clock=st.none() | st.floats(0, 1e12),
    unscanned=reasons,
    born_sweep=st.none() | st.integers(0, 2**62),
    flags=st.lists(texts, max_size=2).map(tuple),
    last_seen_at=st.none() | texts,
    last_seen_event=st.none() | texts,
    updated_at=st.none() | texts,
    seq=st.integers(0, 2**62),
)
claims = st.builds(
    Claim,
    path=paths,
    root=paths,
    outcome=st.sampled_from(ClaimOutcome),
    agent_id=st.none() | texts,
    reason=reasons,
    detail=st.none() | texts,
    signature=st.none() | st.builds(Signature, *[numbers] * 5),
    content_hash=st.none() | texts,
    dork=st.none() | st.builds(FileIdentity, numbers, numbers),
    filesystem=st.none() | texts,
    look=st.integers(0, 2**62),
    looked_at_ns=st.integers(0, 2**62),
)
roots = st.builds(
    RootState,
    path=paths,
    healthy=st.booleans(),
    reason=st.none() | texts,
    identity=st.none() | st.builds(RootIdentity, texts, numbers),
    observed_seconds=st.floats(0, 1e12),
)


@pytest.fixture(scope="module")
def shared() -> Iterator[apsw.Connection]:
    """One database for many examples; each example clears what it looks at."""
    connection = apsw.Connection(":memory:")
    migrate(connection, "at")
    yield connection
    connection.close()


@settings(max_examples=50, deadline=None)
@given(rows=st.lists(agents, max_size=3, unique_by=(lambda a: a.id, lambda a: a.project_path)))
def test_every_field_of_an_agent_survives(shared: apsw.Connection, rows: list[Agent]) -> None:
    shared.execute("DELETE FROM agents")
    apply.upsert_agents(shared, rows)

    assert {row.id: row for row in rows} == {
        record.agent.id: record.agent for record in Registry(shared).records()
    }


@settings(max_examples=80, deadline=None)
@given(one=claims)
def test_every_field_of_a_claim_survives(shared: apsw.Connection, one: Claim) -> None:
    shared.execute("DELETE FROM claims")
    apply.upsert_claims(shared, [one])

    assert Registry(shared).claims() == [one]


@settings(max_examples=80, deadline=None)
@given(one=roots)
def test_every_field_of_a_root_survives(shared: apsw.Connection, one: RootState) -> None:
    shared.execute("DELETE FROM roots")
    apply.upsert_roots(shared, [one])

    assert Registry(shared).roots() == {one.path: one}


@pytest.mark.parametrize(
    ("column", "value", "field", "expected"),
    [
        ("behavior_json", "{", "behavior", {}),  # torn
        ("behavior_json", "[]", "behavior", {}),  # JSON, but not an object
        ("budget_json", "5", "budget", {}),
        ("capabilities_json", '"abc"', "capabilities", ()),  # would read as three letters
        ("capabilities_json", "[" * 100_000, "capabilities", ()),  # deeper than the parser goes
        ("flags_json", '{"a":1}', "flags", ()),  # would read as its keys
        ("traits_json", "x", "traits", None),
        ("mcp_servers_json", "", "mcp_servers", ()),
        ("enabled_tool_groups_json", "nul", "enabled_tool_groups", {}),
        ("unreachable_reason", "because", "unreachable_reason", None),
        ("unscanned", "because", "unscanned", None),
        ("status", "lurking", "status", Status.ACTIVE),
        ("status", "inactive", "status", Status.ACTIVE),  # the word of old databases
    ],
)
def test_a_column_that_holds_what_it_should_not_reads_as_its_default(
    column: str, value: str, field: str, expected: object, connection: apsw.Connection
) -> None:
    apply.upsert_agents(connection, [agent("a"), agent("b")])
    write(connection, f"UPDATE agents SET {column} = ? WHERE id = 'a'", value)

    damaged, other = (record.agent for record in Registry(connection).records())

    assert getattr(damaged, field) == expected
    assert other == agent("b")


def test_a_claim_with_unknown_words_reads_as_one_that_could_not_be_told(
    connection: apsw.Connection,
) -> None:
    apply.upsert_agents(connection, [agent("a")])
    apply.upsert_claims(connection, [claim("/r/a", "a", reason=Reason.BOM)])
    write(connection, "UPDATE claims SET outcome = 'perhaps', reason = 'who knows'")

    registry = Registry(connection)

    assert registry.claims() == [claim("/r/a", "a", outcome=ClaimOutcome.UNREADABLE)]
    assert [record.claim_outcome for record in registry.records()] == [ClaimOutcome.UNREADABLE]


@pytest.mark.parametrize("damage", ["", "x", "1:2", "1:2:3:4:5:6"])
def test_a_signature_that_cannot_be_read_is_none_so_the_file_is_read_again(
    damage: str, connection: apsw.Connection
) -> None:
    signature, dork = Signature(1, 2, 3, 4, 5), FileIdentity(1, 2)
    apply.upsert_claims(connection, [claim("/r/a", "a", signature=signature, dork=dork)])
    write(connection, "UPDATE claims SET signature = ?1, dork = ?1 || ':'", damage)

    assert Registry(connection).claims() == [claim("/r/a", "a")]
    assert Registry(connection).signatures() == [("/r/a", None, 0)]


@pytest.mark.parametrize(("filesystem", "inode"), [("ef53:1", "x"), ("ef53:1", None), (None, "7")])
def test_a_damaged_identity_of_a_root_matches_nothing(
    filesystem: str | None, inode: str | None, connection: apsw.Connection
) -> None:
    """None would mean "never seen": whatever is mounted there next would be believed."""
    apply.upsert_roots(connection, [RootState("/r", True, None, RootIdentity("ef53:1", 7))])
    write(connection, "UPDATE roots SET filesystem = ?, inode = ?", filesystem, inode)

    identity = Registry(connection).roots()["/r"].identity

    assert identity is not None
    assert identity != RootIdentity("ef53:1", 7)
