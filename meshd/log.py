"""The log: one event per decision, written for whoever reads it.

Owns the shape of a record and its three forms: a line for people, a line of JSON, and fields
for journald. Assumes that an event is a fixed word in the past tense and that what came from
outside is in the values. Promises: no global configuration; a record is one line, or fields
that cannot run into each other, whatever the values hold (R9); writing never raises, and what
could not be written is counted.

Keys in use: path, agent_id, seq, from_, to, why. A trailing underscore, which keeps Python's
own words free, is not part of the key.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from typing import TYPE_CHECKING, Literal, TextIO, cast

import structlog

from meshd.clock import Clock, SystemClock, timestamp
from meshd.errors import ConfigError
from meshd.escaping import escape
from meshd.journal import JOURNAL_SOCKET, Journal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

Format = Literal["auto", "console", "json", "journal"]
Level = Literal["debug", "info", "warning", "error"]

_RANKS = logging.getLevelNamesMapping()
_COLOURS = {"debug": "2", "warning": "33", "error": "31", "critical": "31;1"}


class Log:
    """The way from an event to a stream or to journald.

    Attributes:
        logger: what to hand to everyone who logs; it stays valid over `change`.
    """

    def __init__(  # noqa: PLR0913 - all but two are keywords, and three have defaults
        self,
        level: Level = "info",
        format: Format = "auto",  # noqa: A002 - the key is `log.format`
        *,
        stream: TextIO,
        environ: Mapping[str, str],
        clock: Clock | None = None,
        journal_socket: str = JOURNAL_SOCKET,
    ) -> None:
        """Open the log.

        Args:
            level: the least important level that is written.
            format: how records are written; `auto` decides by where `stream` leads.
            stream: where lines go.
            environ: read for JOURNAL_STREAM and NO_COLOR.
            clock: stamps the lines; journald stamps its records itself.
            journal_socket: where journald listens.

        Raises:
            ConfigError: the journal is asked for, and there is none.
        """
        self._stream = stream
        self._environ = environ
        self._clock = clock or SystemClock()
        self._journal = Journal(journal_socket)
        self._outlet = _Outlet(stream, self._journal)
        self._threshold = logging.INFO
        self._adopted: list[tuple[logging.Logger, logging.Handler]] = []
        self.change(level, format)
        self.logger = cast(
            "FilteringBoundLogger",
            structlog.wrap_logger(
                self._outlet,
                processors=[self._gate, structlog.processors.format_exc_info, self._record],
                wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),
                cache_logger_on_first_use=True,
            ),
        )

    @property
    def dropped(self) -> int:
        """How many records could not be written."""
        return self._outlet.dropped

    def change(self, level: Level, format: Format) -> None:  # noqa: A002 - the key is `log.format`
        """Change level and form from the next record on, as a reload does.

        Raises:
            ConfigError: the journal is asked for, and there is none; nothing was changed.
        """
        chosen = self._choose(format)
        if chosen == "journal" and not self._journal.exists():
            raise ConfigError(f'log.format is "journal", but {self._journal.path} does not exist')
        if chosen == "journal":
            self._journal.open()
        self._outlet.render = self._renderer(chosen)
        self._threshold = _RANKS[level.upper()]

    def adopt(self, *names: str) -> None:
        """Take in what libraries log by the standard library, until the log is closed.

        Args:
            names: of their loggers; what these log from `error` up is written as an event.
        """
        for name in names:
            library, handler = logging.getLogger(name), _Adopted(self.logger)
            library.addHandler(handler)
            library.propagate = False
            self._adopted.append((library, handler))

    def close(self) -> None:
        """Flush the stream and leave the journal. The stream itself stays the caller's."""
        while self._adopted:
            library, handler = self._adopted.pop()
            library.removeHandler(handler)
            library.propagate = True
        self._outlet.flush()
        self._journal.close()

    def _choose(self, wanted: Format) -> Format:
        if wanted != "auto":
            return wanted
        if self._journal.exists() and _leads_to_journal(self._stream, self._environ):
            return "journal"
        return "console" if self._stream.isatty() else "json"

    def _renderer(self, chosen: Format) -> Callable[[EventDict], str] | None:
        """Return what makes a line of a record, or None for the journal."""
        if chosen == "journal":
            return None
        if chosen == "json":
            return _json_line
        coloured = self._stream.isatty() and not self._environ.get("NO_COLOR")
        return lambda record: console_line(record, coloured=coloured)

    def _gate(self, _logger: WrappedLogger, method: str, record: EventDict) -> EventDict:
        """Let through what is important enough; here, so that a reload can change it."""
        if _RANKS[method.upper()] < self._threshold:
            raise structlog.DropEvent
        return record

    def _record(
        self, _logger: WrappedLogger, method: str, fields: EventDict
    ) -> tuple[tuple[EventDict], dict[str, object]]:
        """Put a record in order: when, how important, what, then the values as given."""
        record: EventDict = {
            "at": timestamp(self._clock.wall_ns()),
            "level": method,
            "event": str(fields.pop("event", "")),
        }
        record.update((key.rstrip("_"), value) for key, value in fields.items())
        return (record,), {}


class _Adopted(logging.Handler):
    """Makes an event of what a library logs."""

    def __init__(self, logger: FilteringBoundLogger) -> None:
        super().__init__(logging.ERROR)
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        why, trace = record.getMessage().strip(), record.exc_info
        self._logger.error("library_failed", library=record.name, why=why, exc_info=trace)


class _Outlet:
    """Where records leave, one at a time."""

    def __init__(self, stream: TextIO, journal: Journal) -> None:
        self.render: Callable[[EventDict], str] | None = None
        self._stream = stream
        self._journal = journal
        self._lock = threading.Lock()
        self._lost_lines = 0

    @property
    def dropped(self) -> int:
        return self._lost_lines + self._journal.dropped

    def write(self, record: EventDict) -> None:
        render = self.render
        if render is None:
            self._journal.send(record)
            return
        encoding = self._stream.encoding or "utf-8"
        line = render(record).encode(encoding, "backslashreplace").decode(encoding)
        with self._lock:
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except (OSError, ValueError):  # a broken pipe, a full disk, a closed stream
                self._lost_lines += 1

    debug = info = warning = error = critical = write

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self._lost_lines += 1


def console_line(record: Mapping[str, object], *, coloured: bool = False) -> str:
    """Return a record as one line for a person; a traceback follows, indented and escaped."""
    values = [
        f"{escape(key)}={_console_value(value)}"
        for key, value in record.items()
        if key not in ("at", "level", "event", "exception")
    ]
    level = str(record["level"])
    shown = f"{level:<8}"
    if coloured and level in _COLOURS:
        shown = f"\x1b[{_COLOURS[level]}m{shown}\x1b[0m"
    line = " ".join([str(record["at"]), shown, escape(str(record["event"])), *values])
    trace = str(record.get("exception", "")).splitlines()
    return "\n".join([line, *(f"    {escape(text)}" for text in trace)])


def _console_value(value: object) -> str:
    """Return a value that cannot be taken for two, and nothing in it for a key."""
    if value is None:
        return "-"
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    if isinstance(value, str) and (not text or any(sign in text for sign in ' ="\\')):
        text = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return escape(text)


def _json_line(record: EventDict) -> str:
    r"""Return a record as one line of ASCII; bytes of a path that are no UTF-8 become \udcXX."""
    return json.dumps(record, default=str)


def _leads_to_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether the stream is the one systemd connected to journald (JOURNAL_STREAM, DEV:INO)."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):  # a stream in memory, or a closed one
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
