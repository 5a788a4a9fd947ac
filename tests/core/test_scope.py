"""Scope: which root owns a path, and why a path is not scanned."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.core.model import Reason
from meshd.core.scope import Judgement, Scope, is_within, self_and_above

SCOPE = Scope(
    roots=("/code", "/code/nested", "/srv"),
    exclude=("node_modules", "old-*", "team/archive", "*/cache/*"),
    max_depth=3,
    denied=frozenset({"/code/denied", "/elsewhere"}),
)


@pytest.mark.parametrize(
    ("path", "root", "refusal"),
    [
        pytest.param("/code", "/code", None, id="the root itself"),
        pytest.param("/code/a", "/code", None, id="below it"),
        pytest.param("/code/a/b/c", "/code", None, id="as deep as allowed"),
        pytest.param("/code/a/b/c/d", "/code", Reason.TOO_FAR_DOWN, id="one level deeper"),
        pytest.param("/code/nested/a/b/c", "/code/nested", None, id="the longest root owns it"),
        pytest.param("/codes/a", None, Reason.NO_ROOT, id="a longer name is not below"),
        pytest.param("/", None, Reason.NO_ROOT, id="above every root"),
        pytest.param("/code/denied", "/code", Reason.DENIED, id="denied"),
        pytest.param("/code/denied/a/b/c/d", "/code", Reason.DENIED, id="denied goes first"),
        pytest.param("/code/denied-not", "/code", None, id="a longer name is not denied"),
        pytest.param("/elsewhere/a", None, Reason.DENIED, id="denied outside of every root"),
        pytest.param("/code/a/node_modules", "/code", Reason.EXCLUDED, id="by name"),
        pytest.param("/code/node_modules/a", "/code", Reason.EXCLUDED, id="below an excluded"),
        pytest.param("/code/old-stuff", "/code", Reason.EXCLUDED, id="by a pattern of names"),
        pytest.param("/code/team/archive/a", "/code", Reason.EXCLUDED, id="by path"),
        pytest.param("/code/a/team/archive", "/code", None, id="a path begins at the root"),
        pytest.param("/code/a/cache/x", "/code", Reason.EXCLUDED, id="by a pattern of paths"),
        pytest.param("/code/.hidden/a", "/code", Reason.EXCLUDED, id="dot-directories"),
        pytest.param("/code/a/NODE_MODULES", "/code", None, id="names keep their case"),
    ],
)
def test_a_path_is_judged_denied_first_then_by_scope(
    path: str, root: str | None, refusal: Reason | None
) -> None:
    assert Judgement(root, refusal) == SCOPE.judge(path)


def test_a_root_below_an_excluded_name_is_scanned_all_the_same() -> None:
    scope = Scope(roots=("/home/me/.agents", "/home/me/build"))

    assert Judgement("/home/me/.agents", None) == scope.judge("/home/me/.agents/a")
    assert Judgement("/home/me/build", None) == scope.judge("/home/me/build/a")


def test_the_whole_disk_may_be_a_root() -> None:
    scope = Scope(roots=("/",), max_depth=2)

    assert Judgement("/", None) == scope.judge("/")
    assert Judgement("/", None) == scope.judge("/srv/a")
    assert Judgement("/", Reason.TOO_FAR_DOWN) == scope.judge("/srv/a/b")


def test_without_excludes_only_dot_directories_are_pruned() -> None:
    scope = Scope(roots=("/code",), exclude=())

    assert Judgement("/code", None) == scope.judge("/code/node_modules")
    assert scope.prunes("", ".git")


def test_a_name_with_a_newline_or_bytes_that_are_not_text_is_matched_like_any() -> None:
    scope = Scope(roots=("/code",), exclude=("old*",))

    assert scope.prunes("", "old\n\udcff")
    assert not scope.prunes("", "\nold")


@pytest.mark.parametrize(
    ("path", "directory", "expected"),
    [
        ("/a/b", "/a", True),
        ("/a", "/a", True),
        ("/ab", "/a", False),
        ("/a", "/a/b", False),
        ("/a", "/", True),
        ("/", "/", True),
    ],
)
def test_a_path_is_within_itself_and_what_is_above(
    path: str, directory: str, expected: bool
) -> None:
    assert expected == is_within(path, directory)


SEGMENTS = st.lists(
    st.sampled_from(["a", "b", ".git", "node_modules", "denied", "old-x", "team", "archive"]),
    max_size=6,
)


@given(SEGMENTS)
def test_the_walk_and_the_judgement_agree(segments: list[str]) -> None:
    """A path is scanned exactly when the walk from its root gets there."""
    root = "/code"
    walked = True
    for level, name in enumerate(segments):
        path = "/".join([root, *segments[: level + 1]])
        parent = "/".join(segments[:level])
        walked &= not SCOPE.prunes(parent, name) and not SCOPE.denies(path)
    walked &= len(segments) <= SCOPE.max_depth

    assert walked == (SCOPE.judge("/".join([root, *segments])).refusal is None)


@given(SEGMENTS)
def test_what_is_above_a_path_is_everything_it_is_within(segments: list[str]) -> None:
    path = "/" + "/".join(segments)
    above = self_and_above(path)

    assert all(is_within(path, directory) for directory in above)
    assert len(segments) + 1 == len(above)
