"""Rows 42-47: names that break programs, and texts that would speak for meshd.

A name may hold any byte but `/` and NUL, a text of a valid manifest any character but NUL. None
starts a line of its own, moves a terminal's cursor, adds a field to the journal, or turns the
reading order: in no command's output, in no form of the log, in no word to the service manager.

Most tests ask one daemon, one after the other: they stand in the order in which it lives.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.faults import speaking
from tests.faults.tools import needs_root, needs_tool
from tests.system.daemon import Daemon
from tests.system.trees import save

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

FORGED: Final = "FORGED"
NAMES: Final = {
    "newline": f"a\n{FORGED}=1\nMAINPID=1",
    "return": f"a\r{FORGED}",
    "escape": f"a\x1b[2J\x1b]0;{FORGED}\x07red",
    "eight-bit": f"a\x9b31m{FORGED}",
    "direction": f"a\u202e{FORGED}\u2066",
    "separator": f"a\u2028{FORGED}\u2029b",
    "invisible": "a\u200b\ufeff\u00adb",
    "latin": os.fsdecode(b"caf\xe9"),
    "csi-byte": os.fsdecode(b"a\x9b31m"),
    "surrogate-like": os.fsdecode(b"\xed\xa0\x80"),
    "quotes": "a\"'`$(id)\\n",
    "option": "--help",
    "blank": " ",
    "long": "n" * 255,
    "markup": "<b>%s{0}%n</b>",
}
"""Names of directories, by the id of the agent in each."""

TEXT: Final = f"\x1b]0;{FORGED}\x07\x9b2J\r\n{FORGED}\n\u202e\u2028{FORGED}"
TEXTS: Final = {
    "description": TEXT,
    "capabilities": [TEXT],
    "color": TEXT,
    "icon": TEXT,
    "persona": TEXT[:100],
    "registeredBy": TEXT,
}
"""Free texts of a manifest, which may hold any character but NUL."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("names")
    (top / "h").mkdir()
    for agent, name in NAMES.items():
        save(top / "root" / name, agent, **TEXTS)
    return top / "root"


@pytest.fixture(scope="module")
def daemon(root: Path) -> Iterator[Daemon]:
    console = '[log]\nformat = "console"\nlevel = "debug"\n'
    with Daemon(root.parent / "h", root, config=console) as running:
        # Beside each a refused manifest, a duplicate and a candidate: other lines tell of them.
        for agent, name in NAMES.items():
            save(root / "copy" / name, agent)
            save(root / "bad" / name, "-")
            (root / "hint" / name / ".claude").mkdir(parents=True)
        running.ask("sync")
        yield running


def unsafe(text: str) -> list[str]:
    """Return the characters of a text that are no plain line of it."""
    categories = {"Cc", "Cf", "Zl", "Zp", "Cs"}
    return [one for one in text if one != "\n" and unicodedata.category(one) in categories]


def forged(text: str) -> list[str]:
    """Return the lines that begin as a file or a path would have it."""
    return [line for line in text.splitlines() if line.startswith((FORGED, "MAINPID"))]


def test_042_every_name_is_just_a_name(daemon: Daemon, root: Path) -> None:
    agents = daemon.agents()
    paths = {agent: os.fsencode(row["projectPath"]) for agent, row in agents.items()}
    assert paths == {agent: os.fsencode(root / name) for agent, name in NAMES.items()}
    for name in NAMES.values():
        assert daemon.claims()[str(root / "copy" / name)][0] == "duplicate"
        assert daemon.claims()[str(root / "bad" / name)] == ("invalid", "bad-schema")
    # By its path each is found again, as the shell would hand it over.
    for agent, name in NAMES.items():
        assert daemon.ask("agents", "show", str(root / name))["id"] == agent


@pytest.mark.parametrize("words", speaking.ASKING, ids=" ".join)
def test_043_no_command_lets_a_name_or_a_text_speak_to_the_terminal(
    daemon: Daemon, root: Path, words: tuple[str, ...]
) -> None:
    line = speaking.filled(words, agent="newline", project=str(root / "bad" / NAMES["newline"]))
    # The progress of a search writes over its own line.
    said = speaking.on_a_terminal(daemon, *line).replace("\r\x1b[K", "")
    assert said
    assert "Traceback" not in said
    assert unsafe(said) == []
    assert forged(said) == []


def test_043_no_act_lets_a_name_or_a_text_speak_to_the_terminal(daemon: Daemon, root: Path) -> None:
    for agent in ("newline", "escape", "direction"):
        at = {"agent": agent, "project": str(root / NAMES[agent]), "root": str(root)}
        for words in speaking.ACTING:
            said = speaking.on_a_terminal(daemon, *speaking.filled(words, **at))
            assert said, words
            assert "Traceback" not in said
            assert unsafe(said) == [], words
            assert forged(said) == [], words
    said = speaking.on_a_terminal(daemon, "agents", "show", f"\x1b[2J\n{FORGED}")
    assert (unsafe(said), forged(said)) == ([], [])


@pytest.mark.parametrize("encoding", ["ascii:strict", "utf-8:strict", "latin-1:strict"])
def test_044_no_name_ends_a_command_on_a_stream_that_cannot_hold_it(
    daemon: Daemon, encoding: str
) -> None:
    environ = daemon.environ | {"PYTHONIOENCODING": encoding, "LC_ALL": "C"}
    for words in (("agents", "list"), ("agents", "list", "--json"), ("claims",), ("events",)):
        done = subprocess.run(
            [sys.executable, "-m", "meshd", *words], env=environ, capture_output=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert b"caf" in done.stdout


def test_043_the_log_for_people_has_a_line_for_each_event(daemon: Daemon) -> None:
    assert FORGED in daemon.log
    assert unsafe(daemon.log) == []
    stamp = re.compile(r"20\d\d-\d\d-\d\dT[\d:.]+Z (debug|info|warning|error) ")
    lines = daemon.log.splitlines()
    banner = next(number for number, line in enumerate(lines) if stamp.match(line))
    assert [line for line in lines[banner:] if not stamp.match(line)] == []
    assert forged(daemon.log) == []


def test_045_only_our_own_words_reach_the_service_manager(root: Path, tmp_path: Path) -> None:
    """Not even which root is sick, whose name is anybody's."""
    home, sick = tmp_path / "h", tmp_path / NAMES["newline"]
    home.mkdir()
    save(sick / "p", "in-the-sick-one")
    with Daemon(home, root, sick) as daemon:
        told = [daemon.notified()]
        sick.rename(tmp_path / "away")
        daemon.sweep("--full")

        def is_told() -> bool:
            told.append(daemon.notified())
            return "1 sick roots" in "\n".join(told)

        daemon.wait_until(is_told, "word to the manager")
        assert daemon.stop() == 0
    numbers = re.compile(r"(READY|STOPPING|WATCHDOG|EXTEND_TIMEOUT_USEC)=\d+")
    words = re.compile(r"STATUS=[a-z0-9 ,.:;()]+")
    lines = [line for line in "\n".join(told).splitlines() if line]
    assert [one for one in lines if not numbers.fullmatch(one) and not words.fullmatch(one)] == []


@needs_root
@needs_tool("unshare")
def test_043_no_name_adds_a_field_to_the_journal(root: Path, tmp_path: Path) -> None:
    """A daemon under a journald of ours, in a mount namespace of its own."""
    with journald(tmp_path / "journal") as records:
        home = tmp_path / "h"
        home.mkdir()
        there = f"mkdir -p /run/systemd && ln -s {tmp_path}/journal /run/systemd/journal"
        script = f'mount -t tmpfs none /run && {there} && exec "$@"'
        through = ("unshare", "--mount", "sh", "-c", script, "sh")
        config = '[log]\nformat = "journal"\nlevel = "debug"\n'
        with Daemon(home, root, config=config, through=through) as daemon:
            daemon.sweep("--full")
            assert daemon.agents().keys() == NAMES.keys()
    assert {record["AGENT_PATH"] for record in records if "AGENT_PATH" in record} >= {
        os.fsencode(root / NAMES["newline"])
    }
    ours = re.compile(r"MESSAGE(_ID)?|PRIORITY|SYSLOG_IDENTIFIER|AGENT_ID|AGENT_PATH|MESHD_[A-Z_]+")
    assert [name for record in records for name in record if not ours.fullmatch(name)] == []
    for record in records:
        message = record["MESSAGE"].decode()
        assert (unsafe(message), "\n" in message) == ([], False)


@contextlib.contextmanager
def journald(directory: Path) -> Iterator[list[dict[str, bytes]]]:
    """Listen where journald would; yields what was sent, record by record."""
    directory.mkdir()
    records: list[dict[str, bytes]] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(directory / "socket"))

        def listen() -> None:
            while datagram := listening.recv(1 << 20):
                records.append(parsed(datagram))

        thread = threading.Thread(target=listen, name="journald")
        thread.start()
        try:
            yield records
        finally:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stop:
                stop.sendto(b"", str(directory / "socket"))
            thread.join()


def parsed(datagram: bytes) -> dict[str, bytes]:
    """Return the fields of a record, as journald reads them."""
    fields: dict[str, bytes] = {}
    while datagram:
        line, _, rest = datagram.partition(b"\n")
        name, sign, value = line.partition(b"=")
        if not sign:
            (size,) = struct.unpack_from("<Q", rest)
            value, rest = rest[8 : 8 + size], rest[8 + size + 1 :]
        assert name.decode() not in fields
        fields[name.decode()] = value
        datagram = rest
    return fields


@pytest.mark.parametrize("levels", [40, 1500])
def test_046_and_047_a_path_too_long_to_name_is_a_path_like_any_other(
    tmp_path: Path, levels: int
) -> None:
    """40 long names are more than PATH_MAX, 1,500 levels more than Python's recursion."""
    home, root = tmp_path / "h", tmp_path / "root"
    home.mkdir()
    name = ("d" * 200) if levels < 100 else "a"
    try:
        bottom = dig(root, name, levels)
        with Daemon(home, root, config="[scan]\nmax_depth = 64\n") as daemon:
            paths = {agent: row["projectPath"] for agent, row in daemon.agents().items()}
            expected = {"top": f"{root}/{name}"}
            expected |= {"bottom": bottom} if levels <= 64 else {}
            assert paths == expected
            assert daemon.root(root)["state"] == "healthy"
            assert daemon.cli("agents", "list").returncode == 0
            daemon.ask("update", "top", "--description", "new")
            (root / name).rename(root / "moved")
            daemon.ask("sync")
            daemon.sweep("--full")
            moved = {agent: row["projectPath"] for agent, row in daemon.agents().items()}
            assert moved == {
                agent: path.replace(f"{root}/{name}", f"{root}/moved", 1)
                for agent, path in expected.items()
            }
    finally:
        # Python's own way to delete it raises RecursionError on 3.11.
        subprocess.run(["rm", "-rf", root], check=True)


def dig(root: Path, name: str, levels: int) -> str:
    """Make directories within each other, with an agent in the first and in the last."""
    save(root / name, "top")
    here = os.open(root / name, os.O_RDONLY)
    for _ in range(levels - 1):
        os.mkdir(name, dir_fd=here)
        inner = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    save(Path(f"/proc/self/fd/{here}"), "bottom")
    os.close(here)
    return "/".join([str(root), *[name] * levels])
