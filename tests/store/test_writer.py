"""The one thread that writes: batches, durability, and no future left unanswered."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import apsw
import pytest

from meshd.errors import StoppingError, StoreError
from meshd.store.connection import open_reading
from meshd.store.writer import BATCH_LIMIT, Writer
from tests.store.builders import SOON, held, meta_keys, mounted, new_database, set_meta, working

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from pathlib import Path


def seen_by_others(database: Path) -> list[str]:
    connection = open_reading(database)
    try:
        return meta_keys(connection)
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("operations", "commits"),
    [
        (1, 1),
        (50, 1),  # what arrived together commits together
        (BATCH_LIMIT, 1),
        (BATCH_LIMIT + 1, 2),  # and no caller waits for more strangers than this
    ],
)
def test_operations_that_queue_up_are_one_commit(
    operations: int, commits: int, database: Path
) -> None:
    with working(database) as writer:
        with held(writer):
            futures = [writer.submit(set_meta(f"{n:03}")) for n in range(operations)]
        answers = [future.result(SOON) for future in futures]

        assert answers == [f"{n:03}" for n in range(operations)]
        assert answers == seen_by_others(database)
        assert writer.commits == commits


def test_a_future_resolves_after_its_commit(database: Path) -> None:
    """Whoever is told can read it, over any connection."""
    seen: list[list[str]] = []
    with working(database) as writer:
        for name in "abc":
            future = writer.submit(set_meta(name))
            future.add_done_callback(lambda _: seen.append(seen_by_others(database)))
            future.result(SOON)
            assert name in seen_by_others(database)
    assert seen == [["a"], ["a", "b"], ["a", "b", "c"]]


def test_an_operation_that_raises_is_rolled_back_alone(database: Path) -> None:
    def fail(connection: apsw.Connection) -> None:
        set_meta("half")(connection)
        raise ValueError("no")

    with working(database) as writer:
        with held(writer):
            before, bad, after = (
                writer.submit(one) for one in (set_meta("before"), fail, set_meta("xafter"))
            )
        assert isinstance(bad.exception(SOON), ValueError)
        assert [before.result(SOON), after.result(SOON)] == ["before", "xafter"]

    assert seen_by_others(database) == ["before", "xafter"]
    assert writer.commits == 1


def test_a_constraint_broken_half_way_through_an_operation_undoes_that_operation(
    database: Path,
) -> None:
    def twice(connection: apsw.Connection) -> None:
        connection.execute("INSERT INTO meta VALUES ('x', '1')")
        connection.execute("INSERT INTO meta VALUES ('x', '2')")

    with working(database) as writer:
        error = writer.submit(twice).exception(SOON)
        assert isinstance(error, StoreError)
        assert isinstance(error.__cause__, apsw.ConstraintError)
    assert seen_by_others(database) == []


def test_a_batch_that_writes_nothing_is_no_commit_and_asks_for_no_mirror(database: Path) -> None:
    mirrored: list[str] = []

    def fail(connection: apsw.Connection) -> None:
        set_meta("undone")(connection)
        raise ValueError("no")

    with working(database, lambda _: mirrored.append("once")) as writer:
        writer.submit(lambda connection: connection.execute("SELECT 1").get).result(SOON)
        writer.submit(fail).exception(SOON)
        assert (writer.commits, mirrored) == (0, [])
        writer.submit(set_meta("a")).result(SOON)
        assert (writer.commits, mirrored) == (1, ["once"])


def test_the_mirror_sees_what_is_about_to_be_committed_before_anyone_is_told(
    database: Path,
) -> None:
    told: list[Future[str]] = []
    mirrored: list[tuple[list[str], bool]] = []

    def mirror(connection: apsw.Connection) -> None:
        mirrored.append((meta_keys(connection), any(future.done() for future in told)))

    with working(database, mirror) as writer:
        with held(writer):
            told += [writer.submit(set_meta(name)) for name in "ab"]
        assert [future.result(SOON) for future in told] == ["a", "b"]
    assert mirrored == [(["a", "b"], False)]


def test_what_cannot_be_mirrored_is_not_written_and_the_writer_goes_on(database: Path) -> None:
    broken = [True]

    def mirror(_: apsw.Connection) -> None:
        if broken:
            raise OSError(28, "No space left on device")

    with working(database, mirror) as writer:
        with pytest.raises(StoreError, match="could not be made durable"):
            writer.submit(set_meta("a")).result(SOON)
        assert seen_by_others(database) == []
        broken.clear()
        writer.submit(set_meta("b")).result(SOON)
    assert seen_by_others(database) == ["b"]


def test_a_future_that_was_cancelled_is_not_run_and_ends_nothing(database: Path) -> None:
    """A client that hangs up cancels; a writer that then answers it would die of it."""
    with working(database) as writer:
        with held(writer):
            first, second = (writer.submit(set_meta(name)) for name in "ab")
            assert first.cancel()
        assert second.result(SOON) == "b"
    assert seen_by_others(database) == ["b"]


def test_stopping_commits_what_is_queued_and_then_takes_no_more(database: Path) -> None:
    with working(database) as writer:
        with held(writer):
            futures = [writer.submit(set_meta(f"{n:03}")) for n in range(BATCH_LIMIT + 5)]
            writer.stop()
            writer.stop()
            with pytest.raises(StoppingError):
                writer.submit(set_meta("late"))
        assert len({future.result(SOON) for future in futures}) == BATCH_LIMIT + 5
    assert len(seen_by_others(database)) == BATCH_LIMIT + 5


def test_a_clean_stop_leaves_no_log_behind(database: Path) -> None:
    with working(database) as writer:
        writer.submit(set_meta("a")).result(SOON)
        assert database.with_name("meshd.db-wal").exists()
    assert not database.with_name("meshd.db-wal").exists()


class SuddenEnd(BaseException):
    """What no operation may raise: the thread ends."""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_when_the_thread_dies_every_future_is_refused(database: Path) -> None:
    def die(_: apsw.Connection) -> str:
        raise SuddenEnd

    with working(database) as writer:
        with held(writer):
            operations = [set_meta(f"{n:03}") for n in range(BATCH_LIMIT + 5)]
            futures = [writer.submit(one) for one in (operations[0], die, *operations[1:])]
        for future in futures:
            assert isinstance(future.exception(SOON), StoppingError)
        with pytest.raises(StoppingError):
            writer.submit(set_meta("late"))
    assert seen_by_others(database) == []


def test_a_database_that_is_missing_is_refused_not_created(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "meshd.db")
    cancelled, future = (writer.submit(set_meta(name)) for name in "ab")
    assert cancelled.cancel()

    with pytest.raises(StoreError, match="cannot open"):
        writer.run()

    assert isinstance(future.exception(SOON), StoppingError)
    assert not (tmp_path / "meshd.db").exists()


# a disk that fails


def fill(connection: apsw.Connection) -> None:
    connection.execute("INSERT INTO meta VALUES ('big', hex(zeroblob(2000000)))")


def test_a_database_at_its_size_limit_fails_the_batch_and_works_again(database: Path) -> None:
    with working(database) as writer:
        writer.submit(lambda one: one.pragma("max_page_count", 60)).result(SOON)
        with held(writer):
            small, large = writer.submit(set_meta("small")), writer.submit(fill)
        for future in (small, large):
            assert isinstance(future.exception(SOON), StoreError)
        assert seen_by_others(database) == []
        writer.submit(lambda one: one.pragma("max_page_count", 6000)).result(SOON)
        writer.submit(fill).result(SOON)
    assert seen_by_others(database) == ["big"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts a tmpfs")
def test_a_full_disk_fails_the_batch_writes_nothing_and_works_again(tmp_path: Path) -> None:
    with mounted(tmp_path, "size=1m") as disk:
        database = disk / "meshd.db"
        new_database(database).close()
        with working(database) as writer:
            writer.submit(set_meta("kept")).result(SOON)
            with held(writer):
                futures = [writer.submit(one) for one in (set_meta("lost"), fill)]
            for future in futures:
                assert isinstance(future.exception(SOON), StoreError)
            assert seen_by_others(database) == ["kept"]
            writer.submit(set_meta("next")).result(SOON)
        assert seen_by_others(database) == ["kept", "next"]


def failing(error: Callable[[], apsw.Error]) -> Callable[[apsw.Connection], None]:
    def operation(connection: apsw.Connection) -> None:
        set_meta("lost")(connection)
        raise error()

    return operation


def test_an_io_error_fails_the_batch_and_the_connection_is_opened_anew(database: Path) -> None:
    connections: list[apsw.Connection] = []
    with working(database) as writer:
        writer.submit(connections.append).result(SOON)
        with held(writer):
            other = writer.submit(set_meta("with it"))
            bad = writer.submit(failing(lambda: apsw.IOError("disk I/O error")))
        for future in (other, bad):
            assert isinstance(future.exception(SOON), StoreError)
        writer.submit(connections.append).result(SOON)
        assert connections[0] is not connections[1]
        assert writer.suspect is None
        writer.submit(set_meta("after")).result(SOON)
    assert seen_by_others(database) == ["after"]


def version_now(writer: Writer) -> int:
    """Return the version as an operation sees it."""
    return writer.submit(lambda _: writer.version).result(SOON)


def test_the_version_changes_with_what_the_next_transaction_sees(database: Path) -> None:
    with working(database) as writer:
        begun = version_now(writer)
        assert writer.submit(meta_keys).result(SOON) == []
        assert version_now(writer) == begun
        with held(writer):
            writing = writer.submit(set_meta("a"))
            behind = writer.submit(lambda _: writer.version)
        writing.result(SOON)
        # Who takes it inside of the transaction reads what was before it.
        assert begun < behind.result(SOON) < version_now(writer)


def test_the_version_changes_when_another_program_writes(database: Path) -> None:
    with working(database) as writer:
        begun = version_now(writer)
        other = apsw.Connection(os.fspath(database))
        set_meta("theirs")(other)
        other.close()
        assert version_now(writer) != begun


def test_the_version_changes_with_the_connection(database: Path) -> None:
    with working(database) as writer:
        begun = version_now(writer)
        bad = writer.submit(failing(lambda: apsw.IOError("disk I/O error")))
        assert isinstance(bad.exception(SOON), StoreError)
        assert version_now(writer) != begun


def test_a_damaged_page_met_by_an_operation_makes_the_database_suspect(database: Path) -> None:
    with working(database) as writer:
        bad = writer.submit(failing(lambda: apsw.CorruptError("malformed")))
        error = bad.exception(SOON)
        assert isinstance(error, StoreError)
        assert isinstance(error.__cause__, apsw.CorruptError)
        assert writer.suspect == "malformed"
        writer.submit(set_meta("elsewhere")).result(SOON)
    assert seen_by_others(database) == ["elsewhere"]
