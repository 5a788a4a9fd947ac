"""How lively an agent is, computed when asked.

Owns the two limits between the words, and what turns between two moments. Assumes a live row
or not, and the time of its last heartbeat on the wall clock, in seconds since the epoch.
Promises one word for every moment; nothing is stored.
"""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

ACTIVE_SECONDS: Final = 3_600.0
INACTIVE_SECONDS: Final = 24 * 3_600.0

EVENT_LENGTH: Final = 100
"""Most characters that are kept of what an agent says with its heartbeat."""

# Control, line and paragraph separators, lone surrogates: none of them is a word of an agent.
_REPLACED_CATEGORIES: Final = frozenset({"Cc", "Zl", "Zp", "Cs"})
_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"


class HealthStatus(StrEnum):
    """What answers say of an agent's health (design: §Namespaces, relay, health)."""

    ACTIVE = "active"
    INACTIVE = "inactive"
    STALE = "stale"
    UNREACHABLE = "unreachable"


def health(status_live: bool, last_seen_seconds_ago: float | None) -> HealthStatus:
    """Return the health of an agent.

    Args:
        status_live: whether its row is live.
        last_seen_seconds_ago: age of its last heartbeat; None when it was never heard from,
            which is stale. A negative age, after a step of the wall clock, counts as now.
    """
    if not status_live:
        return HealthStatus.UNREACHABLE
    if last_seen_seconds_ago is None or last_seen_seconds_ago >= INACTIVE_SECONDS:
        return HealthStatus.STALE
    if last_seen_seconds_ago >= ACTIVE_SECONDS:
        return HealthStatus.INACTIVE
    return HealthStatus.ACTIVE


def health_at(last_seen: float | None, moment: float) -> HealthStatus:
    """Return the health of a live agent, last heard from at `last_seen`, at a moment."""
    return health(True, None if last_seen is None else moment - last_seen)


def turn(
    last_seen: float | None, before: float, now: float
) -> tuple[HealthStatus, HealthStatus] | None:
    """Return from what to what the health of a live agent turned by time alone, None if not.

    A wall clock that stepped back turns it the other way, as it turns what answers say.

    Args:
        last_seen: when it was last heard from, None for never.
        before: the moment whose health is known.
        now: the moment to compare with.
    """
    then, since = health_at(last_seen, before), health_at(last_seen, now)
    return None if then is since else (then, since)


def turning_spans(before: float, now: float) -> list[tuple[float, float]]:
    """Return spans, ends included, in one of which lies the last heartbeat of all that `turn`."""
    first, last = sorted((before, now))
    # A difference of floats is rounded; times are kept in milliseconds.
    return [
        (first - limit - 0.001, last - limit + 0.001)
        for limit in (ACTIVE_SECONDS, INACTIVE_SECONDS)
    ]


def last_seen_seconds(text: str | None) -> float | None:
    """Read a stored time; None for none, and for a damaged one, which tells of no heartbeat."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def event_words(text: str) -> str:
    """Return what an agent says with its heartbeat as it is kept: short, and on one line."""
    return "".join(
        _REPLACEMENT if unicodedata.category(one) in _REPLACED_CATEGORIES else one
        for one in text[:EVENT_LENGTH]
    )
