"""A second user on the host: reads nothing by default, and writes nothing ever.

Every directory above meshd's own is open to all here, so that nothing but meshd keeps them out.
The second user has programs of the system and no others: the interpreter may lie where only its
owner reaches it.
"""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.faults import speaking
from tests.faults.hostile import NOBODY
from tests.faults.tools import needs_root, needs_tool
from tests.system.daemon import Daemon
from tests.system.trees import save

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.slow, needs_root, needs_tool("setpriv"), needs_tool("curl")]

REFUSED_BY_KERNEL: Final = 7
"""curl's exit code for a connection it did not get."""
CONFIG: Final = '[scan]\nroots = ["{root}"]\n[api]\nsocket_mode = "{mode}"\n'


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that everybody may enter, as pytest's own is not."""
    directory = Path(tempfile.mkdtemp(prefix="meshd-open-"))
    directory.chmod(0o755)
    (directory / "h").mkdir()
    yield directory
    shutil.rmtree(directory)


def as_second_user(*words: object) -> subprocess.CompletedProcess[str]:
    """Run a program as somebody who has no rights at all."""
    who = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    return subprocess.run(
        [*who, *map(str, words)], capture_output=True, text=True, timeout=30, check=False, cwd="/"
    )


def ask(daemon: Daemon, target: str, method: str = "GET") -> subprocess.CompletedProcess[str]:
    """Ask the daemon as the second user; what is printed is the status code."""
    answer = ("-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", method, "--max-time", "20")
    body = ("-H", "content-type: application/json", "-d", "{}") if method != "GET" else ()
    where = ("--unix-socket", daemon.socket, f"http://meshd{target}")
    return as_second_user("curl", *answer, *body, *where)


def routes(daemon: Daemon) -> dict[str, list[str]]:
    """Return every route and its methods, with an agent in the place of a name."""
    description = json.loads(speaking.request(daemon, "/openapi.json").partition("\r\n\r\n")[2])
    paths = description["paths"].items()
    return {path.replace("{agent_id}", "a"): list(methods) for path, methods in paths}


def test_i15_by_default_a_second_user_does_not_even_connect(place: Path) -> None:
    save(place / "root" / "a", "a")
    with Daemon(place / "h", place / "root") as daemon:
        assert as_second_user("ls", daemon.state.parent).returncode == 0
        for method in ("GET", "POST"):
            assert ask(daemon, "/api/mesh/status", method).returncode == REFUSED_BY_KERNEL


def test_i15_the_files_of_a_daemon_are_its_users_alone(place: Path) -> None:
    save(place / "root" / "a", "a")
    with Daemon(place / "h", place / "root") as daemon:
        # One kept from before, that somebody opened to all: the files in it stay closed.
        daemon.state.chmod(0o755)
        daemon.sweep()
        daemon.ask("deny", str(place / "root" / "b"))
        names = [file for file in daemon.state.rglob("*") if file.is_file()]
        assert {"meshd.db", "meshd.db-wal", "policy.json"} <= {file.name for file in names}
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in names}
        assert {name for name, mode in modes.items() if mode & 0o077} == set()
        for file in names:
            assert as_second_user("cat", file).returncode == 1
        assert as_second_user("touch", daemon.state / "new").returncode == 1
        assert as_second_user("mv", daemon.socket, daemon.socket.parent / "x").returncode == 1
        copy = place / "copy.db"
        assert daemon.cli("db", "backup", str(copy)).returncode == 0
        assert as_second_user("cat", copy).returncode == 1


def test_i15_the_directories_of_a_daemon_are_made_for_its_user_alone(place: Path) -> None:
    save(place / "root" / "a", "a")
    with Daemon(place / "h", place / "root") as daemon:
        for directory in (daemon.state, daemon.socket.parent):
            assert stat.S_IMODE(directory.stat().st_mode) == 0o700
            assert as_second_user("ls", directory).returncode == 2


def test_i15_through_a_socket_opened_to_all_a_second_user_reads_and_never_writes(
    place: Path,
) -> None:
    save(place / "root" / "a", "a")
    config = CONFIG.format(root=place / "root", mode="0666")
    with Daemon(place / "h", config=config) as daemon:
        daemon.socket.parent.chmod(0o755)
        before = (place / "root" / "a" / ".dork" / "agent.json").read_bytes()
        seq = daemon.status()["seq"]
        assert ask(daemon, "/api/mesh/registry").stdout == "200"
        refused = {
            (path, method): ask(daemon, path, method.upper()).stdout
            for path, methods in routes(daemon).items()
            for method in methods
            if method != "get"
        }
        assert len(refused) > 10
        assert refused == dict.fromkeys(refused, "403")
        assert daemon.status()["seq"] == seq
        assert (place / "root" / "a" / ".dork" / "agent.json").read_bytes() == before
        assert as_second_user("cat", daemon.database).returncode == 1
