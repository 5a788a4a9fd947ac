"""Where the files lie: owners and modes, full and read-only disks, lookers of their own."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from meshd.commands import Removal
from meshd.errors import BusyError, NotWritableError
from meshd.looker import LocalLooker, RootLostError, removing
from meshd.looker.writing import PutManifest, UndoSwap
from tests.harness import World, write_manifest
from tests.registration.conftest import NEW, Acting, files_in, manifest_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: owners, mounts")
SOMEBODY = 12345


@pytest.fixture
def mounted(tmp_path: Path, root: Path) -> Iterator[Callable[..., None]]:
    """What mounts something at the root."""
    is_mounted = False

    def mount(*words: str) -> None:
        nonlocal is_mounted
        subprocess.run(["mount", *words, str(root)], check=True)
        is_mounted = True

    yield mount
    if is_mounted:
        subprocess.run(["umount", "-l", str(root)], check=True)


@needs_root
def test_what_root_writes_into_a_users_project_is_the_users(acting: Acting, project: Path) -> None:
    os.chown(project, SOMEBODY, SOMEBODY)
    project.chmod(0o750)
    acting.register(project)
    for path, mode in ((project / ".dork", 0o750), (manifest_path(project), 0o640)):
        status = path.stat()
        assert (status.st_uid, status.st_gid) == (SOMEBODY, SOMEBODY)
        assert stat.S_IMODE(status.st_mode) == mode


@needs_root
def test_an_update_keeps_owner_group_and_mode(acting: Acting, project: Path) -> None:
    os.chown(project, SOMEBODY, SOMEBODY)
    path = write_manifest(project, "a")
    os.chown(path, SOMEBODY, 54321)
    path.chmod(0o604)
    acting.world.sweep()
    acting.update("a", {"name": "bob"})
    status = path.stat()
    assert (status.st_uid, status.st_gid) == (SOMEBODY, 54321)
    assert stat.S_IMODE(status.st_mode) == 0o604


def test_a_new_manifest_is_as_readable_as_its_project(acting: Acting, project: Path) -> None:
    project.chmod(0o700)
    acting.register(project)
    assert stat.S_IMODE(manifest_path(project).stat().st_mode) == 0o600
    assert stat.S_IMODE((project / ".dork").stat().st_mode) == 0o700


def test_a_file_system_without_owners_and_modes_is_written_all_the_same(
    acting: Acting, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    for name in ("fchmod", "fchown"):
        monkeypatch.setattr(os, name, refuse)
    agent_id = acting.register(project).agent.id
    assert acting.update(agent_id, {"name": "bob"}).agent.name == "bob"
    assert list(files_in(project)) == [".dork/agent.json"]


@needs_root
def test_on_a_full_disk_nothing_is_changed(
    tmp_path: Path, root: Path, mounted: Callable[..., None]
) -> None:
    mounted("-t", "tmpfs", "-o", "size=64k", "tmpfs")
    write_manifest(root / "p", "a", persona="x" * 3000)
    world = World(tmp_path / "state", [root])
    world.sweep()
    with contextlib.suppress(OSError), (root / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(b"x" * 4096)
    before = files_in(root / "p")
    with pytest.raises(NotWritableError, match="ENOSPC"):
        Acting(world).update("a", {"persona": "y" * 3900})
    assert files_in(root / "p") == before
    assert Acting(world).intents() == 0
    assert world.agents["a"].persona == "x" * 3000
    world.stop()


@needs_root
def test_on_a_disk_that_is_read_only_nothing_is_changed(
    tmp_path: Path, root: Path, mounted: Callable[..., None]
) -> None:
    mounted("-t", "tmpfs", "tmpfs")
    write_manifest(root / "p", "a")
    (root / "q").mkdir()
    subprocess.run(["mount", "-o", "remount,ro", str(root)], check=True)
    world = World(tmp_path / "state", [root])
    world.sweep()
    acting = Acting(world)
    calls: list[Callable[[], Any]] = [
        lambda: acting.register(root / "q"),
        lambda: acting.update("a", {"name": "bob"}),
        lambda: acting.unregister("a"),
    ]
    for call in calls:
        with pytest.raises(NotWritableError, match="EROFS"):
            call()
    assert world.live() == {"a": str(root / "p")}
    assert acting.intents() == 0
    world.stop()


@pytest.mark.skipif(os.geteuid() == 0, reason="needs a user whom permissions bind")
def test_what_may_not_be_written_is_refused_by_name(acting: Acting, project: Path) -> None:
    project.chmod(0o555)
    with pytest.raises(NotWritableError, match="EACCES"):
        acting.register(project)
    assert acting.intents() == 0


@needs_root
def test_data_behind_a_mount_is_not_removed(acting: Acting, project: Path, tmp_path: Path) -> None:

    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "note").write_text("keep")
    write_manifest(project, "a")
    mount_point = project / ".dork" / "in" / "mounted"
    mount_point.mkdir(parents=True)
    acting.world.sweep()
    subprocess.run(["mount", "--bind", tmp_path / "precious", mount_point], check=True)
    try:
        before = files_in(project)
        with pytest.raises(NotWritableError, match="something is mounted") as caught:
            acting.unregister("a", Removal.DATA)
        assert "unmount" in (caught.value.hint or "")
        assert files_in(project) == before
        assert acting.world.live() == {"a": str(project)}
    finally:
        subprocess.run(["umount", mount_point], check=True)
    assert acting.intents() == 0
    acting.unregister("a", Removal.DATA)
    assert list(project.iterdir()) == []


@needs_root
def test_data_that_something_is_mounted_in_meanwhile_stays_until_it_is_unmounted(
    acting: Acting, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "note").write_text("keep")
    write_manifest(project, "a")
    mount_point = project / ".dork" / "in" / "mounted"
    mount_point.mkdir(parents=True)
    acting.world.sweep()
    monkeypatch.setattr(removing, "mounts_within", lambda *_: frozenset())
    subprocess.run(["mount", "--bind", tmp_path / "precious", mount_point], check=True)
    try:
        with pytest.raises(NotWritableError, match=r"is unregistered, and .* EBUSY") as caught:
            acting.unregister("a", Removal.DATA)
        assert "unmount" in (caught.value.hint or "")
        assert (tmp_path / "precious" / "note").read_text() == "keep"
        assert acting.world.agents == {}
        assert acting.register(project).created  # the rubbish is in nobody's way
    finally:
        (found,) = (path for path in project.rglob("mounted"))
        subprocess.run(["umount", found], check=True)
    acting.world.sweep()
    assert list(files_in(project)) == [".dork/agent.json"]
    assert acting.intents() == 0


def test_a_root_with_a_process_of_its_own_is_written_the_same_way(
    tmp_path: Path, root: Path, project: Path
) -> None:
    world = World(tmp_path / "state", [root], isolated=(str(root),))
    world.sweep()
    acting = Acting(world)
    agent_id = acting.register(project).agent.id
    assert acting.update(agent_id, {"name": "bob"}).agent.name == "bob"
    assert list(files_in(project)) == [".dork/agent.json"]
    acting.unregister(agent_id)
    assert (list(project.iterdir()), world.agents) == ([], {})
    world.stop()


@pytest.mark.parametrize("comes_back", [True, False])
def test_what_a_looker_that_died_may_have_done_is_looked_at_by_the_next_sweep(
    acting: Acting, project: Path, comes_back: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = LocalLooker.run

    def done_and_died(looker: LocalLooker, task: Any) -> Any:  # noqa: ANN401 - any task
        monkeypatch.setattr(LocalLooker, "run", real if comes_back else died)
        real(looker, task)
        raise RootLostError("the root did not answer")

    def died(_looker: LocalLooker, _task: Any) -> Any:  # noqa: ANN401 - any task
        raise RootLostError("the root did not answer")

    monkeypatch.setattr(LocalLooker, "run", done_and_died)
    with pytest.raises(RootLostError):
        acting.register(project)
    monkeypatch.setattr(LocalLooker, "run", real)
    assert acting.intents() == 1
    assert manifest_path(project).exists() == (not comes_back)
    acting.world.sweep()
    assert list(project.iterdir()) == []
    assert acting.intents() == 0
    assert acting.register(project, NEW).created


def test_a_call_into_a_project_with_something_unfinished_finishes_it_first(
    acting: Acting, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = LocalLooker.run

    def died(_looker: LocalLooker, _task: Any) -> Any:  # noqa: ANN401 - any task
        raise RootLostError("the root did not answer")

    monkeypatch.setattr(LocalLooker, "run", died)
    with pytest.raises(RootLostError):
        acting.register(project)
    monkeypatch.setattr(LocalLooker, "run", real)
    assert acting.register(project).created
    assert acting.intents() == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda acting, project: acting.register(project, dry_run=True),
        lambda acting, _: acting.update("a", {"name": "bob"}, dry_run=True),
        lambda acting, _: acting.unregister("a", dry_run=True),
        lambda acting, _: acting.unregister("a", Removal.DATA, dry_run=True),
    ],
    ids=["register", "update", "unregister", "data"],
)
def test_a_dry_run_finishes_nothing_that_is_unfinished(
    acting: Acting,
    project: Path,
    call: Callable[[Acting, Path], object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_manifest(project, "a")
    acting.world.sweep()
    real = LocalLooker.run

    def done_and_died(looker: LocalLooker, task: Any) -> Any:  # noqa: ANN401 - any task
        if isinstance(task, PutManifest | UndoSwap):
            if isinstance(task, PutManifest):
                real(looker, task)
            raise RootLostError("the root did not answer")
        return real(looker, task)

    monkeypatch.setattr(LocalLooker, "run", done_and_died)
    with pytest.raises(RootLostError):
        acting.update("a", {"name": "ada"})
    monkeypatch.undo()
    before = files_in(project)
    assert len(before) == 2
    with pytest.raises(BusyError, match="not finished"):
        call(acting, project)
    assert files_in(project) == before
    assert acting.intents() == 1
    acting.world.sweep()
    assert acting.intents() == 0
    call(acting, project)
