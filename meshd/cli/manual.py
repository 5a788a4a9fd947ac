"""The manual page, made from the commands: `python -m meshd.cli.manual > docs/meshd.1`.

Owns how a page looks, and what it says that no command says: exit codes, environment, files.
Promises: the page tells of every command and every option, in the order of the help, and of
nothing that changes from day to day.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from meshd import __version__
from meshd.cli.group import PROGRAM, Commands

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

EXIT_CODES: Final = {
    0: "Done.",
    1: "It failed.",
    2: "The command line is wrong.",
    3: "Not found.",
    4: "No daemon answers, and there is no database to read.",
    5: "The configuration or a manifest is not valid.",
    6: "There are findings, and --fail-on-findings was given.",
    7: "Not permitted.",
    8: "It did not happen in time.",
}

_ENVIRONMENT: Final = {
    "MESHD_SOCKET": "Where the daemon listens, unless --socket says it.",
    "MESHD_SECTION__KEY": "A key of the configuration, stronger than its file.",
    "STATE_DIRECTORY, XDG_STATE_HOME": "Where the registry is kept.",
    "RUNTIME_DIRECTORY, XDG_RUNTIME_DIR": "Where the socket is.",
    "NO_COLOR": "No colour, on a terminal either.",
}

_FILES: Final = {
    ".dork/agent.json": "The manifest of a project.",
    "~/.config/meshd/config.toml, /etc/meshd/config.toml": "The configuration; the first counts.",
    "~/.local/state/meshd/": "The database, and policy.json: what no manifest says.",
}

_DESCRIPTION: Final = (
    "People run many AI coding agents, one per project directory, and each project says who its"
    " agent is in .dork/agent.json. meshd is a daemon that turns those files into a registry"
    " you can trust. This program runs the daemon, asks it, and acts through it. While none runs,"
    " questions are answered from its database, and say so."
)

_KEEP_LINES: Final = "\b"
"""How a help text marks a paragraph whose lines are kept."""


def page() -> str:
    """Return the manual page in troff's man macros."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    commands = Commands(name=PROGRAM)
    context = click.Context(commands, info_name=PROGRAM)
    yield f'.TH {PROGRAM.upper()} 1 "" "{PROGRAM} {__version__}" "User Commands"'
    yield ".SH NAME"
    yield f"{PROGRAM} \\- keep a registry of AI agents that is always right"
    yield ".SH SYNOPSIS"
    yield f".B {PROGRAM}"
    yield _text("[OPTIONS] COMMAND [ARGS]...")
    yield ".SH DESCRIPTION"
    yield _text(_DESCRIPTION)
    yield ".SH OPTIONS"
    yield "They may stand before or after the name of a command."
    shared = _options(commands, context)
    yield from _list(shared)
    yield ".SH COMMANDS"
    for name in commands.list_commands(context):
        command = commands.get_command(context, name)
        assert command is not None, "bug: a command that is listed and not there"
        yield from _command(command, click.Context(command, context, name), shared)
    yield from _section("EXIT STATUS", {str(code): text for code, text in EXIT_CODES.items()})
    yield from _section("ENVIRONMENT", _ENVIRONMENT)
    yield from _section("FILES", _FILES)


def _section(title: str, items: dict[str, str]) -> Iterator[str]:
    yield f".SH {title}"
    yield from _list(items.items())


def _command(
    command: click.Command, context: click.Context, shared: list[tuple[str, str]]
) -> Iterator[str]:
    """Yield a command with the options that are its own, then its subcommands."""
    usage = " ".join(
        piece for piece in command.collect_usage_pieces(context) if piece != "[OPTIONS]"
    )
    own = [option for option in _options(command, context) if option not in shared]
    yield f".SS {_text(f'{context.command_path} {usage}')}".rstrip()
    yield from _paragraphs(command.help or "")
    yield from _list(own)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None, "bug: a command that is listed and not there"
            yield from _command(child, click.Context(child, context, name), shared)


def _options(command: click.Command, context: click.Context) -> list[tuple[str, str]]:
    """Return the options of a command, each with its help."""
    records = (
        parameter.get_help_record(context)
        for parameter in command.get_params(context)
        if isinstance(parameter, click.Option)
    )
    return [record for record in records if record is not None]


def _list(items: Iterable[tuple[str, str]]) -> Iterator[str]:
    for name, text in items:
        yield ".TP"
        yield f".B {_text(name)}"
        yield _text(text)


def _paragraphs(text: str) -> Iterator[str]:
    """Yield a help text; paragraphs marked so keep their lines."""
    for number, paragraph in enumerate(text.strip().split("\n\n")):
        if number:
            yield ".PP"
        lines = paragraph.split("\n")
        if lines[0] == _KEEP_LINES:
            yield ".nf"
            yield from map(_text, lines[1:])
            yield ".fi"
        else:
            yield _text(" ".join(line.strip() for line in lines))


def _text(text: str) -> str:
    """Return text as troff prints it: no request, no escape, plain hyphens."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


if __name__ == "__main__":
    click.echo(page(), nl=False)
