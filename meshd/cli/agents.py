"""`meshd agents`: which agents exist, and how they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from meshd.cli.group import Group
from meshd.cli.listing import print_list
from meshd.cli.output import print_fields, print_json, seconds
from meshd.cli.reference import METAVAR, find
from meshd.cli.session import current_session

if TYPE_CHECKING:
    from meshd.client import Document


@click.group(cls=Group)
def agents() -> None:
    """List agents, or show one."""


@agents.command("list")
def list_agents() -> None:
    """List every agent, unreachable ones too."""
    session = current_session()
    with session.reading() as reader:
        document = reader.registry()
    print_list(
        document,
        "agents",
        {
            "NAME": _name,
            "ID": "id",
            "RUNTIME": "runtime",
            "NAMESPACE": "namespace",
            "HEALTH": "healthStatus",
            "PATH": lambda agent: agent["projectPath"] or agent["lastPath"],
            "REMARKS": _remarks,
        },
        nothing="no agents",
        as_json=session.as_json,
    )


def _name(agent: Document) -> object:
    return agent["displayName"] or agent["name"]


def _remarks(agent: Document) -> list[Any]:
    """Return what a person should know of a row beyond its health."""
    unconfirmed = [] if agent["confirmed"] else ["unconfirmed"]
    reason = [agent["unreachableReason"]] if agent["unreachableReason"] else []
    return [*reason, *unconfirmed, *agent["flags"]]


@agents.command
@click.argument("reference", metavar=METAVAR)
def show(reference: str) -> None:
    """Show one agent, by id, path or name, and the subject at which it is reached."""
    session = current_session()
    with session.reading() as reader:
        agent = find(reader, reference)
        agent["subject"] = reader.route(agent["id"], agent["id"])["subject"]
    if session.as_json:
        print_json(agent)
    else:
        print_fields(agent.items())


@agents.command
@click.option("--before", metavar="TIME", help="Only those unreachable since before (RFC 3339).")
def unreachable(before: str | None) -> None:
    """List the agents that are unreachable, and since when."""
    from meshd.answers import instant

    session = current_session()
    moment = None if before is None else instant(before)
    with session.reading() as reader:
        document = reader.unreachable(moment)
    print_list(
        document,
        "agents",
        {
            "NAME": _name,
            "ID": "id",
            "REASON": "unreachableReason",
            "SINCE": "unreachableSince",
            "OBSERVED": lambda agent: seconds(agent["unreachableFor"]),
            "LAST PATH": "lastPath",
        },
        nothing="no agent is unreachable",
        as_json=session.as_json,
    )
