"""Discover, register, update and unregister on the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.shell.command_line import CommandLine
from tests.shell.fake_daemon import FakeDaemon, fake_daemon
from tests.shell.terminal import at_a_terminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WRITTEN = {
    "id": "01J", "name": "p", "runtime": "codex", "description": "", "capabilities": ["code"],
}  # fmt: skip


@pytest.fixture
def meshd(tmp_path: Path) -> CommandLine:
    home = tmp_path / "h"
    (home / "p").mkdir(parents=True)
    return CommandLine(home)


@pytest.fixture
def daemon(meshd: CommandLine) -> Iterator[FakeDaemon]:
    """A daemon where it listens by default."""
    meshd.state.mkdir(parents=True)
    with fake_daemon(meshd.state / "meshd.sock") as fake:
        yield fake


def candidate(path: str, runtime: str = "codex", **hints: object) -> dict[str, object]:
    return {
        "path": path,
        "strategy": runtime,
        "hints": {"suggestedName": "p", "detectedRuntime": runtime, **hints},
        "discoveredAt": "t",
    }


def finds(daemon: FakeDaemon, *candidates: dict[str, object], truncated: bool = False) -> None:
    """Let a search find these."""
    done: dict[str, object] = {"candidates": len(candidates), "directories": 9}
    done |= {"truncated": truncated, "sickRoots": [], "unscanned": []}
    events = [("progress", {"directories": 7, "candidates": 0, "root": "/r"})]
    events += [("candidate", found) for found in candidates]
    frames = [
        f"event: {kind}\ndata: {json.dumps(document)}\n\n"
        for kind, document in [*events, ("done", done)]
    ]
    daemon.answer("POST /api/mesh/discover", "".join(frames).encode())


def asked(daemon: FakeDaemon, method: str) -> tuple[str, object]:
    """Return the target and the body of the last such request."""
    return next((at, body) for how, at, body in reversed(daemon.asked) if how == method)


# discover


def test_candidates_are_a_table_with_the_command_to_try(
    meshd: CommandLine, daemon: FakeDaemon
) -> None:
    long = "What it is for. " * 10
    finds(daemon, candidate("/r/with space", description=long), candidate("/r/b", "gemini"))
    ran = meshd("discover", ".", "--max-depth", "3")
    first, second = ran.out.splitlines()[1:]
    assert (len(first) < 120, first.endswith("...")) == (True, True)
    assert second.split() == ["/r/b", "gemini", "p"]
    assert ran.err == "to give one its agent: meshd register '/r/with space'\n"
    assert daemon.asked[-1][2] == {"roots": [str(meshd.home)], "maxDepth": 3}


def test_candidates_are_one_json_document(meshd: CommandLine, daemon: FakeDaemon) -> None:
    found = candidate("/r/a")
    finds(daemon, found, truncated=True)
    ran = meshd("discover", "/r", "--json")
    whole = {"candidates": [found], "truncated": True, "sickRoots": [], "unscanned": []}
    assert (ran.document, ran.err) == (whole, "")


def test_without_a_directory_every_healthy_root_is_searched(
    meshd: CommandLine, daemon: FakeDaemon
) -> None:
    states = {"/a": "healthy", "/b": "sick", "/c": "healthy"}
    roots = [{"path": path, "state": state} for path, state in states.items()]
    daemon.answer("GET /api/mesh/roots", {"roots": roots})
    finds(daemon)
    ran = meshd("discover")
    assert (ran.code, ran.out) == (0, "")
    assert "no candidates" in ran.err
    assert asked(daemon, "POST")[1] == {"roots": ["/a", "/c"]}


def test_what_was_not_searched_is_named(meshd: CommandLine, daemon: FakeDaemon) -> None:
    done = {"truncated": True, "sickRoots": ["/s"], "unscanned": ["/r/denied"]}
    daemon.answer("POST /api/mesh/discover", f"event: done\ndata: {json.dumps(done)}\n\n".encode())
    said = meshd("discover", "/r", "/s").err
    assert [path for path in ("/s", "/r/denied", "further down") if path not in said] == []


def test_progress_is_shown_on_a_terminal_only(meshd: CommandLine, daemon: FakeDaemon) -> None:
    finds(daemon, candidate("/r/a"))
    assert "7 directories" in at_a_terminal(meshd, "discover", "/r")
    assert "directories" not in meshd("discover", "/r").err


# register


def test_a_register_takes_name_and_runtime_from_the_directory(
    meshd: CommandLine, daemon: FakeDaemon
) -> None:
    path = str(meshd.home / "p")
    finds(daemon, candidate(path))
    daemon.answer("POST /api/mesh/agents", WRITTEN, status=201)
    ran = meshd("register", "p", "--capability", "a", "--capability", "b", "--approver", "me")
    assert (ran.code, ran.out.splitlines()[0]) == (0, "registered: p (01J)")
    assert asked(daemon, "POST")[1] == {
        "path": path,
        "overrides": {"name": "p", "runtime": "codex", "capabilities": ["a", "b"]},
        "approver": "me",
    }
    assert ("POST", "/api/mesh/discover", {"roots": [path], "maxDepth": 0}) in daemon.asked


@pytest.mark.parametrize("why", ["unscanned", "sickRoots"])
def test_why_a_project_cannot_be_registered_is_said_by_the_daemon(
    meshd: CommandLine, daemon: FakeDaemon, why: str
) -> None:
    done = {"sickRoots": [], "unscanned": [], why: ["/r"]}
    daemon.answer("POST /api/mesh/discover", f"event: done\ndata: {json.dumps(done)}\n\n".encode())
    said = {"error": "there is no directory at '/r/p'", "code": "out-of-scope", "hint": "make it"}
    daemon.answer("POST /api/mesh/agents", said, status=422)
    ran = meshd("register", "nowhere")
    assert (ran.code, ran.err) == (1, "error: there is no directory at '/r/p'\nhint: make it\n")


def test_what_is_said_goes_before_what_is_found(meshd: CommandLine, daemon: FakeDaemon) -> None:
    daemon.answer("POST /api/mesh/agents", WRITTEN, status=201)
    said = ["--name", "n", "--runtime", "x", "--display-name", "N", "--set", 'traits={"humor": 5}']
    assert meshd("register", "p", *said, "--json").document == WRITTEN
    assert asked(daemon, "POST")[1] == {
        "path": str(meshd.home / "p"),
        "overrides": {"name": "n", "runtime": "x", "displayName": "N", "traits": {"humor": 5}},
    }


def test_a_directory_may_have_a_name_that_no_agent_may_have(
    meshd: CommandLine, daemon: FakeDaemon
) -> None:
    daemon.answer("POST /api/mesh/agents", WRITTEN, status=201)
    path = meshd.home / "\udcffodd\n name"
    path.mkdir()
    assert meshd("register", str(path), "--runtime", "x").code == 0
    assert asked(daemon, "POST")[1] == {
        "path": str(path),
        "overrides": {"name": "odd name", "runtime": "x"},
    }


def test_a_project_with_a_manifest_keeps_what_it_says(
    meshd: CommandLine, daemon: FakeDaemon
) -> None:
    (meshd.home / "p" / ".dork").mkdir()
    (meshd.home / "p" / ".dork" / "agent.json").touch()
    daemon.answer("POST /api/mesh/agents", WRITTEN, status=201)
    assert meshd("register", "p", "--description", "new").code == 0
    assert daemon.asked == [
        (
            "POST", "/api/mesh/agents",
            {"path": str(meshd.home / "p"), "overrides": {"description": "new"}},
        )
    ]  # fmt: skip


def test_a_runtime_that_nothing_tells_is_asked_for(meshd: CommandLine, daemon: FakeDaemon) -> None:
    finds(daemon)
    ran = meshd("register", "p")
    assert (ran.code, "--runtime claude-code" in ran.err) == (2, True)
    assert [method for method, target, _ in daemon.asked if target.endswith("agents")] == []


def test_a_dry_run_says_what_would_be(meshd: CommandLine, daemon: FakeDaemon) -> None:
    daemon.answer("POST /api/mesh/agents?dryRun=true", WRITTEN)
    daemon.answer("PATCH /api/mesh/agents/a?dryRun=true", WRITTEN)
    first = meshd("register", "p", "--runtime", "codex", "--dry-run").out.splitlines()[0]
    second = meshd("update", "a", "--name", "n", "--dry-run").out.splitlines()[0]
    assert [first, second] == ["would register: p (01J)", "would update: p (01J)"]


# update


def test_an_update_says_what_changes_and_what_is_cleared(
    meshd: CommandLine, daemon: FakeDaemon
) -> None:
    daemon.answer("PATCH /api/mesh/agents/a", WRITTEN)
    said = ["--description", "", "--set", "personaEnabled=false", "--clear", "color"]
    ran = meshd("update", "a", *said, "--if-seq", "7")
    assert (ran.code, ran.out.splitlines()[0]) == (0, "updated: p (01J)")
    changes = {"description": "", "personaEnabled": False, "color": None}
    assert daemon.asked == [("PATCH", "/api/mesh/agents/a", changes)]


@pytest.mark.parametrize(
    "said", [["--set", "colour=1"], ["--set", 'id="b"'], ["--clear", "x"], ["--clear", "name"]]
)
def test_a_key_that_cannot_be_set_is_refused_before_anything_is_asked(
    meshd: CommandLine, daemon: FakeDaemon, said: list[str]
) -> None:
    assert meshd("update", "a", *said).code == 2
    assert daemon.asked == []


def test_a_lost_update_is_refused_with_what_to_do(meshd: CommandLine, daemon: FakeDaemon) -> None:
    said = {"error": "it has changed", "code": "conflict", "hint": "read it again"}
    daemon.answer("PATCH /api/mesh/agents/a", said, status=412)
    ran = meshd("update", "a", "--name", "n", "--if-seq", "7")
    assert (ran.code, ran.err) == (1, "error: it has changed\nhint: read it again\n")


# unregister


GONE = {"success": True, "deletedPath": None, "successor": None}
FILE = "/r/p/.dork/agent.json"
UNDENY = "to take that back: meshd allow /r/p"


@pytest.fixture
def known(daemon: FakeDaemon) -> FakeDaemon:
    """A daemon with one agent."""
    knows(daemon)
    for query in ("", "?dryRun=true"):
        daemon.answer(f"DELETE /api/mesh/agents/a{query}", {**GONE, "deletedPath": FILE})
        data = {**GONE, "deletedPath": "/r/p/.dork"}
        daemon.answer(f"DELETE /api/mesh/agents/a/data{query}", data)
    for query in ("?keepManifest=true", "?keepManifest=true&dryRun=true"):
        daemon.answer(f"DELETE /api/mesh/agents/a{query}", GONE)
    return daemon


def knows(daemon: FakeDaemon, unscanned: str | None = None) -> None:
    row = {"id": "a", "name": "p", "displayName": None, "projectPath": "/r/p", "lastPath": "/r/p"}
    daemon.answer("GET /api/mesh/registry", {"agents": [{**row, "unscanned": unscanned}]})


@pytest.mark.parametrize(
    ("options", "target", "out", "err"),
    [
        (["--yes"], "", f"unregistered: p (a)\nremoved: {FILE}\n", ""),
        (
            ["--keep-manifest", "--yes"], "?keepManifest=true",
            "unregistered: p (a)\n", f"its project is denied; {UNDENY}\n",
        ),
        (["--data", "--yes"], "/data", "unregistered: p (a)\nremoved: /r/p/.dork\n", ""),
        (["--dry-run"], "?dryRun=true", f"would unregister: p (a)\nwould remove: {FILE}\n", ""),
        (
            ["--keep-manifest", "--dry-run"], "?keepManifest=true&dryRun=true",
            "would unregister: p (a)\n", f"its project would be denied; {UNDENY}\n",
        ),
        (
            ["--data", "--dry-run"], "/data?dryRun=true",
            "would unregister: p (a)\nwould remove: /r/p/.dork\n", "",
        ),
    ],
)  # fmt: skip
def test_what_becomes_of_the_files_of_an_agent_is_said(
    meshd: CommandLine, known: FakeDaemon, options: list[str], target: str, out: str, err: str
) -> None:
    ran = meshd("unregister", "p", *options)
    assert (ran.code, ran.out, ran.err) == (0, out, err)
    assert asked(known, "DELETE")[0] == f"/api/mesh/agents/a{target}"


@pytest.mark.parametrize(
    ("unscanned", "successor", "said"),
    [
        ("excluded", None, "its manifest stays at /r/p, which is not scanned\n"),
        (None, None, "there was no manifest of it at /r/p\n"),
        (
            None, "/r/copy",
            "there was no manifest of it at /r/p\nits id is now held by /r/copy\n",
        ),
    ],
)  # fmt: skip
def test_what_stays_of_an_agent_is_said(
    meshd: CommandLine, daemon: FakeDaemon, unscanned: str, successor: str, said: str
) -> None:
    knows(daemon, unscanned)
    daemon.answer("DELETE /api/mesh/agents/a", {**GONE, "successor": successor})
    assert meshd("unregister", "a", "--yes").err == said


@pytest.mark.parametrize("options", [[], ["--data"], ["--keep-manifest"], ["--json"]])
def test_where_nobody_can_be_asked_nothing_is_removed(
    meshd: CommandLine, known: FakeDaemon, options: list[str]
) -> None:
    ran = meshd("unregister", "a", *options)
    assert (ran.code, "--yes" in ran.out + ran.err) == (2, True)
    assert [method for method, *_ in known.asked if method == "DELETE"] == []


@pytest.mark.parametrize(
    ("options", "typed", "question", "removed"),
    [
        ([], "n", "Remove /r/p/.dork/agent.json?", False),
        (["--json"], "n", "Remove /r/p/.dork/agent.json?", False),
        ([], "y", "Remove /r/p/.dork/agent.json?", True),
        (["--data"], "n", "Remove /r/p/.dork and all in it?", False),
        (["--keep-manifest"], "n", "Deny /r/p?", False),
        (["--yes"], "", "", True),
    ],
)
def test_a_person_at_a_terminal_is_asked_first(
    meshd: CommandLine,
    known: FakeDaemon,
    options: list[str],
    typed: str,
    question: str,
    removed: bool,
) -> None:
    shown = at_a_terminal(meshd, "unregister", "a", *options, typed=typed)
    assert question in shown
    assert any(method == "DELETE" for method, *_ in known.asked) == removed
