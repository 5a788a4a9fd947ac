"""Projects without a manifest, and a search of them by the task alone."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from meshd.clock import SystemClock
from meshd.core.scope import Scope
from meshd.core.strategies import Marker, MarkerKind
from meshd.looker.candidates import FindCandidates, Left, Step
from meshd.looker.health import open_root

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshd.core.candidates import Candidate

NOBODY = 65534


def make_marker(project: Path, marker: Marker) -> None:
    path = project / marker.path
    if marker.kind is MarkerKind.DIRECTORY:
        path.mkdir(parents=True)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")


def make_candidate(project: Path, text: str = "") -> Path:
    project.mkdir(parents=True, exist_ok=True)
    (project / "CLAUDE.md").write_text(text)
    return project


def search(root: Path, scope: Scope | None = None, *, deepest: int = 1_000) -> list[Step]:
    """Search a whole root, and return every step."""
    scope = scope or Scope(roots=(str(root),))
    steps: list[Step] = []
    left: tuple[Left, ...] = (Left(""),)
    while left:
        with open_root(str(root)) as opened:
            steps.append(FindCandidates(scope, deepest, left, SystemClock())(opened))
        left = steps[-1].left
    return steps


def candidates(root: Path, scope: Scope | None = None, *, deepest: int = 1_000) -> list[Candidate]:
    return [one for step in search(root, scope, deepest=deepest) for one in step.candidates]


def found(root: Path, scope: Scope | None = None, *, deepest: int = 1_000) -> list[str]:
    """Return where candidates are, relative to the root."""
    paths = [one.path for one in candidates(root, scope, deepest=deepest)]
    return [path.removeprefix(str(root)).lstrip("/") for path in paths]


def open_files(below: Path) -> list[str]:
    """Return what this process holds open below a directory."""
    opened = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the one that lists them is closed by now
            opened.append(str(descriptor.readlink()))
    return [path for path in opened if Path(path).is_relative_to(below)]


@contextmanager
def as_nobody() -> Iterator[None]:
    """Have permissions bind, whoever runs the test."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
