"""The routes of the change log: a page, a wait for more, a stream.

Owns the three ways to read `/events` and what ends each. Promises: an answer that waits, and a
stream, hold no thread; both end at once when the daemon stops; a stream writes nothing while
its client does not read.
"""

# Annotations here are read at run time by the framework, so they are not postponed.

import asyncio
import contextlib
import json
from typing import Annotated, Any, Final

from anyio import to_thread
from fastapi import APIRouter, Depends, Header, Query
from pydantic import PlainValidator, WithJsonSchema
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from meshd import answers
from meshd.api import schemas
from meshd.api.changes import Batch, Position, frame
from meshd.api.failures import UNREADABLE, failure
from meshd.api.feed import Feed
from meshd.api.peers import TRANSPORT
from meshd.api.replies import EVENT_STREAM, Reply, wants_stream
from meshd.api.requests import Daemon
from meshd.errors import GoneError
from meshd.services import Services

HEARTBEAT_SECONDS: Final = 15.0
"""A stream that has nothing to tell says so this often."""

WAIT_LIMIT_SECONDS: Final = 60.0
"""A longer wait is cut to this, so that no request outlasts what lies between it and us."""

_MOST_DIGITS: Final = 19  # of a number below 2**63; Python reads no number of 5,000

router = APIRouter(tags=["registry"], responses=schemas.FAILURES)
_STREAMED: dict[int | str, dict[str, Any]] = {
    200: {"content": {EVENT_STREAM: {"schema": {"type": "string"}}}},
    410: {"model": schemas.Failure, "description": "The log cannot go on from there."},
    503: {"model": schemas.Failure, "description": "Too many streams are open."},
}


def position(text: object) -> Position:
    """Return the position a caller wrote.

    Raises:
        ValueError: it is neither `SEQ` nor `EPOCH-SEQ`.
    """
    epoch, dash, seq = str(text).rpartition("-")
    wrong = not (seq.isascii() and seq.isdigit()) or len(seq) > _MOST_DIGITS
    if wrong or int(seq) >= 2**63 or (dash and not (epoch.isascii() and epoch.isalnum())):
        raise ValueError("must be SEQ or EPOCH-SEQ")
    return Position(epoch or None, int(seq))


_FORM = WithJsonSchema({"type": "string", "pattern": "^([0-9A-Za-z]+-)?[0-9]+$"})
PositionText = Annotated[Any, PlainValidator(position), _FORM]


async def asked_from(
    since: Annotated[
        PositionText, Query(description="The last entry the caller has: SEQ or EPOCH-SEQ.")
    ] = None,
    last_event_id: Annotated[PositionText, Header(description="As `since`, and before it.")] = None,
) -> Position | None:
    """Return where the caller stands, as it says now or said when its stream was cut."""
    found: Position | None = last_event_id or since
    return found


@router.get("/events", response_model=schemas.EventsAnswer, responses=_STREAMED)
async def list_events(
    request: Request,
    daemon: Daemon,
    since: Annotated[Position | None, Depends(asked_from)],
    wait: Annotated[
        float | None,
        Query(ge=0, allow_inf_nan=False, description="Seconds to wait for an entry, at most 60."),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
) -> Response:
    """Entries of the change log after `since`, oldest first; as a stream when asked for one."""
    feed: Feed = request.app.state.feed
    if wants_stream(request):
        return EventStream(feed, await feed.place(since))
    asked = since or Position(None, 0)
    if wait is None and asked.epoch is None:
        return await to_thread.run_sync(_page, daemon, asked.seq, limit)
    seq = await feed.place(asked)
    batch = await _batch_within(feed, seq, min(wait or 0.0, WAIT_LIMIT_SECONDS))
    return _answer(feed, batch, limit)


def _page(daemon: Services, seq: int, limit: int) -> Reply:
    with daemon.store.reading() as registry:
        return Reply(answers.events_document(registry, seq, limit))


async def _batch_within(feed: Feed, seq: int, seconds: float) -> Batch:
    """Return what follows a number, as soon as there is something; empty after so long."""
    now = asyncio.get_running_loop().time
    until = now() + seconds
    while True:
        batch = await feed.batch_after(seq)
        if batch.documents or feed.closing or now() >= until:
            return batch
        await feed.after(batch.turn, until - now())


def _answer(feed: Feed, batch: Batch, limit: int) -> Response:
    """Return the document of a page, made of entries that are encoded already."""
    entries = b",".join(batch.documents[:limit])
    tail = f'],"epoch":{json.dumps(feed.log.epoch)},"seq":{batch.newest}}}'.encode("ascii")
    return Response(b'{"events":[' + entries + tail, media_type="application/json")


class EventStream(Response):
    """A stream of events, each with its id, for as long as its client stays.

    Args:
        feed: what is streamed.
        seq: number of the last entry the client has.
    """

    media_type = EVENT_STREAM

    def __init__(self, feed: Feed, seq: int) -> None:
        # As of a response whose length is not known, so that none is announced.
        self.status_code = 200
        self.background = None
        self.init_headers({"cache-control": "no-store"})
        self._feed = feed
        self._seq = seq

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the client leaves, the log cannot go on, or the daemon stops."""
        head = {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }
        left = asyncio.ensure_future(_left(receive))
        try:
            with self._feed.streaming(scope[TRANSPORT]):
                await send(head)
                await self._tell(send, left)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            left.cancel()

    async def _tell(self, send: Send, left: asyncio.Future[None]) -> None:
        now = asyncio.get_running_loop().time
        # An id without data moves the client's place, so that one that loses its first
        # connection before its first event misses nothing.
        await _send(send, f"id: {self._feed.log.id_of(self._seq)}\n\n".encode("ascii"))
        said = now()
        while not (self._feed.closing or left.done()):
            try:
                batch = await self._feed.batch_after(self._seq)
            except GoneError as error:
                told = json.dumps(failure(error.code, error.message, error.hint))
                await _send(send, frame(told.encode("ascii"), event=error.code))
                return
            except UNREADABLE:
                return  # it comes back with its last id, and is then told why
            if batch.documents:
                await _send(send, batch.frames)
                self._seq, said = batch.last, now()
            elif now() - said >= HEARTBEAT_SECONDS:
                await _send(send, b":\n\n")
                said = now()
            else:
                await self._feed.after(batch.turn, said + HEARTBEAT_SECONDS - now(), left)


async def _send(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _left(receive: Receive) -> None:
    """Return when the client has left, or sends more than it may."""
    with contextlib.suppress(HTTPException):
        while (await receive())["type"] != "http.disconnect":
            pass
