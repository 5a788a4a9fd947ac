"""What lies where the database should be: told before anything is written."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import apsw
import pytest

from meshd.errors import ForeignDatabaseError, NewerDatabaseError, StoreError
from meshd.store import apply
from meshd.store.connection import (
    BUSY_TIMEOUT_MS,
    WAL_LIMIT_BYTES,
    Condition,
    examine,
    open_reading,
    open_writing,
    quarantine,
    was_moved,
)
from meshd.store.migrations import migrations
from meshd.store.transactions import transaction
from tests.store.builders import agent, flip_key, mounted, new_database, set_meta, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PAGE = 4096


def with_rows(path: Path, rows: int = 500) -> None:
    connection = open_writing(path)
    with transaction(connection):
        for number in range(rows):
            set_meta(f"key {number}", "value" * 20)(connection)
    connection.close()


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


@pytest.mark.parametrize(
    ("expected", "condition"), [(False, Condition.FRESH), (True, Condition.LOST)]
)
@pytest.mark.parametrize("content", [None, b"", "no tables"])
def test_nothing_or_an_empty_file_is_fresh_or_lost(
    content: bytes | str | None, condition: Condition, tmp_path: Path, *, expected: bool
) -> None:
    path = tmp_path / "meshd.db"
    if content is not None:
        path.write_bytes(b"")
    if content == "no tables":
        open_writing(path).close()
        assert path.stat().st_size > 0

    assert examine(path, expected=expected) is condition


@pytest.mark.parametrize("expected", [False, True])
def test_a_database_of_ours_is_ours(database: Path, *, expected: bool) -> None:
    with_rows(database)
    assert examine(database, expected=expected) is Condition.OURS


def test_a_database_of_an_older_schema_is_ours(tmp_path: Path) -> None:
    new_database(tmp_path / "meshd.db", upto=1).close()
    assert examine(tmp_path / "meshd.db", expected=False) is Condition.OURS


def test_rows_still_in_the_log_of_a_writer_that_was_killed_are_not_lost(
    database: Path, tmp_path: Path
) -> None:
    connection = open_writing(database)
    set_meta("in the log")(connection)
    # As the files are when the process ends without closing.
    left = tmp_path / "left"
    left.mkdir()
    for suffix in ("", "-wal"):
        copy = left / (database.name + suffix)
        copy.write_bytes(database.with_name(database.name + suffix).read_bytes())
    connection.close()

    assert examine(left / "meshd.db", expected=True) is Condition.OURS
    reading = open_reading(left / "meshd.db")
    assert reading.execute("SELECT key FROM meta").get == "in the log"
    reading.close()


def truncate_to(length: int) -> Callable[[Path], None]:
    return lambda path: os.truncate(path, length)


def garbage_at(offset: int, length: int = 200) -> Callable[[Path], None]:
    return lambda path: overwrite(path, offset, b"\xa5" * length)


def flip_text(path: Path) -> None:
    """Turn a byte of a name into one that is not UTF-8, as a failing disk would."""
    offset = path.read_bytes().index(b"agent canary")
    overwrite(path, offset, b"\xff")


def break_status(path: Path) -> None:
    connection = open_writing(path)
    write(connection, "UPDATE agents SET status = 'lurking'")
    connection.close()


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(truncate_to(100), id="only the header is left"),
        pytest.param(truncate_to(3 * PAGE), id="most pages are missing"),
        pytest.param(garbage_at(0), id="the header is none"),
        pytest.param(garbage_at(40, 8), id="the header names a format that does not exist"),
        pytest.param(garbage_at(100), id="the first page is malformed"),
        pytest.param(garbage_at(PAGE, PAGE), id="a page of a table is malformed"),
        pytest.param(lambda path: path.write_text("hello, world\n" * 100), id="a text file"),
        pytest.param(flip_text, id="a text that quick_check passes"),
        pytest.param(break_status, id="a status that the schema forbids"),
    ],
)
def test_damage_is_found(damage: Callable[[Path], None], database: Path) -> None:
    with_rows(database)
    connection = open_writing(database)
    apply.upsert_agents(connection, [agent("canary")])
    connection.close()
    damage(database)

    assert examine(database, expected=True) is Condition.DAMAGED


def test_a_wrong_key_of_an_index_is_found_by_a_thorough_examination_alone(database: Path) -> None:
    connection = open_writing(database)
    apply.upsert_agents(connection, [agent("canary")])
    connection.close()
    flip_key(database, "agents_by_last_path", b"/r/canary")

    assert examine(database, expected=True) is Condition.OURS
    assert examine(database, expected=True, thorough=True) is Condition.DAMAGED


def test_a_text_file_where_no_database_was_is_not_ours_to_move(tmp_path: Path) -> None:
    path = tmp_path / "meshd.db"
    path.write_text("my notes\n" * 100)

    with pytest.raises(ForeignDatabaseError, match="not a database of meshd"):
        examine(path, expected=False)
    assert path.read_text() == "my notes\n" * 100


@pytest.mark.parametrize(
    "statements",
    [
        "PRAGMA application_id = 7",  # another program's mark
        "PRAGMA application_id = 7; CREATE TABLE notes (text)",
        "CREATE TABLE notes (text)",  # no mark, but somebody's tables
    ],
)
@pytest.mark.parametrize("expected", [False, True])
def test_a_database_of_another_program_is_refused(
    statements: str, tmp_path: Path, *, expected: bool
) -> None:
    path = tmp_path / "meshd.db"
    connection = apsw.Connection(str(path))
    connection.execute(statements)
    connection.close()
    before = path.read_bytes()

    with pytest.raises(ForeignDatabaseError):
        examine(path, expected=expected)
    assert path.read_bytes() == before


def test_a_database_of_a_newer_meshd_is_refused(database: Path) -> None:
    connection = open_writing(database)
    connection.pragma("user_version", len(migrations()) + 1)
    connection.close()

    with pytest.raises(NewerDatabaseError, match="this meshd knows"):
        examine(database, expected=True)


def test_a_disk_that_cannot_be_read_condemns_no_database(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An I/O error says nothing of the file: also a full disk has one for the -shm file."""
    monkeypatch.setattr("meshd.store.connection._look_inside", raising(apsw.IOError("disk I/O")))

    with pytest.raises(StoreError, match="cannot open"):
        examine(database, expected=True)


def test_one_corrupt_error_that_does_not_come_again_condemns_no_database(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 104: an injected read error may surface as damage, and the next read works."""
    fail = raising(apsw.CorruptError("malformed"))
    looks = iter([fail, lambda *_: Condition.OURS])

    def look(*given: object) -> Condition:
        return next(looks)(*given)

    monkeypatch.setattr("meshd.store.connection._look_inside", look)

    assert examine(database, expected=True) is Condition.OURS


def raising(error: Exception) -> Callable[..., Condition]:
    def fail(*_: object) -> Condition:
        raise error

    return fail


def test_a_directory_where_the_database_should_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "meshd.db").mkdir()
    with pytest.raises(StoreError, match="cannot open"):
        examine(tmp_path / "meshd.db", expected=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts a read-only file system")
def test_a_read_only_file_system_is_refused_with_what_to_see_to(tmp_path: Path) -> None:
    with mounted(tmp_path, "size=2m") as disk:
        new_database(disk / "meshd.db").close()
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)

        with pytest.raises(StoreError, match="cannot open") as caught:
            examine(disk / "meshd.db", expected=True)
    assert caught.value.hint == "see that its directory is readable and writable"


# connections


def test_every_commit_of_the_writing_connection_is_on_disk(database: Path) -> None:
    connection = open_writing(database)
    pragmas = ("journal_mode", "synchronous", "foreign_keys", "journal_size_limit", "busy_timeout")

    assert {name: connection.pragma(name) for name in pragmas} == {
        "journal_mode": "wal",
        "synchronous": 2,  # FULL
        "foreign_keys": 1,
        "journal_size_limit": WAL_LIMIT_BYTES,
        "busy_timeout": BUSY_TIMEOUT_MS,
    }
    connection.close()


def test_a_reading_connection_cannot_write(database: Path) -> None:
    connection = open_reading(database)
    with pytest.raises(apsw.ReadOnlyError):
        set_meta("a")(connection)
    connection.close()


@pytest.mark.parametrize("opened", [open_reading, open_writing])
def test_a_missing_database_is_refused_and_not_created(
    opened: Callable[[Path], apsw.Connection], tmp_path: Path
) -> None:
    with pytest.raises(StoreError):
        opened(tmp_path / "meshd.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["renamed", "deleted", "replaced"])
def test_a_database_moved_away_while_open_is_noticed(what: str, database: Path) -> None:
    connection = open_writing(database)
    set_meta("a")(connection)
    assert not was_moved(connection)

    if what == "deleted":
        database.unlink()
    else:
        database.rename(database.with_name("elsewhere.db"))
    if what == "replaced":
        database.touch()

    assert was_moved(connection)
    connection.close()


def test_a_connection_that_has_written_nothing_yet_is_where_it_was(database: Path) -> None:
    connection = open_writing(database)
    with transaction(connection):
        assert not was_moved(connection)
    connection.close()


@pytest.mark.parametrize("what", ["renamed", "deleted", "replaced"])
@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
def test_a_file_beside_the_open_database_that_is_gone_is_noticed(
    suffix: str, what: str, database: Path
) -> None:
    """Fault 118: SQLite itself goes on, and what it commits has no name."""
    connection = open_writing(database)
    set_meta("a")(connection)
    side = database.with_name(database.name + suffix)
    if what == "renamed":
        side.rename(side.with_name("elsewhere"))
    else:
        side.unlink()
    if what == "replaced":
        side.touch()
    with transaction(connection):
        assert was_moved(connection)
    connection.close()


# quarantine


def names(directory: Path) -> list[str]:
    return sorted(file.name for file in directory.iterdir())


def lay(path: Path, content: str) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).write_text(content)


def test_a_quarantined_database_keeps_its_side_files(tmp_path: Path) -> None:
    lay(tmp_path / "meshd.db", "old")

    moved = quarantine(tmp_path / "meshd.db", "T1")

    expected = ["meshd.db.corrupt-T1", "meshd.db.corrupt-T1-shm", "meshd.db.corrupt-T1-wal"]
    assert names(tmp_path) == expected
    assert sorted(file.name for file in moved) == expected
    assert quarantine(tmp_path / "meshd.db", "T2") == []


@pytest.mark.parametrize(
    ("stamps", "kept"),
    [
        (["T1", "T2", "T3", "T4", "T5"], ["T3", "T4", "T5"]),
        # the clock stepped back: the newest is kept, whatever its name
        (["T4", "T5", "T6", "T1"], ["T1", "T5", "T6"]),
        # the clock stood still: nothing is written over
        (["T1", "T1", "T1"], ["T1", "T1.2", "T1.3"]),
    ],
)
def test_three_quarantined_databases_are_kept_and_always_the_newest(
    stamps: list[str], kept: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "meshd.db"
    for number, stamp in enumerate(stamps):
        lay(path, f"content {number}")
        newest = quarantine(path, stamp)

    expected = [f"meshd.db.corrupt-{stamp}{end}" for stamp in kept for end in ("", "-shm", "-wal")]
    assert names(tmp_path) == sorted(expected)
    assert {file.read_text() for file in newest} == {f"content {len(stamps) - 1}"}
