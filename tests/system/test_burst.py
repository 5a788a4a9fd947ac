"""Twenty thousand saves on ten thousand projects, as fast as a machine can: none is lost."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.system.daemon import Daemon
from tests.system.live import BACKENDS, NO_SWEEP, TURNS_AT_REST, is_asleep, turns_per_second
from tests.system.trees import plant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.system.trees import Project

PROJECTS: Final = 10_000
ROUNDS: Final = 2
ATTEMPTS: Final = 3
"""No burst may lose a save; that none is swept for needs a processor that others do not take."""
MEMORY: Final = Path("/dev/shm")
"""A file system in memory: the burst is to be as fast as can be."""


def save_all(projects: Sequence[Project], texts: Sequence[bytes], description: str) -> None:
    """Save every manifest by a new file and a rename, with this description."""
    said = f'"description": "{description}"'.encode()
    for project, text in zip(projects, texts, strict=True):
        path = os.fspath(project.manifest)
        before, _, rest = text.partition(b'"description": "')
        content = before + said + rest[rest.index(b'"') + 1 :]
        descriptor = os.open(f"{path}.draft", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.write(descriptor, content)
        os.close(descriptor)
        os.rename(f"{path}.draft", path)  # noqa: PTH104 - a Path for each would double the time


def as_others_let_it(act: Callable[[], None]) -> None:
    """Do something in a thread that gives way to others.

    The kernel keeps a certain number of events. Where many programs want the processor, whoever
    makes them must not be given more of it than whoever reads them.
    """

    def give_way() -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        act()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(give_way).result()


def lost_and_swept(daemon: Daemon, root: Path) -> tuple[int, str]:
    """Return how often events were lost, and when the last sweep began."""
    return daemon.root(root)["overflows"], daemon.status()["lastSweep"]["startedAt"]


@pytest.fixture
def place(home: Path, backend: str, mount: Callable[..., None]) -> Iterator[Path]:
    """A directory on a file system in memory.

    A mark hears all that happens on a file system. So for fanotify nobody else uses this one,
    nor that of the state directory, which is the same.
    """
    if backend == "fanotify":
        mount("-t", "tmpfs", "tmpfs", home)
        yield home
    else:
        where = MEMORY if MEMORY.is_dir() else None
        with tempfile.TemporaryDirectory(dir=where, prefix="meshd-test-") as directory:
            yield Path(directory)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_burst_of_saves_loses_none_and_needs_no_sweep(
    home: Path,
    place: Path,
    backend: str,
    record_testsuite_property: Callable[[str, object], None],
) -> None:
    root = place.resolve() / "root"
    projects = plant(root, PROJECTS)
    texts = [project.manifest.read_bytes() for project in projects]
    config = f'{NO_SWEEP}[watch]\nbackend = "{backend}"\n'
    with Daemon(home, root, config=config) as daemon:
        assert daemon.root(root)["watch"] == backend
        imported = daemon.status()["lastSweep"]
        assert daemon.root(root)["watchedDirectories"] == daemon.root(root)["wantedDirectories"]
        for attempt in range(ATTEMPTS):
            overflows, swept = lost_and_swept(daemon, root)
            began = time.monotonic()
            for number in range(ROUNDS):
                last = f"saved {attempt}.{number}"
                as_others_let_it(partial(save_all, projects, texts, last))
            saved = time.monotonic() - began
            answer = daemon.ask("sync")
            took = time.monotonic() - began
            agents = daemon.agents()
            stale = [agent["id"] for agent in agents.values() if agent["description"] != last]
            assert (len(agents), stale) == (PROJECTS, [])
            assert {"active"} == {agent["status"] for agent in agents.values()}
            if lost_and_swept(daemon, root)[0] == overflows:
                break
        assert lost_and_swept(daemon, root) == (overflows, swept)
        assert [one["by"] for one in answer["roots"]] == ["events"]
        assert daemon.sweep()["drift"] == 0

        daemon.wait_until(lambda: is_asleep(daemon), "rest")
        assert turns_per_second(daemon, 2.0) < TURNS_AT_REST
        figures = {
            "cold import, s": imported["seconds"],
            "saves, s": saved,
            "saves and sync, s": took,
            "ratio to the cold import": took / imported["seconds"],
        }
        for name, value in figures.items():
            record_testsuite_property(f"burst: {name}", round(value, 3))
