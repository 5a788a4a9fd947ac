"""Faults that are really there, and what `meshd doctor` says of each: what it is, what to do."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import apsw
import pytest

from tests.system.conftest import needs_root
from tests.system.daemon import Daemon
from tests.system.test_roots import BOUND_BY_MODES
from tests.system.trees import save

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Finding = dict[str, Any]


def findings(daemon: Daemon, *options: str) -> dict[tuple[str, str | None], Finding]:
    """Return what the doctor finds, by code and subject."""
    found = daemon.ask("doctor", *options)["findings"]
    return {(one["code"], one["subject"]): one for one in found}


@dataclass
class Ward:
    """A daemon that has many faults at once, and what the doctor said before and after.

    Attributes:
        told: the findings, by code and subject.
        text: the same for a person.
    """

    daemon: Daemon
    base: Path
    before: str
    told: dict[tuple[str, str | None], Finding] = field(default_factory=dict)
    text: str = ""

    def of(self, code: str, at: str | None) -> tuple[str, str, str]:
        """Return severity, message and hint of a finding at a path below the base."""
        one = self.told[code, None if at is None else str(self.base / at)]
        return one["severity"], one["message"], one["hint"]


ROOTS = ("missing", "replaced", "dropped", "whole")


def scanning(base: Path, *roots: str) -> str:
    return f"[scan]\nroots = {json.dumps([str(base / root) for root in roots])}\n"


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    """A daemon over four roots; two of them and several projects come to harm."""
    base = tmp_path_factory.mktemp("ward")
    for root in ROOTS:
        save(base / root / "project", root)
    for name in ("broken", "locked", "linked", "original"):
        save(base / "whole" / name, name)
    outside = base / "another-name-of-a-manifest"
    os.link(base / "whole/linked/.dork/agent.json", outside)
    home = base / "h"
    home.mkdir()
    config = scanning(base, *ROOTS)
    with Daemon(home, config=config, through=BOUND_BY_MODES) as daemon:
        ward = Ward(daemon, base, daemon.cli("doctor").stdout)
        inflict(base, daemon, outside)
        ward.told = findings(daemon)
        ward.text = daemon.cli("doctor").stdout
        yield ward
        (base / "whole/locked/.dork").chmod(0o755)


def inflict(base: Path, daemon: Daemon, outside: Path) -> None:
    daemon.configure(scanning(base, *(root for root in ROOTS if root != "dropped")))
    daemon.ask("reload")
    save(base / "whole/broken", "broken", name=7)
    save(base / "whole/zz-copy", "original")
    (base / "whole/locked/.dork").chmod(0)
    (base / "missing").rename(base / "moved-away")
    (base / "replaced").rename(base / "kept")
    (base / "replaced").mkdir()
    daemon.ask("sync")
    # Through a name outside of all roots no event tells of it.
    outside.write_bytes(outside.read_bytes().replace(b"agent-linked", b"agent-LINKED"))
    daemon.sweep("--full")
    daemon.configure("[scan]\nrots = []\n")
    assert daemon.cli("reload").returncode == 5
    daemon.state.chmod(0o755)


def test_a_healthy_daemon_is_one_line(ward: Ward) -> None:
    assert ward.before == "healthy: 8 agents, 4 roots\n"


@pytest.mark.parametrize(
    ("code", "at", "severity", "said", "hint"),
    [
        ("root-sick", "missing", "error", "does not exist", "mount or create it"),
        ("root-sick", "replaced", "error", "another directory", "meshd roots accept"),
        ("root-unscanned", "dropped", "warning", "no root any more", "meshd forget --unscanned"),
        ("invalid", "whole/broken", "warning", "bad-schema: name", "meshd check-manifest"),
        ("unreadable", "whole/locked", "warning", "cannot be read", "read the file"),
        ("duplicate", "whole/zz-copy", "warning", "whole/original holds", "meshd deny"),
        ("watch-permission", "whole", "warning", "(permission)", "scan.exclude"),
        ("drift", None, "remark", "1 change that no event", "meshd roots list"),
        ("configuration", None, "error", "rots", "meshd check-config"),
        ("state-open", "h/state/meshd", "warning", "mode 0755", "chmod 0700"),
    ],
)
def test_a_fault_is_named_with_what_to_do(
    ward: Ward, code: str, at: str | None, severity: str, said: str, hint: str
) -> None:
    told = ward.of(code, at)
    assert (told[0], said in told[1], hint in told[2]) == (severity, True, True), told
    assert f"{told[1]}\n         -> {told[2]}\n" in ward.text


def test_nothing_else_is_found(ward: Ward) -> None:
    assert len(ward.told) == 10, ward.told.keys()
    assert ward.text.splitlines()[-1] == "3 errors, 6 warnings, 1 remark"


def test_findings_fail_a_script_that_wants_it(ward: Ward) -> None:
    codes = [ward.daemon.cli("doctor", *more).returncode for more in ([], ["--fail-on-findings"])]
    assert codes == [0, 6]


# faults that need a daemon of their own


def test_a_held_disappearance_is_named_with_both_ways_out(home: Path, root: Path) -> None:
    for number in range(10):
        save(root / str(number), f"a{number}")
    with Daemon(home, root, environ={"MESHD_WATCH__BACKEND": "none"}) as daemon:
        for number in range(8):
            shutil.rmtree(root / str(number))
        daemon.sweep()
        told = findings(daemon)["held", None]
    assert "8 agents at once" in told["message"]
    assert "meshd sweep --confirm" in told["hint"]


def test_too_few_watches_are_named_with_the_setting_to_raise(home: Path, root: Path) -> None:
    """The limit is a real one, of a user namespace in which the daemon is root."""
    for number in range(50):
        save(root / str(number), f"a{number}")
    limit = 'echo 31 > /proc/sys/user/max_inotify_watches && exec "$@"'
    daemon = Daemon(home, root, through=("unshare", "-Ur", "sh", "-c", limit, "sh"))
    daemon.launch()
    try:
        daemon.await_answering()
    except AssertionError:
        if "unshare" in daemon.log or "nonexistent" in daemon.log:
            pytest.skip("needs user namespaces, which this kernel or container forbids")
        raise
    with daemon:
        daemon.await_ready()
        told = findings(daemon)["watch-limit", str(root)]
    assert told["message"].startswith("30 of 101 directories are watched")
    advised = re.search(r"sysctl fs.inotify.max_user_watches=(\d+) \(now (\d+)\)", told["hint"])
    assert advised is not None, told
    assert int(advised[1]) >= max(202, int(advised[2]) + 2 * 71)


def test_a_daemon_that_listens_elsewhere_is_named_by_its_process(home: Path, root: Path) -> None:
    with Daemon(home, root) as daemon:
        nowhere = str(home / "nowhere")
        told = findings(daemon, "--socket", nowhere)["daemon-elsewhere", nowhere]
        assert f"process {daemon.process.pid} keeps this registry" in told["message"]
        daemon.environ["MESHD_STORE__DIRECTORY"] = str(home)
        other = daemon.ask("doctor")
    assert other["healthy"]
    assert other["unchecked"] == [
        f"state directory and database: the daemon keeps them not in {home}"
    ]


@needs_root
def test_a_disk_that_is_almost_full_is_named(
    home: Path, root: Path, mount: Callable[..., None]
) -> None:
    (home / "state").mkdir()
    mount("-t", "tmpfs", "-o", "size=16m", "tmpfs", home / "state")
    with Daemon(home, root) as daemon:
        told = findings(daemon)["disk-full", str(daemon.state)]
    assert "make room" in told["hint"]


# faults of what a daemon left


@pytest.fixture(scope="module")
def remains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a daemon that was killed."""
    base = tmp_path_factory.mktemp("remains")
    (base / "h").mkdir()
    save(base / "root" / "one", "one")
    with Daemon(base / "h", config=scanning(base, "root")) as daemon:
        daemon.kill()
    return base / "h"


@pytest.fixture
def dead(remains: Path, tmp_path: Path) -> Daemon:
    """A daemon that was killed, with a home of its own to damage."""
    home = tmp_path / "h"
    shutil.copytree(remains, home, ignore=shutil.ignore_patterns("*.sock", "notify"))
    return Daemon(home)


def test_a_daemon_that_was_killed_is_missed_and_nothing_else(dead: Daemon) -> None:
    assert findings(dead).keys() == {("no-daemon", str(dead.socket))}
    ran = dead.cli("doctor", "--full")
    assert "-> start one: meshd run DIR" in ran.stdout
    assert ran.stderr == "not checked: watching, sweeps and the clock: no daemon answers\n"


def test_damaged_files_and_a_missing_root_are_named_without_a_daemon(
    dead: Daemon, tmp_path: Path
) -> None:
    dead.configure(scanning(tmp_path, "gone"))
    (dead.state / "policy.json").write_text("{")
    dead.database.write_bytes(dead.database.read_bytes()[:9000])
    told = findings(dead)
    assert {code for code, _ in told} == {"no-daemon", "root-sick", "policy", "database"}
    assert "start it again" in told["database", str(dead.database)]["hint"]


def test_rows_that_do_not_read_are_found_by_a_full_examination(dead: Daemon) -> None:
    connection = apsw.Connection(str(dead.database))
    connection.execute("UPDATE agents SET traits_json = '{'")
    connection.close()
    assert ("database", str(dead.database)) not in findings(dead)
    told = findings(dead, "--full")["database", str(dead.database)]
    assert told["message"] == "agents.traits_json: row 1 cannot be read"


def test_a_state_directory_that_nobody_may_enter_is_named(dead: Daemon) -> None:
    dead.state.chmod(0)
    try:
        done = subprocess.run(
            [*BOUND_BY_MODES, sys.executable, "-m", "meshd", "doctor", "--json"],
            env=dead.environ, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    finally:
        dead.state.chmod(0o700)
    document = json.loads(done.stdout)
    told = {one["code"]: one["hint"] for one in document["findings"]}
    assert told["state-closed"] == f"chmod 0700 {dead.state}"
    assert f"the database {dead.database}: Permission denied" in document["unchecked"]
