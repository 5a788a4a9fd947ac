"""Rows as values and values as rows.

Owns the one table that says which column holds which field of an agent and how it is
written; reading, writing and comparing rows all follow it, so a field cannot be forgotten
in one of them. Paths are bytes in the database and `str` with surrogates above it.
Promises: a row can always be read. What a column holds and should not is damage that no check
of SQLite's sees (fault 55): it reads as what is safe, and a look sets it right.
"""

from __future__ import annotations

import json
import os
from dataclasses import MISSING, dataclass, fields
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson

from meshd.core.model import (
    Agent,
    Claim,
    ClaimOutcome,
    FileIdentity,
    Reason,
    RootIdentity,
    RootState,
    Signature,
    Status,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Value: TypeAlias = str | int | float | bytes | None


# `json.dumps` would build an encoder for each value.
_ENCODE = json.JSONEncoder(separators=(",", ":")).encode


def to_json(value: object) -> str:
    """Write a value as compact JSON; a path's lone surrogates become escapes."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # a surrogate, or a number of more than 64 bits
        return _ENCODE(value)


def _same(value: Any) -> Any:  # noqa: ANN401 - a column may hold any SQLite type
    return value


def _optional(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else convert(value)


@dataclass(frozen=True, slots=True)
class Column:
    """How one field of an agent is kept."""

    name: str
    field: str
    write: Callable[[Any], Any] = _same
    read: Callable[[Any], Any] = _same

    @property
    def is_converted(self) -> bool:
        """Whether a value is kept as something else than itself."""
        return self.read is not _same


def _read_mapping(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value


def _read_tuple(text: str) -> tuple[Any, ...]:
    value = json.loads(text)
    if not isinstance(value, list):
        raise TypeError("not a list")
    return tuple(value)


def _json_column(field: str, read: Callable[[str], Any] = _read_mapping) -> Column:
    return Column(f"{field}_json", field, _optional(to_json), _optional(read))


def _read_status(text: str) -> Status:
    # `inactive` was a status in old databases; it means active.
    return Status.UNREACHABLE if text == "unreachable" else Status.ACTIVE


_SPECIAL = {
    "project_path": Column("project_path", "project_path", _optional(os.fsencode),
                           _optional(os.fsdecode)),
    "last_path": Column("last_path", "last_path", os.fsencode, os.fsdecode),
    "scan_root": Column("scan_root", "scan_root", os.fsencode, os.fsdecode),
    "persona_enabled": Column("persona_enabled", "persona_enabled", int, bool),
    "is_system": Column("is_system", "is_system", int, bool),
    "status": Column("status", "status", str, _read_status),
    "unreachable_reason": Column("unreachable_reason", "unreachable_reason", _optional(str),
                                 _optional(Reason)),
    "unscanned": Column("unscanned", "unscanned", _optional(str), _optional(Reason)),
    "capabilities": _json_column("capabilities", _read_tuple),
    "flags": _json_column("flags", _read_tuple),
    "mcp_servers": _json_column("mcp_servers", _read_tuple),
    "behavior": _json_column("behavior"),
    "budget": _json_column("budget"),
    "traits": _json_column("traits"),
    "conventions": _json_column("conventions"),
    "enabled_tool_groups": _json_column("enabled_tool_groups"),
}  # fmt: skip

COLUMNS = tuple(_SPECIAL.get(field.name, Column(field.name, field.name)) for field in fields(Agent))
AGENT_COLUMNS = ", ".join(column.name for column in COLUMNS)


DEFAULTS: dict[str, Any] = {
    field.name: field.default_factory() if field.default_factory is not MISSING else field.default
    for field in fields(Agent)
    if field.default is not MISSING or field.default_factory is not MISSING
}


def agent_from_row(row: Sequence[Any]) -> Agent:
    """Build an agent from a row read as `AGENT_COLUMNS`.

    A column that cannot be read has its default; the next full sweep finds that row and file
    differ.
    """
    values = list(row)
    for place in _WRITTEN_OTHERWISE:
        value = values[place]
        if value is not None or place not in _OPTIONAL:
            values[place] = _read(place, value)
    return Agent(*values)


# Longer values are rarely equal, and would make the memory of them large.
SHARED_LENGTH = 256

PLACES = {column.field: place for place, column in enumerate(COLUMNS)}
_FIELDS = attrgetter(*(column.field for column in COLUMNS))

# The columns whose value is not the field's as it stands; None is None in all of them.
_WRITTEN_OTHERWISE = tuple(place for place, column in enumerate(COLUMNS) if column.is_converted)
_PATHS = frozenset({PLACES["project_path"], PLACES["last_path"]})


def _read(place: int, value: Value) -> Any:  # noqa: ANN401 - any field of an agent
    """Read one column. Most rows say the same in it, so what was read is shared, not copied."""
    if place in _PATHS:
        # Each row has another; shared, they would drive out what rows have in common.
        return _read_anew(place, value)
    if isinstance(value, str | bytes) and len(value) > SHARED_LENGTH:
        return _read_anew(place, value)
    return _read_shared(place, value)


@lru_cache(maxsize=4096)
def _read_shared(place: int, value: Value) -> Any:  # noqa: ANN401 - any field of an agent
    return _read_anew(place, value)


def _read_anew(place: int, value: Value) -> Any:  # noqa: ANN401 - any field of an agent
    column = COLUMNS[place]
    try:
        return column.read(value)
    except (ValueError, TypeError, RecursionError):
        return DEFAULTS[column.field]


def _may_be_none(place: int) -> bool:
    try:
        return COLUMNS[place].read(None) is None
    except TypeError:
        return False


_OPTIONAL = frozenset(place for place in _WRITTEN_OTHERWISE if _may_be_none(place))


def row_from_agent(agent: Agent) -> list[Value]:
    """Return the values of an agent's columns, in the order of `AGENT_COLUMNS`."""
    values = list(_FIELDS(agent))
    for place in _WRITTEN_OTHERWISE:
        if values[place] is not None:
            values[place] = COLUMNS[place].write(values[place])
    return values


def read_outcome(text: str) -> ClaimOutcome:
    """Read a claim's outcome; a word that is none could not be told, and is looked at again."""
    try:
        return ClaimOutcome(text)
    except ValueError:
        return ClaimOutcome.UNREADABLE


def _read_reason(text: str | None) -> Reason | None:
    try:
        return None if text is None else Reason(text)
    except ValueError:
        return None


def _numbers(values: Sequence[int] | None) -> str | None:
    return None if values is None else ":".join(map(str, values))


CLAIM_COLUMNS = (
    "path, root, outcome, agent_id, reason, detail, signature, content_hash, dork, filesystem,"
    " look, looked_at_ns, owner"
)


def claim_from_row(row: Sequence[Any]) -> Claim:
    """Build a claim from a row read as `CLAIM_COLUMNS`."""
    path, root, outcome, agent_id, reason, detail, signature, digest, dork, *rest = row
    return Claim(
        path=os.fsdecode(path),
        root=os.fsdecode(root),
        outcome=read_outcome(outcome),
        agent_id=agent_id,
        reason=_read_reason(reason),
        detail=detail,
        signature=read_signature(signature),
        content_hash=digest,
        dork=_read_identity(dork),
        filesystem=rest[0],
        look=rest[1],
        looked_at_ns=rest[2],
        owner=rest[3],
    )


def read_signature(text: str | None) -> Signature | None:
    """Read a signature as a claim's column holds it; None, too, for text that is none."""
    try:
        return None if text is None else Signature(*map(int, text.split(":")))
    except (ValueError, TypeError):
        return None


def _read_identity(text: str | None) -> FileIdentity | None:
    try:
        return None if text is None else FileIdentity(*map(int, text.split(":")))
    except (ValueError, TypeError):
        return None


def row_from_claim(claim: Claim) -> tuple[Value, ...]:
    """Return the values of a claim's columns, in the order of `CLAIM_COLUMNS`."""
    return (
        os.fsencode(claim.path),
        os.fsencode(claim.root),
        str(claim.outcome),
        claim.agent_id,
        None if claim.reason is None else str(claim.reason),
        claim.detail,
        _numbers(claim.signature),
        claim.content_hash,
        _numbers(claim.dork),
        claim.filesystem,
        claim.look,
        claim.looked_at_ns,
        claim.owner,
    )


ROOT_COLUMNS = "path, healthy, reason, filesystem, inode, observed_seconds"


def root_from_row(row: Sequence[Any]) -> RootState:
    """Build a root's state from a row read as `ROOT_COLUMNS`.

    An identity that cannot be read is one that no root matches: without any, the next root
    to come along would be taken for the one first seen.
    """
    path, healthy, reason, filesystem, inode, observed_seconds = row
    identity = None
    if filesystem is not None or inode is not None:
        identity = RootIdentity(filesystem or "", _read_inode(inode))
    return RootState(os.fsdecode(path), bool(healthy), reason, identity, observed_seconds)


def _read_inode(text: str | None) -> int:
    try:
        return int(text or "")
    except ValueError:
        return -1


def row_from_root(root: RootState) -> tuple[Value, ...]:
    """Return the values of a root's columns, in the order of `ROOT_COLUMNS`."""
    identity = root.identity
    return (
        os.fsencode(root.path),
        int(root.healthy),
        root.reason,
        None if identity is None else identity.filesystem,
        None if identity is None else str(identity.inode),
        root.observed_seconds,
    )
