"""Shell completion, and the manual page: both made from the commands themselves."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from typing import TYPE_CHECKING

import click
import pytest

from meshd import errors
from meshd.cli.doctor import EXIT_FINDINGS
from meshd.cli.group import PROGRAM, Commands
from meshd.cli.main import _UsageError
from meshd.cli.manual import EXIT_CODES, page
from tests.shell.command_line import SOURCE, CommandLine

if TYPE_CHECKING:
    from pathlib import Path

PAGE = SOURCE / "docs" / "meshd.1"


@pytest.fixture
def meshd(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


# completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_a_script_that_asks_meshd(meshd: CommandLine, shell: str) -> None:
    ran = meshd("completion", shell)
    assert (ran.code, ran.err, f"_MESHD_COMPLETE={shell}_complete" in ran.out) == (0, "", True)
    assert meshd("completion", shell, "--json").document == {"shell": shell, "script": ran.out}


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("meshd re", ["reload", "register"]),
        ("meshd rules ", ["allow", "deny", "list"]),
        ("meshd wait a --for un", ["unreachable"]),
        ("meshd unregister --k", ["--keep-manifest"]),
    ],
)
def test_what_is_typed_is_completed(meshd: CommandLine, words: str, offered: list[str]) -> None:
    ran = meshd(_MESHD_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(words.count(" ")))
    assert [line.removeprefix("plain,") for line in ran.out.split()] == offered


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_understands_its_script(meshd: CommandLine) -> None:
    script = meshd("completion", "bash").out
    checked = subprocess.run(
        ["bash", "-n"], input=script, capture_output=True, text=True, timeout=60, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")


# the manual page


def test_the_manual_page_is_the_one_the_commands_make() -> None:
    assert page() == PAGE.read_text("utf-8"), "run: python -m meshd.cli.manual > docs/meshd.1"


def test_the_manual_page_tells_of_every_command_and_option() -> None:
    text = page().replace("\\-", "-")
    commands = Commands(name=PROGRAM)
    missing = [word for word in _words(commands, click.Context(commands)) if word not in text]
    assert missing == []


def _words(command: click.Command, context: click.Context) -> list[str]:
    """Return every option below a command, and every usage line's beginning."""
    found = [context.command_path] if context.command_path else []
    for parameter in command.get_params(context):
        if isinstance(parameter, click.Option):
            found += parameter.opts
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            found += _words(child, click.Context(child, context, name))
    return found


def test_the_manual_page_tells_of_every_exit_code() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    codes = {kind.exit_code for kind in kinds if issubclass(kind, errors.MeshdError)}
    assert {0, _UsageError.exit_code, EXIT_FINDINGS, *codes} == set(EXIT_CODES)


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff")
def test_the_manual_page_is_understood_whole() -> None:
    shown = subprocess.run(
        ["groff", "-man", "-Tascii", "-ww", "-z", PAGE],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (shown.returncode, shown.stderr) == (0, "")


def test_the_wheel_takes_the_manual_page_along() -> None:
    project = tomllib.loads((SOURCE / "pyproject.toml").read_text("utf-8"))
    shared = project["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    assert shared == {"docs/meshd.1": "share/man/man1/meshd.1"}
    assert re.match(r"\.TH MESHD 1 ", PAGE.read_text("utf-8"))
