"""The owner of a project works there at the same time: what they save is never lost."""

from __future__ import annotations

import contextlib
import json
import shutil
from functools import partial
from typing import IO, TYPE_CHECKING, Any

import apsw
import pytest

from meshd.commands import Forget, Removal
from meshd.deciding import Deciding
from meshd.errors import BusyError, ConflictError, MeshdError, StoreError
from meshd.looker import writing
from tests.harness import World, delete_manifest, manifest, write_bytes, write_manifest
from tests.registration.conftest import Acting, files_in, manifest_path
from tests.registration.faults import DeathError, Faults

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from meshd.batch import Committed

CALLS: dict[str, Callable[[Acting, Path], Any]] = {
    "register": lambda acting, project: acting.register(project),
    "update": lambda acting, project: acting.update("a", {"color": "ours"}),
    "unregister": lambda acting, project: acting.unregister("a"),
    "data": lambda acting, project: acting.unregister("a", Removal.DATA),
}


def save(project: Path) -> None:
    write_manifest(project, "a", description="by hand")


def remove(project: Path) -> None:
    manifest_path(project).unlink(missing_ok=True)


def save_in_place(file: IO[bytes], text: bytes) -> None:
    file.write(text)


def move(project: Path) -> None:
    if project.exists():
        project.rename(project.with_name("moved"))


@pytest.mark.parametrize("links", [False, True], ids=["exchange", "links"])
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("does", [save, remove, move])
def test_at_no_step_is_what_the_owner_does_undone(
    acting: Acting,
    project: Path,
    name: str,
    does: Callable[[Path], None],
    links: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lost = steps_that_lose(acting, project, name, does, Faults(monkeypatch, links=links))
    # A rename without flags replaces what is saved in the one instant before it.
    assert len(lost) <= (links and does is save and name == "update")


@pytest.mark.parametrize("name", CALLS)
def test_at_no_step_of_an_undo_is_what_the_owner_saves_lost(
    acting: Acting, project: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(Deciding, "decide", refuse)
    assert steps_that_lose(acting, project, name, save, Faults(monkeypatch)) == []


def steps_that_lose(
    acting: Acting, project: Path, name: str, does: Callable[[Path], None], faults: Faults
) -> list[int]:
    """Let the owner act before each step of a call; return those where that was undone."""
    lost, step, is_over = [], 1, False
    while not is_over:
        set_again(acting, project, has_manifest=name != "register")
        seq = acting.world.seq()
        faults.meanwhile(step, lambda: does(project))
        is_acknowledged = True
        try:
            CALLS[name](acting, project)
        except MeshdError:
            is_acknowledged = False
        is_over = faults.steps < step
        faults.heal()
        if not is_acknowledged:
            assert not told_of_ours(acting, seq)
        acting.world.sweep()
        acting.world.sweep()
        if not is_over:
            on_disk = found_right(acting, project, does, name)
            if does is save and b"by hand" not in on_disk.get("a", b""):
                lost.append(step)
            if does is remove and not is_acknowledged:
                assert on_disk == {}
        step += 1
    assert step > 8
    return lost


def told_of_ours(acting: Acting, seq: int) -> bool:
    """Whether the log tells of an update that was refused."""
    with acting.world.store.reading() as registry:
        return any((one.after or {}).get("color") == "ours" for one in registry.changes_since(seq))


def set_again(acting: Acting, project: Path, *, has_manifest: bool) -> None:
    for path in project.parent.iterdir():
        shutil.rmtree(path)
    acting.world.sweep()
    for agent_id in acting.world.agents:
        acting.world.act(Forget(agent_id))
    project.mkdir()
    if has_manifest:
        write_manifest(project, "a")
    acting.world.sweep()


def found_right(
    acting: Acting, project: Path, does: Callable[[Path], None], name: str
) -> dict[str, bytes]:
    """Return what manifests are there, by id: no stray file is, and the registry says the same."""
    found = files_in(project.parent)
    # Where the project itself was carried away, nobody knows where to; and where a new `.dork`
    # has come into the place of one that was set aside, the owner has both.
    if does is not move and not (does is save and name == "data"):
        assert not [path for path in found if ".tmp" in path]
    asides = {path.split("/")[1] for path in found if path.split("/")[1].startswith(".dork.")}
    # Of what the owner has to decide, the intent is kept.
    assert acting.intents() == (len(asides) if does is save and name == "data" else 0)
    manifests = {
        json.loads(data)["id"]: data
        for path, data in found.items()
        if path.endswith("/.dork/agent.json")
    }
    assert sorted(acting.world.live()) == sorted(manifests)
    return manifests


@pytest.fixture
def at_commit(
    acting: Acting, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[Callable[[], None]], None]]:
    """What lets something happen between our write and the look before the commit."""
    real = Deciding.decide

    def arrange(act: Callable[[], None]) -> None:
        def decide(deciding: Deciding, *arguments: Any, **more: Any) -> Committed:  # noqa: ANN401 - passed on
            act()
            return real(deciding, *arguments, **more)

        monkeypatch.setattr(Deciding, "decide", decide)

    yield arrange
    monkeypatch.undo()


def test_an_edit_after_our_write_is_not_undone_by_our_failure(
    acting: Acting, project: Path, at_commit: Callable[[Callable[[], None]], None]
) -> None:
    def save_and_fail() -> None:
        save(project)
        raise StoreError("the disk is full")

    write_manifest(project, "a")
    acting.world.sweep()
    at_commit(save_and_fail)
    with pytest.raises(StoreError):
        acting.update("a", {"color": "ours"})
    assert b"by hand" in manifest_path(project).read_bytes()
    assert list(files_in(project)) == [".dork/agent.json"]
    assert acting.intents() == 0


def test_an_edit_after_our_write_is_told_to_who_made_the_call(
    acting: Acting, project: Path, at_commit: Callable[[Callable[[], None]], None]
) -> None:
    write_manifest(project, "a")
    acting.world.sweep()
    at_commit(lambda: save(project))
    with pytest.raises(ConflictError):
        acting.update("a", {"color": "ours"})
    assert acting.world.agents["a"].description == "by hand"


def test_what_is_written_into_the_file_we_replaced_is_put_back(
    acting: Acting, project: Path, at_commit: Callable[[Callable[[], None]], None]
) -> None:
    """A program that had the file open saves in place: it writes to what lies aside by now."""
    write_manifest(project, "a")
    acting.world.sweep()
    text = json.dumps(manifest("a", description="in place")).encode()
    with manifest_path(project).open("r+b", buffering=0) as file:
        at_commit(partial(save_in_place, file, text))
        with pytest.raises(ConflictError):
            acting.update("a", {"color": "ours"})
    assert manifest_path(project).read_bytes() == text
    acting.world.settle()
    assert acting.world.agents["a"].description == "in place"
    assert list(files_in(project)) == [".dork/agent.json"]


def test_a_file_deleted_before_the_commit_is_not_registered(
    acting: Acting, project: Path, at_commit: Callable[[Callable[[], None]], None]
) -> None:
    at_commit(lambda: delete_manifest(project))
    with pytest.raises(ConflictError):
        acting.register(project)
    assert acting.world.agents == {}
    assert files_in(project) == {}


def test_a_manifest_saved_while_it_is_unregistered_stays_with_its_agent(
    acting: Acting, project: Path, at_commit: Callable[[Callable[[], None]], None]
) -> None:
    write_manifest(project, "a")
    acting.world.sweep()
    at_commit(lambda: save(project))
    with pytest.raises(ConflictError):
        acting.unregister("a")
    acting.world.sweep()
    assert b"by hand" in manifest_path(project).read_bytes()
    assert acting.world.live() == {"a": str(project)}


def test_a_dork_swapped_for_a_symlink_redirects_nothing(
    acting: Acting, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every step of a registration (fault 137, as a race)."""
    outside = tmp_path / "outside"
    (outside / "sub").mkdir(parents=True)
    faults = Faults(monkeypatch)

    def swap() -> None:
        if (project / ".dork").exists():
            (project / ".dork").rename(project / f"was-{faults.steps}")
        (project / ".dork").symlink_to(outside)

    for step in range(1, 30):
        set_again(acting, project, has_manifest=False)
        faults.meanwhile(step, swap)
        with contextlib.suppress(MeshdError):
            acting.register(project)
        faults.heal()
        assert [path.name for path in outside.iterdir()] == ["sub"]


def test_a_project_is_torn_while_its_clean_up_waits_and_is_left_alone(
    tmp_path: Path, root: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An undo that comes a restart later finds the owner's newer file, and keeps it."""
    world = World(tmp_path / "state", [root])
    world.sweep()
    acting = Acting(world)
    write_manifest(project, "a")
    world.sweep()
    faults = Faults(monkeypatch)
    real = world.parts.shared.committer.commit

    def fail_for_good(_: object) -> None:
        faults.fail(1, last=1_000_000)
        raise StoreError("the disk is full")

    monkeypatch.setattr(world.parts.shared.committer, "commit", fail_for_good)
    with pytest.raises(StoreError):
        acting.update("a", {"color": "ours"})
    monkeypatch.setattr(world.parts.shared.committer, "commit", real)
    assert acting.intents() == 1
    faults.heal()
    write_bytes(project, json.dumps(manifest("a", description="by hand")).encode())
    world.stop()
    again = World(tmp_path / "state", [root])
    again.sweep()
    assert list(files_in(project)) == [".dork/agent.json"]
    assert again.agents["a"].description == "by hand"
    assert Acting(again).intents() == 0
    again.stop()


@contextlib.contextmanager
def dying(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the process die when the files are done and nothing is committed."""

    def die(*_: object, **__: object) -> None:
        raise DeathError

    monkeypatch.setattr(Deciding, "decide", die)
    with pytest.raises(DeathError):
        yield
    monkeypatch.undo()


@pytest.mark.parametrize("rival", [None, "a", "b"])
def test_data_that_a_death_left_aside_comes_back_beside_what_came_meanwhile(
    tmp_path: Path,
    root: Path,
    project: Path,
    rival: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_manifest(project, "a")
    (project / ".dork" / "notes").write_text("precious")
    acting = Acting(World(tmp_path / "state", [root]))
    acting.world.sweep()

    with dying(monkeypatch):
        acting.unregister("a", Removal.DATA)
    acting.world.stop()
    (project / ".dork").mkdir()
    (project / ".dork" / "session.log").write_text("an agent that runs goes on")
    if rival is not None:
        write_manifest(project, rival)
    acting = Acting(World(tmp_path / "state", [root]))
    acting.world.sweep()
    assert list(acting.world.live()) == [rival or "a"]
    (kept,) = (path for path in files_in(project) if path.endswith("notes"))
    if rival is None:
        assert kept == ".dork/notes"
    else:
        # Nothing is mixed and nothing removed: its owner has to decide, and then all goes on.
        assert kept.endswith(".tmp/notes")
        with pytest.raises(BusyError, match="has a new"):
            acting.update(rival, {"name": "ada"})
        shutil.rmtree(project / kept.split("/")[0])
        assert acting.update(rival, {"name": "ada"}).changed
    assert acting.intents() == 0
    acting.world.stop()


@pytest.mark.parametrize("removal", [Removal.MANIFEST, Removal.DATA])
def test_what_a_death_left_hidden_comes_back_although_the_database_is_lost(
    tmp_path: Path, root: Path, project: Path, removal: Removal, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_manifest(project, "a")
    (project / ".dork" / "notes").write_text("precious")
    before = files_in(project)
    acting = Acting(World(tmp_path / "state", [root]))
    acting.world.sweep()
    with dying(monkeypatch):
        acting.unregister("a", removal)
    acting.world.stop()
    assert files_in(project) != before
    for file in (tmp_path / "state").glob("meshd.db*"):
        file.unlink()
    acting = Acting(World(tmp_path / "state", [root]))
    acting.world.sweep()
    assert files_in(project) == before
    assert acting.world.live() == {"a": str(project)}
    assert acting.intents() == 0
    acting.world.stop()


def test_a_backup_made_during_a_call_undoes_nothing_that_was_acknowledged(
    tmp_path: Path, root: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, backup = tmp_path / "state", tmp_path / "backup.db"
    acting = Acting(World(state, [root]))
    acting.world.sweep()
    real = Deciding.decide

    def back_up_and_decide(*given: Any, **more: Any) -> Committed:  # noqa: ANN401 - passed on
        database = acting.world.store.path
        with (
            contextlib.closing(apsw.Connection(str(database))) as source,
            contextlib.closing(apsw.Connection(str(backup))) as target,
            target.backup("main", source, "main") as copying,
        ):
            copying.step()
        return real(*given, **more)

    monkeypatch.setattr(Deciding, "decide", back_up_and_decide)
    agent_id = acting.register(project).agent.id
    monkeypatch.undo()
    acting.world.stop()
    for file in state.glob("meshd.db*"):
        file.unlink()
    shutil.copy(backup, state / "meshd.db")
    acting = Acting(World(state, [root]))
    acting.world.sweep()
    assert acting.world.live() == {agent_id: str(project)}
    assert acting.intents() == 0
    acting.world.stop()


@pytest.mark.parametrize("is_empty", [True, False])
@pytest.mark.parametrize("name", ["update", "unregister"])
def test_a_directory_put_where_the_manifest_was_is_left_to_its_owner(
    acting: Acting, project: Path, name: str, is_empty: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_manifest(project, "a", description="old")
    acting.world.sweep()

    def interrupted(real: Callable[..., None]) -> Callable[..., None]:
        def rename(*given: Any) -> None:  # noqa: ANN401 - passed on
            monkeypatch.undo()
            manifest_path(project).unlink()
            manifest_path(project).mkdir()
            if not is_empty:
                (manifest_path(project) / "note").write_text("keep")
            real(*given)
            save(project)

        return rename

    step = "exchange" if name == "update" else "set_aside"
    monkeypatch.setattr(writing, step, interrupted(getattr(writing, step)))
    with pytest.raises(ConflictError):
        CALLS[name](acting, project)
    acting.world.sweep()
    assert acting.intents() == 0
    assert acting.world.agents["a"].description == "by hand"
    kept = [path for path in files_in(project) if path.endswith(".kept/note")]
    assert len(kept) == (0 if is_empty else 1)
    assert list(project.rglob("*.tmp")) == []
    assert acting.update("a", {"color": "ours"}).changed
