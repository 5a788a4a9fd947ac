"""The change log as the feed sends it.

Owns the encoding of entries, and the answer to whether the log can go on from a place. Assumes
that its methods run where reading may take a while, never in the loop. Promises: a batch
follows its place without a gap, is ASCII, and is bounded; a damaged entry does not end it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from meshd import answers
from meshd.core.model import Kind
from meshd.errors import GoneError

if TYPE_CHECKING:
    from meshd.store.store import Store

BATCH_ENTRIES: Final = 256
BATCH_BYTES: Final = 64 * 1024
"""A batch ends with the entry that reaches this; so much may wait for each slow subscriber."""

_KINDS: Final = frozenset(map(str, Kind))


class Position(NamedTuple):
    """Where a caller stands in the change log.

    `epoch` None is a bare number, taken for one of this database; the bare number 0 asks for
    everything that is kept.
    """

    epoch: str | None
    seq: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Entries that follow each other, encoded.

    Attributes:
        last: number of the last entry, or where the reading began if there was none.
        newest: the newest number there was.
        documents: one JSON document for each entry, in ASCII.
        frames: the same entries as a stream sends them.
        turn: the feed's turn when the reading began; what came later may be missing.
    """

    last: int
    newest: int
    documents: tuple[bytes, ...]
    frames: bytes
    turn: int


class ChangeLog:
    """The change log of a store.

    Args:
        store: whose.

    Attributes:
        epoch: of the store.
    """

    def __init__(self, store: Store) -> None:
        self.epoch = store.epoch
        self._store = store

    def place(self, position: Position | None) -> int:
        """Return the number to go on from; None stands for the newest.

        Raises:
            GoneError: the log does not reach back, is another, or never was so far.
        """
        with self._store.reading() as registry:
            newest = registry.newest_seq()
            oldest = registry.oldest_seq()
        if position is None:
            return newest
        if position.epoch not in (None, self.epoch):
            raise _gone(f"the database was rebuilt: its epoch is {self.epoch}")
        if position.seq > newest:
            raise _gone(f"there is no entry {position.seq} yet: the newest is {newest}")
        if position == Position(None, 0):
            return oldest - 1
        if position.seq < oldest - 1:
            raise _gone(f"the change log begins with entry {oldest}")
        return position.seq

    def batch_after(self, seq: int, turn: int) -> Batch:
        """Return the entries after a number, as many as one batch holds.

        Raises:
            GoneError: entries after it are no longer kept.
        """
        with self._store.reading() as registry:
            newest = registry.newest_seq()
            entries = answers.events_document(registry, seq, BATCH_ENTRIES)["events"]
        # Numbers have no gaps, so what does not follow was pruned in between.
        if entries[0]["seq"] != seq + 1 if entries else newest > seq:
            raise _gone(f"the change log no longer reaches back to entry {seq + 1}")
        documents: list[bytes] = []
        frames: list[bytes] = []
        size = 0
        for entry in entries:
            document = _encoded(entry)
            documents.append(document)
            frames.append(frame(document, event=entry["kind"], event_id=self.id_of(entry["seq"])))
            size += len(document)
            if size >= BATCH_BYTES:
                break
        last = seq + len(documents)
        return Batch(last, max(newest, last), tuple(documents), b"".join(frames), turn)

    def id_of(self, seq: int) -> str:
        """Return the id of an entry: `EPOCH-SEQ`."""
        return f"{self.epoch}-{seq}"


def frame(document: bytes, *, event: str, event_id: str | None = None) -> bytes:
    """Return an event as a stream sends it."""
    lines = [] if event_id is None else [f"id: {event_id}"]
    # A damaged kind may hold anything, the end of a line included.
    if event in _KINDS or event == GoneError.code:
        lines.append(f"event: {event}")
    head = "".join(f"{line}\n" for line in lines).encode("ascii")
    return head + b"data: " + document + b"\n\n"


def _encoded(entry: dict[str, Any]) -> bytes:
    """Return an entry as JSON; one that is damaged must not end the feed for all that follow."""
    try:
        text = json.dumps(entry, allow_nan=False)
    except ValueError:
        text = json.dumps(entry | {"from": None, "to": None})
    return text.encode("ascii")


def _gone(message: str) -> GoneError:
    return GoneError(message, hint="read the registry anew, and follow from the seq of its status")
