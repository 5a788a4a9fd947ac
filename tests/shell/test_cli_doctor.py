"""How the doctor speaks: what it prints, and what it leaves out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from meshd import __version__
from meshd.cli.doctor import MOST_OF_ONE_KIND
from meshd.cli.gathering import _state_directory
from meshd.diagnosis import Unfinished
from meshd.policy import Policy, PolicyFile
from meshd.store.intents import Intent
from tests.shell.command_line import CommandLine
from tests.shell.fake_daemon import FakeDaemon, fake_daemon

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STATUS = {
    "pid": 4711, "version": __version__, "ready": True, "degraded": None, "lastSweep": None,
    "startedAt": "2020-01-01T00:00:00.000Z", "config": {"lastReloadOk": True},
    "roots": [
        {
            "path": "/r", "state": "healthy", "reason": None, "agents": 0, "watch": "inotify",
            "watchedDirectories": 1, "wantedDirectories": 1, "watchShortage": None,
            "overflows": 0, "lastOverflow": None,
        }
    ],
}  # fmt: skip


@pytest.fixture
def meshd(tmp_path: Path) -> CommandLine:
    home = tmp_path / "h"
    home.mkdir()
    return CommandLine(home)


@pytest.fixture
def daemon(meshd: CommandLine) -> Iterator[FakeDaemon]:
    """A daemon in which nothing is wrong; it keeps its registry elsewhere."""
    meshd.state.mkdir(parents=True)
    with fake_daemon(meshd.state / "meshd.sock") as fake:
        fake.answer("GET /api/mesh/status", STATUS)
        fake.answer("GET /api/mesh/registry", {"agents": []})
        fake.answer("GET /api/mesh/claims", {"claims": []})
        yield fake


def invalid(path: str) -> dict[str, object]:
    return {
        "path": path, "outcome": "invalid", "agentId": None, "reason": "not-json", "detail": None,
    }  # fmt: skip


def test_health_is_one_line(meshd: CommandLine, daemon: FakeDaemon) -> None:
    ran = meshd("doctor", "--fail-on-findings")
    assert (ran.code, ran.out) == (0, "healthy: 0 agents, 1 root\n")


def test_many_findings_of_one_kind_are_counted_and_all_in_json(
    meshd: CommandLine, daemon: FakeDaemon
) -> None:
    claims = [invalid(f"/r/{number}") for number in range(MOST_OF_ONE_KIND + 5)]
    daemon.answer("GET /api/mesh/claims", {"claims": claims})
    ran = meshd("doctor")
    assert len(ran.out.splitlines()) == 2 * MOST_OF_ONE_KIND + 1
    assert "5 more of invalid: see meshd doctor --json" in ran.err
    told = meshd("doctor", "--json").document["findings"]
    assert isinstance(told, list)
    assert len(told) == len(claims)
    assert list(told[0]) == ["severity", "code", "subject", "message", "hint"]


def test_no_name_on_disk_writes_to_the_terminal(meshd: CommandLine, daemon: FakeDaemon) -> None:
    daemon.answer("GET /api/mesh/claims", {"claims": [invalid("/r/\x1b[2J\n\u202e\udcff")]})
    ran = meshd("doctor")
    assert ran.out.splitlines()[0].startswith("warning  /r/\\x1b[2J\\x0a\\u202e\\udcff: ")
    assert ran.out.splitlines()[-1] == "1 warning"


def test_a_daemon_that_refuses_to_answer_is_a_finding(
    meshd: CommandLine, daemon: FakeDaemon
) -> None:
    said = {"error": {"code": "permission", "message": "not you", "hint": "be root"}}
    daemon.answer("GET /api/mesh/status", said, status=403)
    ran = meshd("doctor", "--fail-on-findings")
    assert ran.code == 6
    assert "cannot be asked: not you\n         -> be root\n" in ran.out


def test_a_change_of_files_that_is_not_finished_is_named_with_what_is_left(
    tmp_path: Path,
) -> None:
    document = {"temporary": ".agent.json.x.tmp", "done": False}
    intent = Intent(1, "manifest", "/r/a", document, "2026-01-01T00:00:00.000Z")
    PolicyFile(tmp_path / "policy.json").save(Policy("e", intents=(intent,)))
    state = _state_directory(tmp_path, [])
    assert state is not None
    expected = Unfinished("/r/a", ".dork/.agent.json.x.tmp", "2026-01-01T00:00:00.000Z")
    assert state.unfinished == (expected,)
