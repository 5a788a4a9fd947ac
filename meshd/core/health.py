"""How lively an agent is, computed when asked.

Owns the two limits between the words. Assumes a live row or not, and the age of its last
heartbeat on the wall clock. Promises one word; nothing is stored.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

ACTIVE_SECONDS: Final = 3_600.0
INACTIVE_SECONDS: Final = 24 * 3_600.0


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


def next_turn_seconds(last_seen_seconds_ago: float | None) -> float | None:
    """Return in how many seconds a live agent's health turns by time alone, None for never."""
    if last_seen_seconds_ago is None or last_seen_seconds_ago >= INACTIVE_SECONDS:
        return None
    limit = ACTIVE_SECONDS if last_seen_seconds_ago < ACTIVE_SECONDS else INACTIVE_SECONDS
    return limit - last_seen_seconds_ago
