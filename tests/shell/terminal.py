"""A terminal, and a person at it who answers when asked.

Owns the pseudo terminal and the command that runs at it. Promises: everything that the command
wrote there until it ended, however the kernel parted it; an answer is typed when the question
stands there; and no command outlives its call.
"""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.shell.command_line import CommandLine

DEADLINE: Final = 60.0
"""Seconds until a command that takes well under one is given up: machines are shared."""
PROMPT: Final = b"[y/N]:"


def at_a_terminal(
    meshd: CommandLine,
    *arguments: str,
    typed: str = "",
    streams: tuple[str, ...] = ("stdin", "stdout", "stderr"),
    environ: Mapping[str, str] | None = None,
) -> str:
    """Run a command at a terminal.

    Args:
        meshd: whose command line it is.
        arguments: the command.
        typed: the answer to its question, should it ask one.
        streams: which of its streams are the terminal.
        environ: further variables of the environment.

    Returns:
        What the terminal showed, what was typed included.
    """
    leader, follower = pty.openpty()
    process = None
    try:
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "meshd", *arguments],
                cwd=meshd.home,
                env={**meshd.whole_environ, **(environ or {})},
                **dict.fromkeys(streams, follower),  # type: ignore[call-overload]
            )
        finally:
            os.close(follower)  # so that the end of the command is the end of what is read
        shown = _converse(leader, typed)
        process.wait(DEADLINE)
        return shown.decode()
    finally:
        if process is not None:
            process.kill()
            process.wait()
        os.close(leader)


def _converse(leader: int, typed: str) -> bytes:
    """Return what is shown until nobody has the other end any more."""
    deadline = time.monotonic() + DEADLINE
    answer, shown = f"{typed}\n".encode(), b""
    while chunk := _read(leader, deadline):
        shown += chunk
        if answer and PROMPT in shown:
            os.write(leader, answer)
            answer = b""
    return shown


def _read(leader: int, deadline: float) -> bytes:
    readable, _, _ = select.select([leader], [], [], max(0.0, deadline - time.monotonic()))
    assert readable, f"the command said nothing and did not end in {DEADLINE} s"
    try:
        return os.read(leader, 65536)
    except OSError:  # EIO: nobody has the other end any more
        return b""
