"""The change log as a reader keeps it, and the registry that it tells.

Owns the replay. Shares no code with meshd. Promises: a number that is missing, repeated or told
of what was not so fails at once.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from meshd.client import Client

Document = dict[str, Any]

_NOT_OF_ROWS: Final = frozenset(
    {"refused", "invalid", "valid", "endpoint", "health_changed", "held", "confirmed", "rule"}
)
_LEAVING: Final = frozenset({"removed", "denied", "forgotten", "unregistered"})
TOLERANCE: Final = 0.1
"""Seconds by which times of the log may be off: they are cut to milliseconds."""


class Ledger:
    """What the log has told so far.

    Attributes:
        epoch: of the database it is of.
        seq: number of the newest entry.
        rows: by id, what every row is by the log alone.
        entries: all of the epoch.
        epochs: how many databases there were.
    """

    def __init__(self, grace: float) -> None:
        self.epoch: str | None = None
        self.seq = 0
        self.rows: dict[str, Document] = {}
        self.entries: list[Document] = []
        self.epochs = 0
        self._grace = grace
        self._lost_at: dict[str, float] = {}

    def read(self, client: Client) -> None:
        """Read on to the newest entry, from the beginning where the database is another."""
        while True:
            answer = client.events(self.seq)
            if answer["epoch"] != self.epoch:
                self.epoch, self.seq, self.epochs = answer["epoch"], 0, self.epochs + 1
                self.rows, self.entries, self._lost_at = {}, [], {}
                continue
            for entry in answer["events"]:
                self._take(entry)
            if self.seq >= answer["seq"]:
                assert self.seq == answer["seq"], f"the log fell back to {answer['seq']}"
                return

    def expect(self, rows: dict[str, Document]) -> None:
        """Expect that the log alone tells the rows (I8)."""
        told = {agent_id: _short(row) for agent_id, row in self.rows.items()}
        assert told == {agent_id: _short(row) for agent_id, row in rows.items()}, "I8: the log"

    def _take(self, entry: Document) -> None:
        assert entry["seq"] == self.seq + 1, f"I8: {entry['seq']} after {self.seq}"
        self.seq = entry["seq"]
        self.entries.append(entry)
        agent_id, kind = entry["agentId"], entry["kind"]
        if agent_id is None or kind in _NOT_OF_ROWS:
            return
        was = self.rows.pop(agent_id, {})
        for field, value in (entry["from"] or {}).items():
            assert was.get(field) == value, f"I8: {kind} tells of {field} as it was not: {entry}"
        if kind in _LEAVING:
            assert entry["from"], f"I8: {agent_id} left without a trace"
            self._check_removal(entry)
        else:
            self.rows[agent_id] = {**was, **(entry["to"] or {})}
        self._note_loss(agent_id, entry)

    def _note_loss(self, agent_id: str, entry: Document) -> None:
        row = self.rows.get(agent_id)
        if row is None or row["status"] == "active":
            self._lost_at.pop(agent_id, None)
        else:
            self._lost_at.setdefault(agent_id, _seconds(entry["at"]))

    def _check_removal(self, entry: Document) -> None:
        """Expect that nobody was removed who was not gone for the grace (I7)."""
        if entry["kind"] == "removed":
            lost_at = self._lost_at.get(entry["agentId"])
            assert lost_at is not None, f"I7: removed, and was not unreachable: {entry}"
            gone = _seconds(entry["at"]) - lost_at
            assert gone >= self._grace - TOLERANCE, f"I7: removed after {gone} s: {entry}"


def _short(row: Document) -> Document:
    return {field: row[field] for field in ("name", "projectPath", "lastPath", "status")}


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()
