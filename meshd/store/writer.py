"""The one thread that writes.

Owns the writing connection, as a local variable of its thread (R6). Callers hand over
functions; what arrived together commits together. Promises: a future resolves only after
its commit is on disk; an operation that raises is rolled back alone; when a commit fails
every operation of its batch fails with the same error and nothing of it was written; no
future stays unanswered, however the thread ends.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import apsw

from meshd.clock import SystemClock
from meshd.errors import StoppingError, StoreError
from meshd.store.connection import open_writing, tells_of_damage
from meshd.store.transactions import transaction

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Result = TypeVar("Result")

# Large enough to amortise an fsync, small enough that a caller does not wait for strangers.
BATCH_LIMIT = 256


@dataclass(frozen=True, slots=True)
class _Job:
    run: Callable[[apsw.Connection], Any]
    future: Future[Any]


_Outcome: TypeAlias = tuple[Any, Exception | None]


class Writer:
    """Actor: drains its queue into batches, one `BEGIN IMMEDIATE` each.

    Args:
        path: the database, already examined and migrated.
        before_commit: called in the writer's thread, inside the transaction, when the batch
            wrote something; a mirror outside the database goes here. When it raises OSError
            the batch fails, so that nothing is acknowledged that is not mirrored.

    Attributes:
        commits: how many batches wrote something.
        commit_seconds: what these took in all, from their beginning to the end of the commit.
        committed: called in the writer's thread after each of them; must return at once.
        version: of what is in the database. Whoever takes it before reading, and finds it the
            same inside the writer's transaction, has read what the transaction sees.
        suspect: what made the database look damaged, None while it does not. Whether it is,
            only an examination says.
    """

    def __init__(
        self, path: Path, before_commit: Callable[[apsw.Connection], None] = lambda _: None
    ) -> None:
        self._path = path
        self._before_commit = before_commit
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        # Guards the order of "no more jobs" and the last job: none may slip in behind the end.
        self._lock = threading.Lock()
        self._closed = False
        self._poisoned = False
        self.version = 0
        self._data_version: int | None = None
        self.commits = 0
        self.commit_seconds = 0.0
        self._clock = SystemClock()
        self.committed: Callable[[], None] = lambda: None
        self.suspect: str | None = None

    def submit(self, operation: Callable[[apsw.Connection], Result]) -> Future[Result]:
        """Queue an operation; the future resolves after its commit.

        Raises:
            StoppingError: the writer takes no more work.
        """
        job = _Job(operation, Future())
        with self._lock:
            if self._closed:
                raise StoppingError("the writer is stopping")
            self._queue.put(job)
        return job.future

    def stop(self) -> None:
        """Take no more work; `run` returns when what is queued is committed."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._queue.put(None)

    def run(self) -> None:
        """Work until stopped, then checkpoint and close. The body of the writer's thread."""
        connection = None
        try:
            connection = open_writing(self._path)
            while (batch := self._next_batch()) is not None:
                if connection is None and (connection := self._reopened(batch)) is None:
                    continue
                self._answer(connection, batch)
                if self._poisoned:
                    # After such an error the connection's idea of the file is not to be
                    # trusted; a new one reads it again (faults 102, 104).
                    connection.close()
                    connection, self._poisoned = None, False
                    self._data_version = None
        finally:
            self.stop()
            self._refuse_the_rest()
            if connection is not None:
                _close(connection)

    def _reopened(self, batch: list[_Job]) -> apsw.Connection | None:
        """Return a new connection; while there is none, a batch is refused and the next tries.

        What lies there now, and whether it can be read, an examination says.
        """
        try:
            return open_writing(self._path)
        except StoreError as error:
            self.suspect = error.message
            for job in batch:
                if job.future.set_running_or_notify_cancel():
                    job.future.set_exception(error)
            return None

    def _next_batch(self) -> list[_Job] | None:
        """Wait for a job and take what came with it; None at the end."""
        job = self._queue.get()
        if job is None:
            return None
        batch = [job]
        while len(batch) < BATCH_LIMIT:
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                break
            if job is None:
                self._queue.put(None)
                break
            batch.append(job)
        return batch

    def _answer(self, connection: apsw.Connection, batch: list[_Job]) -> None:
        """Commit a batch and resolve its futures; those cancelled by now are left out."""
        batch = [job for job in batch if job.future.set_running_or_notify_cancel()]
        try:
            outcomes = self._commit(connection, batch)
        except (apsw.Error, OSError) as error:
            self._note(error)
            failure = StoreError(
                f"what was asked could not be made durable: {error}",
                hint="see that the disk is not full and the state directory is writable",
            )
            failure.__cause__ = error
            outcomes = [(None, failure)] * len(batch)
        except BaseException:
            for job in batch:
                job.future.set_exception(StoppingError("the writer has stopped"))
            raise
        for job, (result, refusal) in zip(batch, outcomes, strict=True):
            if refusal is None:
                job.future.set_result(result)
            elif isinstance(refusal, apsw.Error):
                failure = StoreError(f"the database refused: {refusal}")
                failure.__cause__ = refusal
                job.future.set_exception(failure)
            else:
                job.future.set_exception(refusal)

    def _commit(self, connection: apsw.Connection, batch: list[_Job]) -> list[_Outcome]:
        """Run a batch in one transaction and return what became of each operation."""
        outcomes = []
        wrote = False
        began = self._clock.monotonic()
        with transaction(connection):
            self._see_others(connection)
            for job in batch:
                before = connection.total_changes()
                result, refusal = _in_savepoint(connection, job)
                if refusal is None:
                    # SQLite counts what was rolled back too; only what stays is a write.
                    if connection.total_changes() != before:
                        wrote = True
                        self.version += 1
                else:
                    self._note(refusal)
                outcomes.append((result, refusal))
            if wrote:
                self._before_commit(connection)
        if wrote:
            # Once more: who took it inside of the transaction has read what was before it.
            self.version += 1
            self.commits += 1
            self.commit_seconds += self._clock.monotonic() - began
            self.committed()
        return outcomes

    def _see_others(self, connection: apsw.Connection) -> None:
        """Count in what another program has written, or may have before this connection was."""
        seen = int(connection.pragma("data_version"))
        if seen != self._data_version:
            self._data_version = seen
            self.version += 1

    def _note(self, error: BaseException) -> None:
        """Remember what an error says of the connection and of the database file."""
        if isinstance(error, apsw.IOError):
            self._poisoned = True
        if tells_of_damage(error):
            self._poisoned = True
            self.suspect = str(error)

    def _refuse_the_rest(self) -> None:
        while True:
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                return
            if job is not None and job.future.set_running_or_notify_cancel():
                job.future.set_exception(StoppingError("the writer has stopped"))


def _close(connection: apsw.Connection) -> None:
    """Bring the log into the file, and close.

    SQLite leaves that to the last connection: a reader, which may not. A log that somebody has
    unlinked would be gone then (fault 118).
    """
    with contextlib.suppress(apsw.Error):  # the log stays, and the next start reads it
        connection.wal_checkpoint()
    connection.close()


def _in_savepoint(connection: apsw.Connection, job: _Job) -> _Outcome:
    """Run one operation; its error rolls back itself alone and is handed to its caller."""
    connection.execute("SAVEPOINT operation")
    try:
        result = job.run(connection)
    except (apsw.FullError, apsw.IOError):
        # The disk failed, not the operation: the batch fails as one.
        raise
    except Exception as error:
        if not connection.in_transaction:
            # SQLite has ended the whole transaction, and with it the batch.
            raise
        connection.execute("ROLLBACK TO operation")
        connection.execute("RELEASE operation")
        return None, error
    connection.execute("RELEASE operation")
    return result, None
