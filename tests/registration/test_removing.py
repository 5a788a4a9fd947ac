"""Removing a tree a part at a time."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from meshd.looker.look import OpenRoot
from meshd.looker.removing import Aside, RemoveData, UndoData
from meshd.looker.writing import Obstacle, Trouble
from tests.registration.conftest import files_in

if TYPE_CHECKING:
    from pathlib import Path

names = some.sampled_from(["a", "b", ".1.tmp", ".2.tmp", "\udcff"])


@given(
    paths=some.lists(some.lists(names, min_size=1, max_size=5), max_size=8),
    most=some.integers(2, 9),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_any_tree_is_gone_after_enough_tasks(
    tmp_path: Path, paths: list[list[str]], most: int
) -> None:
    for parts in paths:
        (tmp_path / "p" / ".aside" / "/".join(parts)).mkdir(parents=True, exist_ok=True)
    (tmp_path / "p" / ".aside").mkdir(parents=True, exist_ok=True)
    (tmp_path / "p" / "kept").write_text("k")
    task = RemoveData(Aside(str(tmp_path / "p"), ".aside", ""), most)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    answers = [task(OpenRoot(descriptor, str(tmp_path)))]
    while answers[-1] is False and len(answers) < 500:
        answers.append(task(OpenRoot(descriptor, str(tmp_path))))
    os.close(descriptor)
    assert answers[-1] is True
    assert files_in(tmp_path) == {"p/kept": b"k"}


@pytest.mark.parametrize("is_empty", [True, False])
def test_data_is_put_back_only_where_nothing_new_lies(tmp_path: Path, is_empty: bool) -> None:
    project = tmp_path / "p"
    (project / ".aside").mkdir(parents=True)
    (project / ".aside" / "old").write_text("o")
    (project / ".dork").mkdir()
    if not is_empty:
        (project / ".dork" / "new").write_text("n")
    descriptor = os.open(tmp_path, os.O_RDONLY)
    answer = UndoData(Aside(str(project), ".aside", ""))(OpenRoot(descriptor, str(tmp_path)))
    os.close(descriptor)
    assert answer == Trouble(Obstacle.CHANGED, None)
    kept = {".aside/old": b"o"} if is_empty else {".aside/old": b"o", ".dork/new": b"n"}
    assert files_in(project) == kept
