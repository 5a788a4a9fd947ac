"""The isolated looker: a real worker process, stopped, killed and replaced."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from meshd.clock import SystemClock
from meshd.core.model import Outcome, Reason, Source
from meshd.core.scope import Scope
from meshd.errors import StoppingError
from meshd.looker import IsolatedLooker, LocalLooker, RootLostError, Unreadable
from meshd.looker.look import NoDescriptorsError
from meshd.looker.messages import Failed, NextBatch
from meshd.looker.process import WorkerLostError, WorkerProcess
from meshd.looker.walk import DIRECTORIES_PER_BATCH
from meshd.looker.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 1.0
MANIFEST = {
    "id": "builder",
    "name": "builder",
    "runtime": "claude-code",
    "registeredAt": "2026-01-01T00:00:00Z",
    "registeredBy": "test",
    "behavior": {"responseMode": "always"},
    "mcpServers": [],
}
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path.resolve() / "root"
    make_project(root / "project")
    return root


@pytest.fixture
def looker(root: Path) -> Iterator[IsolatedLooker]:
    looker = IsolatedLooker(
        str(root), clock=SystemClock(), numbers=itertools.count(1).__next__, seconds=SECONDS
    )
    yield looker
    looker.close()


def make_project(path: Path) -> None:
    (path / ".dork").mkdir(parents=True)
    (path / ".dork" / "agent.json").write_text(json.dumps(MANIFEST))


def scope_of(root: Path) -> Scope:
    return Scope(roots=(str(root),))


def never() -> bool:
    return False


def pid_of(looker: IsolatedLooker) -> int:
    assert looker._worker is not None
    return looker._worker.pid


def signal_worker(looker: IsolatedLooker, number: int) -> None:
    """Send a signal and wait until the worker felt it."""
    pid = pid_of(looker)
    os.kill(pid, number)
    state = Path(f"/proc/{pid}/stat")
    wanted = {signal.SIGSTOP: "T", signal.SIGKILL: "Z"}[signal.Signals(number)]
    while state.read_text().rpartition(")")[2].split()[0] != wanted:
        os.sched_yield()


def open_files(looker: IsolatedLooker) -> list[str]:
    """What the worker's descriptors are."""
    descriptors = Path(f"/proc/{pid_of(looker)}/fd")
    return [str(descriptor.readlink()) for descriptor in descriptors.iterdir()]


def make_many_directories(root: Path) -> None:
    for number in range(2 * DIRECTORIES_PER_BATCH):
        (root / f"d{number:05}").mkdir()


# --- it answers as the local one does ------------------------------------------------------


def test_it_answers_as_a_local_looker_does(root: Path, looker: IsolatedLooker) -> None:
    for number in range(70):  # more than one request of looks
        make_project(root / f"p{number:03}")
    (root / "bad" / ".dork").mkdir(parents=True)
    (root / "bad" / ".dork" / "agent.json").write_text("{")
    local = LocalLooker(str(root), clock=SystemClock(), numbers=itertools.count(1).__next__)
    assert looker.check(None) == local.check(None)
    walked = [list(one.walk(scope_of(root), full=False, stop=never)) for one in (looker, local)]
    assert walked[0] == walked[1]
    paths = [item.path for batch in walked[0] for item in batch]
    paths.append(str(root / "nowhere"))
    seen, expected = (one.look(paths, Source.SWEEP) for one in (looker, local))
    assert len(seen) == 73
    for ours, theirs in zip(seen, expected, strict=True):
        stamp = ours.looked_at_ns
        assert abs(stamp - theirs.looked_at_ns) < 60 * 10**9
        assert ours.path == theirs.path
        assert ours.look == theirs.look
        assert ours.manifest == theirs.manifest
        assert (ours.outcome, ours.reason) == (theirs.outcome, theirs.reason)


def test_one_worker_serves_all_calls_and_remembers_directories(
    root: Path, looker: IsolatedLooker
) -> None:
    looker.check(None)
    first = pid_of(looker)
    assert len(list(looker.walk(scope_of(root), full=False, stop=never))) == 1
    looker.look([str(root)], Source.API)
    assert pid_of(looker) == first


def test_looks_are_answered_between_the_batches_of_a_walk(
    root: Path, looker: IsolatedLooker
) -> None:
    make_many_directories(root)
    outcomes = []
    for _ in looker.walk(scope_of(root), full=False, stop=never):
        outcomes += [one.outcome for one in looker.look([str(root / "project")], Source.API)]
    assert outcomes == [Outcome.PRESENT] * 3


def test_a_sick_root_is_told_through_the_worker(root: Path, looker: IsolatedLooker) -> None:
    known = looker.check(None).identity
    root.rename(root.with_name("moved"))
    assert looker.check(known).reason == "missing"
    with pytest.raises(RootLostError):
        list(looker.walk(scope_of(root), full=False, stop=never))
    [seen] = looker.look([str(root / "project")], Source.SWEEP)
    assert (seen.outcome, seen.reason) == (Outcome.UNKNOWN, Reason.ROOT_SICK)


def test_no_descriptors_is_told_through_the_worker(
    looker: IsolatedLooker, monkeypatch: pytest.MonkeyPatch
) -> None:
    looker.check(None)
    assert looker._worker is not None
    answer = Failed(is_root_lost=False, message="none left")
    monkeypatch.setattr(looker._worker, "ask", lambda _request: answer)
    assert looker.check(None).reason == "no-descriptors"
    with pytest.raises(NoDescriptorsError):
        looker.look(["/x"], Source.SWEEP)


def test_a_worker_turns_failures_into_answers(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(str(root))

    def fail(_request: object) -> None:
        raise NoDescriptorsError("none left")

    monkeypatch.setattr(worker, "_answer", fail)
    answer = worker.answer(NextBatch())
    assert answer == Failed(is_root_lost=False, message="none left")


# --- late ----------------------------------------------------------------------------------


def test_a_late_check_is_timed_out_and_the_next_one_has_a_new_worker(
    looker: IsolatedLooker,
) -> None:
    """Fault 78: a worker that hangs is killed, and nobody waits for it."""
    known = looker.check(None).identity
    first = pid_of(looker)
    signal_worker(looker, signal.SIGSTOP)
    late = looker.check(known)
    assert (late.healthy, late.reason) == (False, "timed-out")
    assert looker.check(known).healthy
    assert pid_of(looker) != first


def test_late_looks_are_unknown_and_only_the_first_request_costs_a_deadline(
    root: Path, looker: IsolatedLooker
) -> None:
    looker.check(None)
    signal_worker(looker, signal.SIGSTOP)
    clock = SystemClock()
    begin = clock.monotonic()
    paths = [str(root / str(number)) for number in range(200)]
    seen = looker.look(paths, Source.SWEEP)
    assert clock.monotonic() - begin < 4 * SECONDS  # one each for the requests of 64
    assert [one.path for one in seen] == paths
    assert [one.look for one in seen] == list(range(1, 201))
    assert {(one.outcome, one.reason) for one in seen} == {(Outcome.UNKNOWN, Reason.TIMED_OUT)}


def test_a_late_batch_loses_the_walk(root: Path, looker: IsolatedLooker) -> None:
    make_many_directories(root)
    batches = looker.walk(scope_of(root), full=False, stop=never)
    next(batches)
    signal_worker(looker, signal.SIGSTOP)
    with pytest.raises(RootLostError, match="within 1 s"):
        next(batches)
    assert len(list(looker.walk(scope_of(root), full=False, stop=never))) == 3


def test_a_request_too_big_for_a_stopped_worker_is_late_as_well(
    root: Path, looker: IsolatedLooker
) -> None:
    looker.check(None)
    signal_worker(looker, signal.SIGSTOP)
    paths = [str(root / str(number)) + ("/" + "x" * 200) * 50 for number in range(64)]
    seen = looker.look(paths, Source.SWEEP)
    assert {one.reason for one in seen} == {Reason.TIMED_OUT}


# --- dead ----------------------------------------------------------------------------------


def test_a_dead_worker_makes_nothing_absent_and_is_replaced(
    root: Path, looker: IsolatedLooker
) -> None:
    looker.check(None)
    signal_worker(looker, signal.SIGKILL)
    [seen] = looker.look([str(root / "project")], Source.SWEEP)
    assert (seen.outcome, seen.reason) == (Outcome.UNKNOWN, Reason.UNREADABLE)
    assert seen.detail == "the worker process died"
    [seen] = looker.look([str(root / "project")], Source.SWEEP)
    assert seen.outcome is Outcome.PRESENT


def test_a_check_whose_worker_died_is_sick(looker: IsolatedLooker) -> None:
    looker.check(None)
    signal_worker(looker, signal.SIGKILL)
    assert looker.check(None).reason == "unreadable"


def test_a_walk_does_not_go_on_in_another_worker(root: Path, looker: IsolatedLooker) -> None:
    make_many_directories(root)
    batches = looker.walk(scope_of(root), full=False, stop=never)
    next(batches)
    signal_worker(looker, signal.SIGKILL)
    assert looker.check(None).reason == "unreadable"
    with pytest.raises(RootLostError, match="replaced"):
        next(batches)


@needs_root
def test_a_new_worker_knows_what_the_root_was_in_this_run(
    root: Path, looker: IsolatedLooker
) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", root], check=True)
    looker.check(None)
    signal_worker(looker, signal.SIGKILL)
    subprocess.run(["umount", root], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", root], check=True)
    try:
        reasons = [looker.look([str(root / "x")], Source.SWEEP)[0].reason for _ in range(2)]
    finally:
        subprocess.run(["umount", root], check=True)
    assert reasons == [Reason.UNREADABLE, Reason.ROOT_SICK]


def test_a_worker_that_cannot_start_is_a_sick_root(
    root: Path, looker: IsolatedLooker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshd.looker.process.sys.executable", "/bin/false")
    assert looker.check(None).reason == "unreadable"
    monkeypatch.setattr("meshd.looker.process.sys.executable", "/nowhere/python")
    assert looker.check(None).reason == "unreadable"


# --- what the worker has and leaves --------------------------------------------------------


def test_a_worker_inherits_no_descriptor_but_its_socket(
    tmp_path: Path, looker: IsolatedLooker
) -> None:
    """It must hold neither the lock nor the database."""
    with (tmp_path / "lock").open("w") as lock:
        os.set_inheritable(lock.fileno(), True)
        looker.check(None)
        targets = open_files(looker)
    assert str(tmp_path / "lock") not in targets
    assert sum(target.startswith("socket:") for target in targets) == 1


def test_an_abandoned_walk_lets_go_of_the_root(root: Path, looker: IsolatedLooker) -> None:
    make_many_directories(root)
    batches = looker.walk(scope_of(root), full=False, stop=never)
    next(batches)
    batches.close()
    assert not [target for target in open_files(looker) if target.startswith(str(root))]


def test_a_worker_ignores_ctrl_c(root: Path, looker: IsolatedLooker) -> None:
    looker.check(None)
    first = pid_of(looker)
    os.kill(first, signal.SIGINT)
    assert looker.check(None).healthy
    assert pid_of(looker) == first


def test_a_worker_ends_when_the_daemon_is_gone(root: Path) -> None:
    worker = WorkerProcess(str(root), seconds=SECONDS)
    worker._connection.close()
    assert worker._process.wait(timeout=30) == 0


def test_a_worker_does_not_import_from_the_current_directory(
    tmp_path: Path, looker: IsolatedLooker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon may have been started inside a hostile project."""
    (tmp_path / "json.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    assert looker.check(None).healthy


def test_closing_ends_a_request_under_way_at_once(root: Path) -> None:
    looker = IsolatedLooker(
        str(root), clock=SystemClock(), numbers=itertools.count(1).__next__, seconds=60
    )
    looker.check(None)
    pid = pid_of(looker)
    signal_worker(looker, signal.SIGSTOP)
    reasons: list[str | None] = []
    asking = threading.Thread(target=lambda: reasons.append(looker.check(None).reason))
    asking.start()
    looker.close()
    asking.join(timeout=30)
    assert reasons in (["unreadable"], [])  # or it came after the close
    assert not Path(f"/proc/{pid}").exists()
    with pytest.raises(StoppingError):
        looker.check(None)


def test_a_worker_that_died_says_so_to_its_owner(root: Path) -> None:
    worker = WorkerProcess(str(root), seconds=SECONDS)
    worker.kill()
    with pytest.raises(WorkerLostError):
        worker.ask(NextBatch())
    worker.discard()
    assert worker.reap(wait=True)


def test_unreadable_survives_the_crossing(
    root: Path, looker: IsolatedLooker, monkeypatch: pytest.MonkeyPatch
) -> None:
    looker.check(None)
    assert looker._worker is not None
    item = Unreadable(str(root / "x"))
    answers = iter([[item], None])
    monkeypatch.setattr(looker._worker, "ask", lambda _request: next(answers))
    assert list(looker.walk(scope_of(root), full=False, stop=never)) == [[item]]
