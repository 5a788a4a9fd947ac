"""`meshd register`, `update` and `unregister`: give a project its agent, change it, take it away.

Owns what a person may leave out: the name is that of the directory, the runtime is what
discovery detects. Assumes that the daemon does the writing. Promises: nothing of a manifest
that is there already is changed unasked, and a file is removed only after a person at a terminal
agreed or somebody said `--yes`.
"""

from __future__ import annotations

import json
import os
import shlex
from typing import TYPE_CHECKING, Any, TypeVar

import click

from meshd.cli.asking import require_agreement
from meshd.cli.group import Command
from meshd.cli.output import print_fields, print_json, print_line, print_note
from meshd.cli.reference import METAVAR, by_id, find
from meshd.cli.session import Session, current_session, resolved

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from meshd.client import Client, Document

MANIFEST = ".dork/agent.json"

# The options that stand for a key of the manifest, by the key.
_KEYS = {
    "name": "The agent's name.",
    "displayName": "The name shown to people.",
    "description": "What it is for.",
    "runtime": "What runs it, for example claude-code.",
    "namespace": "Its namespace, instead of the one its path gives.",
}

_Decorated = TypeVar("_Decorated", bound="Callable[..., Any]")


class _Member(click.ParamType[tuple[str, Any]]):
    """A key of the manifest with its value, KEY=JSON."""

    name = "member"

    def convert(
        self,
        value: object,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[str, Any]:
        """Return key and value; a value that is not JSON is refused."""
        key, _, text = str(value).partition("=")
        try:
            return key, json.loads(text)
        except ValueError:
            self.fail(f"{key}: write the value as JSON, a text as '{key}=\"TEXT\"'", param, ctx)


def _manifest_options(command: _Decorated) -> _Decorated:
    """Add the options that say what the manifest is to say."""
    options = [
        *(
            click.option(f"--{_dashed(key)}", key, metavar="TEXT", help=text)
            for key, text in _KEYS.items()
        ),
        click.option(
            "--capability",
            "capabilities",
            metavar="TEXT",
            multiple=True,
            help="What it can do; may be repeated.",
        ),
        click.option(
            "--set",
            "members",
            metavar="KEY=JSON",
            type=_Member(),
            multiple=True,
            help="Any other key of the manifest; may be repeated.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _dashed(key: str) -> str:
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in key)


def _said(members: Iterable[tuple[str, Any]], options: dict[str, Any]) -> Document:
    """Return the keys of the manifest that the options name."""
    said = {key: options[key] for key in _KEYS if options[key] is not None}
    if options["capabilities"]:
        said["capabilities"] = list(options["capabilities"])
    return _known({**said, **dict(members)})


def _known(said: Document) -> Document:
    """Refuse a key that cannot be set; the daemon would ignore one that it does not know.

    Raises:
        BadRequestError: it names the key.
    """
    from meshd.core.editing import require_editable

    require_editable(said)
    return said


_DRY_RUN = click.option("--dry-run", is_flag=True, help="Say what would be, and change nothing.")


@click.command(cls=Command)
@click.argument("directory", metavar="DIR")
@_manifest_options
@click.option("--approver", metavar="TEXT", help="Who wants it, for the record.")
@_DRY_RUN
def register(
    directory: str,
    approver: str | None,
    members: tuple[tuple[str, Any], ...],
    dry_run: bool,
    **options: Any,  # noqa: ANN401 - click's values
) -> None:
    """Give the project DIR an agent, by a manifest in it.

    The name is that of the directory unless it is said, and the runtime is what its files tell
    of. A project that has a manifest keeps it, changed only by what is said here.
    """
    session = current_session()
    path = resolved(directory)
    said = _said(members, options)
    with session.client() as client:
        if not os.path.lexists(os.path.join(path, MANIFEST)):  # noqa: PTH118 - bytes that are not UTF-8 stay as they are
            said = {**_defaults(client, path, said), **said}
        document = client.register(path, said, approver=approver, dry_run=dry_run)
    _tell(session, document, "would register" if dry_run else "registered")


def _defaults(client: Client, path: str, said: Document) -> Document:
    """Return what a new manifest needs and nobody said.

    Raises:
        click.UsageError: the runtime cannot be told.
    """
    directory = os.path.basename(path)  # noqa: PTH119 - as above
    # What a name must not hold, a directory's may: bytes that are not UTF-8, control characters.
    defaults: Document = {"name": "".join(filter(str.isprintable, directory))}
    if "runtime" not in said:
        runtime = _detected_runtime(client, path)
        if runtime is not None:
            defaults["runtime"] = runtime
    return defaults


def _detected_runtime(client: Client, path: str) -> str | None:
    """Return what the files of a project tell of; None where the daemon will refuse it anyway.

    Raises:
        click.UsageError: they tell nothing.
    """
    for kind, document in client.discover([path], max_depth=0):
        if kind == "candidate":
            runtime: str = document["hints"]["detectedRuntime"]
            return runtime
        if kind == "done" and (document["unscanned"] or document["sickRoots"]):
            return None  # why is said by the act, in better words
    raise click.UsageError(
        f"nothing in {path} tells its runtime: say it, for example --runtime claude-code"
    )


@click.command(cls=Command)
@click.argument("reference", metavar=METAVAR)
@_manifest_options
@click.option("--clear", metavar="KEY", multiple=True, help="Take a key away; may be repeated.")
@click.option(
    "--if-seq", type=click.IntRange(min=0), metavar="N", help="Only if the agent's seq is still N."
)
@_DRY_RUN
def update(
    reference: str,
    members: tuple[tuple[str, Any], ...],
    clear: tuple[str, ...],
    if_seq: int | None,
    dry_run: bool,
    **options: Any,  # noqa: ANN401 - click's values
) -> None:
    """Change what the manifest of an agent says; all its other keys stay as they are."""
    changes = {**_said(members, options), **_known(dict.fromkeys(clear))}
    if not changes:
        raise click.UsageError("say what is to change, for example --description TEXT")
    session = current_session()
    with session.client() as client:
        document = by_id(
            client,
            reference,
            lambda agent_id: client.update(agent_id, changes, expected_seq=if_seq, dry_run=dry_run),
        )
    _tell(session, document, "would update" if dry_run else "updated")


def _tell(session: Session, document: Document, what: str) -> None:
    """Print an agent that was, or would be, written."""
    if session.as_json:
        print_json(document)
        return
    print_line(f"{what}: {document['name']} ({document['id']})")
    shown = ("runtime", "namespace", "description", "capabilities")
    print_fields((key, document[key]) for key in shown if document.get(key))
    if document.get("pending"):
        print_note("it can be reached once the relay has confirmed its endpoint")


@click.command(cls=Command)
@click.argument("reference", metavar=METAVAR)
@click.option("--keep-manifest", is_flag=True, help="Deny the project instead of changing it.")
@click.option("--data", is_flag=True, help="Remove all of .dork, not the manifest alone.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_DRY_RUN
def unregister(reference: str, keep_manifest: bool, data: bool, yes: bool, dry_run: bool) -> None:
    """Take an agent out of the registry, and its manifest off the disk.

    It asks first; where nobody can be asked, say --yes.
    """
    if keep_manifest and data:
        raise click.UsageError("say either --keep-manifest or --data")
    session = current_session()
    with session.client() as client:
        agent = find(client, reference)
        if not (yes or dry_run):
            require_agreement(_question(agent, keep_manifest=keep_manifest, data=data))
        document = client.unregister(
            agent["id"], keep_manifest=keep_manifest, data=data, dry_run=dry_run
        )
    if session.as_json:
        print_json(document)
        return
    print_line(
        f"{'would unregister' if dry_run else 'unregistered'}: {agent['name']} ({agent['id']})"
    )
    _tell_rest(agent, document, keep_manifest=keep_manifest, dry_run=dry_run)


def _question(agent: Document, *, keep_manifest: bool, data: bool) -> str:
    path = agent["projectPath"] or agent["lastPath"]
    what = "Deny" if keep_manifest else "Remove"
    tail = "" if keep_manifest else "/.dork and all in it" if data else f"/{MANIFEST}"
    return f"{what} {click.format_filename(path + tail)}?"


def _tell_rest(agent: Document, document: Document, *, keep_manifest: bool, dry_run: bool) -> None:
    """Say what became of the files of an agent and of its id, or would become of them."""
    path = agent["projectPath"] or agent["lastPath"]
    removed, successor = document["deletedPath"], document["successor"]
    if removed is not None:
        print_line(f"{'would remove' if dry_run else 'removed'}: {removed}")
    elif keep_manifest and agent["projectPath"] is not None:  # else another agent lives there
        is_so = "would be" if dry_run else "is"
        print_note(
            f"its project {is_so} denied; to take that back: meshd allow {shlex.quote(path)}"
        )
    elif agent["unscanned"] is not None:
        print_note(f"its manifest stays at {path}, which is not scanned")
    else:
        print_note(f"there was no manifest of it at {path}")
    if successor is not None:
        print_note(f"its id {'would be' if dry_run else 'is now'} held by {successor}")
