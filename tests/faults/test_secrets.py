"""I16: nothing of a refused file, and no secret of a good one, is in anything meshd says or keeps.

The canary is in every refused file, in names of directories it is not. It is looked for in the
log, in every byte of the state directory while the daemon runs and after it stopped, in every
answer of every route, and in the output of every command.
The tests stand in the order in which one daemon lives: the last one stops it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.faults import speaking
from tests.faults.hostile import CANARY, CASES, plant
from tests.faults.tools import needs_tool
from tests.system.daemon import Daemon
from tests.system.trees import save

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.slow, needs_tool("curl")]

SHOWN: Final = "sh0wn-2b9d"
"""In a good manifest, where everybody may read it: it has to be found."""
SERVER: Final = {
    "name": "tools",
    "enabled": True,
    "addedBy": "x",
    "addedAt": "2026-01-01T00:00:00Z",
    "connection": {
        "transport": "stdio",
        "command": CANARY,
        "args": [CANARY],
        "env": {CANARY: CANARY},
    },
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("secrets") / "root"
    directory.mkdir()
    return directory


@pytest.fixture(scope="module")
def daemon(root: Path) -> Iterator[Daemon]:
    """A daemon that has seen every hostile file, new ones and in the place of good ones."""
    home = root.parent / "h"
    home.mkdir()
    save(root / "good", "good", description=SHOWN, secret=CANARY, mcpServers=[SERVER])
    for case in CASES:
        save(root / "held" / case.id, case.id)
    (root / "hint").mkdir()
    (root / "hint" / "package.json").write_text(f'{{"name": "{CANARY}", {CANARY}')
    with Daemon(home, root, config='[log]\nlevel = "debug"\n') as running:
        plant(root / "new")
        plant(root / "held")
        running.ask("sync")
        running.sweep("--full")
        yield running


def test_i16_the_good_manifest_is_shown(daemon: Daemon) -> None:
    """Else what follows would look for what is nowhere."""
    assert daemon.agents()["good"]["mcpServers"] == [{"name": "tools", "enabled": True}]
    assert SHOWN in daemon.cli("agents", "show", "good").stdout
    assert any(SHOWN.encode() in kept for kept in speaking.in_files(daemon.state).values())


def test_i16_no_route_tells_a_secret(daemon: Daemon) -> None:
    answers = speaking.by_routes(daemon, "good")
    assert len(answers) > 15
    assert {path for path, said in answers.items() if " 200 " not in said.split("\n")[0]} == set()
    assert {path for path, said in answers.items() if CANARY in said} == set()
    assert SHOWN in answers["/api/mesh/agents/{agent_id}"]


def test_i16_no_command_tells_a_secret(daemon: Daemon, root: Path) -> None:
    lists = speaking.ASKING + speaking.ACTING
    told = {words[0] for words in lists} | speaking.SILENT
    assert told >= speaking.commands_of_the_program(daemon)
    said = {}
    for words in speaking.ASKING:
        line = speaking.filled(words, agent="good", project=str(root / "good"))
        done = daemon.cli(*line)
        assert done.returncode in (0, 6), f"{line}: {done.stderr}"  # 6: the doctor has findings
        said[" ".join(words)] = done.stdout + done.stderr
    assert {command for command, text in said.items() if not text} == set()
    assert {command for command, text in said.items() if CANARY in text} == set()


@pytest.mark.parametrize("kind", ["38-secret-in-a-bad-server", "29-escape-in-the-name", "30-bom"])
def test_i16_an_error_about_a_file_does_not_quote_it(daemon: Daemon, root: Path, kind: str) -> None:
    project = str(root / "new" / kind)
    held = str(root / "held" / kind)
    for words in (
        ("check-manifest", project),
        ("register", project, "--name", "x"),
        ("update", held, "--description", "x"),
        ("unregister", held, "--dry-run"),
    ):
        done = daemon.cli(*words)
        assert CANARY not in done.stdout + done.stderr
    for option in ("POST", "PUT", "DELETE"):
        assert CANARY not in speaking.request(daemon, "/api/mesh/agents", "-X", option)


def test_i16_no_file_of_the_state_directory_holds_a_secret(daemon: Daemon) -> None:
    kept = speaking.in_files(daemon.state)
    assert {"meshd.db", "meshd.db-wal", "policy.json"} <= kept.keys()
    assert {name for name, data in kept.items() if CANARY.encode() in data} == set()
    copy = daemon.state.parent / "copy.db"
    assert daemon.cli("db", "backup", str(copy)).returncode == 0
    assert CANARY.encode() not in copy.read_bytes()


def test_i16_the_log_tells_no_secret_not_even_at_its_most_talkative(daemon: Daemon) -> None:
    assert '"event": "invalid"' in daemon.log  # which of them are told one by one is chance
    assert CANARY not in daemon.log


def test_i16_what_a_stop_leaves_on_the_disk_holds_no_secret(daemon: Daemon) -> None:
    assert daemon.stop() == 0
    kept = speaking.in_files(daemon.state)
    assert {name for name, data in kept.items() if CANARY.encode() in data} == set()
    assert CANARY not in daemon.log
