"""Saving manifests, as editors do: a new file beside the old one, renamed over it.

Owns what is saved, and its pace. Assumes a planted tree. Promises: each save of a project
differs from the one before, so that each is a change.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from benchmarks.trees import manifest
from meshd.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from benchmarks.trees import Project


def draft(root: Path, project: Project, said: str) -> tuple[str, str]:
    """Write a manifest beside the one that is there; return both paths, to be renamed."""
    path = f"{root}/{project.path}/.dork/agent.json"
    beside = f"{path}.draft"
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        os.write(descriptor, manifest(project, said))
    finally:
        os.close(descriptor)
    return beside, path


def save(root: Path, project: Project, said: str) -> None:
    """Save one manifest with `said` as its description."""
    os.rename(*draft(root, project, said))


def save_many(
    begin: Callable[[], None], root: Path, projects: Sequence[Project], count: int, said: str
) -> str:
    """Save so often, one project after the other, as fast as can be; return the last word said.

    After it every project that was saved at all says its last word; those that come late in
    the order have one round less.
    """
    contents = [manifest(project, said) for project in projects]
    begin()
    rounds = 0
    for number in range(count):
        place = number % len(projects)
        if place == 0:
            rounds += 1
        path = f"{root}/{projects[place].path}/.dork/agent.json"
        content = contents[place].replace(said.encode(), said_in(said, rounds).encode(), 1)
        descriptor = os.open(f"{path}.draft", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.write(descriptor, content)
        os.close(descriptor)
        os.rename(f"{path}.draft", path)
    return said_in(said, rounds)


def save_and_sync(  # noqa: PLR0913, PLR0917 - what `save_many` takes, and the daemon's socket
    begin: Callable[[], None],
    root: Path,
    projects: Sequence[Project],
    count: int,
    said: str,
    socket: Path,
) -> str:
    """Save as `save_many` does, and wait until the registry says so; return the last word said."""
    last = save_many(begin, root, projects, count, said)
    with Client(socket) as client:
        client.sync()
    return last


def said_in(said: str, round_: int) -> str:
    """Return the description of a project in one round of `save_many`."""
    return f"{said} {round_}"


def save_steadily(
    begin: Callable[[], None], root: Path, projects: Sequence[Project], per_second: float
) -> None:
    """Save one project after the other at an even pace, until ended."""
    begin()
    due = time.monotonic()
    for number in _forever():
        save(root, projects[number % len(projects)], f"under load {number}")
        due += 1 / per_second
        time.sleep(max(due - time.monotonic(), 0.0))


def _forever() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1
