"""What the service manager is told.

Owns the sd_notify protocol. Assumes that the caller knows when it is ready, and that it
pings only from real progress. Promises: without NOTIFY_SOCKET every call does nothing; an
error of the socket never reaches the caller, for a daemon that serves must not die of its
supervisor; only fixed text and integers are sent, because a newline in a status would be
read as another command (fault 45).
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from meshd.clock import Clock, SystemClock

if TYPE_CHECKING:
    from collections.abc import Mapping


class Notifier:
    """The way to the service manager, if there is one.

    Attributes:
        watchdog_interval: seconds within which the manager wants a ping, or None for never.
        failures: messages that could not be sent.
    """

    def __init__(self, environ: Mapping[str, str], clock: Clock | None = None) -> None:
        """Take the address of the manager from NOTIFY_SOCKET and WATCHDOG_USEC."""
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._clock = clock or SystemClock()
        self.watchdog_interval = _watchdog_interval(environ)
        self.failures = 0
        self._owed: list[str] = []

    def ready(self) -> None:
        """Say that start or reload is complete, again and again until it is taken.

        A manager that waits for it in vain would end a daemon that serves.
        """
        self._insist("READY=1")

    def reloading(self) -> None:
        """Say that a reload begins; `ready` ends it, whether it succeeded or not."""
        microseconds = round(self._clock.monotonic() * 1_000_000)
        self._insist(f"RELOADING=1\nMONOTONIC_USEC={microseconds}")

    def stopping(self) -> None:
        """Say that the daemon stops."""
        self._send("STOPPING=1")

    def watchdog(self) -> None:
        """Say that the daemon makes progress, after what could not be said before."""
        if self._say_what_is_owed():
            self._send("WATCHDOG=1")

    def status(self, *, agents: int, unreachable: int, sick_roots: int) -> None:
        """Show the registry in figures, as `systemctl status` prints it."""
        self._send(
            f"STATUS={int(agents)} agents, {int(unreachable)} unreachable, "
            f"{int(sick_roots)} sick roots"
        )

    def extend_timeout(self, seconds: float) -> None:
        """Ask for more time for the start or stop under way, from now on (fault 166)."""
        self._send(f"EXTEND_TIMEOUT_USEC={round(seconds * 1_000_000)}")

    def _insist(self, message: str) -> None:
        # Of many reloads in a row only the last one's begin and end matter.
        self._owed = [*self._owed, message][-2:]
        self._say_what_is_owed()

    def _say_what_is_owed(self) -> bool:
        while self._owed and self._send(self._owed[0]):
            self._owed.pop(0)
        return not self._owed

    def _send(self, message: str) -> bool:
        if self._address is None:
            return True
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.setblocking(False)
                channel.sendto(message.encode("ascii"), self._address)
        except OSError:
            self.failures += 1
            return False
        return True


def _address(text: str) -> bytes | None:
    """Return the socket's address: a path, or with a leading `@` a name of the abstract space."""
    if text.startswith("@"):
        return b"\0" + os.fsencode(text[1:])
    return os.fsencode(text) if text.startswith("/") else None


def _watchdog_interval(environ: Mapping[str, str]) -> float | None:
    """Return the interval meant for this process, in seconds."""
    microseconds = environ.get("WATCHDOG_USEC", "")
    process = environ.get("WATCHDOG_PID", "")
    meant_for_another = process.isdecimal() and int(process) != os.getpid()
    if meant_for_another or not microseconds.isdecimal() or int(microseconds) == 0:
        return None
    return int(microseconds) / 1_000_000
