"""What no single plan may do to a row, told without a word of meshd's code (I5, I6)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from meshd.core.model import Agent
    from tests.stateful.oracle import Look


def expect_frozen(
    row: Agent,
    now: Agent | None,
    seen: Mapping[str, Look],
    owners: Container[str],
) -> None:
    """Expect a row whose path could not be told to be as it was (I5)."""
    there = seen.get(row.holder_path)
    is_anothers = row.project_path is None and row.last_path in owners
    if there is None or there.outcome not in ("frozen", "invalid") or is_anothers:
        return
    as_it_was = row if there.outcome == "frozen" else replace(row, absent_clock=None)
    assert now == as_it_was, f"I5: {there}, and {row} became {now}"


def expect_sticky(
    row: Agent,
    now: Agent | None,
    seen: Mapping[str, Look],
    owners: Container[str],
    sweep: int,
) -> None:
    """Expect a row to move only off a path that let go (I6)."""
    if now is None or now.holder_path == row.holder_path:
        return
    there = seen.get(row.holder_path)
    assert there is not None, "I6: moved off a path that nobody looked at"
    if there.agent_id == row.id:
        assert row.born_sweep == sweep, "I6: moved off a path that holds it"
    elif not (row.project_path is None and row.last_path in owners):
        assert there.outcome not in ("frozen", "invalid"), f"I6: moved off {there}"
    assert seen[now.holder_path].agent_id == row.id, "I6: moved to where it is not"
