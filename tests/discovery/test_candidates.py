"""The search of one root, on real trees."""

from __future__ import annotations

import errno
import itertools
import os
import pickle
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from meshd.clock import SystemClock, timestamp
from meshd.core.scope import Scope
from meshd.core.strategies import MARKERS, STRATEGIES, Marker, MarkerKind, detect
from meshd.looker import IsolatedLooker, LocalLooker, RootLostError
from meshd.looker import candidates as module
from meshd.looker.candidates import DIRECTORIES_PER_STEP, FindCandidates, Left
from meshd.looker.health import open_root
from meshd.looker.look import NoDescriptorsError
from tests.discovery.searching import (
    as_nobody,
    candidates,
    found,
    make_candidate,
    make_marker,
    open_files,
)
from tests.harness import SteppedClock, write_bytes, write_manifest

if TYPE_CHECKING:
    from collections.abc import Callable

    from meshd.looker import Looker

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts, owners, devices")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path.resolve() / "root"
    root.mkdir()
    return root


# --- what is a candidate -------------------------------------------------------------------


@pytest.mark.parametrize("marker", sorted(MARKERS), ids="-".join)
def test_a_directory_with_a_marker_is_a_candidate_of_its_strategy(
    root: Path, marker: Marker
) -> None:
    make_marker(root / "shop", marker)
    (candidate,) = candidates(root)
    (strategy,) = (one for one in STRATEGIES if marker in one.markers)
    assert candidate.path == str(root / "shop")
    assert candidate.strategy == strategy.name
    assert candidate.hints.detected_runtime == strategy.name
    assert candidate.hints.suggested_name == "shop"
    assert candidate.hints.inferred_capabilities == ("code",)


@pytest.mark.parametrize("marker", sorted(MARKERS), ids="-".join)
def test_a_marker_of_the_wrong_kind_is_none(root: Path, marker: Marker) -> None:
    other = {MarkerKind.FILE: MarkerKind.DIRECTORY, MarkerKind.DIRECTORY: MarkerKind.FILE}
    wrong = marker._replace(kind=other[marker.kind])
    make_marker(root / "shop", wrong)
    assert found(root) == (["shop"] if wrong in MARKERS else [])


@pytest.mark.parametrize("marker", sorted(MARKERS), ids="-".join)
def test_a_marker_that_is_a_symlink_is_none(root: Path, tmp_path: Path, marker: Marker) -> None:
    target = tmp_path / "elsewhere"
    make_marker(target, marker)
    (root / "shop" / marker.path).parent.mkdir(parents=True)
    (root / "shop" / marker.path).symlink_to(target / marker.path)
    assert found(root) == []


def test_a_github_directory_that_is_a_symlink_is_not_looked_into(
    root: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere" / "agents").mkdir(parents=True)
    (root / "shop").mkdir()
    (root / "shop" / ".github").symlink_to(tmp_path / "elsewhere")
    assert found(root) == []


def test_several_strategies_make_one_candidate_and_the_first_of_the_table_decides(
    root: Path,
) -> None:
    for marker in MARKERS:
        if marker.path not in ("CLAUDE.md", ".clinerules"):
            make_marker(root / "shop", marker)
    (root / "shop" / "AGENTS.md").write_text("# Shop\n\nIt sells.")
    (candidate,) = candidates(root)
    assert candidate.strategy == "claude-code"
    assert candidate.hints.description == "It sells."


def test_another_strategy_may_describe(root: Path) -> None:
    make_marker(root / "shop", Marker(".cursorrules", MarkerKind.FILE))
    (root / "shop" / "GEMINI.md").write_text("It sells.")
    (candidate,) = candidates(root)
    assert (candidate.strategy, candidate.hints.description) == ("cursor", "It sells.")


def test_a_file_that_only_imports_another_leaves_the_description_to_it(root: Path) -> None:
    make_candidate(root / "shop", "@AGENTS.md\n")
    (root / "shop" / "AGENTS.md").write_text("It sells.")
    assert [one.hints.description for one in candidates(root)] == ["It sells."]


def test_the_root_itself_may_be_one_and_so_may_projects_in_projects(root: Path) -> None:
    make_candidate(root)
    make_candidate(root / "b" / "inner")
    make_candidate(root / "b")
    make_candidate(root / "a")
    assert found(root) == ["", "a", "b", "b/inner"]


def test_a_candidate_is_stamped_when_it_is_found(root: Path) -> None:
    make_candidate(root)
    clock = SteppedClock()
    with open_root(str(root)) as opened:
        step = FindCandidates(Scope(roots=(str(root),)), 0, (Left(""),), clock)(opened)
    assert [one.discovered_at for one in step.candidates] == [timestamp(clock.wall_ns())]


# --- a manifest makes none -----------------------------------------------------------------


def dork_file(project: Path) -> None:
    (project / ".dork").write_text("")


def dork_symlink(project: Path) -> None:
    (project / ".dork").symlink_to("/nowhere")


def manifest_directory(project: Path) -> None:
    (project / ".dork" / "agent.json").mkdir(parents=True)


def manifest_symlink(project: Path) -> None:
    (project / ".dork").mkdir()
    (project / ".dork" / "agent.json").symlink_to("nowhere")


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda project: write_manifest(project, "a"), id="valid"),
        pytest.param(lambda project: write_bytes(project, b"{"), id="torn"),
        pytest.param(lambda project: write_bytes(project, b""), id="empty"),
        manifest_directory,
        manifest_symlink,
        dork_symlink,
        dork_file,
    ],
)
def test_a_directory_with_a_manifest_of_any_kind_is_none_but_is_descended_into(
    root: Path, make: Callable[[Path], object]
) -> None:
    make_candidate(root / "shop")
    make(root / "shop")
    make_candidate(root / "shop" / "inner")
    assert found(root) == ["shop/inner"]


def test_a_dork_directory_without_a_manifest_leaves_a_candidate(root: Path) -> None:
    make_candidate(root / "shop")
    (root / "shop" / ".dork").mkdir()
    assert found(root) == ["shop"]


def test_a_manifest_that_cannot_be_told_is_not_taken_for_absent(root: Path) -> None:
    make_candidate(root / "shop")
    (root / "shop" / ".dork").mkdir(mode=0o000)
    root.chmod(0o755)
    with open_root(str(root)) as opened, as_nobody():
        step = FindCandidates(Scope(roots=(str(root),)), 5, (Left(""),), SystemClock())(opened)
    assert (step.candidates, step.directories) == ((), 2)


# --- what is left out ----------------------------------------------------------------------


def test_what_the_sweep_leaves_out_is_left_out(root: Path) -> None:
    for name in ("node_modules/a", ".hidden", "kept", "team/archive", "denied/below", "nested/a"):
        make_candidate(root / name)
    make_candidate(root / "denied")
    make_candidate(root / "nested")
    scope = Scope(
        roots=(str(root), str(root / "nested")),
        exclude=("node_modules", "team/archive"),
        denied=frozenset({str(root / "denied")}),
    )
    assert found(root, scope) == ["kept"]


@pytest.mark.parametrize(("max_depth", "deepest"), [(2, 9), (9, 2)])
def test_nothing_deeper_than_either_limit_is_found(
    root: Path, max_depth: int, deepest: int
) -> None:
    for path in ("a", "a/b", "a/b/c"):
        make_candidate(root / path)
    scope = Scope(roots=(str(root),), max_depth=max_depth)
    assert found(root, scope, deepest=deepest) == ["a", "a/b"]


def test_markers_nested_in_a_directory_count_at_the_deepest_level_too(root: Path) -> None:
    make_marker(root / "a", Marker(".github/agents", MarkerKind.DIRECTORY))
    assert found(root, deepest=1) == ["a"]


def test_markers_are_not_descended_into(root: Path) -> None:
    make_candidate(root / "shop" / ".cursor" / "inner")
    make_candidate(root / "shop" / ".github" / "inner")
    assert found(root) == ["shop"]


def test_symlinks_are_not_followed(root: Path, tmp_path: Path) -> None:
    make_candidate(tmp_path / "elsewhere")
    make_candidate(root / "a")
    (root / "link").symlink_to(tmp_path / "elsewhere")
    (root / "a" / "loop").symlink_to(root)
    assert found(root) == ["a"]


def test_a_directory_that_became_a_symlink_since_it_was_listed_is_passed_by(
    root: Path, tmp_path: Path
) -> None:
    make_candidate(tmp_path / "elsewhere")
    (root / "swapped").symlink_to(tmp_path / "elsewhere")
    scope = Scope(roots=(str(root),))
    with open_root(str(root)) as opened:
        step = FindCandidates(scope, 5, (Left("swapped"), Left("gone")), SystemClock())(opened)
    assert (step.candidates, step.directories, step.unreadable, step.left) == ((), 0, 0, ())


@needs_root
def test_a_bind_mount_of_a_directory_above_is_not_searched_again(root: Path) -> None:
    """Fault 70."""
    make_candidate(root / "shop")
    (root / "shop" / "loop").mkdir()
    subprocess.run(["mount", "--bind", root, root / "shop" / "loop"], check=True)
    try:
        assert found(root) == ["shop"]
    finally:
        subprocess.run(["umount", root / "shop" / "loop"], check=True)


def test_directories_that_cannot_be_listed_are_counted(root: Path) -> None:
    make_candidate(root / "closed")
    make_candidate(root / "open")
    (root / "closed").chmod(0o000)
    root.chmod(0o755)
    try:
        with open_root(str(root)) as opened, as_nobody():
            step = FindCandidates(Scope(roots=(str(root),)), 5, (Left(""),), SystemClock())(opened)
    finally:
        (root / "closed").chmod(0o755)
    assert [one.path for one in step.candidates] == [str(root / "open")]
    assert (step.directories, step.unreadable) == (2, 1)


# --- hostile trees -------------------------------------------------------------------------


def fifo(path: Path) -> None:
    os.mkfifo(path)


def listening_socket(path: Path) -> None:
    # An address has 107 bytes; from its own directory the name is short.
    before = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(before)


@pytest.mark.parametrize("make", [fifo, listening_socket, Path.mkdir])
def test_what_is_no_regular_file_is_neither_a_marker_nor_opened(
    root: Path, make: Callable[[Path], object]
) -> None:
    (root / "shop").mkdir()
    make(root / "shop" / "CLAUDE.md")
    assert found(root) == []
    make_marker(root / "shop", Marker(".codex", MarkerKind.DIRECTORY))
    assert [one.hints.description for one in candidates(root)] == [None]


def symlink_to_a_secret(path: Path) -> None:
    secret = path.parent.parent / "secret"
    secret.write_text("canary")
    path.symlink_to(secret)


@pytest.mark.parametrize("make", [fifo, symlink_to_a_secret])
def test_what_is_swapped_in_before_the_open_is_not_read(
    root: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], object]
) -> None:
    make_candidate(root / "shop", "It sells.")

    def swap_and_detect(markers: set[Marker]) -> object:
        if markers:
            (root / "shop" / "CLAUDE.md").unlink()
            make(root / "shop" / "CLAUDE.md")
        return detect(markers)

    monkeypatch.setattr(module, "detect", swap_and_detect)
    assert [one.hints.description for one in candidates(root)] == [None]


def test_a_huge_file_costs_its_beginning_only(root: Path) -> None:
    make_candidate(root / "shop", "It sells.\n\n")
    os.truncate(root / "shop" / "CLAUDE.md", 2**40)
    # What was read holds NUL bytes, as a sparse file does: it is taken for binary.
    make_candidate(root / "text", "It sells.\n\n" + "more\n" * 100_000)
    make_candidate(root / "late", "# Heading\n" * 10_000 + "It sells.")
    described = {one.hints.suggested_name: one.hints.description for one in candidates(root)}
    assert described == {"shop": None, "text": "It sells.", "late": None}


def test_a_binary_file_describes_nothing(root: Path) -> None:
    make_candidate(root / "shop")
    (root / "shop" / "CLAUDE.md").write_bytes(bytes(range(256)) * 100)
    assert [one.hints.description for one in candidates(root)] == [None]


@needs_root
def test_a_hard_link_to_a_file_of_somebody_else_is_not_read(root: Path) -> None:
    """Fault 15: anybody could link what only we can read, and have it told."""
    secret = root / "secret"
    secret.write_text("canary")
    make_candidate(root / "shop", "").chmod(0o755)
    (root / "shop" / "CLAUDE.md").unlink()
    os.link(secret, root / "shop" / "CLAUDE.md")
    assert [one.hints.description for one in candidates(root)] == ["canary"]
    os.chown(root / "shop", 65534, 65534)
    assert [one.hints.description for one in candidates(root)] == [None]
    secret.unlink()
    assert [one.hints.description for one in candidates(root)] == ["canary"]


@pytest.mark.parametrize(
    ("name", "suggested"),
    [
        ("two\nlines", "two lines"),
        ("red\x1b[31m", "red[31m"),
        (os.fsdecode(b"latin-\xe9"), "latin-"),
        ("x" * 255, "x" * 255),
    ],
)
def test_odd_names_are_paths_as_they_are_and_names_that_are_harmless(
    root: Path, name: str, suggested: str
) -> None:
    make_candidate(root / name)
    (candidate,) = candidates(root)
    assert candidate.path == f"{root}/{name}"
    assert candidate.hints.suggested_name == suggested


def test_a_path_longer_than_any_system_call_takes_is_searched(root: Path) -> None:
    """Fault 46."""
    depth, name = 40, "d" * 200
    directory = os.open(root, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=directory)
        directory, above = os.open(name, os.O_RDONLY, dir_fd=directory), directory
        os.close(above)
    os.close(os.open("CLAUDE.md", os.O_CREAT | os.O_WRONLY, dir_fd=directory))
    os.close(directory)
    scope = Scope(roots=(str(root),), max_depth=depth)
    assert found(root, scope) == ["/".join([name] * depth)]


# --- steps ---------------------------------------------------------------------------------


@pytest.fixture
def many(root: Path) -> Path:
    """A root of 221 directories, in which each of 20 groups is a candidate."""
    make_groups(root, 20)
    return root


def make_groups(root: Path, groups: int, size: int = 10) -> None:
    for group in range(groups):
        make_candidate(root / f"{group:03}")
        for number in range(size):
            os.mkdir(f"{root}/{group:03}/{number:02}")  # noqa: PTH102 - thousands of them


@pytest.mark.slow
def test_a_large_tree_is_searched_in_few_steps_each_of_bounded_size(root: Path) -> None:
    make_groups(root, 200, size=100)
    with open_root(str(root)) as opened:
        steps = []
        left: tuple[Left, ...] = (Left(""),)
        while left:
            # A clock that stands still: the number of directories alone ends a step.
            task = FindCandidates(Scope(roots=(str(root),)), 5, left, SteppedClock())
            steps.append(task(opened))
            left = steps[-1].left
    assert [step.directories for step in steps] == [DIRECTORIES_PER_STEP] * 10 + [201]
    assert sum(len(step.candidates) for step in steps) == 200
    assert max(len(step.left) for step in steps) <= 300


def test_a_step_ends_when_its_time_is_over(many: Path) -> None:
    class EachCallASecond(SteppedClock):
        def monotonic(self) -> float:
            self.step(1.0)
            return super().monotonic()

    scope = Scope(roots=(str(many),))
    with open_root(str(many)) as opened:
        task = FindCandidates(scope, 5, (Left(""),), EachCallASecond(), seconds=10.0)
        assert task(opened).directories == 10


def test_no_descriptor_outlives_a_step(many: Path) -> None:
    with open_root(str(many)) as opened:
        scope = Scope(roots=(str(many),))
        step = FindCandidates(scope, 5, (Left(""),), SystemClock(), directories=50)(opened)
        assert step.left
        assert open_files(many) == [str(many)]


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_a_search_without_descriptors_says_so(
    root: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    make_candidate(root / "shop")

    def fail(*_: object, **__: object) -> int:
        raise OSError(number, "injected")

    with open_root(str(root)) as opened, monkeypatch.context() as patch:
        patch.setattr(module, "open_directory", fail)
        task = FindCandidates(Scope(roots=(str(root),)), 5, (Left(""),), SystemClock())
        with pytest.raises(NoDescriptorsError):
            task(opened)


def test_a_root_that_cannot_be_listed_is_lost_and_not_empty(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looker = LocalLooker(str(root), clock=SystemClock(), numbers=itertools.count(1).__next__)

    def fail(*_: object, **__: object) -> int:
        raise OSError(errno.EIO, "injected")

    monkeypatch.setattr(module, "open_directory", fail)
    with pytest.raises(RootLostError, match="EIO"):
        looker.run(FindCandidates(Scope(roots=(str(root),)), 5, (Left(""),), SystemClock()))


def test_an_isolated_looker_finds_what_a_local_one_does(root: Path) -> None:
    for name in ("a", "b/c", os.fsdecode(b"\xff"), "d\n"):
        make_candidate(root / name, "It sells.")
    task = FindCandidates(Scope(roots=(str(root),)), 5, (Left(""),), SystemClock())
    numbers = itertools.count(1).__next__
    local: Looker = LocalLooker(str(root), clock=SystemClock(), numbers=numbers)
    isolated: Looker = IsolatedLooker(str(root), clock=SystemClock(), numbers=numbers, seconds=10.0)
    try:
        ours, theirs = local.run(task), isolated.run(task)
    finally:
        isolated.close()
    assert len(ours.candidates) == 4
    assert [(one.path, one.hints) for one in ours.candidates] == [
        (one.path, one.hints) for one in theirs.candidates
    ]
    assert (ours.directories, ours.left) == (theirs.directories, theirs.left)


def test_a_step_of_a_wide_directory_stays_small_enough_to_cross_to_a_worker(many: Path) -> None:
    with open_root(str(many)) as opened:
        scope = Scope(roots=(str(many),))
        step = FindCandidates(scope, 5, (Left(""),), SteppedClock(), directories=1)(opened)
    assert len(step.left) == 20
    # What is above is the same object for all of them, and is sent once.
    assert len(pickle.dumps(step)) < 20 * 100 + 500
