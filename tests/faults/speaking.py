"""All that meshd says, gathered: by its commands, by its routes, in its files.

Owns the lists of what can be asked. Promises that none is forgotten: the commands are compared
with the command line's own, the routes with the published description.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from tests.system.daemon import DEADLINE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.system.daemon import Daemon

ASKING: Final = (
    ("status",),
    ("doctor",),
    ("metrics",),
    ("agents", "list"),
    ("agents", "show", "{agent}"),
    ("agents", "unreachable"),
    ("claims",),
    ("events",),
    ("topology",),
    ("rules", "list"),
    ("route", "{agent}", "{agent}"),
    ("roots", "list"),
    ("denied",),
    ("discover",),
    ("wait", "{agent}", "--for", "registered"),
    ("db", "check"),
    ("check-config",),
    ("check-manifest", "{project}"),
)
"""Commands that print what files and paths say; `{agent}` and `{project}` are to be filled in."""

ACTING: Final = (
    ("deny", "{project}"),
    ("denied",),
    ("allow", "{project}"),
    ("sync",),
    ("sweep",),
    ("register", "{project}", "--name", "named"),
    ("update", "{agent}", "--description", "changed"),
    ("heartbeat", "{agent}"),
    ("roots", "accept", "{root}"),
    ("forget", "{agent}"),
    ("unregister", "{agent}", "--dry-run"),
    ("reload",),
)
"""Commands that do something, and say of it."""

SILENT: Final = frozenset(
    {"run", "install", "uninstall", "completion", "version", "rules", "db", "agents"}
)
"""Commands that say nothing of files, or whose parts that do are in the lists above."""

Said = dict[str, str]


def filled(words: tuple[str, ...], **names: str) -> list[str]:
    """Return a command of the lists with its names filled in."""
    return [names[word[1:-1]] if word.startswith("{") else word for word in words]


def on_a_terminal(daemon: Daemon, *words: str) -> str:
    """Return what a command writes to a terminal, by both streams, with line ends as in a file."""
    leader, follower = os.openpty()
    environ = daemon.environ | {"NO_COLOR": "1", "TERM": "xterm", "COLUMNS": "200"}
    process = subprocess.Popen(
        [sys.executable, "-m", "meshd", *words],
        env=environ,
        stdin=follower,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    said = b""
    try:
        while chunk := _read(leader):
            said += chunk
        process.wait(DEADLINE)
    finally:
        process.kill()
        process.wait()
        os.close(leader)
    return said.decode("utf-8", "surrogateescape").replace("\r\n", "\n")


def _read(leader: int) -> bytes:
    try:
        return os.read(leader, 65536)
    except OSError:  # EIO: nobody has the other end any more
        return b""


def by_routes(daemon: Daemon, agent: str) -> Said:
    """Return the answer of every route that is read, by its path, headers included."""
    description = json.loads(request(daemon, "/openapi.json").partition("\r\n\r\n")[2])
    asked = {"/api/mesh/events": "?since=0", "/api/mesh/route": f"?from={agent}&to={agent}"}
    paths = [path for path, methods in description["paths"].items() if "get" in methods]
    filled_in = {path: path.replace("{agent_id}", agent) + asked.get(path, "") for path in paths}
    return {path: request(daemon, target) for path, target in filled_in.items()}


def request(daemon: Daemon, target: str, *options: str) -> str:
    """Return the whole answer to a request on the daemon's socket."""
    words = ["curl", "-s", "-i", "--max-time", "30", "--unix-socket", str(daemon.socket), *options]
    done = subprocess.run([*words, f"http://meshd{target}"], capture_output=True, check=True)
    return done.stdout.decode("utf-8", "surrogateescape")


def in_files(directory: Path) -> dict[str, bytes]:
    """Return the bytes of every file below a directory, the database's log among them."""
    files = [file for file in directory.rglob("*") if file.is_file()]
    return {str(file.relative_to(directory)): file.read_bytes() for file in files}


def commands_of_the_program(daemon: Daemon) -> set[str]:
    """Return the commands that the program's own help lists."""
    return set(re.findall(r"^  ([a-z][a-z-]*)  ", daemon.cli("--help").stdout, re.MULTILINE))
