r"""What every route replies with, and how it waits.

Owns the two ways in which an answer becomes bytes, the second for long lists, and the deadlines.
Promises: a reply is ASCII, so that half a character of a path that is not UTF-8 arrives as
`\udcXX`, and that nothing in it moves a terminal (fault 43).
"""

from __future__ import annotations

import asyncio
import codecs
import json
from typing import TYPE_CHECKING, Final, TypeVar

import orjson
from starlette.responses import JSONResponse

from meshd.errors import DeadlineError

if TYPE_CHECKING:
    from concurrent.futures import Future

    from starlette.requests import Request

    from meshd.core.model import Agent

EVENT_STREAM: Final = "text/event-stream"

Result = TypeVar("Result")

SWEEP_SECONDS: Final = 600.0
"""How long a caller may wait for a sweep: the walk of a very large or slow root."""

ACT_SECONDS: Final = 30.0
"""How long a caller may wait for anything else."""


class Reply(JSONResponse):
    """A JSON document, in ASCII."""

    def render(self, content: object) -> bytes:
        """Return the bytes of a document."""
        text = json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
        return text.encode("ascii")


def passed_on(text: str) -> object:
    """Return what stands in a `ListReply` for JSON text that is written as it is."""
    return orjson.Fragment(text)


class ListReply(Reply):
    """A long JSON document, in ASCII, with members that were never read (`passed_on`)."""

    def render(self, content: object) -> bytes:
        """Return the bytes of a document.

        Raises:
            orjson.JSONEncodeError: a string in it is half a character.
        """
        encoded = orjson.dumps(content)
        if encoded.isascii():
            return encoded
        return encoded.decode("utf-8").encode("ascii", _ESCAPES)


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """Write the characters that ASCII lacks as JSON does, two escapes for one above U+FFFF."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


_ESCAPES: Final = "meshd-json-escapes"
codecs.register_error(_ESCAPES, _escaped)


def wants_stream(request: Request) -> bool:
    """Whether a caller asks for a stream of events."""
    accepted = ",".join(request.headers.getlist("accept")).split(",")
    return any(one.partition(";")[0].strip().lower() == EVENT_STREAM for one in accepted)


def entity_tag(agent: Agent) -> dict[str, str]:
    """Return the header that says which state of an agent an answer shows."""
    return {"etag": f'"{agent.seq}"'}


async def finished(future: Future[Result], seconds: float) -> Result:
    """Wait for what another thread does, and return its result or raise its error.

    The future itself is left alone when the wait ends early: what was asked still happens.

    Raises:
        DeadlineError: it did not end in time.
    """
    waiting = asyncio.wrap_future(future)
    # Not wait_for, which cancels: a cancelled future breaks the thread that is to resolve it.
    await asyncio.wait({waiting}, timeout=seconds)
    if not waiting.done():
        waiting.add_done_callback(_retrieve)
        raise DeadlineError(
            f"not done within {seconds:.0f} s; it goes on",
            hint="`meshd status` shows when it is over",
        )
    return waiting.result()


def _retrieve(late: asyncio.Future[Result]) -> None:
    """Take note of a late error, which nobody waits for any more, so that none is reported."""
    if not late.cancelled():
        late.exception()
