"""Commands about who can reach whom: topology, rules, route, heartbeat."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from meshd.cli.group import Command, Group
from meshd.cli.listing import print_list
from meshd.cli.output import print_json, print_line, print_note, print_table
from meshd.cli.reference import METAVAR, by_id
from meshd.cli.session import current_session, resolved

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from meshd.cli.session import Reader
    from meshd.client import Document


@click.command(cls=Command)
@click.option(
    "--namespace", metavar="NS", default="*", help="As agents in NS see it; all by default."
)
def topology(namespace: str) -> None:
    """Show the namespaces, their agents, and which namespace reaches which."""
    session = current_session()
    with session.reading() as reader:
        document = reader.topology(namespace)
    if session.as_json:
        print_json(document)
        return
    if document["namespaces"]:
        print_table(
            ("NAMESPACE", "AGENT", "ID", "HEALTH", "SUBJECT"), _members(document["namespaces"])
        )
    else:
        print_note("no namespaces")
    if document["accessRules"]:
        print_line("")
        rules = document["accessRules"]
        print_table(
            tuple(_RULE_COLUMNS), ([rule[key] for key in _RULE_COLUMNS.values()] for rule in rules)
        )
    print_line("")
    print_line(
        "the mesh is open: all reach all"
        if document["openMesh"]
        else "what no rule allows stays in its namespace"
    )


def _members(namespaces: list[Document]) -> Iterator[tuple[object, ...]]:
    """Yield one line for each agent, its namespace on the first of them only."""
    for namespace in namespaces:
        name = namespace["namespace"]
        for agent in namespace["agents"]:
            shown = agent["displayName"] if agent.get("displayName") else agent["name"]
            yield name, shown, agent["id"], agent["healthStatus"], agent["relaySubject"]
            name = None


_RULE_COLUMNS = {
    "SOURCE": "sourceNamespace",
    "TARGET": "targetNamespace",
    "ACTION": "action",
    "ORIGIN": "origin",
}


@click.group(cls=Group)
def rules() -> None:
    """List, allow or deny the ways between namespaces."""


@rules.command("list")
def list_rules() -> None:
    """List the rules between namespaces: the default ones, and yours."""
    session = current_session()
    with session.reading() as reader:
        document = reader.rules()
    print_list(
        document,
        "rules",
        _RULE_COLUMNS,
        nothing="no rules: there are no namespaces yet",
        as_json=session.as_json,
    )


@rules.command
@click.argument("source")
@click.argument("target")
def allow(source: str, target: str) -> None:
    """Let agents of SOURCE reach those of TARGET: one way, so not back.

    To open the mesh, so that all reach all: meshd rules allow '*' '*', the quotes
    for the shell.
    """
    _set_rule(source, target, "allow")


@rules.command
@click.argument("source")
@click.argument("target")
def deny(source: str, target: str) -> None:
    """Let no agent of SOURCE reach those of TARGET.

    To close an open mesh: meshd rules deny '*' '*', the quotes for the shell.
    """
    _set_rule(source, target, "deny")


def _set_rule(source: str, target: str, action: str) -> None:
    session = current_session()
    with session.client() as client:
        document = client.set_rule(source, target, action)
    if session.as_json:
        print_json(document)
    else:
        done = "allowed" if action == "allow" else "denied"
        print_line(f"{done}: {source} to {target}")


@click.command(cls=Command)
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
def route(source: str, target: str) -> None:
    """Say whether the agent FROM may reach TO, at which subject, and by which rule.

    Both are named by id, path or name. Exit code 0 for yes and for no.
    """
    session = current_session()
    with session.reading() as reader:
        document = _by_id_or_path(
            reader,
            source,
            lambda caller: _by_id_or_path(
                reader, target, lambda called: reader.route(caller, called)
            ),
        )
    if session.as_json:
        print_json(document)
        return
    answer = f"yes, at {document['subject']}" if document["allowed"] else "no"
    rule = f" (rule: {document['rule']})" if document["rule"] else ""
    print_line(f"{answer}: {document['reason']}{rule}")


def _by_id_or_path(reader: Reader, reference: str, ask: Callable[[str], Document]) -> Document:
    """Ask about an id or a path: of a path that was refused, the answer says why."""
    if "/" in reference:
        return ask(resolved(reference))
    return by_id(reader, reference, ask)


@click.command(cls=Command)
@click.argument("reference", metavar=METAVAR)
@click.option("--event", metavar="TEXT", help="What the agent did, in a word or two.")
def heartbeat(reference: str, event: str | None) -> None:
    """Tell the registry that an agent lives."""
    session = current_session()
    with session.client() as client:
        document = by_id(
            client, reference, lambda agent_id: client.heartbeat(agent_id, event=event)
        )
    if session.as_json:
        print_json(document)
    else:
        print_line(f"heard: {reference}")
