"""The feed tells every subscriber every change, once and in order, or says that it cannot."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from typing import TYPE_CHECKING

import apsw
import pytest

from meshd.api import events as events_module
from meshd.api import schemas
from meshd.api.server import STOP_SECONDS
from meshd.core.model import Change, Kind, Source
from meshd.errors import StoreError
from tests.api.feeding import EVENTS, LONG, Feeding, Stream, change, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SUBSCRIBERS = 200
CHANGES = 500


@pytest.fixture
def feeding(tmp_path: Path) -> Iterator[Feeding]:
    with Feeding(tmp_path) as running:
        yield running


def seqs(stream: Stream, count: int) -> list[int]:
    return [entry["seq"] for entry in stream.entries(count)]


# a stream


def test_an_event_has_its_id_its_kind_and_the_published_entry(feeding: Feeding) -> None:
    with feeding.listen() as stream:
        feeding.submit(Change(Kind.UPDATED, "a", "/r/caf\udce9", Source.SWEEP)).result(LONG)
        block = next(stream.blocks)

    epoch = feeding.store.epoch
    assert stream.answer.headers["content-type"].startswith("text/event-stream")
    assert stream.first == {"id": f"{epoch}-0"}
    assert (block["id"], block["event"]) == (f"{epoch}-1", str(Kind.UPDATED))
    entry = json.loads(block["data"])
    schemas.EventEntry.model_validate({**entry, "path": None})  # which knows no half characters
    assert entry["path"] == "/r/caf\udce9"
    assert r"\udce9" in block["data"]


def test_without_a_position_a_stream_begins_now(feeding: Feeding) -> None:
    feeding.append("a", "b")
    with feeding.listen() as stream:
        feeding.append("c")
        assert seqs(stream, 1) == [3]


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        pytest.param("?since=1", {}, id="by number"),
        pytest.param("?since=EPOCH-1", {}, id="by id"),
        pytest.param("", {"Last-Event-ID": "EPOCH-1"}, id="as a browser does"),
        pytest.param("?since=3", {"Last-Event-ID": "EPOCH-1"}, id="the later word of the two"),
    ],
)
def test_a_stream_goes_on_after_what_the_client_has(
    feeding: Feeding, query: str, headers: dict[str, str]
) -> None:
    feeding.append("a", "b", "c")
    epoch = feeding.store.epoch
    headers = {name: value.replace("EPOCH", epoch) for name, value in headers.items()}
    with feeding.listen(query.replace("EPOCH", epoch), **headers) as stream:
        assert seqs(stream, 2) == [2, 3]


def test_a_stream_without_news_says_that_it_lives(
    feeding: Feeding, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "HEARTBEAT_SECONDS", 0.05)
    with feeding.listen() as stream:
        assert [next(stream.blocks) for _ in range(2)] == [{"": ""}, {"": ""}]
        feeding.append("a")
        while (block := next(stream.blocks)) == {"": ""}:
            pass
        assert block["id"].endswith("-1")


def test_an_entry_that_is_damaged_does_not_end_the_feed(feeding: Feeding) -> None:
    feeding.append("a", "b")
    feeding.store.writer.submit(
        lambda one: one.execute(
            "UPDATE changes SET kind = 'x' || char(10) || 'data: y', after_json = '{\"a\": NaN}'"
            " WHERE seq = 1"
        )
    ).result(LONG)
    with feeding.listen("?since=0") as stream:
        block = next(stream.blocks)
        (second,) = stream.entries(1)
    first = json.loads(block["data"])
    assert (first["seq"], first["to"], second["seq"]) == (1, None, 2)
    assert set(block) == {"id", "data"}


# where a stream cannot go on


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("?since=1", id="no longer kept"),
        pytest.param("?since=EPOCH-0", id="no longer kept, not even the first"),
        pytest.param("?since=9", id="from the future"),
        pytest.param("?since=00000000-2", id="of another epoch"),
    ],
)
@pytest.mark.parametrize("accept", ["text/event-stream", "application/json"])
def test_a_place_that_is_gone_is_refused_with_advice(
    feeding: Feeding, query: str, accept: str
) -> None:
    feeding.append("a", "b", "c")
    feeding.prune()
    feeding.append("d")

    where = query.replace("EPOCH", feeding.store.epoch)
    status, document = feeding.get(f"{where}&wait=0", Accept=accept)

    schemas.Failure.model_validate(document)
    assert (status, document["error"]["code"]) == (410, "gone")
    assert "status" in document["error"]["hint"]


def test_the_bare_zero_asks_for_everything_that_is_kept(feeding: Feeding) -> None:
    feeding.append("a", "b")
    feeding.prune()
    feeding.append("c")
    with feeding.listen("?since=0") as stream:
        assert seqs(stream, 1) == [3]


def test_a_database_that_was_rebuilt_is_another_epoch(tmp_path: Path) -> None:
    with Feeding(tmp_path) as before:
        before.append("a")
        with before.listen("?since=0") as stream:
            last = next(stream.blocks)["id"]
    for file in (tmp_path / "state").glob("meshd.db*"):
        file.unlink()
    with Feeding(tmp_path) as after:
        after.append("a", "b")
        status, document = after.get("?wait=0", **{"Last-Event-ID": last})
    assert (status, document["error"]["code"]) == (410, "gone")


# the server ends and begins


def test_a_stream_goes_on_over_a_restart_without_loss(tmp_path: Path) -> None:
    with Feeding(tmp_path) as before:
        before.append("a", "b")
        with before.listen("?since=0") as stream:
            last = [next(stream.blocks)["id"] for _ in range(2)][-1]
            before.stop_server()
            before.append("c")
            assert stream.rest() == []
    with Feeding(tmp_path) as after:
        after.append("d")
        with after.listen(**{"Last-Event-ID": last}) as stream:
            assert seqs(stream, 2) == [3, 4]


def test_a_stop_ends_streams_and_waits_at_once(feeding: Feeding) -> None:
    answers: list[tuple[int, object]] = []
    asking = threading.Thread(target=lambda: answers.append(feeding.get("?wait=60")))
    with feeding.listen() as first, feeding.listen() as second:
        asking.start()
        until(lambda: feeding.waiting == 3)
        began = time.monotonic()
        feeding.stop_server()
        assert time.monotonic() - began < STOP_SECONDS
        assert (first.rest(), second.rest()) == ([], [])
    asking.join(LONG)
    expected = {"events": [], "epoch": feeding.store.epoch, "seq": 0}
    assert answers == [(200, expected)]


def test_a_subscriber_who_does_not_read_holds_up_no_stop(feeding: Feeding) -> None:
    with feeding.listen() as stream:
        big = {"text": "x" * 50_000}
        for _ in range(40):
            feeding.submit(*(change("a", big) for _ in range(5))).result(LONG)
        until(lambda: feeding.held)
        began = time.monotonic()
        feeding.stop_server()
        assert time.monotonic() - began < STOP_SECONDS
        got = [json.loads(block["data"])["seq"] for block in stream.rest() if "data" in block]
    assert got == list(range(1, len(got) + 1))
    assert len(got) < 200


def test_a_server_that_stops_begins_no_stream(feeding: Feeding) -> None:
    feeding.server._feed.close()
    status, document = feeding.get(Accept="text/event-stream")
    assert (status, document["error"]["code"]) == (503, "stopping")


@pytest.mark.parametrize(
    "error", [apsw.IOError("disk I/O error"), StoreError("cannot open")], ids=str
)
def test_a_database_that_cannot_be_read_ends_a_stream_and_is_told_to_the_next(
    feeding: Feeding, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    with feeding.listen() as stream:
        until(lambda: feeding.waiting == 1)  # no reading is under way
        with monkeypatch.context() as patch:
            patch.setattr(feeding.server._feed.log, "batch_after", fail)
            feeding.append("a")
            assert stream.rest() == []
            assert feeding.get("?since=0&wait=1")[1]["error"]["code"] == "store"
        # What could not be read is tried again.
        assert feeding.get("?since=0&wait=1")[1]["seq"] == 1


# slow subscribers


def test_a_slow_subscriber_costs_a_bounded_buffer_and_misses_nothing(feeding: Feeding) -> None:
    big = {"text": "x" * 20_000}
    with feeding.listen() as slow, feeding.listen() as quick:
        for _ in range(50):
            feeding.submit(*(change("a", big) for _ in range(10))).result(LONG)
        assert seqs(quick, 500) == list(range(1, 501))
        # What uvicorn calls full, and one batch more with its last entry.
        assert 0 < feeding.held < 300_000
        assert seqs(slow, 500) == list(range(1, 501))


def test_entries_pruned_under_a_slow_subscriber_end_its_stream(feeding: Feeding) -> None:
    big = {"text": "x" * 20_000}
    with feeding.listen() as slow:
        for _ in range(50):
            feeding.submit(*(change("a", big) for _ in range(10))).result(LONG)
        until(lambda: feeding.held)
        feeding.prune()
        *told, last = slow.rest()
    got = [json.loads(block["data"])["seq"] for block in told]
    assert got == list(range(1, len(got) + 1))
    assert len(got) < 500
    assert (last["event"], json.loads(last["data"])["error"]["code"]) == ("gone", "gone")
    assert "id" not in last


def test_a_subscriber_who_left_is_forgotten_without_being_told_anything(
    feeding: Feeding,
) -> None:
    with feeding.listen():
        assert len(feeding.server._feed._streams) == 1
    until(lambda: not feeding.server._feed._streams)


# a wait


def test_a_wait_ends_at_once_when_there_is_something(feeding: Feeding) -> None:
    feeding.append("a", "b")
    status, document = feeding.get("?since=1&wait=60")
    schemas.EventsAnswer.model_validate(document)
    assert (status, [entry["seq"] for entry in document["events"]]) == (200, [2])
    assert document == feeding.get("?since=1")[1]


def test_a_wait_ends_with_the_commit_that_brings_something(feeding: Feeding) -> None:
    answers: list[tuple[int, dict[str, object]]] = []
    asking = threading.Thread(target=lambda: answers.append(feeding.get("?since=0&wait=60")))
    asking.start()
    until(lambda: feeding.waiting)
    feeding.append("a")
    asking.join(LONG)
    ((status, document),) = answers
    assert (status, document) == (200, feeding.get("?since=0")[1])
    assert document["seq"] == 1


def test_a_wait_without_news_ends_empty_after_its_time(
    feeding: Feeding, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "WAIT_LIMIT_SECONDS", 0.2)
    began = time.monotonic()
    status, document = feeding.get("?wait=3600")
    assert 0.2 <= time.monotonic() - began < 10
    assert (status, document["events"]) == (200, [])


def test_a_page_of_a_wait_holds_no_more_than_was_asked_for(feeding: Feeding) -> None:
    feeding.append("a", "b", "c")
    _, document = feeding.get("?since=0&wait=1&limit=2")
    assert ([entry["seq"] for entry in document["events"]], document["seq"]) == ([1, 2], 3)


@pytest.mark.parametrize(
    "query",
    ["?wait=-1", "?wait=nan", "?wait=x", "?since=-", "?since=a_b-1", "?since=1-", "?since=\u0661"],
)
def test_a_question_that_makes_no_sense_is_refused(feeding: Feeding, query: str) -> None:
    status, document = feeding.get(query.replace("\u0661", "%D9%A1"))
    assert (status, document["error"]["code"]) == (400, "bad-request")


# many


async def _subscribe(feeding: Feeding, ready: asyncio.Semaphore, until: int) -> list[int]:
    reader, writer = await asyncio.open_unix_connection(str(feeding.path))
    writer.write(
        f"GET {EVENTS} HTTP/1.1\r\nHost: meshd\r\nAccept: text/event-stream\r\n\r\n".encode()
    )
    found: list[int] = []
    while not found or found[-1] < until:
        line = await asyncio.wait_for(reader.readline(), LONG)
        if line.startswith(b"id: ") and line.endswith(b"-0\n"):
            ready.release()
        elif line.startswith(b"data: "):
            found.append(json.loads(line[6:])["seq"])
    writer.close()
    return found


@pytest.mark.slow
def test_two_hundred_subscribers_get_every_change_once_in_order(
    feeding: Feeding, monkeypatch: pytest.MonkeyPatch
) -> None:
    with feeding.listen():
        pass  # the thread that reads for all of them is there from now on
    threads = threading.active_count()
    most_threads = 0
    reads: list[int] = []
    batch_after = feeding.server._feed.log.batch_after

    def counting(seq: int, turn: int) -> object:
        reads.append(seq)
        return batch_after(seq, turn)

    monkeypatch.setattr(feeding.server._feed.log, "batch_after", counting)

    async def everybody() -> list[list[int]]:
        nonlocal most_threads
        ready = asyncio.Semaphore(0)
        tasks = [
            asyncio.ensure_future(_subscribe(feeding, ready, CHANGES)) for _ in range(SUBSCRIBERS)
        ]
        for _ in range(SUBSCRIBERS):
            await asyncio.wait_for(ready.acquire(), LONG)
        for first in range(0, CHANGES, 5):
            written = feeding.submit(*(change(str(first + one)) for one in range(5)))
            await asyncio.wrap_future(written)
            most_threads = max(most_threads, threading.active_count())
        return await asyncio.gather(*tasks)

    found = asyncio.run(everybody())

    assert [list(range(1, CHANGES + 1))] * SUBSCRIBERS == found
    assert threads == most_threads
    # Shared: far fewer readings than one for each subscriber and batch.
    assert len(reads) < SUBSCRIBERS + CHANGES


def test_nothing_is_lost_between_a_snapshot_and_its_feed(feeding: Feeding) -> None:
    """A writer hammers while subscribers read where the log stands, and follow from there."""
    ends = threading.Event()

    def hammer() -> None:
        while not ends.is_set():
            feeding.append("a")

    writing = threading.Thread(target=hammer)
    writing.start()
    try:
        for _ in range(20):
            _, snapshot = feeding.get("?limit=1")
            place = f"{snapshot['epoch']}-{snapshot['seq']}"
            with feeding.listen(f"?since={place}") as stream:
                first = snapshot["seq"] + 1
                assert seqs(stream, 30) == list(range(first, first + 30))
    finally:
        ends.set()
        writing.join(LONG)


# the feed alone


def test_a_wake_after_the_end_or_before_the_beginning_is_harmless(feeding: Feeding) -> None:
    feed = feeding.server._feed
    for _ in range(3):
        feed.wake()
    feeding.stop_server()
    feed.wake()
    with socket.socket(socket.AF_UNIX) as asking, pytest.raises(FileNotFoundError):
        asking.connect(str(feeding.path))


def test_a_number_too_long_to_read_is_refused_in_our_own_words(feeding: Feeding) -> None:
    status, answer = feeding.get(f"?since={'1' * 5000}")

    assert (status, "must be SEQ or EPOCH-SEQ" in answer["error"]["message"]) == (400, True)
