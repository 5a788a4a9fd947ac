"""The commands by name, and the options that all of them share.

Owns the list of the commands, which is the help's first page, and the one way in which
`--config`, `--socket` and `--json` may stand before or after a command's name. Promises: a
command's module is imported when the command is used, and no sooner.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

if TYPE_CHECKING:
    from collections.abc import Iterable

PROGRAM = "meshd"
META_PREFIX = "meshd."


class _Entry(NamedTuple):
    """A command: its name, the object that is it, and its line in the help."""

    name: str
    place: str  # module below meshd.cli, and the object in it
    summary: str


_SECTIONS: dict[str, tuple[_Entry, ...]] = {
    "The daemon": (
        _Entry("run", "run:run", "Scan roots and keep the registry right until stopped."),
        _Entry("status", "daemon:status", "Say how the daemon and its roots are."),
        _Entry("doctor", "doctor:doctor", "Say what is wrong, and what to do about it."),
        _Entry("reload", "daemon:reload", "Read the configuration again."),
        _Entry("metrics", "daemon:metrics", "Print the metrics, in Prometheus' text format."),
        _Entry("install", "service:install", "Make a service of meshd, and start it."),
        _Entry("uninstall", "service:uninstall", "Stop the service and remove it."),
        _Entry("completion", "completing:completion", "Print a shell's completion script."),
        _Entry("version", "daemon:version", "Print the version."),
    ),
    "The registry": (
        _Entry("agents", "agents:agents", "List agents, or show one."),
        _Entry("claims", "registry:claims", "List what every manifest path says."),
        _Entry("events", "registry:events", "Print the change log, or follow it."),
        _Entry("sweep", "registry:sweep", "Compare the registry with the disk now."),
        _Entry("sync", "registry:sync", "Return once what is on disk is in the registry."),
        _Entry("wait", "waiting:wait", "Return once an agent is as wanted."),
        _Entry("forget", "registry:forget", "Drop agents that are not live."),
    ),
    "Projects": (
        _Entry("discover", "discovering:discover", "Find projects that could have an agent."),
        _Entry("register", "projects:register", "Give a project an agent."),
        _Entry("update", "projects:update", "Change what an agent's manifest says."),
        _Entry("unregister", "projects:unregister", "Take an agent and its manifest away."),
    ),
    "The mesh": (
        _Entry("topology", "mesh:topology", "Show namespaces, agents, and who reaches whom."),
        _Entry("rules", "mesh:rules", "List, allow or deny the ways between namespaces."),
        _Entry("route", "mesh:route", "Say whether one agent may reach another."),
        _Entry("heartbeat", "mesh:heartbeat", "Tell the registry that an agent lives."),
    ),
    "What is scanned": (
        _Entry("roots", "scope:roots", "List roots, or accept what lies at one now."),
        _Entry("deny", "scope:deny", "Leave a path alone, with everything below it."),
        _Entry("allow", "scope:allow", "Take a denial back."),
        _Entry("denied", "scope:denied", "List what is denied."),
    ),
    "Files": (
        _Entry("check-config", "check:check_config", "Check a configuration."),
        _Entry("check-manifest", "check:check_manifest", "Check manifests."),
        _Entry("db", "database:db", "Check, back up or rebuild the database."),
    ),
}
_ENTRIES = {entry.name: entry for section in _SECTIONS.values() for entry in section}


def _shared(name: str, **attributes: Any) -> click.Option:  # noqa: ANN401 - click's own
    def keep(context: click.Context, option: click.Parameter, value: object) -> None:
        if value:
            context.meta[f"{META_PREFIX}{option.name}"] = value

    return click.Option([name], expose_value=False, callback=keep, **attributes)


_PATH = click.Path(path_type=Path)
# Every command has these; the last place that gives one decides.
_SHARED = (
    _shared("--config", type=_PATH, metavar="FILE", help="The configuration file."),
    _shared("--socket", type=_PATH, metavar="PATH", help="Where the daemon listens."),
    _shared("--json", is_flag=True, help="Answer with JSON."),
)


class Command(click.Command):
    """A command with the shared options."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the command's own parameters, then the shared ones, then `--help`."""
        return _with_shared(super().get_params(ctx))


class Group(click.Group):
    """Commands under one name, with the shared options."""

    command_class = Command

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the group's own parameters, then the shared ones, then `--help`."""
        return _with_shared(super().get_params(ctx))


def _with_shared(own: list[click.Parameter]) -> list[click.Parameter]:
    *others, last = own  # the last is `--help`
    return [*others, *_SHARED, last]


class Commands(Group):
    """All commands, each imported when it is used."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401 - click's own
        attributes.setdefault("help", "Keep a registry of AI agents that is always right.")
        super().__init__(**attributes)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names, in the order of the help."""
        return list(_ENTRIES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import a command."""
        entry = _ENTRIES.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.place.partition(":")
        command: click.Command = getattr(import_module(f"meshd.cli.{module}"), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """Write one line for each command, importing none."""
        widest = max(map(len, _ENTRIES))
        for title, entries in _SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(_lines(entries, widest))


def _lines(entries: Iterable[_Entry], width: int) -> list[tuple[str, str]]:
    """Return the help's lines, as wide in every section."""
    return [(entry.name.ljust(width), entry.summary) for entry in entries]
