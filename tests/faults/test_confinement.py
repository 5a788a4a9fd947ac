"""I15: a daemon opens and changes nothing outside of its roots and its own directories.

A whole life of a daemon over a hostile tree, under strace: every open is judged by where the
kernel ended, and every change by its path. Beside the roots lies a directory to which all links
of the tree lead; no call may reach it.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest

from meshd.core.manifest import CAP_BYTES
from meshd.errors import MeshdError
from tests.faults.hostile import plant
from tests.faults.racing import exchange, over_and_over
from tests.faults.tools import needs_root, needs_tool
from tests.faults.traces import OPENING, READING, Call, calls, is_whole, tracing
from tests.system.daemon import REPOSITORY, Daemon
from tests.system.trees import save

if TYPE_CHECKING:
    from pathlib import Path

    from meshd.client import Client

pytestmark = [pytest.mark.slow, needs_root, needs_tool("strace")]

ACTED_ON: Final = ("acted", "acted-too", "raced")
"""Projects whose manifests the operator changes through the daemon."""

PROGRAM: Final = (sys.prefix, sys.base_prefix, str(REPOSITORY), "/usr", "/lib", "/lib64")
"""Below these lie the interpreter and the code."""

MACHINE: Final = frozenset(
    {
        "/",  # where the way to a root begins
        "/dev/null",
        "/dev/urandom",
        "/etc/ld.so.cache",
        "/etc/locale.alias",
        "/etc/localtime",
        f"/etc/python3.{sys.version_info.minor}/sitecustomize.py",  # of Debian's Python
        "/etc/ssl/openssl.cnf",
        "/proc/self/cgroup",
        "/proc/self/fd",
        "/proc/self/limits",
        "/proc/self/mountinfo",
        "/proc/self/stat",
        "/proc/self/status",
        "/proc/stat",
        # By glibc's malloc, whenever it gives memory of a thread back (check_may_shrink_heap).
        "/proc/sys/vm/overcommit_memory",
    }
)
"""What interpreter, watcher and metrics read of the machine. Without: /proc/self/environ."""

SETTINGS: Final = ("/sys/fs/cgroup", "/proc/sys/fs")
"""Figures of the kernel's: limits and no secrets."""


@dataclass(frozen=True)
class Life:
    """What a daemon did from its start to its end, and where."""

    root: Path
    own: tuple[str, ...]
    calls: tuple[Call, ...]


def entice(root: Path, outside: Path) -> None:
    """Link from the tree to what lies outside, in each way a user can."""
    save(outside, "outside")
    (outside / "package.json").write_text('{"name": "outside"}')
    for name in ("lib", "CLAUDE.md", ".git"):
        (outside / name).mkdir()
    (root / "link").symlink_to(outside)
    for name in ("dork", "manifest", "hints"):
        (root / name).mkdir()
    (root / "dork" / ".dork").symlink_to(outside / ".dork")
    (root / "manifest" / ".dork").mkdir()
    (root / "manifest" / ".dork" / "agent.json").symlink_to(outside / ".dork" / "agent.json")
    for name in ("package.json", "CLAUDE.md", ".git", ".claude", ".cursor", "AGENTS.md", ".codex"):
        (root / "hints" / name).symlink_to(outside / "package.json")


def live(daemon: Daemon, root: Path, outside: Path) -> None:
    """Do all that a daemon is asked for between its start and its stop."""
    plant(root / "hostile")
    entice(root, outside)
    with daemon.client() as client:
        client.sync()
        client.sweep()
        client.sweep(full=True)
        ids = {}
        for name in ACTED_ON:
            (root / name).mkdir()
            said = client.register(str(root / name), {"name": name, "runtime": "codex"})
            ids[name] = said["id"]
            client.update(said["id"], {"description": "new"})
        for path in ("link", "dork", "manifest", "../outside", "hints/package.json"):
            with contextlib.suppress(MeshdError):
                client.register(f"{root}/{path}", {"name": "stolen", "runtime": "codex"})
        race(client, ids["raced"], root / "raced", outside)
        assert list(client.discover([str(root)]))
        client.unregister(ids["acted-too"])
        client.deny(str(root / "hostile"))
        client.allow(str(root / "hostile"))
        client.reload()
        client.metrics()
        client.sweep(full=True)


def race(client: Client, agent_id: str, project: Path, outside: Path) -> None:
    """Swap `.dork` for a link to the outside while it is looked at and written to."""
    link = project / "swapped"
    link.symlink_to(outside / ".dork")
    with over_and_over(lambda: exchange(project / ".dork", link)):
        for number in range(4):
            with contextlib.suppress(MeshdError):
                client.update(agent_id, {"description": str(number)})
            with contextlib.suppress(MeshdError):
                client.register(str(project), {"description": str(number)})
            client.sweep(full=True)


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Life:
    top = tmp_path_factory.mktemp("confinement")
    home, root, outside = top / "h", top / "root", top / "outside"
    home.mkdir()
    save(root / "good", "good")
    trace = top / "trace"
    environ = {"PYTHONDONTWRITEBYTECODE": "1"}
    with Daemon(home, root, environ=environ, through=tracing(trace)) as daemon:
        live(daemon, root, outside)
        kept = sorted(os.walk(outside))
        process = daemon.process.pid
        assert daemon.stop() == 0
        while not is_whole(trace, process):
            os.sched_yield()
    assert sorted(os.walk(outside)) == kept
    own = (str(daemon.state), str(daemon.socket.parent))
    return Life(root, own, tuple(calls(trace)))


def is_below(path: str, *places: str) -> bool:
    return any(path == place or path.startswith(place.rstrip("/") + "/") for place in places)


def test_i15_the_trace_shows_what_was_done(life: Life) -> None:
    """Else the other tests would find nothing in a trace of nothing."""
    opened = {call.opened for call in life.calls if call.opened}
    assert str(life.root / "good" / ".dork" / "agent.json") in opened
    assert str(life.root / "hints") in opened
    changed = {path for call in life.calls if call.writes for path in call.paths}
    assert str(life.root / "acted" / ".dork" / "agent.json") in changed
    assert any(is_below(path, life.own[0]) for path in changed)


def test_i15_nothing_is_changed_but_our_own_and_the_manifests_asked_for(life: Life) -> None:
    places = [*life.own]
    for name in ACTED_ON:
        project = life.root / name
        # While names are exchanged, what was `.dork` a moment ago is shown under the other.
        places += [str(project / ".dork"), str(project / "swapped")]
    strays = {
        call.line
        for call in life.calls
        if call.writes and not all(is_below(path, *places) for path in call.paths)
    }
    assert strays == set()


def test_i15_nothing_is_opened_outside_of_the_roots_and_the_program(life: Life) -> None:
    home = life.root.parent / "h"
    places = (str(life.root), *life.own, str(home / "config"), *PROGRAM, *SETTINGS)
    opened = {
        re.sub(r"^/proc/\d+/", "/proc/self/", call.opened) for call in life.calls if call.opened
    }
    strays = {path for path in opened if not is_below(path, *places)}
    # Python looks for its modules in the working directory too.
    assert strays - MACHINE - {str(home)} == set()


def test_i15_a_name_below_a_root_is_one_step_unless_the_kernel_refuses_links(life: Life) -> None:
    """A name of two steps could lead through a link, except by openat2 as we call it."""
    resolving = "resolve=RESOLVE_NO_MAGICLINKS|RESOLVE_NO_SYMLINKS|RESOLVE_BENEATH"
    strays = {
        call.line
        for call in life.calls
        if (call.name in OPENING or call.writes)
        for start, name in call.names
        if is_below(os.path.join(start, name), str(life.root))  # noqa: PTH118 - text
        and "/" in name
        and resolving not in call.line
    }
    assert strays == set()


def test_116_no_file_of_the_database_is_opened_but_by_sqlite(life: Life) -> None:
    """What we close would take its locks along; SQLite opens without following links, we not so.

    The one exception is the empty file that is made for it, before it holds any lock.
    """
    opened = [call.line for call in life.calls if call.opened and "/meshd.db" in call.opened]
    assert [line for line in opened if "O_NOFOLLOW" not in line] == opened[:1]
    assert {"-wal", "-shm"} <= {line[-5:-1] for line in opened}


def test_012_to_014_no_more_is_read_of_a_manifest_than_it_may_have(life: Life) -> None:
    """Of what is too big by `stat`, not a byte; of the rest, the cap and one byte."""
    read: dict[str, int] = {}
    most = 0
    for call in life.calls:
        if call.opened:
            read[call.opened] = 0
        elif call.name in READING and call.paths[0].endswith("/agent.json"):
            path = call.paths[0]
            read[path] = read.get(path, 0) + call.result
            most = max(most, read[path])
    assert 0 < most <= CAP_BYTES + 1
    for name in ("12-gibibyte", "13-sparse-tebibyte", "14-one-byte-too-many", "01-fifo"):
        assert f"{life.root}/hostile/{name}/.dork" in read
        assert f"{life.root}/hostile/{name}/.dork/agent.json" not in read
