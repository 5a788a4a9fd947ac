"""The command line over a state directory that no daemon tends."""

from __future__ import annotations

import fcntl
from pathlib import Path

import apsw
import pytest

from meshd.opening import LOCK
from meshd.store.connection import open_reading
from meshd.store.registry import Registry
from tests.harness import World, delete_manifest, write_manifest
from tests.shell.command_line import CommandLine


@pytest.fixture
def meshd(tmp_path: Path) -> CommandLine:
    """A home whose registry has a live agent, an unreachable one and a duplicate claim."""
    shell = CommandLine(tmp_path / "home")
    shell.state.mkdir(parents=True)
    root = tmp_path / "root"
    for name in ("a", "b"):
        write_manifest(root / name, name)
    write_manifest(root / "copy", "a")
    world = World(shell.state, [root])
    world.sweep()
    delete_manifest(root / "b")
    world.sweep()
    world.stop()
    return shell


def database(meshd: CommandLine) -> Path:
    return meshd.state / "meshd.db"


@pytest.mark.parametrize(
    ("arguments", "key", "found"),
    [
        ("agents list", "agents", ["a", "b"]),
        ("agents unreachable", "agents", ["b"]),
        ("agents unreachable --before 2000-01-01T00:00:00Z", "agents", []),
        ("claims --outcome duplicate", "claims", ["a"]),
        ("roots list", "roots", [None]),
        ("denied", "denied", []),
    ],
)
def test_questions_are_answered_from_the_database_and_say_so(
    meshd: CommandLine, arguments: str, key: str, found: list[str | None]
) -> None:
    ran = meshd(*arguments.split(" "), "--json")
    rows = ran.document[key]
    assert isinstance(rows, list)
    assert [row.get("id", row.get("agentId")) for row in rows] == found
    assert (ran.code, ran.err) == (0, f"no daemon: read from {database(meshd)}\n")


def test_the_status_of_no_daemon_is_not_ready(meshd: CommandLine) -> None:
    status = meshd("status", "--json").document
    told = [status[key] for key in ("ready", "pid", "totalAgents", "unreachableCount")]
    assert told == [False, None, 2, 1]
    assert "not running" in meshd("status").out


def test_the_change_log_is_printed_after_a_number(meshd: CommandLine) -> None:
    every = meshd("events").out.splitlines()
    kinds = [line.split()[2] for line in every]
    assert kinds == ["registered", "registered", "refused", "unreachable"]
    assert meshd("events", "--since", "3").out.splitlines() == every[3:]


@pytest.mark.parametrize(
    "act",
    [
        "sweep", "sync", "reload", "deny x", "allow x", "forget a", "discover", "register .",
        "update a --name b", "unregister a", "rules allow a b", "heartbeat a",
    ],
)  # fmt: skip
def test_an_act_needs_a_daemon(meshd: CommandLine, act: str) -> None:
    before = database(meshd).read_bytes()
    assert meshd(*act.split(" ")).code == 4
    assert database(meshd).read_bytes() == before


def test_a_question_changes_no_byte_of_the_database(meshd: CommandLine) -> None:
    before = database(meshd).read_bytes()
    assert meshd("agents", "list").code == 0
    assert database(meshd).read_bytes() == before


@pytest.mark.parametrize(
    ("sql", "code", "exit_code"),
    [
        ("PRAGMA application_id = 7", "foreign-database", 5),
        ("PRAGMA user_version = 999", "newer-database", 5),
        ("PRAGMA user_version = 1", "store", 1),
        ("DROP TABLE roots", "store", 1),
        ("UPDATE agents SET name = CAST(x'ff' AS TEXT)", "store", 1),
    ],
)
def test_a_database_that_is_not_as_expected_is_not_read(
    meshd: CommandLine, sql: str, code: str, exit_code: int
) -> None:
    _execute(meshd, sql)
    ran = meshd("agents", "list", "--json")
    error = ran.document["error"]
    assert isinstance(error, dict)
    assert (ran.code, error["code"]) == (exit_code, code)


def _execute(meshd: CommandLine, sql: str) -> None:
    connection = apsw.Connection(str(database(meshd)))
    connection.execute(sql)
    connection.close()


# db check


def test_a_sound_database_is_counted(meshd: CommandLine) -> None:
    ran = meshd("db", "check", "--json")
    rows = {"agents": 2, "claims": 3, "roots": 1, "denials": 0, "rules": 0, "changes": 4}
    assert (ran.code, ran.document["ok"], ran.document["rows"]) == (0, True, rows)


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("UPDATE agents SET behavior_json = '{' WHERE id = 'a'", "agents.behavior_json: row 1"),
        ("UPDATE claims SET outcome = 'odd' WHERE agent_id = 'a'", "claims: row"),
        ("UPDATE roots SET inode = 'odd'", "roots: row 1"),
        ("UPDATE changes SET after_json = '[' WHERE seq = 2", "changes.after_json: row"),
        ("UPDATE agents SET name = CAST(x'ff' AS TEXT)", "reading ended"),
        (
            "PRAGMA ignore_check_constraints = 1; UPDATE agents SET status = 'odd'",
            "the file is damaged",
        ),
    ],
)
def test_a_row_that_does_not_read_is_damage(meshd: CommandLine, sql: str, problem: str) -> None:
    _execute(meshd, sql)
    ran = meshd("db", "check")
    assert problem in ran.out
    assert (ran.code, "start it again" in ran.err) == (1, True)


@pytest.mark.parametrize(
    ("content", "condition"), [(b"", "lost"), (b"SQLite format 3\0" + b"x" * 9000, "damaged")]
)
def test_a_file_that_is_no_database_any_more_is_damage(
    meshd: CommandLine, content: bytes, condition: str
) -> None:
    database(meshd).write_bytes(content)
    ran = meshd("db", "check", "--json")
    assert (ran.code, ran.document["condition"]) == (1, condition)


@pytest.mark.parametrize("act", ["check", "backup copy.db", "rebuild --yes"])
def test_there_is_nothing_to_do_without_a_database(tmp_path: Path, act: str) -> None:
    empty = CommandLine(tmp_path)
    assert empty("db", *act.split(" ")).code == 3


# db backup


def test_a_backup_is_one_sound_private_file(meshd: CommandLine) -> None:
    ran = meshd("db", "backup", "copy.db")
    copy = meshd.home / "copy.db"
    assert (ran.code, ran.out) == (0, f"backed up: {copy}\n")
    assert [path.name for path in meshd.home.glob("copy*")] == ["copy.db"]
    assert copy.stat().st_mode & 0o777 == 0o600
    connection = open_reading(copy)
    assert connection.pragma("journal_mode") == "delete"
    assert [record.agent.id for record in Registry(connection).records()] == ["a", "b"]
    connection.close()


def test_a_backup_overwrites_nothing(meshd: CommandLine) -> None:
    kept = meshd.home / "kept"
    kept.touch()
    ran = meshd("db", "backup", "kept")
    assert (ran.code, kept.read_bytes()) == (1, b"")


def test_a_backup_that_fails_leaves_nothing(meshd: CommandLine) -> None:
    database(meshd).write_bytes(b"x" * 9000)
    assert meshd("db", "backup", "copy.db").code == 1
    assert not (meshd.home / "copy.db").exists()


# db rebuild


def test_a_rebuild_puts_the_database_aside_and_keeps_the_policy(meshd: CommandLine) -> None:
    before = database(meshd).read_bytes()
    ran = meshd("db", "rebuild", "--yes")
    moved = Path(ran.out.splitlines()[0].removeprefix("moved to: "))
    assert (ran.code, moved.read_bytes(), database(meshd).exists()) == (0, before, False)
    assert (meshd.state / "policy.json").exists()
    world = World(meshd.state, [])
    assert world.opened.rebuilt is not None
    world.stop()


def test_a_rebuild_asks_first_and_refuses_where_it_cannot(meshd: CommandLine) -> None:
    assert (meshd("db", "rebuild").code, database(meshd).exists()) == (2, True)


def test_a_rebuild_refuses_while_a_daemon_runs(meshd: CommandLine) -> None:
    with (meshd.state / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ran = meshd("db", "rebuild", "--yes")
    assert (ran.code, database(meshd).exists(), "already runs" in ran.err) == (1, True, True)


def test_a_rebuild_refuses_to_lose_the_denials(meshd: CommandLine) -> None:
    (meshd.state / "policy.json").unlink()
    assert (meshd("db", "rebuild", "--yes").code, database(meshd).exists()) == (1, True)
