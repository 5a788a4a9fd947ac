"""The walk: what it finds, what it leaves out, and what it costs."""

from __future__ import annotations

import errno
import itertools
import os
import resource
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshd.clock import SystemClock
from meshd.core.scope import Scope
from meshd.looker.local import LocalLooker
from meshd.looker.look import NoDescriptorsError, signature_of
from meshd.looker.nodes import RACY_WINDOW_NS
from meshd.looker.walk import (
    DIRECTORIES_PER_BATCH,
    Found,
    RootLostError,
    Sighting,
    Unreadable,
    Walk,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from meshd.looker.nodes import Node

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts, setuid")


class LateClock(SystemClock):
    """A clock that is ahead, so that every signature is old enough to be trusted."""

    ahead_ns = 10 * RACY_WINDOW_NS

    def wall_ns(self) -> int:
        return super().wall_ns() + self.ahead_ns


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path.resolve()


def make_project(path: Path) -> Path:
    (path / ".dork").mkdir(parents=True)
    (path / ".dork" / "agent.json").write_text("{}")
    return path


def looker_of(root: Path, clock: SystemClock | None = None) -> LocalLooker:
    return LocalLooker(str(root), clock=clock or LateClock(), numbers=itertools.count(1).__next__)


def scope_of(root: Path, max_depth: int = 5, denied: tuple[Path, ...] = ()) -> Scope:
    return Scope(
        roots=(str(root),), max_depth=max_depth, denied=frozenset(str(path) for path in denied)
    )


def walk(looker: LocalLooker, scope: Scope | None = None, *, full: bool = False) -> list[Found]:
    scope = scope or Scope(roots=(looker.root,))
    batches = looker.walk(scope, full=full, stop=lambda: False)
    return list(itertools.chain.from_iterable(batches))


def names(found: list[Found], root: Path) -> list[str]:
    return [os.path.relpath(item.path, root) for item in found]


# --- what is found -------------------------------------------------------------------------


def test_projects_come_in_the_order_of_their_names_with_their_signatures(root: Path) -> None:
    for name in ("b", "a/y", "c", "a/x", "a"):
        make_project(root / name)
    found = walk(looker_of(root))
    assert names(found, root) == ["a", "a/x", "a/y", "b", "c"]
    for item in found:
        manifest = Path(item.path) / ".dork" / "agent.json"
        assert item == Sighting(item.path, signature_of(manifest.lstat()))


def test_the_root_itself_may_be_a_project(root: Path) -> None:
    make_project(root)
    assert names(walk(looker_of(root)), root) == ["."]


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_anything_at_all_in_the_place_of_a_manifest_is_sighted(
    root: Path, make: Callable[[Path], None]
) -> None:
    (root / "project" / ".dork").mkdir(parents=True)
    make(root / "project" / ".dork" / "agent.json")
    assert names(walk(looker_of(root)), root) == ["project"]


def test_a_dork_that_is_a_symlink_is_sighted_and_not_passed(root: Path) -> None:
    make_project(root / "real")
    (root / "project").mkdir()
    (root / "project" / ".dork").symlink_to("../real/.dork")
    assert Sighting(str(root / "project"), None) in walk(looker_of(root))


@pytest.mark.parametrize("leave", ["empty dork", "dork file", "no dork"])
def test_a_directory_without_a_manifest_is_not_sighted(root: Path, leave: str) -> None:
    (root / "project").mkdir()
    if leave == "empty dork":
        (root / "project" / ".dork").mkdir()
    elif leave == "dork file":
        (root / "project" / ".dork").touch()
    assert walk(looker_of(root)) == []


def test_names_that_are_not_utf_8_or_hold_a_newline_are_walked(root: Path) -> None:
    """Faults 42 and 43."""
    expected = sorted(os.fsdecode(name) for name in (b"caf\xe9", b"two\nlines\x1b[31m", b"plain"))
    for name in expected:
        make_project(root / name)
    assert names(walk(looker_of(root)), root) == expected


# --- what is left out ----------------------------------------------------------------------


def test_symlinked_directories_are_never_followed(root: Path) -> None:
    """Faults 7 and 70."""
    make_project(root / "a")
    (root / "b").symlink_to("a")
    (root / "loop").symlink_to(".")
    assert names(walk(looker_of(root)), root) == ["a"]


def test_excluded_and_dot_directories_are_not_walked(root: Path) -> None:
    for name in ("kept", "node_modules/x", ".git/x", "old/archive/x"):
        make_project(root / name)
    scope = Scope(roots=(str(root),), exclude=("node_modules", "old/archive"))
    assert names(walk(looker_of(root), scope), root) == ["kept"]


@pytest.mark.parametrize(("max_depth", "deepest"), [(0, "."), (1, "a"), (2, "a/b"), (5, "a/b/c")])
def test_depth_ends_the_walk(root: Path, max_depth: int, deepest: str) -> None:
    for name in ("", "a", "a/b", "a/b/c"):
        make_project(root / name)
    assert names(walk(looker_of(root), scope_of(root, max_depth)), root)[-1] == deepest


def test_a_denied_subtree_costs_nothing_and_returns_when_allowed(root: Path) -> None:
    make_project(root / "denied" / "below")
    make_project(root / "kept")
    looker = looker_of(root)
    assert names(walk(looker, scope_of(root, denied=(root / "denied",))), root) == ["kept"]
    assert looker.walk_stats.listings == 2  # the root and what is kept
    assert names(walk(looker), root) == ["denied/below", "kept"]


def test_a_denied_root_is_not_walked(root: Path) -> None:
    make_project(root / "project")
    assert walk(looker_of(root), scope_of(root, denied=(root,))) == []


def test_a_root_inside_a_root_is_left_to_its_own_looker(root: Path) -> None:
    """Fault 68."""
    make_project(root / "inner" / "project")
    make_project(root / "outer")
    scope = Scope(roots=(str(root), str(root / "inner")))
    assert names(walk(looker_of(root), scope), root) == ["outer"]
    assert names(walk(looker_of(root / "inner"), scope), root) == ["inner/project"]


def test_other_exclusions_start_the_table_afresh(root: Path) -> None:
    make_project(root / "vendor" / "project")
    looker = looker_of(root)
    assert walk(looker) == []
    found = walk(looker, Scope(roots=(str(root),), exclude=()))
    assert names(found, root) == ["vendor/project"]


# --- depth and size ------------------------------------------------------------------------


def make_chain(root: Path, name: str, levels: int) -> None:
    """Make a chain of directories of any depth, with a project at the end."""
    here = os.open(root, os.O_RDONLY)
    for part in [name] * levels + [".dork"]:
        os.mkdir(part, dir_fd=here)
        below = os.open(part, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("agent.json", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)


@pytest.fixture
def deep_root(root: Path) -> Iterator[Path]:
    """A root that is removed by rm: shutil.rmtree meets the interpreter's stack (fault 47)."""
    yield root
    subprocess.run(["rm", "-rf", root], check=True)


@pytest.mark.parametrize(
    ("name", "levels"),
    [
        pytest.param("a", 1500, id="47: deeper than the interpreter's stack"),
        pytest.param("d" * 255, 40, id="46: longer than PATH_MAX"),
        pytest.param("\N{GRINNING FACE}" * 63, 80, id="four bytes a character"),
    ],
)
def test_depth_and_length_have_no_limit_of_their_own(
    deep_root: Path, name: str, levels: int
) -> None:
    make_chain(deep_root, name, levels)
    looker = looker_of(deep_root)
    scope = scope_of(deep_root, max_depth=levels)
    for listings in (levels + 1, 0):
        found = walk(looker, scope)
        assert [item.path for item in found] == [str(deep_root) + f"/{name}" * levels]
        assert looker.walk_stats.listings == listings


def test_batches_are_bounded_and_nothing_is_lost_between_them(root: Path) -> None:
    for number in range(DIRECTORIES_PER_BATCH + 5):
        (root / f"{number:04}" / ".dork").mkdir(parents=True)
        (root / f"{number:04}" / ".dork" / "agent.json").touch()
    scope = scope_of(root)
    batches = list(looker_of(root).walk(scope, full=False, stop=lambda: False))
    assert [len(batch) for batch in batches] == [DIRECTORIES_PER_BATCH - 1, 6]


def test_a_walk_that_is_told_to_stop_stops_and_the_next_one_is_whole(root: Path) -> None:
    for number in range(DIRECTORIES_PER_BATCH + 5):
        (root / f"{number:04}").mkdir()
    make_project(root / "zzz")
    looker = looker_of(root)
    answers = iter([False, True])
    assert list(looker.walk(scope_of(root), full=False, stop=lambda: next(answers))) == [[]]
    assert names(walk(looker), root) == ["zzz"]


# --- what it costs, and what it trusts -----------------------------------------------------


def test_an_unchanged_tree_costs_no_listing_unless_the_walk_is_full(root: Path) -> None:
    for name in ("a/x", "a/y", "b"):
        make_project(root / name)
    looker = looker_of(root)
    first = walk(looker)
    assert looker.walk_stats.listings == 5
    assert walk(looker) == first
    assert (looker.walk_stats.listings, looker.walk_stats.directories) == (0, 5)
    assert walk(looker, full=True) == first
    assert looker.walk_stats.listings == 5


def test_only_the_directory_that_changed_is_listed_again(root: Path) -> None:
    for name in ("a/x", "a/y", "b"):
        make_project(root / name)
    looker = looker_of(root)
    walk(looker)
    shutil.rmtree(root / "a" / "y")
    make_project(root / "a" / "z")
    assert names(walk(looker), root) == ["a/x", "a/z", "b"]
    assert looker.walk_stats.listings == 2  # a, and a/z, which is new


def test_a_manifest_that_comes_and_goes_needs_no_listing(root: Path) -> None:
    (root / "project" / ".dork").mkdir(parents=True)
    looker = looker_of(root)
    assert walk(looker) == []
    (root / "project" / ".dork" / "agent.json").touch()
    assert names(walk(looker), root) == ["project"]
    (root / "project" / ".dork" / "agent.json").unlink()
    assert walk(looker) == []
    assert looker.walk_stats.listings == 0


def test_a_signature_too_young_to_trust_is_listed_again(root: Path) -> None:
    """Fault 53: a change within the same tick of the file system would not show."""
    make_project(root / "project")
    looker = looker_of(root, SystemClock())
    walk(looker)
    walk(looker)
    assert looker.walk_stats.listings == 2


@pytest.mark.parametrize(
    ("age_ns", "listings"),
    [(RACY_WINDOW_NS - 1, 1), (RACY_WINDOW_NS, 0), (-RACY_WINDOW_NS, 1)],
    ids=["just too young", "just old enough", "from the future"],
)
def test_the_racy_window_is_two_seconds(root: Path, age_ns: int, listings: int) -> None:
    class FixedClock(SystemClock):
        def wall_ns(self) -> int:
            return root.stat().st_ctime_ns + age_ns

    looker = looker_of(root, FixedClock())
    walk(looker)
    walk(looker)
    assert looker.walk_stats.listings == listings


def test_a_directory_swapped_for_another_is_listed_again_with_all_below(root: Path) -> None:
    make_project(root / "a" / "group" / "old")
    make_project(root / "b" / "group" / "new")
    looker = looker_of(root)
    walk(looker)
    (root / "a").rename(root / "c")
    (root / "b").rename(root / "a")
    (root / "c").rename(root / "b")
    assert names(walk(looker), root) == ["a/group/new", "b/group/old"]


TREES = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from("abc"), st.booleans()), max_size=12
)


@given(steps=TREES)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_after_any_changes_a_remembered_walk_equals_a_fresh_one(
    root: Path, steps: list[tuple[str, str, bool]]
) -> None:
    looker = looker_of(root)
    for group, name, make in steps:
        path = root / group / name
        if make and not path.exists():
            make_project(path)
        elif not make:
            shutil.rmtree(root / group, ignore_errors=True)
        assert walk(looker) == walk(looker_of(root))


# --- what goes wrong -----------------------------------------------------------------------


AS_NOBODY = """
import itertools, os, sys
from meshd.clock import SystemClock
from meshd.core.scope import Scope
from meshd.looker.local import LocalLooker
os.chdir("/"); os.setgroups([]); os.setgid(65534); os.setuid(65534)
looker = LocalLooker(sys.argv[1], clock=SystemClock(), numbers=itertools.count().__next__)
for batch in looker.walk(Scope(roots=(sys.argv[1],)), full=False, stop=lambda: False):
    for item in batch:
        print(type(item).__name__, os.path.relpath(item.path, sys.argv[1]), *item[1:])
"""


@pytest.fixture
def open_root_directory() -> Iterator[Path]:
    """A root that everybody may enter; pytest's own are private."""
    path = Path("/tmp") / f"meshd-walk-{os.getpid()}"
    path.mkdir(mode=0o755)
    yield path
    shutil.rmtree(path)


@needs_root
def test_what_may_not_be_read_is_said_and_the_walk_goes_on(open_root_directory: Path) -> None:
    """Faults 79 and 84."""
    root = open_root_directory
    make_project(root / "closed" / "project")
    make_project(root / "hidden")
    make_project(root / "open")
    (root / "closed").chmod(0o700)
    (root / "hidden" / ".dork").chmod(0o700)
    ran = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, root],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    kinds = [line.split()[:2] for line in ran.stdout.splitlines()]
    assert kinds == [["Unreadable", "closed"], ["Sighting", "hidden"], ["Sighting", "open"]]
    assert ran.stdout.splitlines()[1] == "Sighting hidden None"


def test_a_directory_whose_listing_fails_is_said_and_listed_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 77: EIO in the middle of a listing is not an empty directory."""
    make_project(root / "a" / "project")
    take = Walk._take

    def fail_in_a(
        self: Walk, node: Node, relative: str, depth: int, entries: Iterator[os.DirEntry[str]]
    ) -> None:
        if relative == "a":
            raise OSError(errno.EIO, "injected")
        take(self, node, relative, depth, entries)

    looker = looker_of(root)
    with monkeypatch.context() as patch:
        patch.setattr(Walk, "_take", fail_in_a)
        assert walk(looker) == [Unreadable(str(root / "a"))]
    assert names(walk(looker), root) == ["a/project"]


def test_running_out_of_descriptors_ends_the_walk(root: Path) -> None:
    """Fault 80: not one directory may look empty."""
    for number in range(DIRECTORIES_PER_BATCH + 5):
        (root / f"{number:04}").mkdir()
    batches = looker_of(root).walk(scope_of(root), full=False, stop=lambda: False)
    next(batches)
    with no_descriptors(), pytest.raises(NoDescriptorsError):
        next(batches)


def test_running_out_of_descriptors_before_the_walk_is_no_lost_root(root: Path) -> None:
    with no_descriptors(), pytest.raises(NoDescriptorsError):
        walk(looker_of(root))


@contextmanager
def no_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_root_whose_own_listing_fails_is_lost(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise OSError(errno.EIO, "injected")

    monkeypatch.setattr(Walk, "_take", fail)
    with pytest.raises(RootLostError, match="EIO"):
        walk(looker_of(root))


def test_a_root_that_is_missing_is_lost(root: Path) -> None:
    with pytest.raises(RootLostError):
        walk(looker_of(root / "nowhere"))


def test_a_root_replaced_while_it_is_walked_is_lost(root: Path) -> None:
    make_project(root / "root" / "project")
    looker = looker_of(root / "root")
    batches = looker.walk(scope_of(root / "root"), full=False, stop=lambda: False)
    assert names(next(batches), root) == ["root/project"]
    (root / "root").rename(root / "gone")
    (root / "root").mkdir()
    with pytest.raises(RootLostError):
        next(batches)


def test_no_walk_leaves_a_descriptor_open_even_when_abandoned(deep_root: Path) -> None:
    make_chain(deep_root, "d" * 200, 30)
    before = sorted(path.name for path in Path("/proc/self/fd").iterdir())
    looker = looker_of(deep_root)
    scope = scope_of(deep_root, max_depth=40)
    walk(looker, scope)
    batches = looker.walk(scope, full=True, stop=lambda: False)
    next(iter(batches))
    batches.close()
    assert sorted(path.name for path in Path("/proc/self/fd").iterdir()) == before
    assert len(walk(looker, scope)) == 1


@needs_root
def test_mounts_below_are_followed_and_a_bind_mount_of_an_ancestor_is_not(root: Path) -> None:
    """Faults 17 and 70."""
    make_project(root / "project")
    (root / "volume").mkdir()
    (root / "loop").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", root / "volume"], check=True)
    subprocess.run(["mount", "--bind", root, root / "loop"], check=True)
    try:
        make_project(root / "volume" / "mounted")
        looker = looker_of(root)
        for _ in range(2):
            assert names(walk(looker), root) == ["project", "volume/mounted"]
    finally:
        subprocess.run(["umount", root / "loop"], check=True)
        subprocess.run(["umount", root / "volume"], check=True)
    assert names(walk(looker), root) == ["project"]
