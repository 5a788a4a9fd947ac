"""Installing the service: look, write what is missing, start.

Owns the order of the steps. Promises: what is refused is refused before anything is written;
a step that fails is told, and running it again goes on from there.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meshd.errors import ConfigError, MeshdError, PermissionRefusedError
from meshd.installing import units

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from meshd.installing.manager import Manager

# Creates the file and never follows or replaces what is there (noclobber is O_EXCL).
_CREATE = 'umask 077 && mkdir -p "${1%/*}" && set -C && cat > "$1"'


@dataclass(frozen=True, slots=True)
class Written:
    """One file of the service.

    Attributes:
        path: where.
        changed: whether it was written now, else it was as it should be.
    """

    path: Path
    changed: bool


class Installation:
    """One installation.

    Args:
        manager: of the service's target.
        program: how meshd is started, absolute.
        roots: what is to be scanned, absolute; none for what the configuration says.
    """

    def __init__(self, manager: Manager, program: Sequence[str], roots: Sequence[str]) -> None:
        self._manager = manager
        self._target = manager.target
        self._program = list(program)
        self._roots = list(roots)

    def write(self) -> list[Written]:
        """Write the configuration, the unit and its drop-in where they are not so already.

        Raises:
            ConfigError: no root is known, or a configuration that is there names others.
            PermissionRefusedError: the user may not run the program.
            MeshdError: there is no systemd, or a file could not be written.
        """
        version = self._manager.version()
        found = self._check()
        written = []
        if self._needs_configuration(found):
            written.append(self._write_configuration())
            found = self._check()
        texts = {
            self._target.units / self._target.template: units.unit(
                self._target, self._program, version
            ),
            self._target.roots_drop_in: units.roots_drop_in(
                self._target, found["config"], found["settings"]["scan"]["roots"]
            ),
        }
        written += [_written(path, text) for path, text in texts.items()]
        if self._target.of_user:
            self._target.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        return written

    def start(self, written: Sequence[Written]) -> None:
        """Have the service started now and with the system, with what was written in force.

        Raises:
            MeshdError: it did not start.
        """
        unit = self._target.unit
        changed = any(one.changed for one in written)
        if changed:
            self._manager.tell("daemon-reload")
        if not self._manager.is_enabled():
            self._manager.tell("enable", unit)
        if changed and self._manager.is_active():
            self._manager.tell("restart", unit)
        elif not self._manager.is_active():
            self._manager.tell("start", unit)

    def _check(self) -> dict[str, Any]:
        """Return the configuration as the service will find it, which its user reads for us."""
        try:
            done = self._manager.as_user([*self._program, "check-config", "--json"])
        except PermissionError:
            raise self._cannot_run() from None
        try:
            answer: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            raise self._cannot_run() from None
        if "error" in answer:
            error = answer["error"]
            raise ConfigError(error["message"], hint=error["hint"])
        return answer

    def _cannot_run(self) -> MeshdError:
        program = " ".join(self._program)
        return PermissionRefusedError(
            f"{self._target.user} cannot run {program}",
            hint="install meshd where every user may read it, such as /opt/meshd",
        )

    def _needs_configuration(self, found: dict[str, Any]) -> bool:
        """Whether there is none yet.

        Raises:
            ConfigError: there is one, and it does not say what was asked for.
        """
        known = found["settings"]["scan"]["roots"]
        if found["config"] is None:
            if not self._roots:
                raise ConfigError(
                    "nothing says what to scan", hint="name directories: meshd install --root DIR"
                )
            return True
        missing = [root for root in self._roots if root not in known]
        if missing or not known:
            asked = ", ".join(map(json.dumps, missing)) or '"DIR"'
            raise ConfigError(
                f"{found['config']} is there already, and does not scan {asked}",
                hint=f"add it to the roots there, below [scan]: {asked}; then install again",
            )
        return False

    def _write_configuration(self) -> Written:
        path = self._target.config
        text = units.configuration(self._roots)
        done = self._manager.as_user(["/bin/sh", "-c", _CREATE, "sh", str(path)], text)
        if done.returncode != 0:
            raise MeshdError(f"cannot write {path}: {done.stderr.strip()}")
        return Written(path, changed=True)


def _written(path: Path, text: str) -> Written:
    """Bring a file of ours to a text, atomically."""
    try:
        if path.read_text("utf-8") == text:
            return Written(path, changed=False)
    except (FileNotFoundError, UnicodeDecodeError):
        pass
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text, "utf-8")
    draft.chmod(0o644)
    draft.replace(path)
    return Written(path, changed=True)
