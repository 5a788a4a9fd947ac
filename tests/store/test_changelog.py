"""The change log: numbers that only grow, no gaps, and a history that adds up."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshd.core.model import Change, Kind, Source, Status
from meshd.core.plan import Plan
from meshd.core.snapshot import difference, snapshot
from meshd.store import apply, changelog
from meshd.store.connection import open_writing
from meshd.store.migrations import migrate
from meshd.store.registry import Registry
from meshd.store.transactions import transaction
from tests.store.builders import agent, change

if TYPE_CHECKING:
    from pathlib import Path

    from meshd.core.model import Agent


def append(connection: apsw.Connection, *times: str) -> None:
    for at in times:
        changelog.append(connection, [change("a")], at)


def numbers(connection: apsw.Connection) -> list[int]:
    return [entry.seq for entry in changelog.since(connection, 0)]


def test_every_field_of_an_entry_survives(connection: apsw.Connection) -> None:
    told = Change(
        Kind.RELOCATED, "a", "/r/\udcff", Source.WATCH, {"projectPath": "/\udcff"}, {"n": [1, None]}
    )
    changelog.append(connection, [told, Change(Kind.HELD, None, None, Source.SWEEP)], "now")

    assert changelog.since(connection, 0) == [
        changelog.Entry(
            1,
            "relocated",
            "a",
            "/r/\udcff",
            "watch",
            "now",
            {"projectPath": "/\udcff"},
            {"n": [1, None]},
        ),
        changelog.Entry(2, "held", None, None, "sweep", "now", None, None),
    ]


@pytest.mark.parametrize("damage", ["{ torn", "[]", "[" * 100_000])
def test_a_damaged_entry_loses_its_details_and_stops_nobody(
    damage: str, connection: apsw.Connection
) -> None:
    append(connection, "t")
    connection.execute("UPDATE changes SET before_json = ?1, after_json = ?1", (damage,))
    append(connection, "t")

    found = [(entry.seq, entry.before, entry.after) for entry in changelog.since(connection, 0)]
    assert found == [(1, None, None), (2, None, None)]


def test_since_pages_without_missing_or_repeating_an_entry(connection: apsw.Connection) -> None:
    append(connection, *["t"] * 10)
    pages, after = [], 0
    while page := changelog.since(connection, after, limit=4):
        pages.append([entry.seq for entry in page])
        after = pages[-1][-1]

    assert pages == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]


def test_bounds_are_the_oldest_kept_and_the_newest_ever_given(connection: apsw.Connection) -> None:
    seen = [changelog.bounds(connection)]
    append(connection, "2026-01", "2026-02", "2026-03")
    seen.append(changelog.bounds(connection))
    changelog.prune(connection, "2026-02")
    seen.append(changelog.bounds(connection))
    changelog.prune(connection, "2027")
    seen.append(changelog.bounds(connection))

    assert seen == [(1, 0), (1, 3), (2, 3), (4, 3)]


def test_a_number_is_never_given_twice_also_after_pruning_all_and_a_restart(
    database: Path,
) -> None:
    first = open_writing(database)
    append(first, "2026-01", "2026-02")
    assert changelog.prune(first, "2027") == 2
    first.close()
    second = open_writing(database)
    append(second, "2026-03")

    assert numbers(second) == [3]
    assert Registry(second).newest_seq() == Registry(second).oldest_seq() == 3


def test_a_number_of_a_transaction_that_was_rolled_back_was_never_given(
    connection: apsw.Connection,
) -> None:
    with contextlib.suppress(RuntimeError), transaction(connection):
        append(connection, "undone")
        raise RuntimeError
    append(connection, "t")

    assert numbers(connection) == [1]


@pytest.mark.parametrize(
    ("times", "kept"),
    [
        (("2026-01", "2026-02", "2026-03", "2026-04"), [3, 4]),
        # the clock stood in the future for a while: what follows is kept, there is no hole
        (("2026-01", "2030-01", "2026-02", "2026-04"), [2, 3, 4]),
        # it stood in the past at the end
        (("2026-03", "2026-04", "2026-01"), [1, 2, 3]),
        ((), []),
    ],
)
def test_pruning_cuts_the_log_at_its_end_only(
    times: tuple[str, ...], kept: list[int], connection: apsw.Connection
) -> None:
    append(connection, *times)
    pruned = changelog.prune(connection, "2026-03")

    assert numbers(connection) == kept
    assert pruned == len(times) - len(kept)


# whoever follows the log has the registry

PATHS = [None, "/r/1", "/r/2", os.fsdecode(b"/r/\xff")]
rows = st.builds(
    agent,
    st.sampled_from("abc"),
    name=st.sampled_from(["one", "two"]),
    project_path=st.sampled_from(PATHS),
    status=st.sampled_from(Status),
    budget=st.sampled_from([{}, {"n": 1}]),
)
steps = st.lists(st.tuples(st.lists(rows, max_size=3), st.sets(st.sampled_from("abc"))), max_size=8)


def planned(known: dict[str, Agent], wanted: list[Agent], removed: set[str]) -> Plan:
    """Return the plan, changes included, that leads to `wanted` less what is removed."""
    target = {row.id: row for row in wanted}
    target = {one: row for one, row in {**known, **target}.items() if one not in removed}
    taken: set[str] = set()
    for one, row in sorted(target.items()):
        if row.project_path in taken:
            target[one] = replace(row, project_path=None)
        elif row.project_path is not None:
            taken.add(row.project_path)
    changes = []
    for one, row in target.items():
        before = known.get(one)
        old, new = (None, snapshot(row)) if before is None else difference(before, row)
        if before is None or old:
            kind = Kind.REGISTERED if before is None else Kind.UPDATED
            changes.append(Change(kind, one, row.project_path, Source.SWEEP, old, new))
    gone = tuple(sorted(set(known) - set(target)))
    changes += [Change(Kind.REMOVED, one, None, Source.SWEEP, snapshot(known[one])) for one in gone]
    return Plan(tuple(changes), tuple(target.values()), gone)


def replayed(entries: list[changelog.Entry]) -> dict[str, dict[str, Any]]:
    """Follow the log from its beginning; on the way, each `before` must be what was."""
    told: dict[str, dict[str, Any]] = {}
    for entry in entries:
        assert entry.agent_id is not None
        was = told.get(entry.agent_id, {})
        assert was == {**was, **(entry.before or {})}
        if entry.after is None:
            assert told.pop(entry.agent_id) == entry.before
        else:
            told[entry.agent_id] = {**was, **entry.after}
    return told


@settings(max_examples=60, deadline=None)
@given(history=steps)
def test_replaying_the_log_gives_the_registry(
    history: list[tuple[list[Agent], set[str]]],
) -> None:
    connection = apsw.Connection(":memory:")
    migrate(connection, "at")
    registry = Registry(connection)
    for wanted, removed in history:
        known = {record.agent.id: record.agent for record in registry.records()}
        with transaction(connection):
            apply.apply(connection, planned(known, wanted, removed), "at")

        expected = {one.agent.id: snapshot(one.agent) for one in registry.records()}
        assert replayed(registry.changes_since(0)) == expected
    connection.close()
