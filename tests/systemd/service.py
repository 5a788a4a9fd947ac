"""meshd as a service in a box: the units as shipped, and what an operator does with them.

Owns the units, ada's home and meshd's directories in the box. Promises that every test begins
with the shipped units, an empty registry and nothing running.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any, ClassVar, Final

from meshd.client import Client
from meshd.errors import MeshdError
from tests.system.trees import document
from tests.systemd.box import HOMES, REPOSITORY, UIDS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.systemd.box import Box, Done

SHIPPED: Final = REPOSITORY / "systemd"
PROJECTS: Final = "/home/ada/projects"
PROBE: Final = "/usr/local/lib/probe.sh"


class Service:
    """What both kinds of service have in common."""

    unit: ClassVar[str]
    units: ClassVar[str]
    state: ClassVar[str]
    socket: ClassVar[str]
    config: ClassVar[str] = "/home/ada/.config/meshd/config.toml"
    manager: ClassVar[tuple[str, ...]]
    user: ClassVar[str]

    def __init__(self, box: Box) -> None:
        self.box = box

    def prepare(self) -> None:
        """Begin anew: homes, one root and its configuration; the test before took all away."""
        for user in ("ada", "bob"):
            uid = str(UIDS[user])
            self.box.run("install", "-d", "-o", uid, "-g", uid, "-m", "0755", HOMES[user])
        self.configure([PROJECTS])
        self.box.run("mkdir", "-p", PROJECTS, user="ada")

    def clear(self) -> None:
        """Stop what runs, and take everything away that a test may have made."""
        raise NotImplementedError

    def configure(self, roots: list[str], more: str = "") -> None:
        """Write ada's configuration."""
        self.box.write(self.config, f"[scan]\nroots = {json.dumps(roots)}\n{more}", user="ada")

    def save(self, name: str, root: str = PROJECTS, **fields: object) -> str:
        """Write a manifest as ada, its id the project's name; return the project."""
        project = f"{root}/{name}"
        text = json.dumps(document(name, name=name, **fields))
        self.box.write(f"{project}/.dork/agent.json", text, user="ada")
        return project

    def drop_in(self, name: str, text: str) -> None:
        """Write a drop-in for the unit."""
        self.box.write(f"{self.units}/{self.unit}.d/{name}", text, user=self.user)
        self.systemctl("daemon-reload")

    def systemctl(self, *arguments: str, check: bool = True) -> Done:
        """Speak to the manager that runs the service."""
        return self.box.run("systemctl", *self.manager, *arguments, user=self.user, check=check)

    def meshd(self, *arguments: str, check: bool = True, user: str = "ada") -> Done:
        """Run meshd on the command line."""
        return self.box.run("meshd", *arguments, user=user, check=check)

    def ask(self, *arguments: str) -> dict[str, Any]:
        """Run a command of meshd for its JSON."""
        answer: dict[str, Any] = json.loads(self.meshd(*arguments, "--json").stdout)
        return answer

    def start(self) -> None:
        """Start, and wait for the first sweep."""
        self.systemctl("start", self.unit)
        self.await_ready()

    def await_ready(self) -> None:
        """Wait until a daemon answers whose first sweep is committed."""
        self.box.wait_until(self._is_ready, "ready")

    def _is_ready(self) -> bool:
        try:
            with self.client() as client:
                return client.readyz()
        except MeshdError:
            return False

    def client(self) -> Client:
        """Return a client that speaks to the service from outside the box, as root."""
        return Client(self.box.path(self.socket))

    def sync(self) -> None:
        """Wait until what is on disk is in the registry."""
        with self.client() as client:
            client.sync()

    def roots(self) -> list[str]:
        """Return what is scanned; a root that was taken out is listed while its agents are."""
        with self.client() as client:
            listed = client.roots()["roots"]
        return [root["path"] for root in listed if root["reason"] != "no-root"]

    def shown(self, name: str) -> str:
        """Return a property of the unit."""
        return self.systemctl("show", "-P", name, self.unit).stdout.strip()

    def pid(self) -> int:
        """Return the daemon's process, as the box counts."""
        return int(self.shown("MainPID"))

    def agents(self) -> dict[str, str]:
        """Return each agent's status."""
        with self.client() as client:
            return {one["id"]: one["status"] for one in client.registry()["agents"]}

    def events(self, *matches: str) -> list[str]:
        """Return the events that journald has of the service since `prepare`."""
        return [one["MESHD_EVENT"] for one in self.journal(*matches) if "MESHD_EVENT" in one]

    def journal(self, *matches: str) -> list[dict[str, Any]]:
        """Return what journald has of the service's newest invocation."""
        invocation = self.shown("InvocationID")
        return self.box.journal(f"_SYSTEMD_INVOCATION_ID={invocation}", *matches)

    def probe(self, attempts: Mapping[str, str]) -> dict[str, bool]:
        """Try shell commands under the unit's own confinement, in the place of the daemon.

        Returns:
            For each name, whether its command succeeded.
        """
        tries = [f"if {text}; then echo '{name}=yes'; else echo '{name}=no'; fi 2>/dev/null"
                 for name, text in attempts.items()]  # fmt: skip
        self.box.write(PROBE, "\n".join(tries) + "\n")
        self.drop_in(
            "probe.conf",
            f"[Service]\nType=oneshot\nExecStart=\nExecStart=/bin/sh {PROBE}\nRestart=no\n",
        )
        self.systemctl("start", self.unit)
        said = [one["MESSAGE"] for one in self.box.journal("_COMM=sh")]
        answers = dict(line.split("=") for line in said if "=" in line)
        return {name: answers[name] == "yes" for name in attempts}


class SystemService(Service):
    """meshd@ada, run by the system."""

    unit = "meshd@ada.service"
    units = "/etc/systemd/system"
    state = "/var/lib/meshd-ada"
    socket = "/run/meshd-ada/meshd.sock"
    manager = ()
    user = "root"

    def prepare(self) -> None:
        """Copy the unit as it is shipped."""
        super().prepare()
        copy(self.box, SHIPPED / "meshd@.service", f"{self.units}/meshd@.service")
        self.systemctl("daemon-reload")

    def clear(self) -> None:
        """Stop what runs, and take everything away that a test may have made."""
        self.systemctl("stop", self.unit, check=False)
        self.systemctl("reset-failed", self.unit, check=False)
        self.box.run(
            "sh", "-c",
            f"rm -rf {self.units}/meshd@* {self.units}/*.wants/meshd* {self.state}"
            " /home/ada /var/bob /etc/meshd /srv/agents",
        )  # fmt: skip
        self.systemctl("daemon-reload")


class UserService(Service):
    """ada's own meshd."""

    unit = "meshd.service"
    units = "/home/ada/.config/systemd/user"
    state = "/home/ada/.local/state/meshd"
    socket = "/run/user/4711/meshd/meshd.sock"
    manager = ("--user",)
    user = "ada"

    def prepare(self) -> None:
        """Start ada's manager over the unit as it is shipped."""
        super().prepare()
        text = (SHIPPED / "user" / "meshd.service").read_text("utf-8")
        self.box.write(f"{self.units}/meshd.service", text, user="ada")
        self.box.run("mkdir", "-p", "/home/ada/.local/bin", self.state, user="ada")
        self.box.run("ln", "-s", "/usr/local/bin/meshd", "/home/ada/.local/bin/", user="ada")
        self.box.run("systemctl", "start", "user@4711.service")
        self.systemctl("daemon-reload")

    def clear(self) -> None:
        """End ada's manager, and take everything away that a test may have made."""
        self.box.run("systemctl", "stop", "user@4711.service", check=False)
        self.box.run("sh", "-c", "rm -rf /home/ada /var/bob /etc/meshd")


def copy(box: Box, source: Path, inside: str) -> None:
    """Copy a file of the host into the box."""
    target = box.path(inside)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)
