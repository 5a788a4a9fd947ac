"""A register on its way to the disk: file, then database, each durable before the next."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from meshd.errors import ConflictError
from meshd.looker import files, renaming
from meshd.registration import drafts
from meshd.registration.deeds import temporary_name
from tests.registration.conftest import Acting, acting, project, root

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["acting", "project", "root"]


class Order:
    """The real `os` of the writing tasks, with a note of what reaches the disk, and when."""

    def __init__(self, acting: Acting, monkeypatch: pytest.MonkeyPatch) -> None:
        self.noted: list[str] = []
        acting.world.store.writer.committed = lambda: self.noted.append("commit")
        monkeypatch.setattr(files, "os", self)
        real = renaming._renamed

        def renamed(*arguments: Any) -> bool:  # noqa: ANN401 - passed on
            self.noted.append("rename")
            return real(*arguments)

        monkeypatch.setattr(renaming, "_renamed", renamed)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever os has
        return getattr(os, name)

    def write(self, descriptor: int, data: bytes) -> int:
        self.noted.append("write")
        return os.write(descriptor, data)

    def fsync(self, descriptor: int) -> None:
        kind = "directory" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file"  # noqa: PTH112 - a link of the kernel's
        self.noted.append(f"sync {kind}")
        os.fsync(descriptor)


@pytest.mark.parametrize("act", ["register", "update", "unregister"])
def test_140_each_step_of_a_change_is_durable_before_the_next(
    acting: Acting, project: Path, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    """Intent, file, name, row; and only then is anything of the old cleared away."""
    (project / ".dork").mkdir()
    if act != "register":
        agent_id = acting.register(project).agent.id
        acting.world.sweep()
    assert acting.intents() == 0  # which is asked behind all that is committed yet
    order = Order(acting, monkeypatch)
    if act == "register":
        acting.register(project)
    elif act == "update":
        acting.update(agent_id, {"description": "new"})
    else:
        monkeypatch.setattr(renaming, "os", Aside(order))
        acting.unregister(agent_id)
    acting.world.drain()
    steps = {
        "register": ["commit", "write", "sync file", "rename", "sync directory", "commit"],
        "update": ["commit", "write", "sync file", "rename", "sync directory", "commit"],
        "unregister": ["commit", "rename", "sync directory", "commit"],
    }
    assert order.noted[: len(steps[act])] == steps[act]


@pytest.mark.parametrize("kind", ["file", "symlink", "directory"])
def test_138_a_name_that_somebody_has_foreseen_is_not_written_to(
    acting: Acting, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Sixteen random digits are not foreseen; if they were, nothing would be gained by it."""
    foreseen = ".agent.json.1.0123456789abcdef.tmp"
    monkeypatch.setattr(drafts, "temporary_name", lambda _: foreseen)
    target, place = tmp_path / "target", project / ".dork" / foreseen
    target.write_text("somebody's")
    (project / ".dork").mkdir()
    if kind == "file":
        place.write_text("somebody's")
    elif kind == "symlink":
        place.symlink_to(target)
    else:
        place.mkdir()
    with pytest.raises(ConflictError):
        acting.register(project)
    assert target.read_text() == "somebody's"
    assert not (project / ".dork" / "agent.json").exists()
    monkeypatch.undo()
    assert temporary_name("agent.json") != temporary_name("agent.json")
    assert acting.register(project).created


class Aside:
    """The real `os` of renames, with a note of those without flags."""

    def __init__(self, order: Order) -> None:
        self._order = order

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever os has
        return getattr(os, name)

    def rename(self, *arguments: Any, **more: Any) -> None:  # noqa: ANN401 - passed on
        self._order.noted.append("rename")
        os.rename(*arguments, **more)  # noqa: PTH104 - by descriptors
