"""The service manager, as commands.

Owns every process that is started for an installation. Promises: each has a deadline, and what
it says when it fails is passed on.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from meshd.errors import MeshdError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshd.installing.target import Target

DEADLINE: Final = 120.0
"""Seconds: a start may migrate a database."""

_LINGER: Final = Path("/var/lib/systemd/linger")


@dataclass(frozen=True, slots=True)
class Manager:
    """The manager that runs a service."""

    target: Target

    def version(self) -> int:
        """Return the number of the systemd that is here.

        Raises:
            MeshdError: there is none.
        """
        try:
            said = run(["systemctl", "--version"]).stdout
        except FileNotFoundError:
            said = ""
        match = re.match(r"systemd (\d+)", said)
        if match is None:
            raise MeshdError(
                "there is no systemd here", hint="start meshd by what starts services: meshd run"
            )
        return int(match[1])

    def tell(self, *arguments: str) -> None:
        """Tell the manager to do something.

        Raises:
            MeshdError: it did not; the message is what it said.
        """
        done = self._ask(*arguments)
        if done.returncode != 0:
            said = done.stderr.strip() or f"{self.target.systemctl} {' '.join(arguments)} failed"
            raise MeshdError(said, hint=self._hint(said))

    def is_active(self) -> bool:
        """Whether the service runs, or is about to."""
        return self._ask("is-active", self.target.unit).stdout.strip() in ("active", "activating")

    def is_enabled(self) -> bool:
        """Whether the service is started with the system or the session."""
        return self._ask("is-enabled", self.target.unit).stdout.strip() == "enabled"

    def lingers(self) -> bool:
        """Whether the user's manager runs while the user is logged out."""
        return (_LINGER / self.target.user).exists()

    def as_user(self, command: Sequence[str], text: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command with the rights of the service's user, in that user's home.

        Root reads and writes nothing below a user's home: a symlink there could lead anywhere.
        """
        target = self.target
        if os.geteuid() == target.uid:
            return run(command, text)
        return subprocess.run(  # noqa: S603 - our own words, and the path of our program
            command, input=text, capture_output=True, text=True, check=False, timeout=DEADLINE,
            user=target.uid, group=target.gid, cwd="/",
            extra_groups=os.getgrouplist(target.user, target.gid),
            env={"PATH": os.defpath, "HOME": str(target.home), "USER": target.user,
                 "LC_ALL": "C.UTF-8"},
        )  # fmt: skip

    def _ask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        scope = ["--user"] if self.target.of_user else []
        return run(["systemctl", *scope, *arguments])

    def _hint(self, said: str) -> str:
        if self.target.of_user and "connect to bus" in said:
            return (
                "your own service manager does not run: log in rather than use su or sudo, or as"
                f" root: loginctl enable-linger {self.target.user}"
            )
        return f"see {self.target.journalctl} -n 20"


def run(command: Sequence[str], text: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command as whoever we are."""
    return subprocess.run(  # noqa: S603 - our own words
        command, input=text, capture_output=True, text=True, check=False, timeout=DEADLINE
    )
