"""Whatever is done below a root, events tell of it, and nothing in scope is left unwatched."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.watcher.hearing import Watched, blind_spots, make_project, wait_for_departures, watching
from tests.watcher.test_saves import exchange

if TYPE_CHECKING:
    from collections.abc import Iterator

# Few names, so that operations meet: on three levels, one of them pruned, one outside the root.
NAMES = ("a", "b", "node_modules")
PLACES = [
    *(f"root/{one}" for one in NAMES),
    *(f"root/{one}/{two}" for one in NAMES for two in NAMES),
    *(f"root/a/{one}/{two}" for one in ("a", "b") for two in NAMES),
    "outside/a",
    "outside/b",
    "other/a",
    "other/b/a",
]
places = st.sampled_from(PLACES)
operations = st.one_of(
    st.tuples(st.just("save"), places, places),
    st.tuples(st.just("move"), places, places),
    st.tuples(st.just("move"), places, places),
    st.tuples(st.just("exchange"), places, places),
    st.tuples(st.just("move dork"), places, places),
    st.tuples(st.just("remove"), places, places),
    st.tuples(st.just("mkdir"), places, places),
    st.tuples(st.just("walk"), places, places),
    st.tuples(st.just("check"), places, places),
)


def act(base: Path, operation: tuple[str, str, str], number: int) -> None:
    """Do one operation; one that the file system refuses is none."""
    kind, one, other = operation[0], base / operation[1], base / operation[2]
    if kind == "save":
        make_project(one, f"{{{' ' * number}}}")
    elif kind == "mkdir":
        one.mkdir(parents=True, exist_ok=True)
    elif kind == "remove":
        shutil.rmtree(one)
    elif kind == "exchange" and one.exists() and other.exists():
        exchange(one, other)
    elif kind == "move dork":
        (one / ".dork").rename(other / ".dork")
    elif kind == "move":
        one.rename(other)


def manifests(watched: Watched) -> dict[str, tuple[int, int]]:
    """Return what `stat` says of every manifest in scope."""
    scope = watched.shared.roots.view.scope
    found = {}
    for path in watched.base.rglob(".dork/agent.json"):
        project = str(path.parent.parent)
        if scope.judge(project).refusal is None:
            status = path.stat()
            found[os.path.relpath(project, watched.base)] = (status.st_ino, status.st_size)
    return found


def check(watched: Watched, before: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """Expect that every project that differs was heard, and that all is watched."""
    wait_for_departures(watched)
    heard, lost = watched.hear_all()
    now = manifests(watched)
    changed = {path for path in before | now if before.get(path) != now.get(path)}
    assert changed <= set(heard), f"not heard: {sorted(changed - set(heard))}"
    assert lost == []
    for root in watched.roots:
        assert blind_spots(watched, Path(root)) == []
        for node in watched.looker(Path(root)).table.top.below():
            names = [child.name for child in node.children]
            assert names == sorted(set(names))
    return now


@contextmanager
def sweeping(watched: Watched, *, always: bool) -> Iterator[None]:
    """Walk the roots over and over in another thread, as a busy sweep would."""
    stopping = threading.Event()

    def sweep() -> None:
        while not stopping.is_set():
            watched.walk_all()

    thread = threading.Thread(target=sweep)
    if always:
        thread.start()
    try:
        yield
    finally:
        stopping.set()
        if always:
            thread.join()


def run(operations: list[tuple[str, str, str]], *, always: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        base = Path(name).resolve()
        for directory in ("root", "outside", "other"):
            (base / directory).mkdir()
        with watching(base, base / "root", base / "other", max_depth=3) as watched:
            known: dict[str, tuple[int, int]] = {}
            with sweeping(watched, always=always):
                for number, operation in enumerate(operations):
                    if operation[0] == "check":
                        known = check(watched, known)
                    elif operation[0] == "walk":
                        if not always:
                            watched.walk_all()
                    else:
                        try:
                            act(base, operation, number)
                        except OSError:
                            continue
                check(watched, known)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(operations, max_size=25))
def test_what_changes_is_heard_and_what_is_there_is_watched(
    operations: list[tuple[str, str, str]],
) -> None:
    run(operations, always=False)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(operations, max_size=25))
def test_all_is_watched_also_while_sweeps_walk(operations: list[tuple[str, str, str]]) -> None:
    run(operations, always=True)
