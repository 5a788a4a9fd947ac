"""The life of meshd@ada under a real systemd: start, reload, crashes, hangs and the end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import pytest

from tests.systemd.service import PROJECTS

if TYPE_CHECKING:
    from tests.systemd.service import SystemService

OTHER_ROOT: Final = "/home/ada/other"

HOLD_THE_DATABASE: Final = """
import apsw, sys
connection = apsw.Connection(sys.argv[1])
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


# The daemon with threads that have their names outside of Python too, and less patience for a
# watcher that does not hear, which is 15 s.
NAMED: Final = """
import ctypes, sys, threading
import meshd.daemon
from meshd.cli import main
sys.argv[0] = "/usr/local/bin/meshd"
meshd.daemon.CANARY_DEADLINE = 3.0
run = threading.Thread.run
def named(self):
    ctypes.CDLL(None).prctl(15, self.name.encode(), 0, 0, 0)
    run(self)
threading.Thread.run = named
ctypes.CDLL(None).prctl(15, b"main", 0, 0, 0)
sys.exit(main())
"""
FREEZE: Final = """
import ctypes, os, sys, time
SEIZE, INTERRUPT, NOHANG_ALL = 0x4206, 0x4207, 0x40000001
ptrace = ctypes.CDLL(None, use_errno=True).ptrace
ptrace.argtypes = [ctypes.c_long] * 4
process, name = sys.argv[1:]
(thread,) = [int(one) for one in os.listdir(f"/proc/{process}/task")
             if open(f"/proc/{process}/task/{one}/comm").read() == name + "\\n"]
if ptrace(SEIZE, thread, 0, 0) or ptrace(INTERRUPT, thread, 0, 0):
    sys.exit(os.strerror(ctypes.get_errno()))
os.waitpid(thread, NOHANG_ALL - 1)
print("held", flush=True)
# What a tracer holds it has to bury, too: else the process is never seen to end.
until = time.monotonic() + 60
while os.waitpid(thread, NOHANG_ALL)[0] == 0 and time.monotonic() < until:
    time.sleep(0.02)
"""


# start


def test_a_start_returns_when_the_daemon_answers(service: SystemService) -> None:
    service.save("one")
    service.systemctl("start", service.unit)
    assert service.meshd("status", check=False).returncode == 0
    service.await_ready()
    assert service.agents() == {"one": "active"}
    service.box.wait_until(
        lambda: service.shown("StatusText") == "1 agents, 0 unreachable, 0 sick roots", "figures"
    )


def test_its_directories_are_those_of_the_unit_and_closed_to_others(service: SystemService) -> None:
    service.start()
    for directory in ("/var/lib/meshd-ada", "/run/meshd-ada"):
        shown = service.box.run("stat", "-c", "%U %a", directory).stdout.split()
        assert shown == ["ada", "700"]
    held = service.box.run("ls", "-A", "/var/lib/meshd-ada").stdout.split()
    assert {"meshd.db", "meshd.lock", "policy.json"} <= set(held)
    assert service.box.run("ls", "-A", "/run/meshd-ada").stdout.split() == ["meshd.sock"]
    assert not service.box.path("/home/ada/.local").exists()


def test_a_service_without_a_configuration_says_what_to_write_and_stays_down(
    service: SystemService,
) -> None:
    service.box.run("rm", service.config)
    assert service.systemctl("start", service.unit, check=False).returncode != 0
    assert service.shown("ExecMainStatus") == "5"
    assert service.shown("NRestarts") == "0"
    said = " ".join(str(one["MESSAGE"]) for one in service.journal())
    assert service.config in said


# reload


def test_when_a_reload_returns_the_new_configuration_is_in_force(service: SystemService) -> None:
    service.start()
    service.save("two", OTHER_ROOT)
    for roots in ([PROJECTS, OTHER_ROOT], [PROJECTS], [PROJECTS, OTHER_ROOT]):
        service.configure(roots)
        service.systemctl("reload", service.unit)
        assert service.roots() == sorted(roots)
    service.sync()
    assert service.agents() == {"two": "active"}
    assert service.shown("ActiveState") == "active"


def test_a_broken_configuration_fails_the_reload_and_changes_nothing(
    service: SystemService,
) -> None:
    service.start()
    daemon = service.pid()
    service.configure([PROJECTS, OTHER_ROOT], "[sweep]\nintervall = 3\n")
    assert service.systemctl("reload", service.unit, check=False).returncode != 0
    assert service.roots() == [PROJECTS]
    assert (service.pid(), service.shown("ActiveState")) == (daemon, "active")
    service.configure([PROJECTS, OTHER_ROOT])
    service.systemctl("reload", service.unit)
    assert service.roots() == sorted([PROJECTS, OTHER_ROOT])


@pytest.mark.parametrize("signalled", [True, False], ids=["SIGHUP", "edit"])
def test_a_signal_and_an_edit_reload_as_well(service: SystemService, signalled: bool) -> None:
    service.start()
    service.configure([PROJECTS, OTHER_ROOT])
    if signalled:
        service.systemctl("kill", "--signal=HUP", "--kill-whom=main", service.unit)
    service.box.wait_until(lambda: OTHER_ROOT in service.roots(), "the other root")
    service.box.wait_until(lambda: "reloaded" in service.events(), "word of it")
    assert service.shown("ActiveState") == "active"


# crashes and hangs


def test_after_kill_9_it_is_back_and_has_lost_nothing(service: SystemService) -> None:
    project = service.save("one")
    service.start()
    before = service.ask("status")
    # Nothing starts it again while the disk changes.
    service.drop_in("slow.conf", "[Service]\nRestartSec=400ms\n")
    service.systemctl("kill", "--signal=KILL", service.unit)
    service.save("two")
    service.box.run("rm", "-r", project)
    service.await_ready()
    after = service.ask("status")
    assert after["pid"] != before["pid"]
    assert after["epoch"] == before["epoch"]
    assert service.shown("NRestarts") == "1"
    assert service.agents() == {"one": "unreachable", "two": "active"}
    # A reader of the feed goes on where it was.
    lines = service.meshd("events", "--since", str(before["seq"]), "--json").stdout.splitlines()
    told = {(entry["kind"], entry["agentId"]) for entry in map(json.loads, lines)}
    assert {("registered", "two"), ("unreachable", "one")} <= told


def test_a_database_lost_under_the_running_service_does_not_stop_it(
    service: SystemService,
) -> None:
    """It is opened anew by the same process; a manager told of a stop would end that soon."""
    service.save("one")
    service.start()
    daemon = service.pid()
    files = [f"{service.state}/meshd.db{suffix}" for suffix in ("", "-wal", "-shm")]
    service.box.run("rm", "-f", *files)
    service.box.wait_until(lambda: service.events().count("started") > 1, "a new opening")
    service.await_ready()
    assert service.agents() == {"one": "active"}
    assert (service.shown("ActiveState"), service.shown("SubState")) == ("active", "running")
    assert (service.pid(), service.shown("NRestarts")) == (daemon, "0")


@pytest.mark.slow
def test_a_writer_that_hangs_alone_starves_the_watchdog_too(service: SystemService) -> None:
    """The main loop turns and the socket answers; the ping still means that writing works."""
    service.drop_in("short.conf", "[Service]\nWatchdogSec=3s\nRestartSec=100ms\n")
    service.start()
    box = service.box
    with box.open("meshd-python", "-c", HOLD_THE_DATABASE, f"{service.state}/meshd.db", user="ada"):
        box.wait_until(lambda: service.shown("NRestarts") != "0", "a restart")
    service.await_ready()
    assert "watchdog" in box.log().lower()


@pytest.mark.parametrize("thread", ["main", "meshd-watch"])
def test_a_thread_that_hangs_alone_starves_the_watchdog(
    service: SystemService, thread: str
) -> None:
    """The ping means that the main loop, the writer and the watcher have all moved."""
    box = service.box
    box.write("/usr/local/lib/named.py", NAMED)
    program = "/usr/local/bin/meshd-python /usr/local/lib/named.py run"
    service.drop_in(
        "named.conf",
        f"[Service]\nExecStart=\nExecStart={program}\nWatchdogSec=2s\nRestartSec=100ms\n",
    )
    service.start()
    daemon = service.pid()
    with box.open("meshd-python", "-c", FREEZE, str(daemon), thread):
        box.wait_until(lambda: service.shown("NRestarts") != "0", "a restart")
    service.await_ready()
    assert service.pid() != daemon
    assert "watchdog timeout" in box.log().lower()


def test_a_configuration_that_is_nested_too_deep_ends_nobody(service: SystemService) -> None:
    service.start()
    daemon = service.pid()
    service.box.write(service.config, "a = " + "[" * 5000 + "]" * 5000, user="ada")
    service.box.wait_until(lambda: "reload_refused" in service.events(), "a refusal")
    assert (service.pid(), service.shown("NRestarts")) == (daemon, "0")
    assert service.roots() == [PROJECTS]


def test_a_crash_loop_ends(service: SystemService) -> None:
    service.drop_in("loop.conf", "[Service]\nRestartSec=20ms\nExecStart=\nExecStart=/bin/false\n")
    service.systemctl("start", service.unit, check=False)
    service.box.wait_until(lambda: service.shown("ActiveState") == "failed", "failed")
    assert int(service.shown("NRestarts")) == 10
    service.systemctl("reset-failed", service.unit)


# the end


def test_a_stop_is_clean_and_keeps_what_is_known(service: SystemService) -> None:
    service.save("one")
    service.start()
    service.systemctl("stop", service.unit)
    assert service.shown("Result") == "success"
    assert service.shown("ExecMainStatus") == "0"
    assert service.box.journal("MESHD_EVENT=stopped")
    assert not service.box.path("/run/meshd-ada").exists()
    assert service.box.path(f"{service.state}/meshd.db").exists()
    service.start()
    assert service.agents() == {"one": "active"}
    assert [one["kind"] for one in map(json.loads, service.meshd(
        "events", "--json").stdout.splitlines())].count("registered") == 1  # fmt: skip


@pytest.mark.slow
def test_a_stop_ends_within_its_limit_although_a_mount_hangs(service: SystemService) -> None:
    """Nobody answers for the file system: every call on it waits until its process dies."""
    service.save("one")
    service.start()
    with service.box.hung_mount(f"{PROJECTS}/hung"):
        service.box.run("meshd", "sweep", user="ada", check=False, deadline=1)
        service.systemctl("stop", service.unit)
    took = int(service.shown("InactiveEnterTimestampMonotonic")) - int(
        service.shown("ActiveExitTimestampMonotonic")
    )
    assert took < 15_000_000  # microseconds; the limit is 20 s
    service.start()
    assert service.agents() == {"one": "active"}
