"""Removing a tree a part at a time."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from meshd.looker import renaming
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


@pytest.mark.parametrize("links", [False, True], ids=["rename", "links"])
@pytest.mark.parametrize(
    ("new", "expected", "is_whole"),
    [
        ({}, {".dork/agent.json": b"old", ".dork/in/note": b"old"}, True),
        (
            {"log": b"new"},
            {".dork/agent.json": b"old", ".dork/in/note": b"old", ".dork/log": b"new"},
            True,
        ),
        (
            {"in/note": b"new"},
            {".dork/agent.json": b"old", ".dork/in/note": b"new", ".aside/in/note": b"old"},
            False,
        ),
        (
            {"agent.json": b"new"},
            {".dork/agent.json": b"new", ".aside/agent.json": b"old", ".aside/in/note": b"old"},
            False,
        ),
    ],
    ids=["empty", "beside", "taken", "another-manifest"],
)
def test_data_is_put_back_beside_what_has_come_and_replaces_nothing(
    tmp_path: Path,
    new: dict[str, bytes],
    expected: dict[str, bytes],
    is_whole: bool,
    links: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if links:
        monkeypatch.setattr(renaming, "_renamed", lambda *_: False)
    project = tmp_path / "p"
    old = {"agent.json": b"old", "in/note": b"old"}
    for directory, files in ((".aside", old), (".dork", new)):
        (project / directory).mkdir(parents=True)
        for name, data in files.items():
            (project / directory / name).parent.mkdir(exist_ok=True)
            (project / directory / name).write_bytes(data)
    undo = UndoData(Aside(str(project), ".aside", ""))
    descriptor = os.open(tmp_path, os.O_RDONLY)
    answers = [undo(OpenRoot(descriptor, str(tmp_path))) for _ in range(2)]
    os.close(descriptor)
    assert answers == [None if is_whole else Trouble(Obstacle.TAKEN, ".aside")] * 2
    assert files_in(project) == expected


def test_data_stays_aside_while_a_file_has_its_name(tmp_path: Path) -> None:
    (tmp_path / "p" / ".aside").mkdir(parents=True)
    (tmp_path / "p" / ".aside" / "agent.json").write_text("old")
    (tmp_path / "p" / ".dork").write_text("new")
    descriptor = os.open(tmp_path, os.O_RDONLY)
    answer = UndoData(Aside(str(tmp_path / "p"), ".aside", ""))(OpenRoot(descriptor, str(tmp_path)))
    os.close(descriptor)
    assert answer == Trouble(Obstacle.TAKEN, ".aside")
    assert files_in(tmp_path / "p") == {".aside/agent.json": b"old", ".dork": b"new"}
