"""`meshd install` and `meshd uninstall`: make a service of meshd, and undo that.

Owns what a person may leave out: for whom, and what starts meshd. Promises: says what was
written, what was there already, and what to do next; data goes only after a person at a terminal
agreed or said `--yes`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from meshd.cli.asking import require_agreement
from meshd.cli.group import PROGRAM, Command
from meshd.cli.output import print_json, print_line, print_note
from meshd.cli.session import current_session, resolved
from meshd.errors import PermissionRefusedError
from meshd.escaping import escape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from meshd.installing import Manager, Target, Written

_OF_USER = click.option("--user", "of_user", is_flag=True, help="Under your own service manager.")
_FOR = click.option("--for", "whose", metavar="USER", help="Whose agents; default: who used sudo.")


@click.command(cls=Command)
@_OF_USER
@_FOR
@click.option("--root", "roots", metavar="DIR", multiple=True, help="What to scan; repeatable.")
def install(of_user: bool, whose: str | None, roots: tuple[str, ...]) -> None:
    """Make a service of meshd, and start it: for yourself, or as root for a user of the host.

    A first configuration is written from --root. Doing it again changes nothing; after adding
    a root to the configuration, it lets the service write there.
    """
    from meshd.installing import Installation, Manager

    session = current_session()
    if session.config_flag is not None or session.socket_flag is not None:
        raise click.UsageError("a service takes the first configuration found: leave out --config")
    if not all(roots):
        raise click.UsageError("--root names no directory")
    manager = Manager(_target(session.environ, whose, of_user=of_user))
    installation = Installation(manager, own_program(), [resolved(root) for root in roots])
    written = installation.write()
    installation.start(written)
    written += installation.explain()
    unusable = installation.unusable_roots()
    if session.as_json:
        print_json(
            {
                "unit": manager.target.unit,
                "files": [{"path": str(one.path), "changed": one.changed} for one in written],
                "state": str(installation.registry),
                "socket": str(installation.socket),
                "linger": manager.lingers() if manager.target.of_user else None,
                "unusableRoots": unusable,
            }
        )
        return
    _print_installed(manager, written, installation.registry)
    for root in unusable:
        print_note(f"{manager.target.user} cannot read {root}: its agents come once that changes")


@click.command(cls=Command)
@_OF_USER
@_FOR
@click.option("--data", is_flag=True, help="Remove the registry too.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def uninstall(of_user: bool, whose: str | None, data: bool, yes: bool) -> None:
    """Stop the service and remove it; the configuration and the registry stay."""
    from meshd.installing import Manager, remove

    session = current_session()
    target = _target(session.environ, whose, of_user=of_user, may_be_gone=True)
    if data and not yes:
        require_agreement(f"Remove {escape(str(target.state))} with denials and rules?")
    done = remove(Manager(target), data=data)
    if session.as_json:
        removed, kept = [[str(path) for path in paths] for paths in (done.removed, done.kept)]
        print_json({"unit": target.unit, "removed": removed, "kept": kept})
        return
    for path in done.removed:
        print_line(f"removed: {path}")
    for path in done.kept:
        print_line(f"kept: {path}")
    if not done.removed:
        print_note(f"there was no {target.unit}")


def own_program() -> list[str]:
    """Return how this meshd is started, for a unit that knows no PATH."""
    invoked = Path(sys.argv[0]).absolute()
    if invoked.name == PROGRAM and os.access(invoked, os.X_OK) and invoked.is_file():
        return [str(invoked)]
    return [sys.executable, "-m", "meshd"]


def _target(
    environ: Mapping[str, str], whose: str | None, *, of_user: bool, may_be_gone: bool = False
) -> Target:
    """Return the service that is meant.

    Raises:
        PermissionRefusedError: it takes root, or must not be root's.
    """
    from meshd.installing import environment_of_own_manager, system_target, user_target

    if of_user:
        if whose is not None:
            raise click.UsageError("--user is for yourself: leave out --for")
        if os.geteuid() == 0:
            raise PermissionRefusedError(
                "meshd does not run as root", hint="run it as yourself, or without --user"
            )
        return user_target(environment_of_own_manager())
    if os.geteuid() != 0:
        raise PermissionRefusedError(
            "a service of the system is root's to change", hint="use sudo, or say --user"
        )
    return system_target(whose or environ.get("SUDO_USER") or "root", may_be_gone=may_be_gone)


def _print_installed(manager: Manager, written: Sequence[Written], registry: Path) -> None:
    target = manager.target
    for one in written:
        print_line(f"{'written' if one.changed else 'as it was'}: {one.path}")
    print_line(f"running: {target.unit}, its registry in {registry}")
    print_note(f"see how it is: {PROGRAM} status; what it says: {target.journalctl} -f")
    if target.of_user and not manager.lingers():
        print_note(
            f"it stops when you log out; to keep it running: loginctl enable-linger {target.user}"
        )
