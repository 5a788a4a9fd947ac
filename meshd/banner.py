"""What a person sees who starts the daemon in a terminal.

Owns the few lines on standard output. Under a service manager nobody reads them, so nothing
is printed there.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from meshd.escaping import escape

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from meshd.commands import SweepResult
    from meshd.config import Settings
    from meshd.store.store import Store


class Banner:
    """The lines of one start."""

    def __init__(
        self, settings: Settings, store: Store, socket: Path, environ: Mapping[str, str]
    ) -> None:
        self._roots = settings.scan.roots
        self._store = store
        self._socket = socket
        self._quiet = "NOTIFY_SOCKET" in environ or "JOURNAL_STREAM" in environ

    def started(self) -> None:
        """Say what is scanned, where things are, and how to stop."""
        self._print(
            "meshd is running. Press Ctrl-C to stop it.",
            *(f"  root    {escape(root)}" for root in self._roots),
            f"  state   {escape(str(self._store.path.parent))}",
            f"  socket  {escape(str(self._socket))}",
        )

    def swept(self, result: SweepResult) -> None:
        """Say what the first sweep found, and what to do when that is nothing."""
        with self._store.reading() as registry:
            counts = registry.agents_per_root().values()
        live, every = (sum(column) for column in zip((0, 0), *counts, strict=True))
        if every:
            self._print(f"  agents  {live}, and {every - live} unreachable  (meshd agents list)")
        for root in result.sick_roots:
            self._print(f"  sick    {escape(root)}  (meshd roots list says why)")
        if not every:
            self._print(
                "  agents  none: no project below these roots has a .dork/agent.json.",
                "          `meshd check-manifest DIR` says what is wrong with one.",
            )

    def _print(self, *lines: str) -> None:
        if self._quiet:
            return
        try:
            sys.stdout.write("\n".join(lines) + "\n")
            sys.stdout.flush()
        except OSError:
            # Nobody reads (`meshd run | head`). Python would complain again at exit.
            self._quiet = True
            sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
