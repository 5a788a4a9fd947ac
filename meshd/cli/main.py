"""From arguments to an exit code.

Owns the boundary of the process: every error becomes one answer and one exit code here.
Promises: with `--json` there is one document on standard output, an error included; without,
errors go to standard error, followed by what to do.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, TextIO

import click

from meshd.cli.group import PROGRAM, Commands
from meshd.cli.output import print_error
from meshd.errors import MeshdError, PermissionRefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence


class _UsageError(MeshdError):
    """The command line itself is wrong."""

    code = "usage"
    exit_code = 2


class _InterruptedError(MeshdError):
    """The user changed their mind."""

    code = "interrupted"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        arguments: what follows the program's name; those of the process by default.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    _escape_what_cannot_be_encoded(sys.stdout, sys.stderr)
    try:
        code = _run(given)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has seen enough. What is still buffered must not be tried again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _run(given: list[str]) -> int:
    try:
        code = Commands(name=PROGRAM).main(given, prog_name=PROGRAM, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except BrokenPipeError:
        raise
    except (MeshdError, OSError, click.ClickException, click.Abort) as error:
        known = _as_ours(error)
        print_error(known, as_json=_asks_for_json(given))
        return known.exit_code
    return code if isinstance(code, int) else 0


def _as_ours(
    error: MeshdError | OSError | click.ClickException | click.Abort,
) -> MeshdError:
    """Return an error of click's or of the system's as one of ours."""
    if isinstance(error, MeshdError):
        return error
    if isinstance(error, OSError):
        kind = PermissionRefusedError if isinstance(error, PermissionError) else MeshdError
        return kind(_said_by_system(error))
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx else PROGRAM
        return _UsageError(error.format_message(), hint=f"see {path} --help")
    if isinstance(error, click.ClickException):
        return MeshdError(error.format_message())
    return _InterruptedError("interrupted; nothing more was done")


def _said_by_system(error: OSError) -> str:
    """Return what the system refused, and for which file."""
    what = error.strerror or str(error)
    return what if error.filename is None else f"{os.fsdecode(error.filename)}: {what}"


def _asks_for_json(given: list[str]) -> bool:
    """Whether `--json` was given, also where the rest could not be understood."""
    options = given[: given.index("--")] if "--" in given else given
    return "--json" in options


def _escape_what_cannot_be_encoded(*streams: TextIO) -> None:
    """Let no name break an answer: a lone surrogate, or a terminal that knows ASCII only."""
    for stream in streams:
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:  # a test may have put a stream of its own there
            reconfigure(errors="backslashreplace")
