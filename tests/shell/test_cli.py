"""The command line with a daemon, or none: answers, errors and exit codes."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.shell.command_line import CommandLine
from tests.shell.fake_daemon import FakeDaemon, Reply, fake_daemon
from tests.shell.terminal import at_a_terminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

AGENT = {
    "id": "a",
    "name": "evil\x1b[31m\nname\u202e",
    "displayName": None,
    "runtime": "codex",
    "namespace": "n",
    "healthStatus": "stale",
    "projectPath": "/r/\udcff",
    "lastPath": "/r/\udcff",
    "confirmed": False,
    "unreachableReason": None,
    "flags": ["invalid:not-json"],
}
ROOT = {
    "path": "/r",
    "state": "healthy",
    "reason": None,
    "agents": 3,
    "watch": "inotify",
    "watchedDirectories": 412,
    "wantedDirectories": 412,
    "watchShortage": None,
}
STATUS = {
    "pid": 4711,
    "version": "1",
    "ready": True,
    "degraded": None,
    **dict.fromkeys(
        ("totalAgents", "activeCount", "inactiveCount", "staleCount", "unreachableCount",
         "unscannedCount"), 0,
    ),
    "claims": {"valid": 0},
    "seq": 0,
    "epoch": "e",
    "lastSweep": None,
    "config": {"lastReloadOk": True},
}  # fmt: skip
SWEPT = {
    "startedAt": "2026-01-01T00:00:00.000Z",
    "seconds": 0.25,
    "full": False,
    "synced": 1,
    "unreachable": 2,
    "removed": 3,
    "resurrected": 4,
    "discovered": 5,
    "drift": 6,
    "held": 0,
    "sickRoots": [],
}


@pytest.fixture
def meshd(tmp_path: Path) -> CommandLine:
    home = tmp_path / "h"
    home.mkdir()
    return CommandLine(home)


@pytest.fixture
def daemon(meshd: CommandLine) -> Iterator[FakeDaemon]:
    """A daemon where it listens by default: in the state directory."""
    meshd.state.mkdir(parents=True)
    with fake_daemon(meshd.state / "meshd.sock") as fake:
        yield fake


# help


def test_the_help_has_one_line_for_each_command(meshd: CommandLine) -> None:
    ran = meshd("--help")
    lines = [line.split(maxsplit=1) for line in ran.out.splitlines() if line.startswith("  ")]
    commands = [name for name, *_ in lines if name.islower() and not name.startswith("-")]
    assert ran.code == 0
    assert " ".join(commands) == (
        "run status doctor reload metrics install uninstall completion version"
        " agents claims events sweep sync wait forget"
        " discover register update unregister topology rules route heartbeat"
        " roots deny allow denied check-config check-manifest db"
    )
    assert all(line[-1].endswith(".") for line in lines[1:])
    assert max(map(len, ran.out.splitlines())) < 80


@pytest.mark.parametrize(
    "command",
    [
        "run", "status", "reload", "metrics", "version", "agents", "agents list", "agents show",
        "agents unreachable", "claims", "events", "sweep", "sync", "wait", "forget", "roots",
        "roots list", "roots accept", "deny", "allow", "denied", "check-config",
        "check-manifest", "db", "db check", "db backup", "db rebuild", "doctor", "completion",
        "discover", "register", "update", "unregister", "topology", "rules", "rules list",
        "rules allow", "rules deny", "route", "heartbeat", "install", "uninstall",
    ],
)  # fmt: skip
def test_every_command_has_help_and_the_shared_options(meshd: CommandLine, command: str) -> None:
    ran = meshd(*command.split(" "), "--help")
    assert (ran.code, ran.err) == (0, "")
    assert [option for option in ("--config", "--socket", "--json") if option not in ran.out] == []


# the shared options


@pytest.mark.parametrize(
    "arguments",
    [
        ("--json", "--socket", "SOCKET", "agents", "list"),
        ("agents", "--json", "--socket", "SOCKET", "list"),
        ("agents", "list", "--json", "--socket", "SOCKET"),
        ("--socket", "/nowhere", "--json", "agents", "list", "--socket", "SOCKET"),
    ],
)
def test_shared_options_work_in_any_place_and_the_last_decides(
    meshd: CommandLine, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    with fake_daemon(tmp_path / "other.sock") as daemon:
        daemon.answer("GET /api/mesh/registry", {"agents": []})
        ran = meshd(*(str(daemon.path) if part == "SOCKET" else part for part in arguments))
    assert (ran.code, ran.document, ran.err) == (0, {"agents": []}, "")


def test_the_daemon_is_looked_for_in_the_order_of_the_design(
    meshd: CommandLine, tmp_path: Path
) -> None:
    """Each place is tried with all weaker ones listening too."""
    runtime = tmp_path / "run"
    config = meshd.home / "config.toml"
    config.write_text(f'[api]\nsocket = "{tmp_path}/config.sock"\n')
    runtime_environ = {"XDG_RUNTIME_DIR": str(runtime)}
    named = {**runtime_environ, "MESHD_SOCKET": str(tmp_path / "variable.sock")}
    tries: list[tuple[Path, list[str], dict[str, str]]] = [
        (meshd.state / "meshd.sock", [], {}),
        (meshd.state / "meshd.sock", [], runtime_environ),  # nothing listens there yet
        (runtime / "meshd/meshd.sock", [], runtime_environ),
        (tmp_path / "config.sock", ["--config", str(config)], runtime_environ),
        (tmp_path / "variable.sock", ["--config", str(config)], named),
        (tmp_path / "flag.sock", ["--socket", str(tmp_path / "flag.sock")], named),
    ]
    listening: dict[Path, FakeDaemon] = {}
    with contextlib.ExitStack() as stack:
        for path, flags, environ in tries:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path not in listening:
                listening[path] = stack.enter_context(fake_daemon(path))
                listening[path].answer("POST /api/mesh/sweep", {"from": str(path)})
            assert meshd("sweep", "--json", *flags, **environ).document == {"from": str(path)}


# errors and exit codes


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [
        (500, "failed", 1),
        (404, "not-found", 3),
        (422, "invalid-config", 5),
        (403, "permission", 7),
        (504, "timeout", 8),
        (409, "still-live", 1),
    ],
)
def test_an_error_of_the_daemon_becomes_its_exit_code(
    meshd: CommandLine, daemon: FakeDaemon, status: int, code: str, exit_code: int
) -> None:
    said = {"error": {"code": code, "message": "no\x1b[2J", "hint": "do this"}}
    daemon.answer("POST /api/mesh/sweep", said, status=status)
    plain, as_json = meshd("sweep"), meshd("sweep", "--json")
    assert (plain.code, plain.out) == (exit_code, "")
    assert plain.err == "error: no\\x1b[2J\nhint: do this\n"
    assert (as_json.code, as_json.document, as_json.err) == (exit_code, said, "")


@pytest.mark.parametrize(
    "arguments",
    [
        ("bogus",),
        ("sweep", "--bogus"),
        ("claims", "--outcome", "bogus"),
        ("events", "--since", "-1"),
        ("forget",),
        ("forget", "a", "--unscanned"),
        ("agents", "unreachable", "--before", "yesterday"),
        ("update", "a"),
        ("update", "a", "--set", "persona=calm"),
        ("unregister", "a", "--keep-manifest", "--data"),
        ("rules", "allow", "a"),
        ("completion", "tcsh"),
    ],
)
def test_a_mistake_in_the_arguments_exits_2(meshd: CommandLine, arguments: tuple[str, ...]) -> None:
    plain, as_json = meshd(*arguments), meshd("--json", *arguments)
    assert (plain.code, plain.out, as_json.code, as_json.err) == (2, "", 2, "")
    assert plain.err.startswith("error: ")
    assert list(as_json.document) == ["error"]


def test_a_choice_that_is_missing_is_asked_for_on_one_line(meshd: CommandLine) -> None:
    said, hint = meshd("wait", "a").err.splitlines()
    assert said.endswith("Choose from: registered, active, unreachable, gone")
    assert hint.startswith("hint: ")


def test_without_daemon_and_database_every_question_exits_4(meshd: CommandLine) -> None:
    ran = meshd("status", "--json")
    error = ran.document["error"]
    assert isinstance(error, dict)
    assert (ran.code, error["code"], "meshd run DIR" in error["hint"]) == (4, "no-daemon", True)
    assert not meshd.state.exists()


def test_a_reader_that_has_seen_enough_is_no_error(meshd: CommandLine, daemon: FakeDaemon) -> None:
    daemon.answer("GET /metrics", b"x" * 1_000_000)
    with subprocess.Popen(
        [sys.executable, "-m", "meshd", "metrics"],
        env=meshd.whole_environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert (process.stderr.read(), process.wait(30)) == (b"", 1)


# answers


def test_what_a_manifest_says_cannot_write_to_the_terminal(
    meshd: CommandLine, daemon: FakeDaemon
) -> None:
    daemon.answer("GET /api/mesh/registry", {"agents": [AGENT]})
    rows = meshd("agents", "list").out.splitlines()
    assert [row.split() for row in rows] == [
        ["NAME", "ID", "RUNTIME", "NAMESPACE", "HEALTH", "PATH", "REMARKS"],
        [
            "evil\\x1b[31m\\x0aname\\u202e", "a", "codex", "n", "stale", "/r/\\udcff",
            "unconfirmed,", "invalid:not-json",
        ],
    ]  # fmt: skip


def test_json_is_ascii_and_holds_every_byte_of_a_path(
    meshd: CommandLine, daemon: FakeDaemon
) -> None:
    daemon.answer("GET /api/mesh/registry", {"agents": [AGENT]})
    assert meshd("agents", "list", "--json").document == {"agents": [AGENT]}
    daemon.answer("GET /api/mesh/route?from=a&to=a", {"subject": "relay.agent.n.a"})
    shown = {**AGENT, "subject": "relay.agent.n.a"}
    assert meshd("agents", "show", "a", "--json").document == shown
    assert "/r/\\udcff" in meshd("agents", "list", "--json").out


def test_an_agent_is_shown_by_id_before_path_before_name(
    meshd: CommandLine, daemon: FakeDaemon
) -> None:
    here = {**AGENT, "id": "b", "name": "twice", "projectPath": str(meshd.home / "a")}
    third = {**AGENT, "id": "c", "name": "twice"}
    daemon.answer("GET /api/mesh/registry", {"agents": [here, third, {**AGENT, "id": "a"}]})
    for agent_id in ("a", "b"):
        daemon.answer(f"GET /api/mesh/route?from={agent_id}&to={agent_id}", {"subject": None})
    shown = [meshd("agents", "show", what, "--json").document for what in ("a", "./b/../a")]
    assert [document["id"] for document in shown] == ["a", "b"]
    ambiguous = meshd("agents", "show", "twice")
    assert (ambiguous.code, "b, c" in ambiguous.err) == (3, True)


@pytest.mark.parametrize(
    ("watching", "shown", "note"),
    [
        pytest.param({}, "inotify 412/412", "", id="all of it"),
        pytest.param({"watch": "none"}, "none", "", id="by sweeps alone"),
        pytest.param(
            {"watchedDirectories": 9, "watchShortage": "permission"},
            "inotify 9/412 (permission)",
            "",
            id="what no limit is to blame for",
        ),
        pytest.param(
            {"watchedDirectories": 100, "watchShortage": "watch-limit"},
            "inotify 100/412 (watch-limit)",
            "not all is watched: raise fs.inotify.max_user_watches;"
            " sweeps notice the rest meanwhile\n",
            id="too few watches",
        ),
        pytest.param(
            {"watch": "none", "watchShortage": "instance-limit"},
            "none (instance-limit)",
            "not all is watched: raise fs.inotify.max_user_instances;"
            " sweeps notice the rest meanwhile\n",
            id="no instance",
        ),
    ],
)
def test_roots_and_status_show_how_much_is_watched_and_what_to_raise(
    meshd: CommandLine, daemon: FakeDaemon, watching: dict[str, object], shown: str, note: str
) -> None:
    """Two roots that lack the same are one limit to raise."""
    root = {**ROOT, **watching}
    roots = [root, {**root, "path": "/s"}]
    daemon.answer("GET /api/mesh/roots", {"roots": roots})
    daemon.answer("GET /api/mesh/status", {**STATUS, "roots": roots})
    listed, status = meshd("roots", "list"), meshd("status")
    line = f"/r    healthy  3       {shown}"
    assert (listed.out.splitlines()[1], listed.err) == (line, note)
    assert (line in status.out.splitlines(), status.err) == (True, note)


def test_events_are_paged_to_where_the_log_ended_when_asked(
    meshd: CommandLine, daemon: FakeDaemon
) -> None:
    entries = [
        {"seq": seq, "at": "t", "kind": "updated", "source": "api", "agentId": "a", "path": None}
        for seq in range(6, 11)
    ]
    pages = {5: entries[:2], 7: entries[2:4], 9: entries[4:]}
    for since, page in pages.items():
        newest = 9 if since == 5 else 10  # seq 10 came while the pages were asked for
        daemon.answer(
            f"GET /api/mesh/events?since={since}&limit=1000",
            {"events": page, "epoch": "e", "seq": newest},
        )
    as_json = meshd("events", "--since", "5", "--json")
    assert [json.loads(line) for line in as_json.out.splitlines()] == entries[:4]
    assert meshd("events", "--since", "5").out.splitlines()[0].split() == [
        "6", "t", "updated", "api", "a",
    ]  # fmt: skip


def test_a_sweep_prints_one_line_and_what_to_do_about_held_agents(
    meshd: CommandLine, daemon: FakeDaemon
) -> None:
    held = {**SWEPT, "held": 9, "sickRoots": ["/r"]}
    daemon.replies["POST /api/mesh/sweep"] = [Reply(SWEPT), Reply(held)]
    quiet, noisy = meshd("sweep"), meshd("sweep", "--full", "--confirm")
    assert (quiet.code, noisy.code, quiet.err) == (0, 0, "")
    assert quiet.out == (
        "swept in 0.250 s: 5 discovered, 1 synced, 2 unreachable, 4 resurrected, 3 removed,"
        " 0 held, 6 drift\n"
    )
    assert [line for line in ("/r", "meshd sweep --confirm") if line not in noisy.err] == []
    assert daemon.asked[-1] == ("POST", "/api/mesh/sweep", {"full": True, "confirm": True})


def test_acts_print_one_line_each(meshd: CommandLine, daemon: FakeDaemon) -> None:
    synced = {"seq": 7, "held": 1, "roots": [{"path": "/r", "by": "sick"}]}
    daemon.answer("POST /api/mesh/sync", synced)
    reloaded = {"generation": 2, "changed": ["api.socket"], "needsRestart": ["api.socket"]}
    daemon.answer("POST /api/mesh/reload", reloaded)
    daemon.answer("POST /api/mesh/forget", {"forgotten": [{"id": "a", "lastPath": "/r/a"}]})
    daemon.answer("GET /metrics", b"meshd_agents 1\n")
    acts = [("sync",), ("reload",), ("forget", "--unscanned"), ("metrics",)]
    assert [meshd(*act).out for act in acts] == [
        "in step with the disk at 7, 1 held\n",
        "configuration 2 is in force; changed: api.socket\n",
        "forgotten: 1\n",
        "meshd_agents 1\n",
    ]
    assert meshd("metrics", "--json").document == {"metrics": "meshd_agents 1\n"}


def test_paths_are_made_absolute_and_resolved_but_known_ones_are_kept(
    meshd: CommandLine, daemon: FakeDaemon
) -> None:
    (meshd.home / "real").mkdir()
    (meshd.home / "link").symlink_to("real")
    real, link = (str(meshd.home / name) for name in ("real", "link"))
    daemon.answer("POST /api/mesh/deny", {"success": True}, status=201)
    denied = {"path": link, "reason": None, "deniedBy": "mesh", "deniedAt": "t"}
    daemon.answer("GET /api/mesh/denied", {"denied": [denied]})
    daemon.answer("GET /api/mesh/roots", {"roots": []})
    daemon.answer("POST /api/mesh/roots/accept", {"success": True})
    encoded = link.replace("/", "%2F")
    daemon.answer(f"DELETE /api/mesh/denied/{encoded}", {"success": True})
    assert meshd("deny", "link", "--reason", "why").out == f"denied: {real}\n"
    assert daemon.asked[-1][2] == {"path": real, "reason": "why"}
    assert meshd("allow", "link").out == f"allowed: {link}\n"
    assert meshd("roots", "accept", "./link").out == f"accepted: {real}\n"


# the terminal


def _on_a_terminal(meshd: CommandLine, **environ: str) -> str:
    return at_a_terminal(meshd, "agents", "list", streams=("stdout",), environ=environ)


def test_colour_appears_on_a_terminal_only_and_not_under_no_color(
    meshd: CommandLine, daemon: FakeDaemon
) -> None:
    daemon.answer("GET /api/mesh/registry", {"agents": [AGENT]})
    assert "\x1b[33mstale" in _on_a_terminal(meshd)
    assert "\x1b" not in _on_a_terminal(meshd, NO_COLOR="1")
    assert "\x1b" not in meshd("agents", "list").out


# speed


def test_a_query_imports_nothing_that_is_slow_to_import(
    meshd: CommandLine, daemon: FakeDaemon
) -> None:
    daemon.answer("GET /api/mesh/registry", {"agents": [AGENT]})
    program = (
        "import sys; from meshd.cli import main; main(['agents', 'list']);"
        "print(*sys.modules, file=sys.stderr)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env=meshd.whole_environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    slow = {"pydantic", "pydantic_settings", "fastapi", "uvicorn", "structlog", "apsw", "asyncio"}
    assert "stale" in ran.stdout
    assert {name.partition(".")[0] for name in ran.stderr.split()} & slow == set()
