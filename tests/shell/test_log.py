"""The log: one record per event, whatever the values hold, and never in anybody's way."""

from __future__ import annotations

import array
import fcntl
import io
import json
import os
import re
import socket
import struct
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.errors import ConfigError
from meshd.escaping import escape
from meshd.journal import MESSAGE_IDS, Journal
from meshd.log import Log, console_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Every character that could start a line, move the cursor or turn the reading order.
HOSTILE = "a\nb\r\x1b[2J\x9b\u2028\u2029\u202e\u200f\udcff\ud800\x00"


class StoppedClock:
    """A clock at one instant."""

    def monotonic(self) -> float:
        return 0.0

    def wall_ns(self) -> int:
        return 1_700_000_000_123_000_000


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class BrokenStream(io.StringIO):
    """A stream whose reader is gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(text)


def fail(message: str) -> None:
    raise ValueError(message)


def open_log(stream: io.StringIO, **options: Any) -> Log:  # noqa: ANN401 - passed on
    defaults: dict[str, Any] = {"environ": {}, "journal_socket": "/nowhere"}
    return Log(stream=stream, clock=StoppedClock(), **defaults | options)


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(path)
        receiver.settimeout(5)
        yield path, receiver


def receive(receiver: socket.socket) -> dict[str, bytes]:
    """Read one record as journald does, from the datagram or from the file sent with it."""
    datagram, ancillary, _, _ = receiver.recvmsg(1 << 20, socket.CMSG_SPACE(4))
    if ancillary:
        file = array.array("i", ancillary[0][2])[0]
        with os.fdopen(file, "rb") as reader:
            seals = fcntl.fcntl(file, fcntl.F_GET_SEALS)
            assert seals & fcntl.F_SEAL_WRITE
            assert seals & fcntl.F_SEAL_SHRINK
            reader.seek(0)
            datagram = reader.read()
    fields: dict[str, bytes] = {}
    while datagram:
        line, _, rest = datagram.partition(b"\n")
        name, given, value = line.partition(b"=")
        if not given:
            (length,) = struct.unpack("<Q", rest[:8])
            value, rest = rest[8 : 8 + length], rest[9 + length :]
        assert name.decode() not in fields
        fields[name.decode()] = value
        datagram = rest
    return fields


# Lines.


def test_json_is_one_ascii_line_with_the_keys_in_order() -> None:
    stream = io.StringIO()
    open_log(stream, format="json").logger.info(
        "relocated", path=HOSTILE, agent_id="a1", seq=7, from_="/x", to=None
    )
    text = stream.getvalue()
    assert text.isascii()
    assert text.count("\n") == 1
    assert json.loads(text) == {
        "at": "2023-11-14T22:13:20.123Z",
        "level": "info",
        "event": "relocated",
        "path": HOSTILE,
        "agent_id": "a1",
        "seq": 7,
        "from": "/x",
        "to": None,
    }
    assert list(json.loads(text))[:3] == ["at", "level", "event"]


def test_a_console_line_shows_when_how_important_what_and_the_values() -> None:
    stream = io.StringIO()
    open_log(stream, format="console").logger.warning(
        "refused", path="/a b", seq=3, why="", to=None, agent_id="x"
    )
    assert stream.getvalue() == (
        '2023-11-14T22:13:20.123Z warning  refused path="/a b" seq=3 why="" to=- agent_id=x\n'
    )


def test_a_hostile_value_stays_on_its_line_and_shows_its_bytes() -> None:
    stream = io.StringIO()
    open_log(stream, format="console").logger.info("registered", path=HOSTILE)
    assert stream.getvalue().endswith(
        r"path=a\x0ab\x0d\x1b[2J\x9b\u2028\u2029\u202e\u200f\udcff\ud800\x00" + "\n"
    )


def test_a_value_cannot_pose_as_another_key() -> None:
    stream = io.StringIO()
    open_log(stream, format="console").logger.info("registered", path='x agent_id="root"')
    assert r'path="x agent_id=\"root\""' in stream.getvalue()


@given(st.text(st.characters(categories=None), max_size=30))
def test_no_text_at_all_breaks_a_console_line(text: str) -> None:
    record = {"at": "now", "level": "info", "event": "seen", "path": text, "more": [text]}
    line = console_line(record)
    line.encode("utf-8")
    assert len(line.splitlines()) == 1
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]", line)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("größe 日本", "größe 日本"),
        ("\x07", r"\x07"),
        ("\u2066", r"\u2066"),
        ("\U000e0041", r"\U000e0041"),
        (os.fsdecode(b"\xff"), r"\udcff"),
    ],
)
def test_only_what_is_unsafe_is_escaped(text: str, expected: str) -> None:
    assert escape(text) == expected


def test_a_stream_that_knows_only_ascii_gets_ascii() -> None:
    raw = io.BytesIO()
    log = open_log(io.TextIOWrapper(raw, "ascii"), format="console")  # type: ignore[arg-type]
    log.logger.info("registered", path="/größe")
    assert rb"path=/gr\xf6\xdfe" in raw.getvalue()


@pytest.mark.parametrize(
    ("stream", "environ", "coloured", "reason"),
    [
        (Terminal(), {}, True, "a terminal"),
        (Terminal(), {"NO_COLOR": "1"}, False, "colour is unwanted"),
        (Terminal(), {"NO_COLOR": ""}, True, "an empty NO_COLOR is none (no-color.org)"),
        (io.StringIO(), {}, False, "no terminal"),
    ],
)
def test_colour_is_for_terminals(
    stream: io.StringIO, environ: dict[str, str], coloured: bool, reason: str
) -> None:
    open_log(stream, format="console", environ=environ).logger.error("actor_failed")
    assert ("\x1b[31m" in stream.getvalue()) is coloured, reason


@pytest.mark.parametrize("form", ["console", "json"])
def test_an_exception_is_logged_with_its_traceback_and_cannot_forge_a_line(form: str) -> None:
    stream = io.StringIO()
    log = open_log(stream, format=form)
    try:
        fail("\n2023 info registered \x1b[1m")
    except ValueError:
        log.logger.exception("actor_failed", actor="meshd-watch")
    first, *rest = stream.getvalue().splitlines()
    assert "actor_failed" in first
    assert "\x1b" not in stream.getvalue()
    assert all(line.startswith("    ") for line in rest)
    assert "ValueError" in stream.getvalue()


def test_only_what_is_important_enough_is_written_and_a_reload_changes_that() -> None:
    stream = io.StringIO()
    log = open_log(stream, level="warning", format="json")
    kept = log.logger.bind(root="/srv")
    kept.info("swept")
    kept.warning("sickened")
    log.change("debug", "console")
    kept.debug("looked")
    first, second = stream.getvalue().splitlines()
    assert json.loads(first)["event"] == "sickened"
    assert second.endswith("debug    looked root=/srv")


@pytest.mark.parametrize("closed", [False, True])
def test_a_stream_that_fails_is_counted_and_never_raised(closed: bool) -> None:
    stream = io.StringIO() if closed else BrokenStream()
    log = open_log(stream, format="json")
    if closed:
        stream.close()
    log.logger.info("swept")
    assert log.dropped == 1
    log.close()


def test_two_logs_do_not_know_of_each_other() -> None:
    one, other = io.StringIO(), io.StringIO()
    first = open_log(one, format="json", level="debug")
    open_log(other, format="console", level="error").logger.info("swept")
    first.logger.debug("looked")
    assert (one.getvalue().count("\n"), other.getvalue()) == (1, "")


# The journal.


def test_a_record_reaches_the_journal_as_fields(journald: tuple[str, socket.socket]) -> None:
    path, receiver = journald
    log = open_log(io.StringIO(), format="journal", journal_socket=path)
    log.logger.warning("refused", path="/a", agent_id="a1", seq=7, why="duplicate", to=None)
    assert receive(receiver) == {
        "MESSAGE": b"refused path=/a agent_id=a1 seq=7 why=duplicate",
        "PRIORITY": b"4",
        "SYSLOG_IDENTIFIER": b"meshd",
        "MESHD_EVENT": b"refused",
        "MESSAGE_ID": MESSAGE_IDS["refused"].encode(),
        "AGENT_PATH": b"/a",
        "AGENT_ID": b"a1",
        "MESHD_SEQ": b"7",
        "MESHD_WHY": b"duplicate",
    }
    assert log.dropped == 0
    log.close()


def test_a_value_of_several_lines_cannot_add_a_field(journald: tuple[str, socket.socket]) -> None:
    path, receiver = journald
    log = open_log(io.StringIO(), format="journal", journal_socket=path)
    log.logger.info("registered", path="/a\nPRIORITY=0\n_UID=0", **{"odd key=\n": "x"})
    fields = receive(receiver)
    assert fields["AGENT_PATH"] == b"/a\nPRIORITY=0\n_UID=0"
    assert fields["MESSAGE"].startswith(rb"registered path=/a\x0aPRIORITY=0\x0a_UID=0")
    assert fields["MESHD_ODD_KEY__"] == b"x"
    assert fields["PRIORITY"] == b"6"
    log.close()


def test_bytes_that_are_no_text_reach_the_journal_escaped(
    journald: tuple[str, socket.socket],
) -> None:
    path, receiver = journald
    log = open_log(io.StringIO(), format="journal", journal_socket=path)
    log.logger.info("registered", path=os.fsdecode(b"/\xff"))
    assert receive(receiver)["AGENT_PATH"] == rb"/\udcff"
    log.close()


def test_a_record_too_long_for_a_datagram_is_sent_as_a_sealed_file(
    journald: tuple[str, socket.socket],
) -> None:
    path, receiver = journald
    log = open_log(io.StringIO(), format="journal", journal_socket=path)
    log.logger.info("registered", why="x" * 1_000_000)
    assert receive(receiver)["MESHD_WHY"] == b"x" * 1_000_000
    assert log.dropped == 0
    log.close()


def test_a_journald_that_does_not_read_drops_records_and_never_blocks(
    journald: tuple[str, socket.socket],
) -> None:
    path, receiver = journald
    log = open_log(io.StringIO(), format="journal", journal_socket=path)
    sent = 0
    while log.dropped == 0:
        log.logger.info("looked", seq=sent)
        sent += 1
    log.logger.info("looked")
    assert log.dropped == 2
    for _ in range(sent - 1):
        receive(receiver)
    log.logger.info("swept")
    assert receive(receiver)["MESHD_EVENT"] == b"swept"
    log.close()


def test_a_journald_that_was_restarted_is_found_again(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    journal = Journal(path)
    journal.open()
    journal.send({"event": "lost", "level": "info"})
    assert journal.dropped == 1
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(path)
        journal.send({"event": "found", "level": "info"})
        assert receive(receiver)["MESHD_EVENT"] == b"found"
    journal.close()


def test_a_journal_that_is_asked_for_and_missing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r'log\.format is "journal", but /nowhere does not exist'):
        open_log(io.StringIO(), format="journal")


# Where `auto` leads.


def test_auto_is_the_journal_where_the_stream_leads_there(
    journald: tuple[str, socket.socket], tmp_path: Path
) -> None:
    path, receiver = journald
    with (tmp_path / "stderr").open("w") as stream:
        status = os.fstat(stream.fileno())
        environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        log = Log(stream=stream, environ=environ, journal_socket=path)
        log.logger.info("swept")
        assert receive(receiver)["MESHD_EVENT"] == b"swept"
        log.close()
    assert (tmp_path / "stderr").read_text() == ""


@pytest.mark.parametrize(
    ("stream", "environ", "expected"),
    [
        (Terminal(), {"NO_COLOR": "1"}, "info     swept"),
        (io.StringIO(), {}, '"event": "swept"'),
        (io.StringIO(), {"JOURNAL_STREAM": "1:2"}, '"event": "swept"'),
    ],
    ids=["a terminal", "a pipe", "redirected away from the journal"],
)
def test_auto_is_the_console_on_a_terminal_and_json_elsewhere(
    journald: tuple[str, socket.socket],
    stream: io.StringIO,
    environ: dict[str, str],
    expected: str,
) -> None:
    open_log(stream, environ=environ, journal_socket=journald[0]).logger.info("swept")
    assert expected in stream.getvalue()


def test_auto_keeps_to_the_stream_where_no_journald_listens(tmp_path: Path) -> None:
    path = tmp_path / "stderr"
    with path.open("w") as stream:
        status = os.fstat(stream.fileno())
        environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        Log(stream=stream, environ=environ, journal_socket="/nowhere").logger.info("swept")
    assert json.loads(path.read_text())["event"] == "swept"
