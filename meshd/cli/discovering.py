"""`meshd discover`: which projects might have an agent and have no manifest yet."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

import click

from meshd.cli.group import Command
from meshd.cli.listing import print_list
from meshd.cli.output import print_note
from meshd.cli.session import Session, current_session, resolved
from meshd.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshd.client import Client, Document

_LISTED = ("healthy", "truncated")
"""States of roots that can be listed."""

_CLEAR_LINE = "\r\x1b[K"


@click.command(cls=Command)
@click.argument("directories", metavar="[DIR]...", nargs=-1)
@click.option(
    "--max-depth", type=click.IntRange(min=1), metavar="N", help="How many levels below DIR."
)
def discover(directories: tuple[str, ...], max_depth: int | None) -> None:
    """Look below DIR, or all roots, for projects that could have an agent and have none."""
    session = current_session()
    with session.client() as client:
        roots = [resolved(path) for path in directories] or _healthy_roots(client)
        document = _search(session, client, roots, max_depth)
    print_list(
        document,
        "candidates",
        {
            "PATH": "path",
            "RUNTIME": lambda candidate: candidate["hints"]["detectedRuntime"],
            "NAME": lambda candidate: candidate["hints"]["suggestedName"],
            "DESCRIPTION": lambda candidate: _short(candidate["hints"].get("description")),
        },
        nothing="no candidates: every project with an agent has its manifest",
        as_json=session.as_json,
    )
    if session.as_json:
        return
    for path in document["sickRoots"]:
        print_note(f"sick, so not searched: {path} (see meshd doctor)")
    for path in document["unscanned"]:
        print_note(f"not scanned, so not searched: {path}")
    if document["truncated"]:
        print_note("there are more: name a directory further down")
    if document["candidates"]:
        first = shlex.quote(document["candidates"][0]["path"])
        print_note(f"to give one its agent: meshd register {first}")


def _healthy_roots(client: Client) -> list[str]:
    """Return the roots that can be searched.

    Raises:
        NotFoundError: there is none.
    """
    roots = [root["path"] for root in client.roots()["roots"] if root["state"] in _LISTED]
    if not roots:
        raise NotFoundError("there is no healthy root", hint="see meshd roots list")
    return roots


def _search(
    session: Session, client: Client, roots: Sequence[str], max_depth: int | None
) -> Document:
    """Return the candidates; show on a terminal how far the search is meanwhile."""
    candidates: list[Document] = []
    done: Document = {}
    is_shown = sys.stderr.isatty() and not session.as_json
    for kind, document in client.discover(roots, max_depth=max_depth):
        if kind == "candidate":
            candidates.append(document)
        elif kind == "done":
            done = document
        elif is_shown:
            _show_progress(document, len(candidates))
    if is_shown:
        click.echo(_CLEAR_LINE, err=True, nl=False)
    return {
        "candidates": candidates,
        "truncated": bool(done.get("truncated")),
        "sickRoots": done.get("sickRoots", []),
        "unscanned": done.get("unscanned", []),
    }


def _show_progress(document: Document, found: int) -> None:
    scanned = document.get("directories", 0)
    click.echo(f"{_CLEAR_LINE}{scanned} directories, {found} candidates", err=True, nl=False)


def _short(text: str | None) -> str | None:
    """Return the beginning of a description, so that a table stays one."""
    most = 60
    if text is None or len(text) <= most:
        return text
    return f"{text[: most - 3]}..."
