"""`meshd run`: from arguments and files to a running daemon.

Owns the decision what is scanned when it is not said plainly. Promises: neither `/` nor an
unasked home directory is ever scanned, and no configuration is written.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from meshd import places
from meshd.cli.group import Command
from meshd.cli.output import print_note
from meshd.cli.session import Session, current_session
from meshd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from meshd.config import Settings


@click.command(cls=Command)
@click.argument("roots", metavar="[ROOT]...", nargs=-1)
def run(roots: tuple[str, ...]) -> int:
    """Scan roots and keep the registry right, until stopped.

    Each ROOT replaces those of the configuration. Without one, the first configuration found
    says what is scanned; without that, the current directory is.
    """
    from meshd.config import load
    from meshd.daemon import run as run_daemon

    session = current_session()
    config, environ = session.config, session.environ
    overrides = _overrides(session, roots)
    settings = load(config, environ=environ, overrides=overrides)
    if not settings.scan.roots:
        overrides["scan"] = {"roots": [_current_directory(config, environ)]}
        settings = load(config, environ=environ, overrides=overrides)
        print_note(f"no configuration: scanning the current directory, {settings.scan.roots[0]}")
    _refuse_whole_system(settings)

    def load_again() -> Settings:
        renewed = load(config, environ=environ, overrides=overrides)
        _refuse_whole_system(renewed)
        return renewed

    return run_daemon(settings, load_again, config_path=config, environ=environ)


def _overrides(session: Session, roots: tuple[str, ...]) -> dict[str, Mapping[str, object]]:
    """Return what the arguments say, as a configuration would."""
    said: dict[str, Mapping[str, object]] = {}
    if roots:
        said["scan"] = {"roots": list(roots)}
    if session.socket_flag is not None:
        said["api"] = {"socket": str(session.socket_flag)}
    return said


def _current_directory(config: Path | None, environ: Mapping[str, str]) -> str:
    """Return the directory to scan when neither arguments nor a configuration say one.

    Raises:
        ConfigError: it would be a guess that nobody asked for.
    """
    if config is not None:
        raise ConfigError(
            f"{config} names no roots", hint=f'add to it: [scan] roots = ["DIR"] ({config})'
        )
    place = _place_to_write(environ)
    hint = f'write {place}: [scan] roots = ["DIR"]; or name one: meshd run DIR'
    if "INVOCATION_ID" in environ or "NOTIFY_SOCKET" in environ:
        raise ConfigError("there is no configuration, and a service has no directory", hint=hint)
    here = os.path.realpath(".")
    if here == os.path.realpath(places.home(environ)):
        raise ConfigError(f"the home directory {here} is not scanned unasked", hint=hint)
    return here


def _place_to_write(environ: Mapping[str, str]) -> Path:
    """Return where this user's configuration belongs."""
    return places.SYSTEM_CONFIG if os.geteuid() == 0 else places.user_config(environ)


def _refuse_whole_system(settings: Settings) -> None:
    if "/" in settings.scan.roots:
        raise ConfigError(
            "/ cannot be a root: it holds every other file system, and meshd's own state",
            hint="name the directories that hold projects: meshd run DIR…",
        )
