"""What an operator reads when something is wrong: `meshd status`, `meshd doctor` and the log.

Each fault is really there, under a live daemon. Each of the three has to name it, and the doctor
has to say what to do.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import pytest

from tests.faults.fuse import Mirror, needs_fuse
from tests.faults.test_servers import IMPATIENT
from tests.faults.tools import needs_root, needs_tool
from tests.system.daemon import Daemon
from tests.system.test_roots import BOUND_BY_MODES
from tests.system.trees import save

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

ROOTS: Final = ("unmounted", "replaced", "hung", "crowded", "plain")
AGENTS_PER_OWNER: Final = 14
DIRECTORIES_PER_ROOT: Final = 60
OTHER_USER: Final = 12_345


@dataclass(frozen=True)
class Reading:
    """What the three said.

    Attributes:
        status: of `meshd status`.
        doctor: of `meshd doctor`.
        log: the entries above `info`.
    """

    status: str
    doctor: str
    log: str


def read(daemon: Daemon) -> Reading:
    alarms = [one for one in daemon.logged() if one["level"] in ("warning", "error")]
    status, doctor = daemon.cli("status"), daemon.cli("doctor")
    assert (status.returncode, doctor.returncode) == (0, 0), status.stderr + doctor.stderr
    return Reading(status.stdout, doctor.stdout, "\n".join(map(json.dumps, alarms)))


def assert_told(text: str, *words: str) -> None:
    """Assert that one line has all of these words."""
    assert any(all(word in line for word in words) for line in text.splitlines()), (words, text)


def assert_told_with_advice(doctor: str, advice: str, *words: str) -> None:
    """Assert that the doctor names something, and what to do about it in the line below."""
    lines = doctor.splitlines()
    told = [below for line, below in pairwise(lines) if has(line, words)]
    assert any("-> " in below and advice in below for below in told), (words, advice, doctor)


def has(line: str, words: tuple[str, ...]) -> bool:
    return all(word in line for word in words)


@dataclass(frozen=True)
class Ward:
    """A daemon with many faults at once.

    Attributes:
        before: what was read while all was well.
        after: what was read then.
    """

    base: Path
    before: Reading
    after: Reading


def scanning(base: Path) -> str:
    roots = json.dumps([str(base / root) for root in ROOTS])
    return (
        f'[scan]\nroots = {roots}\n[sweep]\ninterval = "24h"\n[limits]\n'
        f"agents_per_owner = {AGENTS_PER_OWNER}\ndirectories_per_root = {DIRECTORIES_PER_ROOT}\n"
    )


def owned_by_another(path: Path, agent_id: str) -> None:
    save(path, agent_id)
    for one in (path, path / ".dork", path / ".dork/agent.json"):
        os.chown(one, OTHER_USER, OTHER_USER)


def build(base: Path) -> None:
    for root in ROOTS[:-1]:
        (base / root).mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", base / "unmounted"], check=True)
    for root in ("unmounted", "replaced", "behind", "crowded"):
        save(base / root / "project", f"in-{root}")
    save(base / "plain/original", "original")
    save(base / "plain/locked/inside", "inside")


def inflict(base: Path, daemon: Daemon, mirror: Mirror) -> None:
    subprocess.run(["umount", base / "unmounted"], check=True)
    (base / "replaced").rename(base / "kept")
    (base / "replaced").mkdir()
    for number in range(2 * DIRECTORIES_PER_ROOT):
        (base / "crowded" / f"d{number:02}").mkdir()
    save(base / "plain/zz-clone", "original")
    save(base / "plain/torn", "torn", name=7)
    (base / "plain/locked").chmod(0)
    # Owned before they are seen, and seen all at once: the last by name is the one too many.
    for number in range(AGENTS_PER_OWNER + 1):
        owned_by_another(base / f"made/o{number:02}", f"other-{number:02}")
    (base / "made").rename(base / "plain/made")
    # A sweep that is under way when the mirror hangs would find its manifest late, not its root.
    daemon.ask("sync")
    daemon.sweep()
    mirror.hang()
    daemon.sweep("--full")
    daemon.configure("[scan]\nrots = []\n")
    assert daemon.cli("reload").returncode == 5


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    base = tmp_path_factory.mktemp("w")
    build(base)
    (base / "h").mkdir()
    # The mirror's server reads what is behind it as root; the daemon is bound by permissions.
    daemon = Daemon(base / "h", config=scanning(base), through=(*BOUND_BY_MODES, *IMPATIENT))
    try:
        with Mirror(base / "behind", base / "hung") as mirror, daemon:
            before = read(daemon)
            inflict(base, daemon, mirror)
            yield Ward(base, before, read(daemon))
            mirror.die()  # a worker that hangs would outlive the daemon
    finally:
        (base / "plain/locked").chmod(0o755)
        subprocess.run(["umount", base / "unmounted"], check=False, stderr=subprocess.DEVNULL)


@needs_root
@needs_fuse
@needs_tool("setpriv")
def test_nothing_is_named_while_nothing_is_wrong(ward: Ward) -> None:
    assert ward.before.doctor == "healthy: 6 agents, 5 roots\n"
    assert ward.before.log == ""


@needs_root
@needs_fuse
@needs_tool("setpriv")
@pytest.mark.parametrize(
    ("status", "log", "doctor", "advice"),
    [
        pytest.param(
            ("unmounted", "sick", "not-mounted"),
            ("root_sick", "/unmounted", "not-mounted", "meshd doctor"),
            ("/unmounted", "nothing is mounted there"),
            "mount its disk",
            id="a root that is unmounted",
        ),
        pytest.param(
            ("replaced", "sick", "identity-changed"),
            ("root_sick", "/replaced", "identity-changed"),
            ("/replaced", "another directory or disk lies there"),
            "meshd roots accept",
            id="a root that is replaced",
        ),
        pytest.param(
            ("hung", "sick", "timed-out"),
            ("root_sick", "/hung", "timed-out"),
            ("/hung", "it did not answer in time"),
            "see whether its server or disk is up",
            id="a mount that hangs",
        ),
        pytest.param(
            ("crowded", "truncated", "directory-limit"),
            ("root_truncated", "/crowded", "directory-limit"),
            ("/crowded", "more directories than limits.directories_per_root"),
            "raise limits.directories_per_root",
            id="a root with too many directories",
        ),
        pytest.param(
            ("claims", "1 refused"),
            ("refused", f"/plain/made/o{AGENTS_PER_OWNER}", "owner-limit", "[limits]"),
            (f"/plain/made/o{AGENTS_PER_OWNER}", f"user {OTHER_USER} may have {AGENTS_PER_OWNER}"),
            "raise limits.agents_per_owner",
            id="a user who has all the agents one may have",
        ),
        pytest.param(
            ("claims", "1 duplicate"),
            ("refused", "/plain/zz-clone", "original", "meshd deny"),
            ("/plain/zz-clone", "claims original, which", "/plain/original holds"),
            "meshd deny",
            id="a clone of an id",
        ),
        pytest.param(
            ("claims", "1 invalid"),
            ("invalid", "/plain/torn", "bad-schema", "name: "),
            ("/plain/torn", "bad-schema: name: "),
            "meshd check-manifest",
            id="a manifest that is not valid",
        ),
        pytest.param(
            ("claims", "2 unreadable"),
            ("unreadable", "/plain/locked", "frozen"),
            ("/plain/locked/inside", "cannot be read"),
            "let the daemon's user read",
            id="a subtree nobody may enter",
        ),
        pytest.param(
            ("configuration", "refused", "rots"),
            ("reload_refused", "rots"),
            ("configuration is refused", "rots"),
            "meshd check-config",
            id="a configuration that is refused",
        ),
    ],
)
def test_a_fault_is_named_by_all_three(
    ward: Ward, status: tuple[str, ...], log: tuple[str, ...], doctor: tuple[str, ...], advice: str
) -> None:
    assert_told(ward.after.status, *status)
    assert_told(ward.after.log, *log)
    assert_told_with_advice(ward.after.doctor, advice, *doctor)


@needs_root
@needs_fuse
@needs_tool("setpriv")
def test_the_status_ends_with_the_way_to_the_doctor_when_there_is_something_wrong(
    ward: Ward,
) -> None:
    assert "doctor" not in ward.before.status
    last = ward.after.status.splitlines()[-1]
    assert last == (
        "configuration refused, 3 roots sick (3 agents frozen), 1 root truncated,"
        " 3 manifests refused, 2 manifests unreadable: `meshd doctor` says what to do"
    )


@needs_root
@needs_fuse
@needs_tool("setpriv")
def test_each_alarm_was_raised_once(ward: Ward) -> None:
    alarms = [
        (one["event"], one.get("path")) for one in map(json.loads, ward.after.log.splitlines())
    ]
    assert sorted(alarms, key=str) == sorted(set(alarms), key=str)


def test_a_disappearance_that_is_held_is_named_by_all_three(home: Path, root: Path) -> None:
    for number in range(10):
        save(root / str(number), f"a{number}")
    with Daemon(home, root, environ={"MESHD_WATCH__BACKEND": "none"}) as daemon:
        for number in range(8):
            shutil.rmtree(root / str(number))
        daemon.sweep()
        reading = read(daemon)
    assert_told(reading.status, "last sweep", "8 held")
    assert reading.status.splitlines()[-1] == "8 agents held: `meshd doctor` says what to do"
    assert_told(reading.log, "held", str(root), '"count": 8', "meshd sweep --confirm")
    assert_told_with_advice(reading.doctor, "meshd sweep --confirm", "8 agents at once is held")
    assert "project-missing" not in reading.doctor, "one finding tells of all that is held"


def test_too_few_watches_are_named_by_all_three(home: Path, root: Path) -> None:
    """The limit is a real one, of a user namespace in which the daemon is root."""
    for number in range(40):
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
        reading = read(daemon)
    assert_told(reading.status, str(root), "30/81", "watch-limit")
    assert_told(reading.log, "watches_short", str(root), "watch-limit")
    assert_told_with_advice(
        reading.doctor, "sysctl fs.inotify.max_user_watches=", "30 of 81 directories are watched"
    )
    advised = re.search(r"max_user_watches=(\d+) \(now (\d+)\)", reading.doctor)
    assert advised is not None, reading.doctor
    assert int(advised[1]) > int(advised[2])


def fill(ballast: Path) -> None:
    """Take all the room there is on a file system."""
    descriptor = os.open(ballast, os.O_WRONLY | os.O_CREAT)
    try:
        while os.write(descriptor, bytes(4096)):
            pass
    except OSError as error:
        assert error.errno == errno.ENOSPC  # noqa: PT017 - nothing else ends the loop
    finally:
        os.close(descriptor)


@needs_root
def test_a_full_disk_is_named_by_all_three(
    home: Path, root: Path, mount: Callable[..., None]
) -> None:
    (home / "state").mkdir()
    mount("-t", "tmpfs", "-o", "size=2m", "tmpfs", home / "state")
    with Daemon(home, root) as daemon:
        ballast = home / "state" / "ballast"
        fill(ballast)
        for number in range(60):
            save(root / f"p{number}", f"a{number}", description="x" * 2000)
        daemon.wait_until(lambda: bool(daemon.status()["degraded"]), "degraded")
        daemon.wait_until(lambda: bool(daemon.logged("degraded")), "word in the log")
        reading = read(daemon)
        ballast.unlink()
        daemon.sweep()
        assert len(daemon.agents()) == 60, "what could not be kept is made up for"
    assert_told(reading.status, "degraded", "full")
    assert_told(reading.log, "degraded", "full", "it recovers by itself")
    assert_told_with_advice(reading.doctor, "recovers by itself", "the daemon says", "full")
    assert_told_with_advice(reading.doctor, "make room", "0 MiB left")


def test_a_database_that_is_moved_away_is_named_by_all_three(home: Path, root: Path) -> None:
    save(root / "one", "one")
    with Daemon(home, root) as daemon:
        epoch = daemon.status()["epoch"]
        daemon.database.rename(home / "elsewhere.db")
        daemon.wait_until(lambda: bool(daemon.logged("database_rebuilt")), "a new database")
        daemon.await_answering()
        daemon.await_ready()
        assert daemon.status()["epoch"] != epoch
        reading = read(daemon)
    assert_told(reading.log, "database_lost", "moved away")
    assert_told(reading.log, "database_rebuilt", "stop the daemon and put the file")
    assert_told(reading.status, "database", "rebuilt from the manifests")
    assert_told_with_advice(reading.doctor, "put the file", "built anew from the manifests")
