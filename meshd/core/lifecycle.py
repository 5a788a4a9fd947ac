"""The states of a row and what each look does to them, as one table.

Every transition of a row is decided here and nowhere else; the plan turns looks into events
and does what the table says. A pair that is missing cannot happen: it raises.

    NONE ──present──▶ ACTIVE ──absent──▶ UNREACHABLE ──grace over──▶ NONE
                        ▲  └─ path out of scope ─▶ UNSCANNED
                        └────── present again ───────┘
"""

from __future__ import annotations

from enum import StrEnum

from meshd.core.model import Agent, Kind, Status


class RowState(StrEnum):
    """Where a row stands."""

    NONE = "none"
    ACTIVE = "active"
    UNREACHABLE = "unreachable"
    UNSCANNED = "unscanned"


class Event(StrEnum):
    """What the closed batch says of one row."""

    CONFIRMED = "confirmed"  # its path holds its id
    MOVED = "moved"  # its path let go, and another path holds its id
    LOST = "lost"  # its path is absent, and no other path holds its id
    DISPLACED = "displaced"  # its path holds another id, and no other path holds its own
    INVALID = "invalid"  # something lies at its path that is no manifest
    UNKNOWN = "unknown"  # it could not be told
    EXPIRED = "expired"  # absent again, and its grace is over
    DENIED = "denied"  # the operator denied its path
    OUT_OF_SCOPE = "out-of-scope"  # its path is no longer scanned
    FORGOTTEN = "forgotten"  # the operator dropped it
    UNREGISTERED = "unregistered"  # the operator took its manifest away


_ALWAYS = {
    Event.MOVED: (RowState.ACTIVE, Kind.RELOCATED),
    Event.DENIED: (RowState.NONE, Kind.DENIED),
    Event.FORGOTTEN: (RowState.NONE, Kind.FORGOTTEN),
    Event.UNREGISTERED: (RowState.NONE, Kind.UNREGISTERED),
}

TRANSITIONS: dict[RowState, dict[Event, tuple[RowState, Kind | None]]] = {
    RowState.NONE: {
        Event.CONFIRMED: (RowState.ACTIVE, Kind.REGISTERED),
    },
    RowState.ACTIVE: {
        **_ALWAYS,
        Event.CONFIRMED: (RowState.ACTIVE, None),
        Event.LOST: (RowState.UNREACHABLE, Kind.UNREACHABLE),
        Event.DISPLACED: (RowState.UNREACHABLE, Kind.DISPLACED),
        # Could not tell is never gone (R4): the row keeps its last good fields.
        Event.INVALID: (RowState.ACTIVE, None),
        Event.UNKNOWN: (RowState.ACTIVE, None),
        Event.OUT_OF_SCOPE: (RowState.UNSCANNED, Kind.UNSCANNED),
    },
    RowState.UNREACHABLE: {
        **_ALWAYS,
        Event.CONFIRMED: (RowState.ACTIVE, Kind.RETURNED),
        Event.LOST: (RowState.UNREACHABLE, None),
        Event.DISPLACED: (RowState.UNREACHABLE, Kind.DISPLACED),
        Event.INVALID: (RowState.UNREACHABLE, None),
        Event.UNKNOWN: (RowState.UNREACHABLE, None),
        Event.EXPIRED: (RowState.NONE, Kind.REMOVED),
        Event.OUT_OF_SCOPE: (RowState.UNSCANNED, Kind.UNSCANNED),
    },
    RowState.UNSCANNED: {
        **_ALWAYS,
        Event.CONFIRMED: (RowState.ACTIVE, Kind.RETURNED),
        Event.LOST: (RowState.UNREACHABLE, Kind.UNREACHABLE),
        Event.DISPLACED: (RowState.UNREACHABLE, Kind.DISPLACED),
        # Back in scope, but nothing good was seen there yet: it is not routed on a bad look.
        Event.INVALID: (RowState.UNSCANNED, None),
        Event.UNKNOWN: (RowState.UNSCANNED, None),
        Event.OUT_OF_SCOPE: (RowState.UNSCANNED, None),
    },
}


def state_of(row: Agent | None) -> RowState:
    """Return where a row stands; None is a row that does not exist."""
    if row is None:
        return RowState.NONE
    if row.unscanned is not None:
        return RowState.UNSCANNED
    return RowState.UNREACHABLE if row.status is Status.UNREACHABLE else RowState.ACTIVE


def transition(state: RowState, event: Event) -> tuple[RowState, Kind | None]:
    """Return the next state and the kind of change to log, None when nothing is to be told.

    Raises:
        LookupError: the pair cannot happen; the message names both.
    """
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise LookupError(f"bug: {event} cannot happen to a row that is {state}") from None
