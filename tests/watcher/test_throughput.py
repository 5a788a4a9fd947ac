"""The watcher keeps up with the raw read loop: as many saves seen, and the ratio shown."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

from meshd.watcher.inotify import DORK_MASK, MOVED_TO, Inotify
from tests.watcher.hearing import make_project, save, watching

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

PROJECTS: Final = 1_000


def raw_loop(projects: list[Path]) -> int:
    """Save every project with nothing but an inotify read loop; return the saves it saw."""
    inotify = Inotify()
    try:
        for project in projects:
            descriptor = os.open(project / ".dork", os.O_RDONLY)
            inotify.add(descriptor, DORK_MASK)
            os.close(descriptor)
        for project in projects:
            save(project, "raw")
        seen = 0
        while events := inotify.read():
            seen += sum(mask & MOVED_TO != 0 for _, mask, _, _ in events)
        return seen
    finally:
        inotify.close()


def test_every_save_is_heard_that_a_raw_read_loop_sees(
    base: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    projects = [root / f"group-{number // 100}" / f"p{number}" for number in range(PROJECTS)]
    for project in projects:
        make_project(project, "first")
    began = time.perf_counter()
    raw = raw_loop(projects)
    raw_seconds = time.perf_counter() - began
    with watching(base, root) as watched:
        watched.hear()
        began = time.perf_counter()
        for project in projects:
            save(project, "second")
        heard = watched.hear()
        seconds = time.perf_counter() - began
    assert raw == PROJECTS
    assert heard == sorted(os.path.relpath(project, base) for project in projects)
    with capsys.disabled():
        # Shown, not judged: time is no verdict.
        print(f"\n{PROJECTS} saves: {seconds / raw_seconds:.2f} x the raw read loop")  # noqa: T201
