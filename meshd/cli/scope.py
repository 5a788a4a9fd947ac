"""Commands about what is scanned: roots and denials."""

from __future__ import annotations

import click

from meshd.cli.group import Command, Group
from meshd.cli.listing import print_list
from meshd.cli.output import print_json, print_line, print_note
from meshd.cli.roots import print_roots
from meshd.cli.session import current_session, resolved


@click.group(cls=Group)
def roots() -> None:
    """List roots, or accept what lies at one now."""


@roots.command("list")
def list_roots() -> None:
    """List the roots and how each is."""
    session = current_session()
    with session.reading() as reader:
        document = reader.roots()
    if session.as_json:
        print_json(document)
    elif not document["roots"]:
        print_note("no roots")
    else:
        print_roots(document["roots"])


@roots.command
@click.argument("path", metavar="ROOT")
def accept(path: str) -> None:
    """Take what lies at a root now for the root, after its disk was exchanged."""
    session = current_session()
    with session.client() as client:
        known = {root["path"] for root in client.roots()["roots"]}
        root = resolved(path, known)
        document = client.accept_root(root)
    if session.as_json:
        print_json(document)
    else:
        print_line(f"accepted: {root}")


@click.command(cls=Command)
@click.argument("path")
@click.option("--reason", help="Why, for whoever wonders later.")
def deny(path: str, reason: str | None) -> None:
    """Leave a path alone, with everything below it; its agents leave the registry."""
    session = current_session()
    with session.client() as client:
        denied_path = resolved(path)
        document = client.deny(denied_path, reason=reason)
    if session.as_json:
        print_json(document)
    else:
        print_line(f"denied: {denied_path}")


@click.command(cls=Command)
@click.argument("path")
def allow(path: str) -> None:
    """Take a denial back; the agents below are found again."""
    session = current_session()
    with session.client() as client:
        known = {denial["path"] for denial in client.denied()["denied"]}
        allowed_path = resolved(path, known)
        document = client.allow(allowed_path)
    if session.as_json:
        print_json(document)
    else:
        print_line(f"allowed: {allowed_path}")


@click.command(cls=Command)
def denied() -> None:
    """List what is denied, by whom and why."""
    session = current_session()
    with session.reading() as reader:
        document = reader.denied()
    print_list(
        document,
        "denied",
        {"PATH": "path", "BY": "deniedBy", "AT": "deniedAt", "REASON": "reason"},
        nothing="nothing is denied",
        as_json=session.as_json,
    )
