"""A search over a running registry: what may be searched, what is told, how it ends."""

from __future__ import annotations

import gc
from functools import partial
from typing import TYPE_CHECKING

import pytest

from meshd import discovery as module
from meshd.commands import Allow, Deny, Forget
from meshd.core.candidates import Candidate, Progress, SearchEvent, Summary
from meshd.core.scope import Scope
from meshd.discovery import MOST_SEARCHES
from meshd.errors import BusyError, PermissionRefusedError, StoreError
from meshd.looker.candidates import FindCandidates
from tests.discovery.searching import make_candidate, open_files
from tests.harness import World, delete_manifest, write_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path.resolve() / "root"
    root.mkdir()
    return root


@pytest.fixture
def world(tmp_path: Path, root: Path) -> Iterator[World]:
    world = World(tmp_path / "state", [root])
    yield world
    world.stop()


def never() -> bool:
    return False


def start(
    world: World, *paths: Path, max_depth: int | None = None
) -> Generator[SearchEvent, None, None]:
    roots = [str(path) for path in paths] or list(world.roots.view.scope.roots)
    return world.parts.discovery.discover(roots, max_depth, never)


def paths_in(events: Iterable[SearchEvent]) -> list[str]:
    return [event.path for event in events if isinstance(event, Candidate)]


def summary_of(events: list[SearchEvent]) -> Summary:
    *_, last = events
    assert isinstance(last, Summary)
    return last


def search(world: World, *paths: Path, max_depth: int | None = None) -> list[str]:
    return paths_in(start(world, *paths, max_depth=max_depth))


# --- what is told --------------------------------------------------------------------------


def test_a_search_tells_candidates_then_progress_then_one_summary(world: World, root: Path) -> None:
    make_candidate(root / "a", "It sells.")
    make_candidate(root / "b")
    first, second, progress, summary = start(world)
    assert isinstance(first, Candidate)
    assert isinstance(second, Candidate)
    assert [first.path, second.path] == [str(root / "a"), str(root / "b")]
    assert first.hints.description == "It sells."
    assert progress == Progress(directories=3, candidates=2, root=str(root))
    assert summary == Summary(
        candidates=2,
        directories=3,
        truncated=False,
        unreadable=0,
        seconds=0.0,
        sick_roots=(),
        unscanned=(),
    )


def test_an_empty_root_has_a_summary_all_the_same(world: World, root: Path) -> None:
    assert [type(event) for event in start(world)] == [Progress, Summary]


def test_a_search_writes_nothing(world: World, root: Path) -> None:
    world.sweep()
    make_candidate(root / "a")
    before = (world.seq(), world.claims(), sorted(root.rglob("*")))
    assert search(world) == [str(root / "a")]
    world.drain()
    assert (world.seq(), world.claims(), sorted(root.rglob("*"))) == before


# --- what is no candidate ------------------------------------------------------------------


def test_where_a_row_lives_or_lived_last_is_no_candidate(world: World, root: Path) -> None:
    for name in ("live", "gone", "displaced", "new"):
        make_candidate(root / name)
    for name in ("live", "gone", "displaced"):
        write_manifest(root / name, name)
    world.sweep()
    delete_manifest(root / "gone")
    write_manifest(root / "displaced", "other")
    world.sweep(after=1)
    delete_manifest(root / "displaced")
    world.sweep(after=1)
    world.act(Forget("other"))
    rows = {one.id: (one.project_path, one.last_path) for one in world.agents.values()}
    assert rows["displaced"] == (None, str(root / "displaced"))
    assert world.live() == {"live": str(root / "live")}
    assert search(world) == [str(root / "new")]


def test_what_is_denied_is_no_candidate_until_it_is_allowed(world: World, root: Path) -> None:
    make_candidate(root / "a" / "b")
    make_candidate(root / "a")
    world.act(Deny(str(root / "a"), None, "test"))
    assert search(world) == []
    summary = summary_of(list(start(world, root / "a" / "b")))
    assert summary.unscanned == (str(root / "a" / "b"),)
    world.act(Allow(str(root / "a")))
    assert search(world) == [str(root / "a"), str(root / "a" / "b")]


def test_what_is_denied_during_a_search_is_told_no_more(
    world: World, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FindCandidates", in_steps_of(1))
    for name in ("a", "b/x", "c"):
        make_candidate(root / name)
    events = start(world)
    # Now `b` was listed, and `b/x` is what comes next.
    while next(events) != Progress(directories=3, candidates=1, root=str(root)):
        pass
    world.act(Deny(str(root / "b"), None, "test"))
    assert paths_in(events) == [str(root / "c")]


# --- what may be searched ------------------------------------------------------------------


def test_a_directory_below_no_root_is_refused_before_the_search(
    world: World, root: Path, tmp_path: Path
) -> None:
    for path in (tmp_path.resolve(), tmp_path.resolve() / "state", root.parent / "roots"):
        with pytest.raises(PermissionRefusedError, match="not below a configured root"):
            start(world, root, path)
    for _ in range(MOST_SEARCHES + 1):
        list(start(world))  # the refused ones took no place


def test_a_directory_below_a_root_is_searched_alone(world: World, root: Path) -> None:
    for name in ("a", "a/b", "ab", "c"):
        make_candidate(root / name)
    assert search(world, root / "a") == [str(root / "a"), str(root / "a" / "b")]


def test_depth_is_counted_from_the_asked_directory_and_bounded_by_the_sweeps(
    world: World, root: Path
) -> None:
    deep = "a/b/c/d/e"
    for level in range(1, 7):
        make_candidate(root / "/".join([*deep.split("/"), "f"][:level]))
    below_a = [str(root / "a" / rest) for rest in ("", "b", "b/c", "b/c/d", "b/c/d/e")]
    below_a[0] = str(root / "a")
    assert search(world, root / "a") == below_a
    assert search(world, root / "a", max_depth=2) == below_a[:3]
    assert search(world, root / "a", max_depth=100) == below_a
    assert search(world, root / "a", max_depth=0) == below_a[:1]


def test_a_root_below_the_asked_directory_is_searched_as_itself(tmp_path: Path, root: Path) -> None:
    nested = root / "n" / "nested"
    for path in (root / "a", nested, nested / "b" / "c"):
        make_candidate(path)
    world = World(tmp_path / "state", [root, nested])
    try:
        everything = [str(root / "a"), str(nested), str(nested / "b" / "c")]
        assert search(world, root) == everything
        assert search(world, root, nested, root / "a") == everything
        assert search(world, root, max_depth=2) == everything[:2]
        assert search(world, root, max_depth=1) == everything[:1]
        # It owns what is in it, so asking for it by the other root's path is asking for it.
        assert search(world, nested / "b") == everything[2:]
    finally:
        world.stop()


def test_asked_directories_that_are_not_searched_are_named(world: World, root: Path) -> None:
    make_candidate(root / "node_modules" / "a")
    make_candidate(root / ".hidden")
    (root / "file").write_text("")
    (root / "link").symlink_to(root)
    asked = [root / name for name in ("node_modules", ".hidden", "file", "link", "nowhere")]
    events = list(start(world, *asked))
    assert paths_in(events) == []
    assert summary_of(events).unscanned == tuple(map(str, asked))


def test_a_root_that_nobody_asked_for_is_not_named(tmp_path: Path, root: Path) -> None:
    nested = root / "nested"
    make_candidate(nested)
    world = World(tmp_path / "state", [root, nested])
    try:
        world.act(Deny(str(nested), None, "test"))
        assert summary_of(list(start(world, root))).unscanned == ()
        assert summary_of(list(start(world, nested))).unscanned == (str(nested),)
    finally:
        world.stop()


# --- roots that are not well ---------------------------------------------------------------


def test_a_sick_root_is_told_and_the_others_are_searched(tmp_path: Path, root: Path) -> None:
    other = tmp_path.resolve() / "other"
    make_candidate(other / "a")
    make_candidate(root / "b")
    world = World(tmp_path / "state", [root, other])
    try:
        world.sweep()
        root.rename(tmp_path / "away")
        world.sweep(after=1)
        events = list(start(world))
        assert paths_in(events) == [str(other / "a")]
        assert summary_of(events).sick_roots == (str(root),)
        # It was known to be sick, so it was not even tried.
        assert lost_roots(world) == []
    finally:
        world.stop()


def test_a_root_that_is_lost_during_the_search_is_told(
    world: World, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.sweep()
    monkeypatch.setattr(module, "FindCandidates", in_steps_of(1))
    make_candidate(root / "a")
    make_candidate(root / "b")
    events = start(world)
    while not isinstance(next(events), Candidate):
        pass
    root.rename(tmp_path / "away")
    make_candidate(root / "b")
    rest = list(events)
    assert paths_in(rest) == []
    assert summary_of(rest).sick_roots == (str(root),)


def test_a_root_that_was_lost_is_not_tried_again(world: World, root: Path, tmp_path: Path) -> None:
    """On a root that hangs each attempt would cost a deadline."""
    root.rename(tmp_path / "away")
    events = list(start(world, root, root / "a", root / "b"))
    assert summary_of(events).sick_roots == (str(root),)
    assert lost_roots(world) == [str(root)]


def lost_roots(world: World) -> list[str]:
    """Return the roots that searches found lost, as the log has them."""
    calls = [call for call in world.log.calls if call.kwargs["event"] == "discovery_root_lost"]
    return [call.kwargs["path"] for call in calls]


def test_an_isolated_root_is_searched_through_its_worker(tmp_path: Path, root: Path) -> None:
    make_candidate(root / "a")
    write_manifest(make_candidate(root / "b"), "b")
    world = World(tmp_path / "state", [root], isolated=(str(root),))
    try:
        assert search(world) == [str(root / "a")]
    finally:
        world.stop()


def test_a_registry_that_cannot_be_read_ends_the_search(
    world: World, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_candidate(root / "a")
    events = start(world)

    def fail() -> None:
        raise StoreError("injected")

    with monkeypatch.context() as patch:
        patch.setattr(world.store, "reading", fail)
        with pytest.raises(StoreError):
            list(events)
    assert search(world) == [str(root / "a")]


# --- how it ends ---------------------------------------------------------------------------


def in_steps_of(directories: int) -> Callable[..., FindCandidates]:
    """Return the task with another size of its steps."""
    return partial(FindCandidates, directories=directories)


@pytest.mark.parametrize(("there_are", "told", "truncated"), [(5, 5, False), (6, 5, True)])
def test_no_more_than_so_many_candidates_are_told(
    world: World,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    there_are: int,
    told: int,
    truncated: bool,
) -> None:
    monkeypatch.setattr(module, "MOST_CANDIDATES", 5)
    for number in range(there_are):
        make_candidate(root / str(number))
    summary = summary_of(list(start(world)))
    assert (summary.candidates, summary.truncated) == (told, truncated)


def test_nothing_more_is_visited_once_all_are_told_that_may_be(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_CANDIDATES", 1)
    monkeypatch.setattr(module, "FindCandidates", in_steps_of(1))
    for path in (root / "a", root / "b", root / "c", tmp_path / "other"):
        make_candidate(path)
    world = World(tmp_path / "state", [root, tmp_path.resolve() / "other"])
    try:
        assert summary_of(list(start(world))).directories == 3  # the root, a, and b too many
    finally:
        world.stop()


def test_a_search_ends_at_a_thousand_candidates(world: World, root: Path) -> None:
    for number in range(1_001):
        make_candidate(root / f"{number:04}")
    events = list(start(world))
    assert len(paths_in(events)) == 1_000
    assert summary_of(events).truncated


def test_a_stop_is_heard_before_the_next_step(
    world: World, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FindCandidates", in_steps_of(2))
    for name in "abcdef":
        make_candidate(root / name)
    answers = iter([False, False, True])
    events = list(world.parts.discovery.discover([str(root)], None, lambda: next(answers)))
    summary = summary_of(events)
    assert (summary.directories, summary.truncated) == (4, True)
    assert len(paths_in(events)) == 3


def test_a_search_too_many_is_refused_until_another_has_ended(world: World, root: Path) -> None:
    make_candidate(root / "a")
    searches = [start(world) for _ in range(MOST_SEARCHES)]
    with pytest.raises(BusyError) as refused:
        start(world)
    assert refused.value.code == "busy"
    assert paths_in(searches.pop()) == [str(root / "a")]
    searches.append(start(world))
    searches.pop().close()
    searches.append(start(world))
    with pytest.raises(BusyError):
        start(world)


def test_one_directory_is_looked_at_however_many_searches_are_under_way(
    world: World, root: Path
) -> None:
    make_candidate(root / "a")
    make_candidate(root / "a" / "below")
    searches = [start(world) for _ in range(MOST_SEARCHES)]
    discover = world.parts.discovery.discover
    looked = discover([str(root / "a")], 0, lambda: False)
    assert paths_in(looked) == [str(root / "a")]
    for several in ([str(root)], 1), ([str(root), str(root / "a")], 0):
        with pytest.raises(BusyError):
            discover(*several, lambda: False)
    for search_under_way in searches:
        search_under_way.close()


def test_a_search_that_is_dropped_gives_its_place_back(world: World) -> None:
    for _ in range(MOST_SEARCHES + 1):
        start(world)
        gc.collect()
    assert search(world) == []


def test_nothing_of_the_root_is_held_open_between_two_events(
    world: World, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FindCandidates", in_steps_of(1))
    make_candidate(root / "a")
    for _ in start(world):
        assert open_files(root) == []


def test_a_root_that_leaves_the_configuration_during_a_search_ends_it_there(
    world: World, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FindCandidates", in_steps_of(1))
    make_candidate(root / "a")
    make_candidate(root / "b")
    events = start(world)
    next(events)
    world.roots.configure(world.settings.scan.model_copy(update={"roots": ()}))
    assert paths_in(events) == []
    assert world.roots.view.scope == Scope(roots=(), exclude=world.roots.view.scope.exclude)
