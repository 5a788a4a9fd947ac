"""Times that callers write.

Owns the check of a time in a question. Promises the form in which the registry keeps times,
so that the two compare as text.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from meshd.errors import MeshdError

_RFC3339: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


class InvalidTimeError(MeshdError):
    """A time in a question is not one."""

    code = "bad-request"
    exit_code = 2


def instant(text: str) -> str:
    """Return an RFC 3339 time, of any offset, in UTC with milliseconds.

    Raises:
        InvalidTimeError: it is not one, or has no offset.
    """
    moment = _parsed(text)
    if moment is None:
        raise InvalidTimeError(
            f"{text!a} is not an RFC 3339 time", hint="write it as 2026-02-03T04:05:06Z"
        )
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _parsed(text: str) -> datetime | None:
    if not _RFC3339.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):  # no such day, or outside the calendar in UTC
        return None
