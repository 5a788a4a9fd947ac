"""The two interfaces of the kernel, by themselves: what one reading brings, and what a watch is."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
import structlog

from meshd.watcher.backend import Backend, backend_of
from meshd.watcher.fanotify import Fanotify, RefusedError
from meshd.watcher.inotify import (
    DIRECTORY_MASK,
    IS_DIRECTORY,
    LAST_WATCH,
    MOVE_SELF,
    MOVED_FROM,
    MOVED_TO,
    ROOT_MASK,
    Inotify,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from meshd.watcher.inotify import RawEvent

pytestmark = pytest.mark.parametrize("backend", ["fanotify"], indirect=True)


def test_a_refused_file_system_is_asked_again_after_the_mounts_changed(base: Path) -> None:
    """Its device number may be another file system's by then."""
    group = Fanotify()
    descriptor = os.open("/proc", os.O_PATH | os.O_DIRECTORY)
    try:
        with pytest.raises(RefusedError):
            group.add(descriptor, 0)
        assert group._refused
        assert not group.remounted()
        assert not group._refused
    finally:
        os.close(descriptor)
        group.close()


def test_the_numbers_of_both_backends_do_not_overlap(base: Path) -> None:
    descriptor = os.open(base, os.O_PATH | os.O_DIRECTORY)
    groups = (Fanotify(), Inotify())
    try:
        watches = [group.add(descriptor, 0x100) for group in groups]
    finally:
        os.close(descriptor)
        for group in groups:
            group.close()
    assert [backend_of(watch) for watch in watches] == ["fanotify", "inotify"]


@pytest.mark.parametrize("interface", [Fanotify, Inotify])
def test_all_that_a_queue_holds_is_more_than_one_reading(
    base: Path, interface: Callable[[], Any]
) -> None:
    files = [base / f"{number:04}{'x' * 200}" for number in range(4_000)]
    with watched_by(interface(), base, DIRECTORY_MASK) as (group, _):
        for file in files:
            file.touch()
        first = {name for _, _, _, name in group.read()}
        rest = {name for _, _, _, name in group.read_all()}
    assert 0 < len(first) < len(files)
    assert first | rest == {os.fsencode(file.name) for file in files}


def test_only_a_root_tells_of_its_own_moves(base: Path, root: Path) -> None:
    (root / "directory").mkdir()
    group = Fanotify()
    with watched_by(group, root, ROOT_MASK) as (_, watch):
        with watched_by(group, root / "directory", DIRECTORY_MASK, closes=False):
            (root / "directory").rename(root / "renamed")
            root.rename(base / "moved")
        moved = [event for event in group.read() if event[1] & MOVE_SELF]
    assert moved == [(watch, MOVE_SELF, 0, b"")]


def test_both_halves_of_a_move_have_a_cookie_that_no_other_move_has(base: Path) -> None:
    for name in ("one", "two"):
        (base / name).mkdir()
    with watched_by(Fanotify(), base, DIRECTORY_MASK) as (group, _):
        for name in ("one", "two"):
            (base / name).rename(base / f"{name}-moved")
        told = [(mask & ~IS_DIRECTORY, cookie, name) for _, mask, cookie, name in group.read()]
    assert told == [
        (MOVED_FROM, 1, b"one"),
        (MOVED_TO, 1, b"one-moved"),
        (MOVED_FROM, 2, b"two"),
        (MOVED_TO, 2, b"two-moved"),
    ]


@pytest.mark.parametrize("has_canary", ["fanotify", "inotify"])
def test_what_happens_while_the_queue_of_the_cookie_is_read_is_read_with_it(
    base: Path, root: Path, refusing: Path, monkeypatch: pytest.MonkeyPatch, has_canary: str
) -> None:
    """It may be older than a cookie that came last."""
    other = {"fanotify": refusing, "inotify": root}[has_canary]
    backend = Backend(structlog.testing.CapturingLogger(), prefers_fanotify=True)
    cookie = {"fanotify": LAST_WATCH + 1, "inotify": LAST_WATCH}[has_canary]
    interface: Any = {"fanotify": Fanotify, "inotify": Inotify}[has_canary]
    read = interface.read

    def read_late(self: Any) -> list[RawEvent]:  # noqa: ANN401 - either interface
        (other / "late").mkdir()
        events: list[RawEvent] = read(self)
        return events

    monkeypatch.setattr(interface, "read", read_late)
    with watched_by(backend, other, DIRECTORY_MASK):
        names = [name for _, _, _, name in backend.read(cookie)]
    assert names == [b"late"]


Interface = TypeVar("Interface", Backend, Fanotify, Inotify)


@contextmanager
def watched_by(
    interface: Interface, directory: Path, mask: int, *, closes: bool = True
) -> Iterator[tuple[Interface, int]]:
    """Watch a directory, and give the interface and the watch; close it at the end."""
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        yield interface, interface.add(descriptor, mask)
    finally:
        os.close(descriptor)
        if closes:
            interface.close()
