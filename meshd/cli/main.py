"""From arguments to an exit code.

Owns the boundary of the process: every error becomes one answer and one exit code here.
Promises: with `--json` there is one document on standard output, an error included; without,
errors go to standard error, followed by what to do.
"""

from __future__ import annotations

import contextlib
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
    _open_what_is_closed()
    _escape_what_cannot_be_encoded(sys.stdout, sys.stderr)
    try:
        code = _run(given)
        sys.stdout.flush()
    except BrokenPipeError:
        code = 1  # whoever read has seen enough
    except (MeshdError, OSError, click.ClickException, click.Abort) as error:
        known = _as_ours(error)
        code = known.exit_code
        _tell(known, as_json=_asks_for_json(given))
    for stream in (sys.stdout, sys.stderr):
        _flush_or_discard(stream)
    return code


def _run(given: list[str]) -> int:
    try:
        code = Commands(name=PROGRAM).main(given, prog_name=PROGRAM, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    return code if isinstance(code, int) else 0


def _open_what_is_closed() -> None:
    """Let a standard stream that is closed lead nowhere, lest a file of ours takes its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):  # 0, 1, 2
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - it stays open


def _tell(error: MeshdError, *, as_json: bool) -> None:
    """Print an error where it belongs or, where nothing can be written, on standard error."""
    try:
        print_error(error, as_json=as_json)
    except OSError:
        with contextlib.suppress(OSError):  # there is nowhere left to say it
            print_error(error, as_json=False)


def _flush_or_discard(stream: TextIO) -> None:
    """Leave nothing in a stream that Python would try to write at the exit, and fail again."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


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
        # click lays a choice out over several lines, with tabs.
        message = " ".join(error.format_message().split())
        return _UsageError(message, hint=f"see {path} --help")
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
