"""Commands about the registry: claims, events, sweep, sync, forget."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from meshd.cli.group import Command
from meshd.cli.listing import print_list
from meshd.cli.output import print_json, print_json_line, print_line, print_note
from meshd.cli.session import Reader, Session, current_session
from meshd.client import GoneError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshd.client import Document

PAGE = 1000
"""Entries of the change log that are asked for at once."""

# The outcomes a claim can have (`meshd.core.model.ClaimOutcome`, which is slow to import).
_OUTCOMES = ("valid", "duplicate", "alias", "refused", "invalid", "unreadable", "absent")


@click.command(cls=Command)
@click.option("--outcome", type=click.Choice(_OUTCOMES), help="Only those judged so.")
def claims(outcome: str | None) -> None:
    """List what every manifest path says, and how it was judged."""
    session = current_session()
    with session.reading() as reader:
        document = reader.claims(outcome)
    print_list(
        document,
        "claims",
        {
            "OUTCOME": "outcome",
            "ID": "agentId",
            "PATH": "path",
            "REASON": "reason",
            "DETAIL": "detail",
        },
        nothing="no claims",
        as_json=session.as_json,
    )


@click.command(cls=Command)
@click.option("--since", type=click.IntRange(min=0), metavar="SEQ", help="Only those after SEQ.")
@click.option("--follow", is_flag=True, help="Go on with what happens, from now or from SEQ.")
def events(since: int | None, follow: bool) -> None:
    """Print the change log, oldest entry first; with --json, one document per line."""
    session = current_session()
    if follow:
        _follow(session, since)
        return
    with session.reading() as reader:
        for entry in _entries(reader, since or 0):
            _print_event(entry, as_json=session.as_json)


def _follow(session: Session, since: int | None) -> None:
    """Print entries as they are committed, until the user has seen enough.

    Raises:
        GoneError: the log cannot go on.
    """
    with session.client() as client:
        try:
            for entry in client.follow(since, connected=_tell_connected):
                _print_event(entry, as_json=session.as_json)
        except KeyboardInterrupt:
            return
        except GoneError as error:
            hint = "what happened is in the rows: meshd agents list; then follow without --since"
            raise GoneError(error.message, hint=hint) from error


def _tell_connected(connected: bool) -> None:
    if connected:
        print_note("the daemon is back")
    else:
        print_note("the daemon went away; following goes on when it is back")


def _print_event(entry: Document, *, as_json: bool) -> None:
    if as_json:
        print_json_line(entry)
    else:
        print_line(_event_line(entry))


def _entries(reader: Reader, since: int) -> Iterator[Document]:
    """Yield the entries after `since`, up to the newest there was when it was asked."""
    page = reader.events(since, PAGE)
    until = page["seq"]
    while page["events"]:
        for entry in page["events"]:
            since = entry["seq"]
            if since > until:
                return
            yield entry
        page = reader.events(since, PAGE)


def _event_line(entry: Document) -> str:
    about = " ".join(part for part in (entry["agentId"], entry["path"]) if part)
    return f"{entry['seq']:>6}  {entry['at']}  {entry['kind']:<14}  {entry['source']:<5}  {about}"


@click.command(cls=Command)
@click.option("--full", is_flag=True, help="List every directory and read every manifest again.")
@click.option("--confirm", is_flag=True, help="The disappearances that are held are meant.")
def sweep(full: bool, confirm: bool) -> None:
    """Compare the registry with the disk now, and return when that is committed."""
    session = current_session()
    with session.client() as client:
        document = client.sweep(full=full, confirm=confirm)
    if session.as_json:
        print_json(document)
        return
    counted = ("discovered", "synced", "unreachable", "resurrected", "removed", "held", "drift")
    counts = ", ".join(f"{document[name]} {name}" for name in counted)
    print_line(f"swept in {document['seconds']:.3f} s: {counts}")
    for root in document.get("sickRoots", ()):
        print_note(f"sick, its agents are frozen: {root} (see meshd roots list)")
    if document["held"]:
        print_note("held until a later sweep agrees; if it is meant: meshd sweep --confirm")


@click.command(cls=Command)
def sync() -> None:
    """Return once what is on disk now is in the registry."""
    session = current_session()
    with session.client() as client:
        document = client.sync()
    if session.as_json:
        print_json(document)
        return
    print_line(f"in step with the disk at {document['seq']}, {document['held']} held")
    for root in document["roots"]:
        if root["by"] == "sick":
            print_note(f"sick, not brought up to date: {root['path']} (see meshd roots list)")


@click.command(cls=Command)
@click.argument("agent_id", metavar="[ID]", required=False)
@click.option("--unscanned", is_flag=True, help="Every agent whose path is no longer scanned.")
def forget(agent_id: str | None, unscanned: bool) -> None:
    """Drop the agent ID that is not live, or all that are no longer scanned."""
    if (agent_id is None) != unscanned:
        raise click.UsageError("say either an ID or --unscanned")
    session = current_session()
    with session.client() as client:
        document = client.forget(agent_id)
    if session.as_json:
        print_json(document)
    else:
        print_line(f"forgotten: {len(document['forgotten'])}")
