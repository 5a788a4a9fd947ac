"""Opening the state directory: what is found there, and what survives its loss."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import apsw
import pytest

from meshd import opening
from meshd.core.model import ClaimOutcome, Denial
from meshd.errors import (
    DamagedDatabaseError,
    ForeignDatabaseError,
    NewerDatabaseError,
    StoreError,
)
from meshd.opening import Opened, open_store
from meshd.policy import Policy, PolicyFile
from meshd.store import apply
from meshd.store.connection import Condition, open_writing
from meshd.store.registry import Registry
from meshd.store.store import Store
from tests.harness import SteppedClock
from tests.store.builders import AT, agent, claim, mounted, new_database, working, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SOON = 10.0


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory; what the tests do to it is done with no daemon on it."""
    directory = tmp_path / "state"
    directory.mkdir(mode=0o700)
    return directory


@pytest.fixture
def used(state: Path) -> Path:
    """A state directory with a registry, a denial, a rule and a contested id."""
    open_store(state, SteppedClock())
    connection = open_writing(state / "meshd.db")
    apply.upsert_agents(connection, [agent("a")])
    apply.upsert_claims(
        connection, [claim("/r/a", "a"), claim("/r/copy", "a", outcome=ClaimOutcome.DUPLICATE)]
    )
    apply.add_denial(connection, DENIAL)
    connection.execute("INSERT INTO rules VALUES ('x', 'y', ?, 'deny')", (AT,))
    connection.close()
    open_store(state, SteppedClock())
    return state


DENIAL = Denial("/r/\udcff", "noise", "me", AT)
RULE = ("x", "y", "deny", AT)


def contents(opened: Opened) -> tuple[list[str], list[Denial], list[tuple[str, str, str, str]]]:
    """Return the ids, denials and rules that a reader finds."""
    with opened.store.reading() as registry:
        found = (
            [record.agent.id for record in registry.records()],
            registry.denials(),
            registry.rules(),
        )
    opened.store.close_readers()
    return found


def names(directory: Path, pattern: str) -> list[str]:
    return sorted(file.name for file in directory.glob(pattern))


def test_a_fresh_directory_gets_a_private_database_a_policy_and_an_epoch(state: Path) -> None:
    opened = open_store(state, SteppedClock())

    assert (opened.rebuilt, opened.quarantined) == (None, ())
    assert opened.migrated == (
        "registry",
        "manifest_sync",
        "reconciliation",
        "relay",
        "owners",
    )
    assert {file.stat().st_mode & 0o777 for file in state.iterdir()} == {0o600}
    policy = PolicyFile(state / "policy.json").load()
    assert policy is not None
    assert policy.epoch == opened.store.epoch != ""


def test_opening_again_finds_the_same_and_changes_nothing(used: Path) -> None:
    first = open_store(used, SteppedClock())
    mirrored = (used / "policy.json").stat()
    second = open_store(used, SteppedClock())

    assert (second.rebuilt, second.quarantined, second.migrated) == (None, (), ())
    assert second.store.epoch == first.store.epoch
    assert contents(second) == (["a"], [DENIAL], [RULE])
    assert (used / "policy.json").stat() == mirrored


def delete(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    os.truncate(path, 0)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def become_text(path: Path) -> None:
    path.write_text("not a database\n" * 100)


def damage_a_page(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * 4096)


@pytest.mark.parametrize(
    ("loss", "condition", "kept"),
    [
        (delete, Condition.LOST, 0),
        (empty, Condition.LOST, 1),
        (cut, Condition.DAMAGED, 1),
        (become_text, Condition.DAMAGED, 1),
        (damage_a_page, Condition.DAMAGED, 1),
    ],
)
def test_a_lost_database_is_begun_anew_with_its_policy_and_another_epoch(
    loss: Callable[[Path], None], condition: Condition, kept: int, used: Path
) -> None:
    before = open_store(used, SteppedClock()).store.epoch
    loss(used / "meshd.db")

    opened = open_store(used, SteppedClock())

    assert opened.rebuilt is condition
    assert opened.store.epoch != before
    assert contents(opened) == ([], [DENIAL], [RULE])
    with opened.store.reading() as registry:
        assert registry.inherited_incumbents() == {"a": "/r/a"}
    opened.store.close_readers()
    assert len(names(used, "meshd.db.corrupt-*")) == len(opened.quarantined) == kept
    assert open_store(used, SteppedClock()).rebuilt is None


def test_incumbents_stay_in_the_policy_through_a_second_loss(used: Path) -> None:
    for _ in range(2):
        (used / "meshd.db").unlink()
        open_store(used, SteppedClock())
    policy = PolicyFile(used / "policy.json").load()

    assert policy is not None
    assert policy.incumbents == {"a": "/r/a"}
    assert policy.denials == (DENIAL,)


class InjectedError(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("point", ["migrate", "_settle_epoch", "_inherit", "mirror"])
def test_a_rebuild_cut_short_anywhere_inherits_the_policy_all_the_same(
    point: str, used: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half-way there is a sound database of ours without a single denial in it."""
    (used / "meshd.db").unlink()
    with monkeypatch.context() as patched:
        whole = getattr(opening, point)

        def cut_short(*given: object) -> None:
            if point == "migrate":
                whole(*given)
            raise InjectedError

        patched.setattr(opening, point, cut_short)
        with pytest.raises(InjectedError):
            open_store(used, SteppedClock())

    assert contents(open_store(used, SteppedClock())) == ([], [DENIAL], [RULE])


def test_a_rebuild_cut_short_whose_policy_is_then_damaged_is_refused(
    used: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (used / "meshd.db").unlink()
    with monkeypatch.context() as patched:
        patched.setattr(opening, "_settle_epoch", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            open_store(used, SteppedClock())
    (used / "policy.json").write_text("{ torn")

    with pytest.raises(DamagedDatabaseError, match="cannot be understood"):
        open_store(used, SteppedClock())


@pytest.mark.parametrize("emptied", [False, True])
@pytest.mark.parametrize("expected", [False, True])
def test_a_log_without_its_database_is_kept_and_not_replayed_into_the_new_one(
    state: Path, *, emptied: bool, expected: bool
) -> None:
    if expected:
        PolicyFile(state / "policy.json").save(Policy("e1"))
    if emptied:
        (state / "meshd.db").touch()
    (state / "meshd.db-wal").write_bytes(b"of another database")

    opened = open_store(state, SteppedClock())

    assert opened.rebuilt is (Condition.LOST if expected else None)
    assert opened.quarantined[-1].read_bytes() == b"of another database"


def test_a_crash_loop_keeps_three_databases_and_always_the_newest(used: Path) -> None:
    clock = SteppedClock()
    for number in range(5):
        (used / "meshd.db").write_text(f"damage {number}\n" * 100)
        clock.step(-3600.0 if number == 4 else 60.0)
        newest = open_store(used, clock).quarantined

    assert len(names(used, "meshd.db.corrupt-*")) == 3
    assert [file.read_text()[:8] for file in newest] == ["damage 4"]


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("PRAGMA application_id = 7", ForeignDatabaseError),
        ("PRAGMA user_version = 99", NewerDatabaseError),
    ],
)
def test_a_database_that_is_not_for_us_is_refused_and_stays(
    statement: str, error: type[StoreError], used: Path
) -> None:
    connection = open_writing(used / "meshd.db")
    connection.execute(statement)
    connection.close()
    before = (used / "meshd.db").read_bytes()

    with pytest.raises(error):
        open_store(used, SteppedClock())
    assert (used / "meshd.db").read_bytes() == before
    assert names(used, "meshd.db.corrupt-*") == []


def test_a_damaged_policy_beside_a_sound_database_is_written_anew(used: Path) -> None:
    (used / "policy.json").write_text("{ torn")

    opened = open_store(used, SteppedClock())

    policy = PolicyFile(used / "policy.json").load()
    assert opened.rebuilt is None
    assert policy is not None
    assert (policy.denials, policy.rules) == ((DENIAL,), (RULE,))
    assert policy.incumbents == {"a": "/r/a"}


def test_a_deleted_policy_beside_a_sound_database_is_written_anew(used: Path) -> None:
    (used / "policy.json").unlink()
    open_store(used, SteppedClock())
    policy = PolicyFile(used / "policy.json").load()

    assert policy is not None
    assert policy.denials == (DENIAL,)


@pytest.mark.parametrize("loss", [delete, empty, cut])
def test_a_damaged_policy_and_a_lost_database_are_refused_with_the_way_out(
    loss: Callable[[Path], None], used: Path
) -> None:
    """To begin without the denials would be to fail open."""
    loss(used / "meshd.db")
    (used / "policy.json").write_text("{ torn")
    before = names(used, "meshd.db*")

    with pytest.raises(DamagedDatabaseError) as caught:
        open_store(used, SteppedClock())
    assert "delete it to give up its denials and rules" in (caught.value.hint or "")
    assert names(used, "meshd.db*") == before

    (used / "policy.json").unlink()
    assert contents(open_store(used, SteppedClock())) == ([], [], [])


def test_an_old_database_is_migrated_and_keeps_its_rows(state: Path) -> None:
    connection = new_database(state / "meshd.db", upto=1)
    connection.execute(
        "INSERT INTO agents (id, name, runtime, registered_at, project_path)"
        " VALUES ('old', 'old', 'codex', '2026', x'2f6f6c64')"
    )
    connection.execute("INSERT INTO rules VALUES ('x', 'y', '2026')")
    connection.close()

    opened = open_store(state, SteppedClock())

    assert opened.migrated == ("manifest_sync", "reconciliation", "relay", "owners")
    assert contents(opened) == (["old"], [], [("x", "y", "allow", "2026")])


def test_hostile_words_in_rows_do_not_stop_the_start(used: Path) -> None:
    connection = open_writing(used / "meshd.db")
    write(connection, "UPDATE agents SET unscanned = 'why not', unreachable_reason = 'because'")
    write(connection, "UPDATE claims SET outcome = 'perhaps', signature = 'x'")
    write(connection, "INSERT INTO changes (kind, source, at) VALUES ('boom', 'nobody', 'never')")
    connection.close()

    opened = open_store(used, SteppedClock())

    assert contents(opened)[0] == ["a"]
    with opened.store.reading() as registry:
        assert [entry.kind for entry in registry.changes_since(0)] == ["boom"]
    opened.store.close_readers()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts a read-only file system")
@pytest.mark.parametrize("is_used", [False, True])
def test_a_read_only_state_directory_is_refused_with_what_to_see_to(
    tmp_path: Path, *, is_used: bool
) -> None:
    with mounted(tmp_path, "size=2m") as disk:
        if is_used:
            open_store(disk, SteppedClock())
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with pytest.raises(StoreError) as caught:
            open_store(disk, SteppedClock())
    assert "writable" in (caught.value.hint or "")


def test_a_denial_is_in_the_policy_before_whoever_asked_hears_of_it(state: Path) -> None:
    opened = open_store(state, SteppedClock())
    file = PolicyFile(state / "policy.json")
    seen: list[bool] = []
    with working(opened.store.path, opened.store.writer._before_commit) as writer:
        future = writer.submit(lambda connection: apply.add_denial(connection, DENIAL))

        def look(_: object) -> None:
            policy = file.load()
            seen.append(policy is not None and policy.denials == (DENIAL,))

        future.add_done_callback(look)
        future.result(SOON)
    assert seen == [True]


def test_registry_reads_over_a_borrowed_connection_that_is_used_again(used: Path) -> None:
    store = open_store(used, SteppedClock()).store
    with store.reading() as first:
        one = first._connection
    with store.reading() as second, store.reading() as third:
        assert second._connection is one
        assert third._connection is not one
    store.close_readers()
    with pytest.raises(apsw.ConnectionClosedError):
        Registry(one).records()


def test_a_reader_that_finds_no_table_makes_the_database_suspect(tmp_path: Path) -> None:
    """As in a file that was emptied in its place: pages the writer remembers hide it from it."""
    path = tmp_path / "meshd.db"
    path.touch()
    store = Store(path, "epoch")

    with pytest.raises(StoreError, match="no such table"), store.reading() as registry:
        registry.records()

    store.close_readers()
    assert store.writer.suspect == "no such table: agents"
