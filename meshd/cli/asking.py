"""The question before something is taken away.

Owns the one rule of all commands that ask: a person at a terminal is asked, and whoever cannot
be asked has to say `--yes`. The question is no part of the answer.
"""

from __future__ import annotations

import sys

import click

from meshd.errors import MeshdError


class _NobodyToAskError(MeshdError):
    """It takes somebody's word, and nobody is there to give it."""

    code = "usage"
    exit_code = 2


def require_agreement(question: str) -> None:
    """Ask a person, and return if it is meant.

    Args:
        question: what is to be done, as a question; paths in it are safe to show.

    Raises:
        MeshdError: nobody can be asked here; exit code 2.
        click.Abort: it is not meant.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise _NobodyToAskError(
            f"there is nobody to ask: {question}", hint="say --yes if it is meant"
        )
    click.confirm(question, abort=True, err=True)
