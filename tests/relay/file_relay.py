"""Run meshd with a relay that writes its calls to a file: `file_relay.py FILE PYTHON -m meshd …`.

The daemon itself has no relay but the embedded one; this gives it another at the seam.
"""

from __future__ import annotations

import functools
import json
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import meshd.daemon
from meshd.assembly import assemble
from meshd.cli import main

if TYPE_CHECKING:
    from collections.abc import Collection

    from meshd.core.endpoints import AccessRule, Endpoint


class FileRelay:
    """Writes one line per call: its name, what it was about, and on which thread."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def _note(self, name: str, about: str) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps([name, about, threading.current_thread().name]) + "\n")

    def register(self, endpoint: Endpoint) -> None:
        self._note("register", endpoint.subject)

    def retire(self, subject: str) -> None:
        self._note("retire", subject)

    def put_rule(self, rule: AccessRule) -> None:
        self._note("put_rule", f"{rule.source} {rule.target}")

    def remove_rule(self, rule: AccessRule) -> None:
        self._note("remove_rule", f"{rule.source} {rule.target}")

    def reconcile(
        self, endpoints: Collection[Endpoint], rules: Collection[AccessRule]
    ) -> frozenset[str]:
        self._note("reconcile", f"{len(endpoints)} {len(rules)}")
        return frozenset()


if __name__ == "__main__":
    relay = FileRelay(Path(sys.argv[1]))
    sys.argv = ["meshd", *sys.argv[sys.argv.index("meshd") + 1 :]]
    with mock.patch.object(meshd.daemon, "assemble", functools.partial(assemble, relay=relay)):
        main()
