"""A manager that is only told, and an installation with it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from meshd.installing import Installation, Manager

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from meshd.installing import Target

PROGRAM: Final = [sys.executable, "-m", "meshd"]


class Told:
    """Stands for systemctl: notes what it is told, and answers as asked."""

    def __init__(self) -> None:
        self.commands: list[str] = []
        self.active = self.enabled = False
        self.version = "systemd 252 (252.1)\n"
        self.fails = self.unreachable = ""
        self.outdated = False

    def __call__(
        self, command: Sequence[str], text: str = "", environ: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        if command[0] == "journalctl":
            self.commands.append(" ".join(command))
            return subprocess.CompletedProcess(command, 0, "", "")
        if command[0] != "systemctl":
            return subprocess.run(
                command, input=text, capture_output=True, text=True, check=False,
                env={**(environ or {}), "PYTHONPATH": os.pathsep.join(sys.path)},
            )  # fmt: skip
        words = [word for word in command[1:] if word != "--user"]
        if words[0] == "show-environment" and self.unreachable:
            return subprocess.CompletedProcess(command, 1, "", self.unreachable)
        if words[0] == "is-failed":
            return subprocess.CompletedProcess(command, 1, "inactive", "")
        out = {"--version": self.version, "is-active": "active" if self.active else "inactive",
               "is-enabled": "enabled" if self.enabled else "disabled", "show-environment": "",
               "show": "yes" if self.outdated else "no"}.get(words[0])  # fmt: skip
        if out is not None:
            return subprocess.CompletedProcess(command, 0, out, "")
        self.commands.append(" ".join(words))
        self.outdated &= words[0] != "daemon-reload"
        self.enabled = words[0] == "enable" or (self.enabled and words[0] != "disable")
        self.active = words[0] in ("start", "restart") or (self.active and words[0] != "disable")
        return subprocess.CompletedProcess(command, int(bool(self.fails)), "", self.fails)


def install(target: Target, *roots: str, program: Sequence[str] = PROGRAM) -> list[bool]:
    installation = Installation(Manager(target), program, roots)
    written = installation.write()
    installation.start(written)
    return [one.changed for one in written]
