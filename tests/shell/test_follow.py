"""Following the change log and waiting for an agent: as a library, and as a person types it."""

from __future__ import annotations

import contextlib
import itertools
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

import click
import pytest

from meshd.api.server import Server, bind_socket
from meshd.cli.waiting import Duration, Wanted, _await
from meshd.client import Client, GoneError, following
from meshd.config.duration import parse_duration
from meshd.errors import DeadlineError, MeshdError, NoDaemonError
from meshd.store import changelog
from tests.api.feeding import LONG, Feeding, change, until
from tests.api.running import Daemon
from tests.harness import delete_manifest, write_manifest
from tests.shell.command_line import CommandLine
from tests.shell.fake_daemon import fake_daemon

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def feeding(tmp_path: Path) -> Iterator[Feeding]:
    with Feeding(tmp_path) as running:
        yield running


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with contextlib.closing(Daemon(tmp_path.resolve())) as running:
        yield running


@pytest.fixture
def meshd(tmp_path: Path) -> CommandLine:
    home = tmp_path / "h"
    home.mkdir()
    return CommandLine(home)


def ids(entries: Iterator[dict[str, Any]], count: int) -> list[str]:
    return [entry["agentId"] for entry in itertools.islice(entries, count)]


# the library


def test_entries_are_followed_from_where_the_caller_is(feeding: Feeding) -> None:
    feeding.append("a", "b")
    with Client(feeding.path) as client:
        page = client.events(1)
        by_number = client.follow(1)
        by_id = client.follow(f"{page['epoch']}-1")
        assert [next(by_number), next(by_id)] == page["events"] * 2
        by_number.close()
        by_id.close()


def test_following_goes_on_over_a_restart_and_says_so(tmp_path: Path) -> None:
    told: list[bool] = []
    with Feeding(tmp_path) as before:
        before.append("a")
        entries = Client(before.path).follow(0, connected=told.append)
        assert ids(entries, 1) == ["a"]
        before.stop_server()
        before.append("b")
    with Feeding(tmp_path) as after:
        after.append("c")
        assert ids(entries, 2) == ["b", "c"]
        entries.close()
    assert told == [False, True]


def test_a_follower_that_lost_its_daemon_before_the_first_entry_misses_nothing(
    tmp_path: Path,
) -> None:
    """It began at the newest entry, which it was told of although it never saw it."""
    told: list[bool] = []
    found: list[str] = []
    with Feeding(tmp_path) as before:
        before.append("a")
        entries = Client(before.path).follow(connected=told.append)
        following = threading.Thread(target=lambda: found.extend(ids(entries, 1)))
        following.start()
        until(lambda: before.waiting)
        before.stop_server()
        before.append("b")
    with Feeding(tmp_path):
        following.join(LONG)
    entries.close()
    assert (found, told) == (["b"], [False, True])


def test_a_stream_that_falls_silent_is_opened_anew(
    feeding: Feeding, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "SILENCE_SECONDS", 0.2)
    told: list[bool] = []

    def connected(state: bool) -> None:
        told.append(state)
        if state:
            feeding.append("a")

    entries = Client(feeding.path).follow(connected=connected)
    assert ids(entries, 1) == ["a"]
    entries.close()
    assert told == [False, True]


def test_a_database_that_was_rebuilt_ends_the_following(tmp_path: Path) -> None:
    with Feeding(tmp_path) as before:
        before.append("a")
        entries = Client(before.path).follow(0)
        next(entries)
    for file in (tmp_path / "state").glob("meshd.db*"):
        file.unlink()
    with Feeding(tmp_path) as after:
        after.append("a", "b")
        with pytest.raises(GoneError) as raised:
            next(entries)
    assert raised.value.hint is not None


def test_entries_that_are_gone_at_the_first_try_are_an_error(feeding: Feeding) -> None:
    feeding.append("a", "b")
    feeding.prune()
    with Client(feeding.path) as client:
        with pytest.raises(GoneError):
            next(client.follow(1))
        with pytest.raises(GoneError):
            client.events(1, wait=0)


def test_entries_that_go_while_the_caller_is_slow_are_an_error(feeding: Feeding) -> None:
    entries = Client(feeding.path).follow(0)
    big = {"text": "x" * 20_000}
    for _ in range(50):
        feeding.submit(*(change("a", big) for _ in range(10))).result(LONG)
    first = next(entries)
    until(lambda: feeding.held)
    feeding.prune()
    got = [first["seq"]]
    with pytest.raises(GoneError):
        got.extend(entry["seq"] for entry in entries)
    assert got == list(range(1, len(got) + 1))
    assert len(got) < 500


def test_without_a_daemon_following_does_not_begin(tmp_path: Path) -> None:
    with pytest.raises(NoDaemonError):
        next(Client(tmp_path / "meshd.sock").follow())


def test_what_is_no_stream_is_an_error(tmp_path: Path) -> None:
    with fake_daemon(tmp_path / "s") as fake:
        fake.answer("GET /api/mesh/events", {"error": {"code": "x", "message": "no"}}, status=500)
        with pytest.raises(MeshdError, match=r"^no$"):
            next(Client(fake.path).follow())


# `meshd events --follow`


class Following:
    """`meshd events --follow` as a process."""

    def __init__(self, meshd: CommandLine, path: Path, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [
                sys.executable, "-W", "error", "-m", "meshd", "events", "--follow",
                "--socket", str(path), *arguments,
            ],
            env=meshd.whole_environ, cwd=meshd.home, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def note(self) -> str:
        assert self._process.stderr is not None
        return self._process.stderr.readline()

    def interrupt(self) -> tuple[int, str, str]:
        self._process.send_signal(signal.SIGINT)
        return self.end()

    def end(self) -> tuple[int, str, str]:
        out, err = self._process.communicate(timeout=LONG)
        return self._process.returncode, out, err


def test_each_event_is_printed_as_it_happens_until_the_user_stops(
    feeding: Feeding, meshd: CommandLine
) -> None:
    feeding.append("a", "b")
    with Following(meshd, feeding.path, "--since", "1") as plain:
        assert plain.line().split() == [
            "2", "2026-03-01T00:00:00.000Z", "updated", "sweep", "b", "/r/b",
        ]  # fmt: skip
        with Following(meshd, feeding.path, "--json") as as_json:
            until(lambda: feeding.waiting == 2)
            feeding.append("c")
            assert plain.line().split()[0] == "3"
            assert json.loads(as_json.line()) == feeding.get("?since=2")[1]["events"][0]
            assert as_json.interrupt() == (0, "", "")
        assert plain.interrupt() == (0, "", "")


def test_a_restart_is_noted_and_followed_over(tmp_path: Path, meshd: CommandLine) -> None:
    with Feeding(tmp_path) as before:
        before.append("a")
        shown = Following(meshd, before.path, "--since", "0")
        with contextlib.ExitStack() as stack:
            stack.enter_context(shown)
            assert shown.line().split()[4] == "a"
            before.stop_server()
            assert "went away" in shown.note()
            before.append("b")
            before.__exit__()
            after = stack.enter_context(Feeding(tmp_path))
            assert "is back" in shown.note()
            assert shown.line().split()[4] == "b"
            assert after.waiting <= 1
            assert shown.interrupt() == (0, "", "")


def test_a_log_that_cannot_go_on_is_an_error_with_advice(
    feeding: Feeding, meshd: CommandLine
) -> None:
    ran = meshd("events", "--follow", "--since", "9", "--socket", str(feeding.path))
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("error: ")
    assert "hint: " in ran.err
    assert "meshd agents list" in ran.err


def test_nothing_is_followed_without_a_daemon(meshd: CommandLine) -> None:
    assert meshd("events", "--follow").code == 4


# `meshd wait`


def waiting(daemon: Daemon, wanted: Wanted, seconds: float = LONG) -> dict[str, Any] | None:
    with Client(daemon.path) as client:
        return _await(client, wanted, time.monotonic() + seconds)


def test_what_is_so_already_is_printed_at_once(daemon: Daemon, meshd: CommandLine) -> None:
    project = daemon.agent("a")
    socket = ("--socket", str(daemon.path))
    by_id = meshd("wait", "a", "--for", "active", "--json", *socket)
    by_path = meshd("wait", f"{project}/../a", "--for", "registered", *socket)
    nobody = meshd("wait", "b", "--for", "gone", *socket)
    assert (by_id.code, by_id.document["id"]) == (0, "a")
    assert (by_path.code, by_path.out.split()[:2]) == (0, ["id", "a"])
    assert (nobody.code, nobody.out) == (0, "gone: b\n")


def test_what_does_not_come_in_time_exits_8(daemon: Daemon, meshd: CommandLine) -> None:
    ran = meshd(
        "wait", "a", "--for", "active", "--timeout", "200ms", "--json",
        "--socket", str(daemon.path),
    )  # fmt: skip
    assert ran.code == 8
    assert list(ran.document) == ["error"]


def test_a_wait_for_a_daemon_that_hangs_exits_8_in_time(tmp_path: Path, meshd: CommandLine) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen()
        began = time.monotonic()
        ran = meshd(
            "wait", "a", "--for", "active", "--timeout", "100ms", "--socket", str(tmp_path / "s")
        )
    assert ran.code == 8
    assert time.monotonic() - began < 10


def test_a_wait_without_daemon_exits_4_and_a_wrong_one_2(meshd: CommandLine) -> None:
    assert meshd("wait", "a", "--for", "active").code == 4
    for wrong in (["--for", "happy"], ["--for", "gone", "--timeout", "5"], []):
        assert meshd("wait", "a", *wrong).code == 2


def test_each_state_is_waited_for_as_it_comes(daemon: Daemon) -> None:
    project = daemon.root / "a"
    named = {"agent_id": "a", "path": None}
    placed = {"agent_id": None, "path": str(project)}

    def both(state: str) -> list[Any]:
        return [pool.submit(waiting, daemon, Wanted(**by, state=state)) for by in (named, placed)]

    with ThreadPoolExecutor(2) as pool:
        for state, act in (
            ("registered", lambda: write_manifest(project, "a")),
            ("unreachable", lambda: delete_manifest(project)),
            ("active", lambda: write_manifest(project, "a")),
            ("gone", lambda: daemon.post("/deny", {"path": str(project)})),
        ):
            asked = both(state)
            until(lambda: daemon.server._feed._waiting == 2)
            act()
            daemon.post("/sweep")
            shown = [one.result(LONG) for one in asked]
            assert [row and row["id"] for row in shown] == (
                [None, None] if state == "gone" else ["a", "a"]
            )


def test_a_state_that_has_passed_again_was_reached(daemon: Daemon) -> None:
    project = daemon.agent("a")
    with Client(daemon.path) as client:
        status = client.status()
        delete_manifest(project)
        daemon.post("/sweep")
        write_manifest(project, "a")
        daemon.post("/sweep")
        place = f"{status['epoch']}-{status['seq']}"
        kinds = [entry["kind"] for entry in client.events(place)["events"]]
    assert kinds == ["unreachable", "returned"]
    wanted = Wanted("a", None, "unreachable")
    assert any(map(wanted.begins_with, [{"kind": kind, "agentId": "a"} for kind in kinds]))


def test_no_registration_falls_between_the_rows_and_the_log(daemon: Daemon) -> None:
    """A writer hammers while each wait begins somewhere in its work."""
    with ThreadPoolExecutor(1) as pool:
        for number in range(25):
            agent_id = f"a{number}"
            written = pool.submit(daemon.agent, agent_id)
            assert waiting(daemon, Wanted(agent_id, None, "registered")) is not None
            written.result(LONG)


def test_a_log_that_was_pruned_meanwhile_is_no_hindrance(daemon: Daemon) -> None:
    daemon.agent("b")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(waiting, daemon, Wanted("a", None, "registered"))
        until(lambda: daemon.server._feed._waiting)
        daemon.agent("a")
        daemon.store.writer.submit(lambda one: changelog.prune(one, "9999")).result(LONG)
        row = asked.result(LONG)
    assert row is not None


def test_a_wait_goes_on_over_a_restart(daemon: Daemon) -> None:
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(waiting, daemon, Wanted("a", None, "registered"))
        until(lambda: daemon.server._feed._waiting)
        serving, _ = daemon.threads.pop()
        daemon.server.stop()
        serving.join(LONG)
        server = Server(daemon.services, bind_socket(daemon.path, 0o600), daemon.path)
        again = threading.Thread(target=server.run)
        again.start()
        daemon.threads.append((again, server.stop))
        daemon.http.close()
        daemon.http = daemon.connect()
        daemon.agent("a")
        row = asked.result(LONG)
    assert row is not None


def test_a_wait_ends_in_time_without_news(daemon: Daemon) -> None:
    with pytest.raises(DeadlineError):
        waiting(daemon, Wanted("a", None, "active"), seconds=0.2)


ROW = {"id": "a", "projectPath": "/r/a", "lastPath": "/r/a", "status": "active", "unscanned": None}


@pytest.mark.parametrize(
    ("row", "states"),
    [
        pytest.param(ROW, {"registered", "active"}, id="live"),
        pytest.param({**ROW, "unscanned": "excluded"}, {"registered"}, id="unscanned is not live"),
        pytest.param(
            {**ROW, "status": "unreachable"}, {"registered", "unreachable"}, id="unreachable"
        ),
        pytest.param(None, {"gone"}, id="no row"),
    ],
)
def test_a_row_is_in_these_states_and_no_others(
    row: dict[str, Any] | None, states: set[str]
) -> None:
    every = ("registered", "active", "unreachable", "gone")
    assert states == {state for state in every if Wanted("a", None, state).holds(row)}


def test_at_a_path_who_lives_there_comes_before_who_did() -> None:
    was = {**ROW, "id": "b", "projectPath": None}
    wanted = Wanted(None, "/r/a", "active")
    assert wanted.find([was, ROW, was]) == ROW
    assert wanted.find([was]) == was
    assert wanted.find([{**ROW, "projectPath": "/r/b", "lastPath": "/r/b"}]) is None


@pytest.mark.parametrize(
    ("entry", "concerned"),
    [
        pytest.param({"path": "/r/a"}, True, id="it happened there"),
        pytest.param({"from": {"projectPath": "/r/a"}}, True, id="it left"),
        pytest.param({"to": {"lastPath": "/r/a"}}, True, id="it was there last"),
        pytest.param({"path": "/r/b"}, False, id="elsewhere"),
    ],
)
def test_an_entry_concerns_a_path_it_names(entry: dict[str, Any], concerned: bool) -> None:
    whole = {"agentId": "x", "path": None, "from": None, "to": None, **entry}
    assert concerned == Wanted(None, "/r/a", "gone").concerns(whole)


@pytest.mark.parametrize("text", ["0s", "200ms", "1.5m", "24h", "5", "-1s", "5 s", "1e3s", "٣s"])
def test_a_duration_is_read_as_the_configuration_reads_it(text: str) -> None:
    try:
        expected = parse_duration(text)
    except ValueError:
        with pytest.raises(click.BadParameter):
            Duration().convert(text, None, None)
    else:
        assert expected == Duration().convert(text, None, None)
