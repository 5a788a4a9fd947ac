"""Commands about a running daemon: status, reload, metrics, version."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from meshd import __version__
from meshd.cli.group import Command
from meshd.cli.output import (
    print_fields,
    print_json,
    print_line,
    print_note,
    print_text,
)
from meshd.cli.roots import print_roots
from meshd.cli.session import current_session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshd.client import Document


@click.command(cls=Command)
def status() -> None:
    """Say how the daemon and its roots are."""
    session = current_session()
    with session.reading() as reader:
        document = reader.status()
    if session.as_json:
        print_json(document)
        return
    print_fields(_fields(document))
    if document["roots"]:
        print_line("")
        print_roots(document["roots"])
    wrong = list(_wrong(document))
    if wrong:
        print_line("")
        print_line(f"{', '.join(wrong)}: `meshd doctor` says what to do")


def _wrong(document: Document) -> Iterator[str]:
    """Yield in a few words what somebody should look into; the doctor knows more."""
    if document["degraded"]:
        yield "degraded"
    if document["config"]["lastReloadOk"] is False:
        yield "configuration refused"
    sick = [root for root in document["roots"] if root["state"] == "sick"]
    if sick:
        frozen = _count(sum(root["agents"] for root in sick), "agent")
        yield f"{_count(len(sick), 'root')} sick ({frozen} frozen)"
    truncated = sum(root["state"] == "truncated" for root in document["roots"])
    if truncated:
        yield f"{_count(truncated, 'root')} truncated"
    last, claims = document["lastSweep"], document["claims"]
    held = 0 if last is None else last["held"]
    if held:
        yield f"{_count(held, 'agent')} held"
    refused = sum(claims.get(outcome, 0) for outcome in ("duplicate", "refused", "invalid"))
    if refused:
        yield f"{_count(refused, 'manifest')} refused"
    if claims.get("unreadable", 0) > held:  # the manifests of held agents count as unreadable
        yield f"{_count(claims['unreadable'] - held, 'manifest')} unreadable"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _fields(document: Document) -> Iterator[tuple[str, object]]:
    """Yield the lines a person wants, what is wrong included and the rest left out."""
    yield "daemon", _daemon(document)
    if document["degraded"]:
        yield "degraded", document["degraded"]
    if document.get("rebuilt"):  # a daemon of an older version does not say
        yield "database", f"rebuilt from the manifests, because it was {document['rebuilt']}"
    yield "agents", _counts(document)
    yield "claims", ", ".join(f"{count} {name}" for name, count in document["claims"].items())
    yield "change log", f"{document['seq']} (epoch {document['epoch']})"
    last = document["lastSweep"]
    if last is not None:
        yield (
            "last sweep",
            f"{last['startedAt']}, {last['seconds']:.3f} s, {last['held']} held",
        )
    if document["config"]["lastReloadOk"] is False:
        yield "configuration", f"the newest was refused: {document['config']['lastReloadError']}"


def _daemon(document: Document) -> str:
    if document["pid"] is None:
        return "not running"
    ready = "ready" if document["ready"] else "not ready: its first sweep is under way"
    return f"{ready}, process {document['pid']}, meshd {document['version']}"


def _counts(document: Document) -> str:
    names = ("active", "inactive", "stale", "unreachable", "unscanned")
    counts = ", ".join(f"{document[f'{name}Count']} {name}" for name in names)
    return f"{document['totalAgents']} ({counts})"


@click.command(cls=Command)
def reload() -> None:
    """Read the configuration again; a refused one changes nothing."""
    session = current_session()
    with session.client() as client:
        document = client.reload()
    if session.as_json:
        print_json(document)
        return
    changed = ", ".join(document["changed"]) or "nothing"
    print_line(f"configuration {document['generation']} is in force; changed: {changed}")
    if document["needsRestart"]:
        print_note(f"takes effect at the next start: {', '.join(document['needsRestart'])}")
    for notice in document.get("notices", ()):  # a daemon of an older version has none
        print_note(notice)


@click.command(cls=Command)
def metrics() -> None:
    """Print the metrics, in Prometheus' text format."""
    session = current_session()
    with session.client() as client:
        text = client.metrics()
    if session.as_json:
        print_json({"metrics": text})
    else:
        print_text(text)


@click.command(cls=Command)
def version() -> None:
    """Print the version."""
    if current_session().as_json:
        print_json({"version": __version__})
    else:
        print_line(f"meshd {__version__}")
