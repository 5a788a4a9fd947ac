"""The change feed: what was committed, told to everybody who waits for it.

Owns one place in the loop where subscribers wait, and the one reading of the change log they
share: a batch is read and encoded once for all who stand at the same number. Assumes one event
loop; `wake` and `close` may be called by any thread. Promises: whoever goes on from the last
number it was given misses nothing and gets nothing twice, or is told that entries are gone;
memory does not grow with what a slow subscriber has not read, for it reads on from the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from anyio import CapacityLimiter, to_thread

from meshd.api.changes import ChangeLog
from meshd.errors import BusyError, StoppingError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshd.api.changes import Batch, Position
    from meshd.store.store import Store

KEPT_BATCHES: Final = 8
"""Batches that stay encoded for subscribers a little behind."""

STREAM_LIMIT: Final = 256
"""Streams at the same time: half of the connections, so that questions are still answered."""


class Feed:
    """Where subscribers wait, and what they read.

    Args:
        store: whose change log it is.

    Attributes:
        log: the change log that is followed.
        closing: whether streams are to end.
    """

    def __init__(self, store: Store) -> None:
        self.log = ChangeLog(store)
        self.closing = False
        # Guards the loop's end against a wake from another thread.
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._roused = False
        # What follows belongs to the loop's thread.
        self._turn = 0
        self._next_turn: asyncio.Future[None] | None = None
        self._waiting = 0
        self._batches: OrderedDict[int, asyncio.Task[Batch]] = OrderedDict()
        self._streams: set[asyncio.Transport] = set()
        self._reader: CapacityLimiter | None = None

    # any thread

    def wake(self) -> None:
        """Let subscribers look for new entries. Calls before they do so count as one."""
        with self._lock:
            if self._loop is not None and not self._roused:
                self._roused = True
                self._loop.call_soon_threadsafe(self._rouse)

    def close(self) -> None:
        """End all streams and waits at once; there will be no others."""
        self.closing = True
        self.wake()

    # the loop's thread

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Serve the running loop for the length of a block."""
        self._reader = CapacityLimiter(1)
        loop = asyncio.get_running_loop()
        self._next_turn = loop.create_future()
        with self._lock:
            self._loop = loop
        try:
            yield
        finally:
            with self._lock:
                self._loop = None

    @contextlib.contextmanager
    def streaming(self, transport: asyncio.Transport) -> Iterator[None]:
        """Let a connection be cut when the feed closes while its client does not read.

        Raises:
            BusyError: there are too many streams.
        """
        if len(self._streams) >= STREAM_LIMIT:
            raise BusyError("too many streams are open", hint="close some, or ask again later")
        self._streams.add(transport)
        try:
            yield
        finally:
            self._streams.discard(transport)

    @property
    def subscribers(self) -> int:
        """How many streams are open. For any thread."""
        return len(self._streams)

    async def place(self, position: Position | None) -> int:
        """Return the number to go on from; None stands for the newest.

        Raises:
            GoneError: the log does not reach back, is another, or never was so far.
            StoppingError: the daemon stops.
        """
        if self.closing:
            raise StoppingError("the daemon is stopping", hint="ask again when it is back")
        return await to_thread.run_sync(self.log.place, position, limiter=self._reader)

    async def batch_after(self, seq: int) -> Batch:
        """Return the entries after a number, as many as one batch holds.

        Raises:
            GoneError: entries after it are no longer kept.
        """
        reading = self._batches.get(seq)
        if reading is None or (reading.done() and not self._holds(reading)):
            reading = asyncio.ensure_future(self._read(seq))
            self._batches[seq] = reading
            self._batches.move_to_end(seq)
            while len(self._batches) > KEPT_BATCHES:
                self._batches.popitem(last=False)
        # One subscriber that is cancelled must not cancel what others wait for.
        return await asyncio.shield(reading)

    async def after(self, turn: int, seconds: float, *others: asyncio.Future[Any]) -> None:
        """Wait for a commit after a turn, the feed's end, one of `others`, or so long."""
        if self._turn != turn or self.closing:
            return
        assert self._next_turn is not None, "bug: the feed is not open"
        self._waiting += 1
        try:
            await asyncio.wait(
                {self._next_turn, *others},
                timeout=max(seconds, 0.0),
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            self._waiting -= 1

    def _rouse(self) -> None:
        """Begin a turn: everybody who waits looks again."""
        with self._lock:
            self._roused = False
        self._turn += 1
        assert self._next_turn is not None, "bug: the feed is not open"
        before, self._next_turn = self._next_turn, asyncio.get_running_loop().create_future()
        before.set_result(None)
        if self.closing:
            for transport in self._streams:
                # Its client does not keep up, and need not: it goes on from what it has read.
                if transport.get_write_buffer_size() > 0:
                    transport.abort()

    def _holds(self, reading: asyncio.Task[Batch]) -> bool:
        """Whether a reading that ended is still true: entries stay so, their absence may not."""
        if reading.cancelled() or reading.exception() is not None:
            return False
        batch = reading.result()
        return bool(batch.documents) or batch.turn == self._turn

    async def _read(self, seq: int) -> Batch:
        turn = self._turn
        return await to_thread.run_sync(self.log.batch_after, seq, turn, limiter=self._reader)
