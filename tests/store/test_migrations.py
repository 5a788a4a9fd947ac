"""Migrations: applied whole or not at all, and what they make of old rows."""

from __future__ import annotations

import re
from importlib import resources
from typing import TYPE_CHECKING, Any

import apsw
import pytest

from meshd.core.endpoints import EndpointState
from meshd.core.model import Reason, Status
from meshd.errors import DamagedDatabaseError, NewerDatabaseError
from meshd.store import listing
from meshd.store import migrations as module
from meshd.store.migrations import APPLICATION_ID, Migration, migrate, migrations, version
from meshd.store.registry import Registry
from tests.store.builders import AT, new_database

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

KNOWN = migrations()


def with_migrations(monkeypatch: pytest.MonkeyPatch, steps: Sequence[Migration]) -> None:
    monkeypatch.setattr(module, "migrations", lambda: tuple(steps))


def schema_of(connection: apsw.Connection) -> list[Any]:
    """Return every table and index as text without comments and layout."""
    rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY 1, 2")
    return [(kind, name, table, normalised(sql or "")) for kind, name, table, sql in rows]


def normalised(sql: str) -> str:
    return re.sub(r"\s*([(),;])\s*|\s+", lambda m: m[1] or " ", re.sub(r"--.*", "", sql)).strip()


def details_of(connection: apsw.Connection) -> dict[str, Any]:
    """Return the columns and indexes of every table as SQLite understands them."""
    tables = [name for (name,) in connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table'"
    )]  # fmt: skip
    return {
        f"{table} {pragma}": connection.execute(f"PRAGMA {pragma}({table})").fetchall()
        for table in tables
        for pragma in ("table_xinfo", "index_list")
    }


def test_schema_sql_is_what_the_migrations_add_up_to(connection: apsw.Connection) -> None:
    read = apsw.Connection(":memory:")
    read.execute(resources.files("meshd.store").joinpath("sql/schema.sql").read_text("utf-8"))

    assert schema_of(read) == schema_of(connection)
    assert details_of(read) == details_of(connection)


def test_a_migrated_database_carries_our_mark_its_version_and_a_record_of_each_step(
    connection: apsw.Connection,
) -> None:
    assert int(connection.pragma("application_id")) == APPLICATION_ID
    assert version(connection) == len(KNOWN)
    records = connection.execute("SELECT number, name, applied_at FROM migrations").fetchall()
    assert records == [(step.number, step.name, AT) for step in KNOWN]


def test_a_second_migration_applies_nothing(connection: apsw.Connection) -> None:
    assert migrate(connection, "later") == []


class InjectedError(Exception):
    """A failure from outside, as a kill would be."""


# What the step has come to when it fails: its own statements, its record, the version.
@pytest.mark.parametrize("point", ["CREATE TABLE after", "INSERT INTO migrations", "user_version"])
def test_a_migration_that_fails_anywhere_leaves_nothing(
    point: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Migration(len(KNOWN) + 1, "fourth", "CREATE TABLE before (x); CREATE TABLE after (x);")
    connection = new_database(tmp_path / "meshd.db")
    before = (schema_of(connection), version(connection))
    with_migrations(monkeypatch, (*KNOWN, step))

    def fail(_: apsw.Cursor, sql: str, bindings: apsw.Bindings | None) -> bool:
        if point in sql:
            raise InjectedError
        return True

    connection.exec_trace = fail
    with pytest.raises(InjectedError):
        migrate(connection, AT)
    connection.exec_trace = None

    assert (schema_of(connection), version(connection)) == before
    assert [one.name for one in migrate(connection, AT)] == ["fourth"]


def test_a_gap_in_the_numbers_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sql").mkdir()
    for number in (1, 3):
        (tmp_path / "sql" / f"000{number}_step.sql").write_text("SELECT 1")
    monkeypatch.setattr(resources, "files", lambda _: tmp_path)

    with pytest.raises(AssertionError, match="gap"):
        migrations.__wrapped__()


def test_a_newer_database_is_refused_and_left_alone(connection: apsw.Connection) -> None:
    connection.pragma("user_version", len(KNOWN) + 1)

    with pytest.raises(NewerDatabaseError, match="this meshd knows"):
        migrate(connection, AT)
    assert version(connection) == len(KNOWN) + 1


def test_rows_that_break_a_foreign_key_undo_the_migration(
    connection: apsw.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pragma reports by rows and raises nothing: a report unread would pass."""
    connection.execute("INSERT INTO incumbents VALUES ('ghost', x'2f')")
    sql = """
        CREATE TABLE held (agent_id TEXT REFERENCES agents (id) DEFERRABLE INITIALLY DEFERRED);
        PRAGMA defer_foreign_keys = ON;
        INSERT INTO held SELECT agent_id FROM incumbents;
    """
    with_migrations(monkeypatch, (*KNOWN, Migration(len(KNOWN) + 1, "held", sql)))

    with pytest.raises(DamagedDatabaseError, match="breaks 1 rows"):
        migrate(connection, AT)
    assert version(connection) == len(KNOWN)


OLD_ROWS = [
    # id, project_path, status, updated_at
    ("a", b"/old/a", "active", "2026-01-02T00:00:00.000Z"),
    ("b", b"/old/b", "inactive", None),
    ("c", b"/old/c", "unreachable", "2026-02-02T00:00:00.000Z"),
    ("d", b"/old/\xff", "unreachable", None),
]


@pytest.fixture
def old(tmp_path: Path) -> apsw.Connection:
    """A database of schema 1 with the rows of `OLD_ROWS`."""
    connection = new_database(tmp_path / "meshd.db", upto=1)
    connection.executemany(
        "INSERT INTO agents (id, name, runtime, registered_at, project_path, status, updated_at)"
        " VALUES (?1, ?1, 'codex', '2026-01-01T00:00:00.000Z', ?2, ?3, ?4)",
        OLD_ROWS,
    )
    connection.execute("INSERT INTO denials VALUES (x'2f6e6f', 'noise', 'me', '2026')")
    connection.execute("INSERT INTO rules VALUES ('x', 'y', '2026')")
    return connection


def test_schema_two_gives_old_rows_the_manifests_defaults(old: apsw.Connection) -> None:
    migrate(old, AT, upto=2)

    found = old.execute("SELECT scan_root, behavior_json, budget_json FROM agents").fetchall()
    expected = (
        b"",
        '{"responseMode":"always"}',
        '{"maxHopsPerMessage":5,"maxCallsPerHour":100}',
    )
    assert found == [expected] * len(OLD_ROWS)


def test_the_newest_schema_keeps_every_old_row_with_its_path_and_status(
    old: apsw.Connection,
) -> None:
    applied = migrate(old, AT, upto=2) + migrate(old, AT)
    assert [step.number for step in applied] == [2, 3, 4, 5]
    rows = [Registry(old).agent(agent_id) for agent_id in "abcd"]

    assert [row and (row.status, row.project_path, row.last_path) for row in rows] == [
        (Status.ACTIVE, "/old/a", "/old/a"),
        (Status.ACTIVE, "/old/b", "/old/b"),
        (Status.UNREACHABLE, "/old/c", "/old/c"),
        (Status.UNREACHABLE, "/old/\udcff", "/old/\udcff"),
    ]
    assert [row and (row.behavior, row.budget, row.scan_root) for row in rows] == [
        ({"responseMode": "always"}, {"maxHopsPerMessage": 5, "maxCallsPerHour": 100}, "")
    ] * 4
    assert old.execute("SELECT count(*) FROM agents WHERE status = 'inactive'").get == 0


def test_old_unreachable_rows_have_a_reason_a_time_and_no_grace_behind_them(
    old: apsw.Connection,
) -> None:
    migrate(old, AT)
    names = ("id", "unreachable_since", "unreachable_reason", "absent_clock")
    rows = Registry(old).listed({name: name for name in names}, listing.unreachable("2026-03-01"))

    assert [tuple(row.values()) for row in rows] == [
        ("c", "2026-02-02T00:00:00.000Z", Reason.PROJECT_MISSING, None),
        ("d", "2026-01-01T00:00:00.000Z", Reason.PROJECT_MISSING, None),
    ]


def test_the_relay_schema_gives_every_live_row_its_endpoint_and_no_other_row_one(
    tmp_path: Path,
) -> None:
    connection = new_database(tmp_path / "meshd.db", upto=3)
    connection.executemany(
        "INSERT INTO agents (id, name, runtime, registered_at, namespace, status, unscanned)"
        " VALUES (?1, ?1, 'codex', '2026', ?2, ?3, ?4)",
        [
            ("here", "work", "active", None),
            ("gone", "work", "unreachable", None),
            ("outside", "work", "active", "excluded"),
            # Of a peer that took any name: two such could even ask for one subject.
            ("unsafe", "a.b", "active", None),
        ],
    )
    connection.execute("INSERT INTO endpoints VALUES ('ghost', 'relay.agent.x.ghost', 'live', '1')")

    assert [step.number for step in migrate(connection, AT, upto=4)] == [4]
    assert [(row.endpoint.subject, row.state) for row in Registry(connection).endpoints()] == [
        ("relay.agent.work.here", EndpointState.LIVE)
    ]


def test_old_denials_and_rules_are_kept_and_an_old_rule_allows(old: apsw.Connection) -> None:
    migrate(old, AT)

    assert [denial.path for denial in Registry(old).denials()] == ["/no"]
    assert Registry(old).rules() == [("x", "y", "allow", "2026")]
