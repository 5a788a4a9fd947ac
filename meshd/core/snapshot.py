"""A row as the change log and the answers tell of it.

Owns the outside names of an agent's fields (camelCase, as manifests have them). What a row
keeps for its own bookkeeping is left out: the log tells what others can see.
"""

from __future__ import annotations

from dataclasses import fields
from operator import attrgetter, ne
from typing import Any

from meshd.core.model import Agent

_BOOKKEEPING = {
    "absent_clock",
    "born_sweep",
    "last_seen_at",
    "last_seen_event",
    "seq",
    "unreachable_since",
    "updated_at",
}


def outside_name(field: str) -> str:
    """Return a field's name in answers: `project_path` is `projectPath`."""
    head, *rest = field.split("_")
    return head + "".join(word.capitalize() for word in rest)


OUTSIDE_NAMES = {
    field.name: outside_name(field.name)
    for field in fields(Agent)
    if field.name not in _BOOKKEEPING
}


_NAMES = tuple(OUTSIDE_NAMES.values())
_VALUES = attrgetter(*OUTSIDE_NAMES)
_PLAIN_ALREADY = frozenset({str, bool, type(None), dict})


def snapshot(row: Agent) -> dict[str, Any]:
    """Return a whole row by outside names, JSON-ready."""
    return {
        name: value if value.__class__ in _PLAIN_ALREADY else _plain(value)
        for name, value in zip(_NAMES, _VALUES(row), strict=True)
    }


def is_seen_to_differ(before: Agent, after: Agent) -> bool:
    """Whether two states of a row would have different snapshots."""
    return bool(_VALUES(before) != _VALUES(after))


def difference(before: Agent, after: Agent) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields that differ, as they were and as they are."""
    was, now = _VALUES(before), _VALUES(after)
    changed = [place for place, differs in enumerate(map(ne, was, now)) if differs]
    return (
        {_NAMES[place]: _plain(was[place]) for place in changed},
        {_NAMES[place]: _plain(now[place]) for place in changed},
    )


def _plain(value: Any) -> Any:  # noqa: ANN401 - any field of an agent
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, str) else value
