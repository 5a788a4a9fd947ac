"""`meshd check-config` and `meshd check-manifest`: is a file right, and if not, why."""

from __future__ import annotations

import itertools
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import click

from meshd.cli.group import Command
from meshd.cli.output import print_json, print_line, print_note
from meshd.cli.session import current_session, resolved

if TYPE_CHECKING:
    from meshd.client import Document

_PROJECT_TAIL = ("agent.json", ".dork")


@click.command("check-config", cls=Command)
@click.argument("file", required=False, type=click.Path(path_type=Path))
def check_config(file: Path | None) -> None:
    """Check a configuration: FILE, or the one that would be used.

    What a daemon would refuse at its start is refused here, the token file included.
    """
    from dataclasses import replace

    from meshd.api.loopback import Token
    from meshd.config import load
    from meshd.places import client_state_directory
    from meshd.reloading import check_places

    session = current_session()
    if file is not None:
        session = replace(session, config_flag=file)
    settings = load(session.config, environ=session.environ)
    check_places(settings, client_state_directory(settings.store.directory, session.environ))
    if settings.api.listen is not None:
        Token(settings.api.token_file)
    if session.as_json:
        config = None if session.config is None else str(session.config)
        print_json({"config": config, "settings": settings.model_dump(mode="json")})
        return
    print_line("ok")
    if session.config is None:
        print_note("there is no configuration file: the defaults and the environment hold")


@click.command("check-manifest", cls=Command)
@click.argument("paths", metavar="[PATH]...", nargs=-1)
def check_manifest(paths: tuple[str, ...]) -> int:
    """Check manifests: files, or the projects they belong to (default: the current directory)."""
    from meshd.errors import InvalidManifestError

    session = current_session()
    documents = [_checked(path) for path in paths or (".",)]
    if session.as_json:
        print_json({"manifests": documents})
    else:
        for document in documents:
            print_line(_line(document))
    is_valid = all(document["valid"] for document in documents)
    return 0 if is_valid else InvalidManifestError.exit_code


def _line(document: Document) -> str:
    if document["valid"]:
        return f"{document['path']}: ok, {document['id']} ({document['name']})"
    detail = f": {document['detail']}" if document["detail"] else ""
    return f"{document['path']}: {document['reason']}{detail}"


def _checked(path: str) -> Document:
    """Return what a look at a manifest says; a project is judged as the daemon would."""
    absolute = resolved(path)
    written = Path(os.path.abspath(path))  # noqa: PTH100 - a symlinked manifest must show as one
    project = written.parent.parent.resolve()
    if written.parts[:-3:-1] == _PROJECT_TAIL and project.is_dir():
        return _checked_project(str(project))
    if Path(absolute).is_dir():
        return _checked_project(absolute)
    return _checked_file(absolute)


def _checked_project(project: str) -> Document:
    from meshd.clock import SystemClock
    from meshd.core.model import Source
    from meshd.looker.local import LocalLooker

    numbers = itertools.count(1)
    looker = LocalLooker(project, clock=SystemClock(), numbers=lambda: next(numbers))
    (seen,) = looker.look([project], Source.API)
    said = seen.manifest
    return {
        "path": project,
        "valid": said is not None,
        "id": None if said is None else said.id,
        "name": None if said is None else said.name,
        "reason": None if seen.reason is None else str(seen.reason),
        "detail": seen.detail,
    }


def _checked_file(file: str) -> Document:
    """Judge the bytes of a file that lies anywhere."""
    from meshd.core.manifest import Rejected, parse
    from meshd.core.model import Reason

    answer: Document = {"path": file, "valid": False, "id": None, "name": None}
    try:
        manifest = parse(_read_bounded(file))
    except FileNotFoundError:
        return {**answer, "reason": str(Reason.MANIFEST_MISSING), "detail": None}
    except OSError as error:
        return {**answer, "reason": str(Reason.UNREADABLE), "detail": error.strerror}
    except Rejected as rejected:
        return {**answer, "reason": str(rejected.reason), "detail": rejected.detail}
    said = {"valid": True, "id": manifest.id, "name": manifest.name}
    return {**answer, **said, "reason": None, "detail": None}


def _read_bounded(file: str) -> bytes:
    """Read a regular file that is not too big for a manifest; never wait for a pipe."""
    from meshd.core.manifest import CAP_BYTES, Rejected
    from meshd.core.model import Reason

    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Rejected(Reason.NOT_REGULAR)
        data = stream.read(CAP_BYTES + 1)
    if len(data) > CAP_BYTES:
        raise Rejected(Reason.TOO_BIG)
    return data
