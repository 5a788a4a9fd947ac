"""The service manager is told the truth, and its absence hurts nobody."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from meshd.sdnotify import Notifier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class StoppedClock:
    """A clock at 12.5 s."""

    def monotonic(self) -> float:
        return 12.5

    def wall_ns(self) -> int:
        return 0


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """A manager's socket and its name as NOTIFY_SOCKET writes it."""
    path = str(tmp_path / "notify") if request.param == "path" else f"@meshd-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(path.replace("@", "\0", 1))
        receiver.settimeout(5)
        yield path, receiver


@pytest.mark.parametrize(
    ("say", "expected"),
    [
        (Notifier.ready, "READY=1"),
        (Notifier.reloading, "RELOADING=1\nMONOTONIC_USEC=12500000"),
        (Notifier.stopping, "STOPPING=1"),
        (Notifier.watchdog, "WATCHDOG=1"),
        (lambda notifier: notifier.extend_timeout(2.5), "EXTEND_TIMEOUT_USEC=2500000"),
        (
            lambda notifier: notifier.status(agents=3, unreachable=1, sick_roots=0),
            "STATUS=3 agents, 1 unreachable, 0 sick roots",
        ),
    ],
)
def test_each_call_is_one_datagram(
    manager: tuple[str, socket.socket], say: Callable[[Notifier], None], expected: str
) -> None:
    path, receiver = manager
    notifier = Notifier({"NOTIFY_SOCKET": path}, StoppedClock())
    say(notifier)
    assert receiver.recv(4096).decode() == expected
    assert notifier.failures == 0


@pytest.mark.parametrize("variable", ["", "relative", None])
def test_without_a_manager_nothing_is_sent(variable: str | None) -> None:
    notifier = Notifier({} if variable is None else {"NOTIFY_SOCKET": variable})
    notifier.ready()
    assert notifier.failures == 0


def test_a_manager_that_is_gone_is_counted_and_never_raised(tmp_path: Path) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    notifier.ready()
    notifier.watchdog()
    assert notifier.failures == 2


def test_a_manager_that_does_not_read_never_blocks(
    manager: tuple[str, socket.socket],
) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": manager[0]})
    while notifier.failures == 0:
        notifier.watchdog()


def test_what_a_busy_manager_could_not_take_is_said_later(
    manager: tuple[str, socket.socket],
) -> None:
    """A start whose end is never heard of ends in a timeout, though the daemon serves."""
    path, receiver = manager
    notifier = Notifier({"NOTIFY_SOCKET": path}, StoppedClock())
    taken = 0
    while notifier.failures == 0:
        notifier.watchdog()
        taken += 1
    for _ in range(3):
        notifier.reloading()
        notifier.ready()
    for _ in range(taken - 1):
        assert receiver.recv(4096) == b"WATCHDOG=1"
    notifier.watchdog()
    said = [receiver.recv(4096).decode().partition("\n")[0] for _ in range(3)]
    assert said == ["RELOADING=1", "READY=1", "WATCHDOG=1"]


def test_only_numbers_reach_the_status() -> None:
    notifier = Notifier({"NOTIFY_SOCKET": "/nowhere"})
    with pytest.raises(ValueError, match="invalid literal"):
        notifier.status(agents="1\nWATCHDOG=trigger", unreachable=0, sick_roots=0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": str(os.getpid())}, 1.5),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_pinged_only_if_meant(
    environ: dict[str, str], expected: float | None
) -> None:
    assert Notifier(environ).watchdog_interval == expected
