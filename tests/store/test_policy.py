"""`policy.json`: written whole, read strictly, and never a reason for a rebuild to fail."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING, Any

import pytest

from meshd.core.model import Denial
from meshd.errors import DamagedDatabaseError, StoreError
from meshd.policy import Policy, PolicyFile
from meshd.store.intents import Intent
from tests.store.builders import AT, mounted

if TYPE_CHECKING:
    from pathlib import Path

POLICY = Policy(
    "e1",
    (Denial("/r/\udcff", "noise \N{SNOWMAN}", "me", AT), Denial("/r/x", None, "me", AT)),
    (("a", "b", "deny", AT), ("b", "*", "allow", AT)),
    {"agent": "/r/\udcfe"},
    (Intent(7, "manifest", "/r/\udcfd", {"temporary": "x", "previous": None, "done": False}, AT),),
)
UNFINISHED: dict[str, Any] = {
    "id": 7, "kind": "data", "path": "/r/x", "document": {"done": True}, "createdAt": AT
}  # fmt: skip
WRONG: list[dict[str, object]] = [
    {"id": "7"},
    {"id": 0},
    {"id": 2**63},
    {"kind": None},
    {"path": 5},
    {"document": []},
    {"document": {"\ud800": 1}},
    {"createdAt": None},
]
DOCUMENT: dict[str, Any] = {
    "version": 1,
    "epoch": "e1",
    "denied": [{"path": "/r/x", "reason": None, "denier": "me", "createdAt": AT}],
    "rules": [{"source": "a", "target": "b", "action": "deny", "createdAt": AT}],
    "incumbents": {"agent": "/r/x"},
}


def test_a_policy_survives_paths_that_are_not_utf8_included(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    assert PolicyFile(path).load() is None
    assert PolicyFile(path).save(POLICY)
    assert PolicyFile(path).load() == POLICY
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_equal_policy_writes_nothing(tmp_path: Path) -> None:
    file = PolicyFile(tmp_path / "policy.json")
    assert file.save(POLICY)
    first = version_of(file.path)
    assert not file.save(POLICY)
    again = PolicyFile(file.path)
    again.load()
    assert not again.save(POLICY)
    assert version_of(file.path) == first
    assert file.save(Policy("e2"))


def version_of(path: Path) -> tuple[int, int]:
    """Return which file lies there, and when it was written."""
    status = path.stat()
    return status.st_ino, status.st_ctime_ns


def test_a_policy_older_than_intents_says_nothing_of_them(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(DOCUMENT))
    policy = PolicyFile(path).load()
    assert policy is not None
    assert policy.intents is None


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in DOCUMENT.items() if name != key}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        "\N{SNOWMAN}",  # it is written as ASCII
        "[" * 100_000,  # deeper than the parser goes
        json.dumps({**DOCUMENT, "version": 2}),
        *(json.dumps(without(key)) for key in DOCUMENT),
        json.dumps({**DOCUMENT, "epoch": 5}),
        json.dumps({**DOCUMENT, "denied": {"path": "/x"}}),
        json.dumps({**DOCUMENT, "denied": [{**DOCUMENT["denied"][0], "path": 5}]}),
        json.dumps({**DOCUMENT, "denied": [{**DOCUMENT["denied"][0], "denier": None}]}),
        # a surrogate that stands for no byte: the database could not take it
        json.dumps({**DOCUMENT, "denied": [{**DOCUMENT["denied"][0], "path": "/\ud800"}]}),
        json.dumps({**DOCUMENT, "denied": [{**DOCUMENT["denied"][0], "reason": "\ud800"}]}),
        json.dumps({**DOCUMENT, "rules": [{**DOCUMENT["rules"][0], "action": "perhaps"}]}),
        json.dumps({**DOCUMENT, "incumbents": {"agent": None}}),
        json.dumps({**DOCUMENT, "incumbents": []}),
        json.dumps({**DOCUMENT, "unfinished": 5}),
        *(json.dumps({**DOCUMENT, "unfinished": [{**UNFINISHED, **wrong}]}) for wrong in WRONG),
    ],
)
def test_a_policy_that_cannot_be_understood_is_damaged(content: str, tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text(content, "utf-8")

    with pytest.raises(DamagedDatabaseError, match="cannot be understood") as caught:
        PolicyFile(path).load()
    assert "put back a copy" in (caught.value.hint or "")


def test_a_policy_that_cannot_be_read_is_not_one_that_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.mkdir()

    with pytest.raises(StoreError, match="cannot read") as caught:
        PolicyFile(path).load()
    assert not isinstance(caught.value, DamagedDatabaseError)


def test_what_a_save_cut_short_left_behind_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "policy.tmp").write_text("{ half of somethi")
    PolicyFile(tmp_path / "policy.json").save(POLICY)
    assert PolicyFile(tmp_path / "policy.json").load() == POLICY
    assert [file.name for file in tmp_path.iterdir()] == ["policy.json"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts a tmpfs")
def test_a_full_disk_leaves_the_old_policy_and_the_next_save_is_tried(tmp_path: Path) -> None:
    with mounted(tmp_path, "size=64k") as disk:
        file = PolicyFile(disk / "policy.json")
        file.save(Policy("e1"))
        large = Policy("e2", tuple(Denial(f"/{n}", "x" * 500, "me", AT) for n in range(500)))
        with pytest.raises(OSError, match="No space left"):
            file.save(large)
        assert PolicyFile(file.path).load() == Policy("e1")
        assert file.save(POLICY)
        assert PolicyFile(file.path).load() == POLICY
