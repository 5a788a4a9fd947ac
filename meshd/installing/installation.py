"""Installing the service: look, write what is missing, start.

Owns the order of the steps. Promises: what is refused is refused before anything is written;
a step that fails is told, and running it again goes on from there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshd.errors import ConfigError, MeshdError, PermissionRefusedError
from meshd.installing import units
from meshd.installing.files import File, Written

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshd.installing.manager import Manager

# Creates the file and never follows or replaces what is there (noclobber is O_EXCL).
_CREATE = 'umask 077 && mkdir -p "${1%/*}" && set -C && cat > "$1"'


class Installation:
    """One installation.

    Args:
        manager: of the service's target.
        program: how meshd is started, absolute.
        roots: what is to be scanned, absolute; none for what the configuration says.

    Attributes:
        roots: what is scanned, once it was written.
        registry: the state directory.
        socket: where the service listens.
    """

    def __init__(self, manager: Manager, program: Sequence[str], roots: Sequence[str]) -> None:
        self._manager = manager
        self._target = manager.target
        self._program = list(program)
        self._roots = list(roots)
        self.roots: tuple[str, ...] = ()
        self.registry = manager.target.state
        self.socket = manager.target.socket

    def write(self) -> list[Written]:
        """Write the configuration, the unit and its drop-in where they are not so already.

        Raises:
            ConfigError: no root is known, a configuration that is there names others, or the
                service could not use what is asked for.
            PermissionRefusedError: the user may not run the program.
            MeshdError: there is no systemd, somebody changed a file by hand, or one could not
                be written.
        """
        version = self._manager.version()
        found = self._check()
        is_new = self._needs_configuration(found)
        if is_new:
            found = self._check(json.dumps(self._roots))
            found["config"] = str(self._target.config)
        self.roots = tuple(found["settings"]["scan"]["roots"])
        places = self._places(found["settings"])
        files = [
            File(self._target.units / self._target.template,
                 units.unit(self._target, self._program, version)),
            File(self._target.roots_drop_in,
                 units.roots_drop_in(self._target, found["config"], self.roots, places)),
        ]  # fmt: skip
        for file in files:
            file.refuse_if_changed(self._target.drop_ins)
        written = [self._write_configuration()] if is_new else []
        written += [file.write() for file in files]
        own = [str(self._target.state)] if self._target.of_user else []
        for place in [*own, *places]:
            self._make_directory(place)
        return written

    def explain(self) -> list[Written]:
        """Give journalctl the explanations of what meshd logs, where there is a place for them.

        The service does without them: a place that cannot be written is left alone.
        """
        place = self._target.catalogue
        if place is None:
            return []
        file = File(place, units.shipped("meshd.catalog"))
        try:
            file.refuse_if_changed(place.parent)
            written = file.write()
            if written.changed:
                self._manager.learn_explanations()
        except (MeshdError, OSError):
            return []
        return [written]

    def unusable_roots(self) -> list[str]:
        """Return which roots the service's user cannot list now."""
        script = (
            'for root; do [ -r "$root" ] && [ -x "$root" ] && [ -d "$root" ] || echo "$root"; done'
        )
        said = self._manager.as_user(["/bin/sh", "-c", script, "sh", *self.roots])
        return said.stdout.splitlines()

    def start(self, written: Sequence[Written]) -> None:
        """Have the service started now and with the system, with what was written in force.

        Raises:
            MeshdError: it did not start.
        """
        unit = self._target.unit
        # Also what an installation wrote that was interrupted.
        changed = any(one.changed for one in written) or self._manager.is_outdated()
        if changed:
            self._manager.tell("daemon-reload")
        if not self._manager.is_enabled():
            self._manager.tell("enable", unit)
        if changed and self._manager.is_active():
            self._manager.tell("restart", unit)
        elif not self._manager.is_active():
            if self._manager.has_failed():
                # What made it fail too often may be what was repaired.
                self._manager.tell("reset-failed", unit)
            self._manager.tell("start", unit)

    def _check(self, roots: str | None = None) -> dict[str, Any]:
        """Return the configuration as the service will find it, which its user reads for us.

        Args:
            roots: JSON, in the place of those that a configuration will name.
        """
        more = None if roots is None else {"MESHD_SCAN__ROOTS": roots}
        try:
            done = self._manager.as_user([*self._program, "check-config", "--json"], more=more)
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

    def _make_directory(self, path: str) -> None:
        """Make a directory of the user's, which the unit can only open if it is there."""
        done = self._manager.as_user(["/bin/sh", "-c", 'umask 077 && mkdir -p "$1"', "sh", path])
        if done.returncode != 0:
            raise MeshdError(f"cannot make {path}: {done.stderr.strip()}")

    def _places(self, settings: dict[str, Any]) -> list[str]:
        """Return the directories that the configuration itself names, of registry and socket."""
        directory, socket = settings["store"]["directory"], settings["api"]["socket"]
        self.registry = Path(directory or self._target.state)
        self.socket = Path(socket or self._target.socket)
        return [*([directory] if directory else []), *([str(self.socket.parent)] if socket else [])]
