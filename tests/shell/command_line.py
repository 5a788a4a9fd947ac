"""`meshd` as a person runs it: a process of its own, with a home of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import meshd

SOURCE = Path(meshd.__file__).parents[1]


@dataclass(frozen=True)
class Ran:
    """What one command left behind."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, object]:
        document: dict[str, object] = json.loads(self.out)
        return document


@dataclass(frozen=True)
class CommandLine:
    """A shell in a home directory."""

    home: Path
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        return self.home / ".local/state/meshd"

    @property
    def whole_environ(self) -> dict[str, str]:
        own = {"HOME": str(self.home), "PYTHONPATH": str(SOURCE), "PATH": "/usr/bin:/bin"}
        return {**own, **self.environ}

    def __call__(self, *arguments: str, **environ: str) -> Ran:
        """Run one command."""
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", "meshd", *arguments],
            env={**self.whole_environ, **environ},
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
        return Ran(done.returncode, done.stdout.decode("ascii"), done.stderr.decode("ascii"))
