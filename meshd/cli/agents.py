"""`meshd agents`: which agents exist, and how they are."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from meshd.cli.group import Group
from meshd.cli.output import print_fields, print_json, print_note, print_table, seconds
from meshd.cli.session import current_session
from meshd.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    if session.as_json:
        print_json(document)
    elif not document["agents"]:
        print_note("no agents")
    else:
        print_table(
            ("NAME", "ID", "RUNTIME", "NAMESPACE", "HEALTH", "PATH", "REMARKS"),
            map(_list_row, document["agents"]),
        )


def _list_row(agent: Document) -> Sequence[object]:
    return (
        agent["displayName"] or agent["name"],
        agent["id"],
        agent["runtime"],
        agent["namespace"],
        agent["healthStatus"],
        agent["projectPath"] or agent["lastPath"],
        _remarks(agent),
    )


def _remarks(agent: Document) -> list[Any]:
    """Return what a person should know of a row beyond its health."""
    unconfirmed = [] if agent["confirmed"] else ["unconfirmed"]
    reason = [agent["unreachableReason"]] if agent["unreachableReason"] else []
    return [*reason, *unconfirmed, *agent["flags"]]


@agents.command
@click.argument("reference", metavar="ID|PATH|NAME")
def show(reference: str) -> None:
    """Show one agent, by id, path or name."""
    session = current_session()
    with session.reading() as reader:
        agent = _find(reader.registry()["agents"], reference)
    if session.as_json:
        print_json(agent)
    else:
        print_fields(agent.items())


def _find(every: list[Document], reference: str) -> Document:
    """Return the agent a person means.

    Raises:
        NotFoundError: none is meant, or more than one may be.
    """
    path = os.path.realpath(reference)
    ways = (
        [agent for agent in every if agent["id"] == reference],
        [agent for agent in every if agent["projectPath"] == path],
        [agent for agent in every if agent["lastPath"] == path],
        [agent for agent in every if reference in (agent["name"], agent["displayName"])],
    )
    found = next(filter(None, ways), [])
    if not found:
        raise NotFoundError(f"there is no agent {reference}", hint="see meshd agents list")
    if len(found) > 1:
        ids = ", ".join(agent["id"] for agent in found)
        raise NotFoundError(f"{reference} may mean several agents", hint=f"say which: {ids}")
    return found[0]


@agents.command
@click.option("--before", metavar="TIME", help="Only those unreachable since before (RFC 3339).")
def unreachable(before: str | None) -> None:
    """List the agents that are unreachable, and since when."""
    from meshd.answers import instant

    session = current_session()
    moment = None if before is None else instant(before)
    with session.reading() as reader:
        document = reader.unreachable(moment)
    if session.as_json:
        print_json(document)
    elif not document["agents"]:
        print_note("no agent is unreachable")
    else:
        print_table(
            ("NAME", "ID", "REASON", "SINCE", "OBSERVED", "LAST PATH"),
            map(_unreachable_row, document["agents"]),
        )


def _unreachable_row(agent: Document) -> Sequence[object]:
    return (
        agent["displayName"] or agent["name"],
        agent["id"],
        agent["unreachableReason"],
        agent["unreachableSince"],
        seconds(agent["unreachableFor"]),
        agent["lastPath"],
    )
