"""Every hostile manifest that can be made here, in one root, beside a good neighbour.

Each carries a canary. A rejected file leaves a claim with its reason and nothing else: its
canary is in no log, no answer and no byte of the database.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest

from tests.system.conftest import needs_root
from tests.system.daemon import Daemon
from tests.system.difference import changed
from tests.system.trees import document, save, save_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CANARY: Final = "c4n4ry-7f31"
KIB: Final = 1024


@dataclass(frozen=True)
class Case:
    """A hostile manifest: how it is made at `.dork/agent.json`, and what is said of it."""

    name: str
    reason: str
    make: Callable[[Path], None]


def said(**fields: object) -> bytes:
    """Return a manifest that would be good but for some fields."""
    return json.dumps(document("hostile", description=CANARY) | fields).encode()


def text(raw: str) -> bytes:
    """Return a manifest with a member written as no JSON library would write it."""
    return said()[:-1] + f", {raw}}}".encode()


def bytes_case(name: str, reason: str, content: bytes) -> Case:
    def make(manifest: Path) -> None:
        manifest.write_bytes(content)

    return Case(name, reason, make)


def link_case(name: str, target: str) -> Case:
    return Case(name, "symlink", lambda manifest: manifest.symlink_to(target))


def make_dork_link(manifest: Path) -> None:
    elsewhere = manifest.parent.with_name("elsewhere")
    manifest.parent.rename(elsewhere)
    (elsewhere / "agent.json").write_bytes(said())
    manifest.parent.symlink_to("elsewhere")


def make_socket(manifest: Path) -> None:
    # Relative to where it lies, because a socket's path has 107 bytes.
    descriptor = os.open(manifest.parent, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"/proc/self/fd/{descriptor}/agent.json")
    os.close(descriptor)


def make_sparse(manifest: Path) -> None:
    with manifest.open("wb") as file:
        file.write(CANARY.encode())
        file.truncate(1024 * KIB**3)


PLACES: Final = (
    Case("fifo", "not-regular", os.mkfifo),
    Case("directory", "not-regular", lambda manifest: manifest.mkdir()),
    Case("socket", "not-regular", make_socket),
    Case("sparse, one terabyte", "too-big", make_sparse),
    Case("dork is a symlink", "dork-symlink", make_dork_link),
    link_case("to shadow", "/etc/shadow"),
    link_case("to zero", "/dev/zero"),
    link_case("to the environment", "/proc/self/environ"),
    link_case("to a terminal", "/dev/tty"),
    link_case("to itself", "agent.json"),
    link_case("to nothing", "missing"),
)
"""Faults 1-13, by their kind of file."""

CONTENTS: Final = (
    bytes_case("empty", "empty", b""),
    bytes_case("blank", "empty", b" \n\t\n"),
    bytes_case("one byte too many", "too-big", said(description="x" * 64 * KIB)),
    bytes_case("duplicate key", "duplicate-key", text('"id": "hostile"')),
    bytes_case("inner duplicate key", "duplicate-key", text('"budget": {"a": 1, "a": 2}')),
    bytes_case("NaN", "not-finite", text('"x": NaN')),
    bytes_case("infinity", "not-finite", text('"x": -Infinity')),
    bytes_case("1e999", "not-finite", text('"x": 1e999')),
    bytes_case("number beyond int64", "bad-schema", said(budget={"maxCallsPerHour": 2**70})),
    bytes_case("5,000 digits", "not-json", text('"x": ' + "9" * 5000)),
    bytes_case("lone surrogate", "lone-surrogate", text(r'"x": "\ud800"')),
    bytes_case("not UTF-8", "not-utf8", said().replace(b"agent-", b"\xff\xfe")),
    bytes_case("NUL", "bad-schema", said(description=f"{CANARY}\0")),
    bytes_case("escape in the name", "bad-schema", said(name=f"\x1b[2J{CANARY}")),
    bytes_case("newline in the name", "bad-schema", said(name=f"a\n{CANARY}")),
    bytes_case("right-to-left in the name", "bad-schema", said(name=f"\u202e{CANARY}")),
    bytes_case("BOM", "bom", b"\xef\xbb\xbf" + said()),
    bytes_case("UTF-16", "not-utf8", said().decode().encode("utf-16")),
    bytes_case("garbage behind", "not-json", said() + CANARY.encode()),
    bytes_case("two documents", "not-json", said() + said()),
    bytes_case("NULs behind", "not-json", said() + b"\0\0"),
    bytes_case("comment", "not-json", b"// " + CANARY.encode() + b"\n" + said()),
    bytes_case("trailing comma", "not-json", said()[:-1] + b",}"),
    bytes_case("null", "not-object", b"null"),
    bytes_case("list", "not-object", json.dumps([CANARY]).encode()),
    bytes_case("number as id", "bad-schema", said(id=5)),
    bytes_case("path as id", "bad-schema", said(id=f"../{CANARY}")),
    bytes_case("text as number", "bad-schema", said(budget={"maxCallsPerHour": "5"})),
    bytes_case("switch as number", "bad-schema", said(budget={"maxCallsPerHour": True})),
    bytes_case("deep", "nested-too-deep", text('"x": ' + "[" * 3000 + "]" * 3000)),
    bytes_case("deeper", "nested-too-deep", text('"x": ' + "[" * 30_000 + "]" * 30_000)),
    bytes_case("many wrong items", "bad-schema", said(capabilities=[1] * 20_000)),
    bytes_case(
        "secret in a bad server",
        "bad-schema",
        said(mcpServers=[{"name": "x", "connection": {"env": {CANARY: CANARY}}}]),
    ),
    bytes_case(
        "unknown key as reason", "bad-schema", said(budget={CANARY: CANARY, "maxCallsPerHour": 0})
    ),
)
"""Faults 19-38."""


def directory_of(case: Case) -> str:
    return case.name.replace(" ", "-").replace(",", "")


def lay_out(root: Path, cases: tuple[Case, ...]) -> None:
    for case in cases:
        manifest = root / directory_of(case) / ".dork" / "agent.json"
        manifest.parent.mkdir(parents=True)
        case.make(manifest)


def expected_claims(root: Path, cases: tuple[Case, ...]) -> dict[str, tuple[str, str | None]]:
    return {str(root / directory_of(case)): ("invalid", case.reason) for case in cases}


def assert_silent(daemon: Daemon) -> None:
    """Look for the canary in everything the daemon said or kept."""
    answers = [
        daemon.cli(*words).stdout
        for words in (
            ("agents", "list"),
            ("agents", "list", "--json"),
            ("claims",),
            ("claims", "--json"),
            ("events", "--json"),
            ("status", "--json"),
            ("metrics",),
        )
    ]
    assert all(answers)
    assert [answer for answer in answers if CANARY in answer] == []
    assert CANARY not in daemon.log
    files = [file for file in daemon.state.rglob("*") if file.is_file()]
    kept = [file for file in files if CANARY.encode() in file.read_bytes()]
    assert kept == []


@pytest.mark.slow
def test_no_hostile_manifest_harms_the_daemon_or_its_neighbour(home: Path, root: Path) -> None:
    neighbour = save(root / "neighbour", "neighbour")
    cases = PLACES + CONTENTS
    with Daemon(home, root) as daemon:
        before = daemon.agents()
        lay_out(root, cases)
        daemon.sweep()
        expected = expected_claims(root, cases) | {str(neighbour.path): ("valid", None)}
        assert daemon.claims() == expected
        assert changed(before, daemon.agents()) == {}
        daemon.sweep("--full")
        assert changed(before, daemon.agents()) == {}
        assert_silent(daemon)
        # A daemon that starts over them is no worse.
        assert daemon.stop() == 0
        daemon.start()
        assert daemon.claims() == expected
        assert changed(before, daemon.agents()) == {}
        assert_silent(daemon)


def test_what_a_good_agent_said_survives_every_bad_file_in_its_place(
    home: Path, root: Path
) -> None:
    cases = PLACES + CONTENTS
    for case in cases:
        save(root / directory_of(case), directory_of(case))
    with Daemon(home, root) as daemon:
        before = daemon.agents()
        for case in cases:
            manifest = root / directory_of(case) / ".dork" / "agent.json"
            manifest.unlink()
            case.make(manifest)
        daemon.sweep()
        expected = {directory_of(case): {"flags": [f"invalid:{case.reason}"]} for case in cases}
        assert changed(before, daemon.agents()) == expected
        assert_silent(daemon)


@needs_root
def test_devices_and_hard_links_to_others_files_are_refused(home: Path, root: Path) -> None:
    """Faults 11 and 15."""
    neighbour = save(root / "neighbour", "neighbour")
    secret = root.parent / "secret"
    secret.write_bytes(said())
    for name, words in (("char", ("c", "1", "5")), ("block", ("b", "7", "0"))):
        manifest = root / name / ".dork" / "agent.json"
        manifest.parent.mkdir(parents=True)
        subprocess.run(["mknod", manifest, *words], check=True)
    linked = root / "linked" / ".dork" / "agent.json"
    linked.parent.mkdir(parents=True)
    linked.hardlink_to(secret)
    os.chown(root / "linked", 65534, 65534)
    with Daemon(home, root) as daemon:
        assert daemon.claims() == {
            str(root / "block"): ("invalid", "not-regular"),
            str(root / "char"): ("invalid", "not-regular"),
            str(root / "linked"): ("invalid", "wrong-owner"),
            str(neighbour.path): ("valid", None),
        }
        assert_silent(daemon)


def test_a_symlink_to_a_project_is_no_second_project(home: Path, root: Path) -> None:
    """Faults 7 and 70."""
    neighbour = save(root / "neighbour", "neighbour")
    (root / "link").symlink_to(neighbour.path)
    (root / "loop").symlink_to(root)
    save(root.parent / "outside", "outside")
    (root / "escape").symlink_to(root.parent / "outside")
    with Daemon(home, root) as daemon:
        assert daemon.claims() == {str(neighbour.path): ("valid", None)}


@pytest.fixture
def deep(root: Path) -> Iterator[Path]:
    """A directory that no path can name whole (faults 46 and 47)."""
    top = root / "deep"
    top.mkdir()
    here = os.open(top, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("aaaaaaaa", dir_fd=here)
        inner = os.open("aaaaaaaa", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    yield top
    # Python's own way to delete it raises RecursionError on 3.11.
    subprocess.run(["rm", "-rf", top], check=True)


def test_names_and_depths_that_break_programs_are_just_names(
    home: Path, root: Path, deep: Path
) -> None:
    """Faults 42-47."""
    names = {
        "newline": b"a\nMAINPID=1",
        "escape": b"a\x1b[31mred",
        "latin": b"caf\xe9",
        "direction": "a\u202eb".encode(),
        "quotes": b"a\"'`$(id)",
    }
    for agent_id, name in names.items():
        save(root / os.fsdecode(name), agent_id)
    with Daemon(home, root) as daemon:
        assert daemon.agents().keys() == names.keys()
        paths = {one: os.fsencode(agent["projectPath"]) for one, agent in daemon.agents().items()}
        assert paths == {one: os.fsencode(root) + b"/" + name for one, name in names.items()}
        listed = daemon.cli("agents", "list")
        assert listed.returncode == 0
        assert len(listed.stdout.splitlines()) == 1 + len(names)
        assert "\x1b" not in listed.stdout + daemon.log
        assert "MAINPID" not in daemon.notified()
        assert daemon.sweep()["discovered"] == 0


def test_a_flood_of_bad_manifests_is_logged_in_few_lines(home: Path, root: Path) -> None:
    """Fault 50."""
    for number in range(300):
        save_bytes(root / f"p{number}", "bad", CANARY.encode())
    save(root / "neighbour", "neighbour")
    with Daemon(home, root) as daemon:
        assert daemon.agents().keys() == {"neighbour"}
        assert daemon.status()["claims"]["invalid"] == 300
        assert len(daemon.log.splitlines()) < 20
        assert_silent(daemon)
