"""What one list of agents has that another has not: the question every step of a day asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.system.daemon import Document

# When a row changed last, and times that pass: no part of what an agent is.
_MOVING: Final = frozenset({"seq", "updatedAt", "unreachableFor", "unreachableSince"})

UNREACHABLE: Final = {"status": "unreachable", "healthStatus": "unreachable"}


def changed(
    before: Mapping[str, Document], after: Mapping[str, Document]
) -> dict[str, dict[str, Any] | None]:
    """Return, by id, the fields that are new; None for a row that is gone."""
    differences: dict[str, dict[str, Any] | None] = dict.fromkeys(before.keys() - after.keys())
    for agent_id, row in after.items():
        old = before.get(agent_id, {})
        new = {key: value for key, value in row.items() if old.get(key, ...) != value}
        if new.keys() - _MOVING:
            differences[agent_id] = {key: value for key, value in new.items() if key not in _MOVING}
    return differences
