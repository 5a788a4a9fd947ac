"""The README is true: what it shows is run, against a real daemon, in the order it is shown.

A `console` block holds commands after `$ ` and what they print; `...` stands for anything.
Paths of the test are shown as those of ada, and times, durations, process ids and epochs are
compared by their form. `meshd run` stays in the background until the comment that stops it.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import pytest

from meshd import errors
from meshd.cli.doctor import EXIT_FINDINGS
from meshd.cli.group import Commands
from meshd.config import load

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY: Final = Path(__file__).parent.parent
README: Final = (REPOSITORY / "README.md").read_text("utf-8")

FOR_USERS: Final = (
    "python3 -m venv .venv && .venv/bin/pip install -q . && .venv/bin/meshd run examples"
)
FOR_DEVELOPERS: Final = (
    "python3 -m venv .venv && .venv/bin/pip install -q -e '.[dev]' && .venv/bin/python -m tests"
)
STOP: Final = "<!-- the daemon is stopped here -->"

_BLOCK: Final = re.compile(
    rf"^```(?P<language>\w+)\n(?P<text>.*?)^```$|^{re.escape(STOP)}$", re.MULTILINE | re.DOTALL
)
_FORMS: Final = (
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "TIME"),
    (r"\d+\.\d{3} s\b", "SECONDS"),
    (r"process \d+", "process PID"),
    (r'(epoch "?|"epoch": ?")[0-9a-f]{8}', r"\1EPOCH"),
    # Those of the examples stay; what `register` gives is new each time.
    (r"\b01(?!JKX3T9V|K2PB7E0|M84BT8C)[0-9A-Z]{24}\b", "ULID"),
    (r"\s+", " "),
)


@dataclass(frozen=True)
class Block:
    """A fenced block; language "stop" is the comment that stops the daemon."""

    language: str
    text: str


def blocks() -> list[Block]:
    return [
        Block(match["language"] or "stop", match["text"] or "") for match in _BLOCK.finditer(README)
    ]


def steps(block: Block) -> Iterator[tuple[str, str]]:
    """Yield each command of a console block with what it is shown to print."""
    command, *rest = re.split(r"^\$ ", block.text, flags=re.MULTILINE)
    assert command == "", "a console block begins with a command"
    for step in rest:
        line, _, output = step.partition("\n")
        yield line, output


def in_form(text: str) -> str:
    for pattern, form in _FORMS:
        text = re.sub(pattern, form, text)
    return text.strip()


def as_pattern(shown: str) -> str:
    return ".*".join(re.escape(part.strip()) for part in in_form(shown).split("..."))


def assert_printed(command: str, shown: str, printed: str) -> None:
    pattern = as_pattern(shown).replace(".*", r"\s*.*\s*")
    assert re.fullmatch(pattern, in_form(printed)), f"$ {command}\n{printed}\n--- shown:\n{shown}"


class Terminal:
    """Somebody who types what the README says, in a copy of what it speaks of."""

    def __init__(self, directory: Path) -> None:
        self._home, self._runtime = directory / "home", directory / "run"
        self._here = self._home / "meshd"
        tools = directory / "bin"
        for made in (self._home, self._runtime, self._here, tools):
            made.mkdir()
        shutil.copytree(REPOSITORY / "examples", self._here / "examples")
        shutil.copy(REPOSITORY / "config.example.toml", self._here)
        program = tools / "meshd"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m meshd "$@"\n', "utf-8")
        program.chmod(0o755)
        self._environment = {
            "PATH": f"{tools}:{os.environ['PATH']}",
            "HOME": str(self._home),
            "XDG_RUNTIME_DIR": str(self._runtime),
            "PYTHONPATH": str(REPOSITORY),
            "LC_ALL": "C.UTF-8",
        }
        self._aliases = ""
        self._log = (directory / "log").open("w+", encoding="utf-8")
        self._daemon: subprocess.Popen[str] | None = None

    def type(self, command: str, shown: str) -> None:
        if command.startswith("meshd run"):
            self._start(command, shown)
        elif command.startswith("alias "):
            self._aliases = f"shopt -s expand_aliases\n{command}\n"
        else:
            self._run(command, shown)

    def python(self, program: str) -> str:
        return self._output([sys.executable, "-c", program])

    def stop(self) -> None:
        if self._daemon is not None:
            self._daemon.send_signal(signal.SIGINT)
            assert self._daemon.wait(timeout=30) == 0
            assert self._daemon.stdout is not None
            self._daemon.stdout.close()
            self._daemon = None

    def close(self) -> None:
        try:
            self.stop()
        finally:
            if self._daemon is not None:
                self._daemon.kill()
            self._log.close()

    def _start(self, command: str, shown: str) -> None:
        """Start the daemon, and wait until it has printed as many lines as are shown."""
        self._daemon = subprocess.Popen(
            ["bash", "-c", f"exec {command}"], cwd=self._here, env=self._environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._log,
        )  # fmt: skip
        assert self._daemon.stdout is not None
        last = in_form(shown.splitlines()[-1])
        printed = ""
        for line in self._daemon.stdout:
            printed += line
            if in_form(line) == last:
                break
        assert_printed(command, shown, self._as_ada_sees_it(printed))

    def _run(self, command: str, shown: str) -> None:
        # bash expands an alias on the lines after the one that defines it.
        printed = self._output(["bash", "-c", f"{self._aliases}{command}"])
        assert_printed(command, shown, printed)

    def _output(self, command: list[str]) -> str:
        done = subprocess.run(
            command, cwd=self._here, env=self._environment, text=True, check=False, timeout=60,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}"
        return self._as_ada_sees_it(done.stdout)

    def _as_ada_sees_it(self, text: str) -> str:
        text = text.replace(str(self._runtime), "/run/user/1000")
        return text.replace(str(self._home), "/home/ada")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_everything_that_is_shown_happens_as_shown(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path.resolve())
    try:
        for block in blocks():
            if block.language == "console":
                for command, shown in steps(block):
                    terminal.type(command, shown)
            elif block.language == "python":
                assert "/home/ada/meshd/examples/handbook" in terminal.python(block.text)
            elif block.language == "stop":
                terminal.stop()
    finally:
        terminal.close()


def test_the_two_commands_are_shown_and_nothing_else_is_left_unrun() -> None:
    unrun = [block.text for block in blocks() if block.language == "sh"]
    assert [f"{FOR_USERS}\n", f"{FOR_DEVELOPERS}\n"] == unrun
    known = {"sh", "console", "toml", "python", "service", "stop"}
    assert {block.language for block in blocks()} == known


def test_the_shown_configuration_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("".join(block.text for block in blocks() if block.language == "toml"), "utf-8")
    settings = load(path, environ={"HOME": "/home/ada"})
    assert len(settings.scan.roots) == 2
    assert settings.api.listen is not None


def commands() -> set[str]:
    """Return every command there is, subcommands as `GROUP NAME`."""
    context = click.Context(Commands(name="meshd"))
    found = set()
    for name in Commands().list_commands(context):
        command = Commands().get_command(context, name)
        if isinstance(command, click.Group):
            found |= {f"{name} {below}" for below in command.list_commands(context)}
        else:
            found.add(name)
    return found


def test_the_table_of_commands_has_each_and_no_other() -> None:
    rows = re.findall(r"^\| `meshd ([a-z -]+[a-z])[^`]*` \|", README, re.MULTILINE)
    assert sorted(commands()) == sorted(rows)


def test_every_command_that_is_mentioned_exists() -> None:
    known = commands()
    groups = {command.split()[0] for command in known if " " in command}
    for words in re.findall(r"`meshd ([a-z][a-z -]*)", README):
        first, *rest = words.split()
        assert (f"{first} {rest[0]}" if first in groups else first) in known, words


def test_the_exit_codes_are_those_of_the_errors() -> None:
    shown = {int(code) for code in re.findall(r"^\| (\d) \| ", README, re.MULTILINE)}
    every = [value for value in vars(errors).values() if isinstance(value, type)]
    used = {error.exit_code for error in every if issubclass(error, errors.MeshdError)}
    assert used | {0, 2, EXIT_FINDINGS} == shown


def test_every_file_that_is_linked_exists() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert links
    assert not [link for link in links if not (REPOSITORY / link).exists()]
