"""The route that looks for candidates, answered at once or as it goes.

Owns the two forms of the answer. Promises: a search holds a thread only while it takes a step;
it ends with its caller, and with the daemon.
"""

# Annotations here are read at run time by the framework, so they are not postponed.

import contextlib
import json
from collections.abc import AsyncIterator, Generator
from typing import Any, Final

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from meshd.api.failures import failure
from meshd.api.mesh_schemas import PEER_ROUTE, DiscoverAnswer
from meshd.api.replies import EVENT_STREAM, Reply, wants_stream
from meshd.api.requests import Daemon, DiscoverRequest, require_in_scope
from meshd.core.candidates import Candidate, Progress, SearchEvent, Summary
from meshd.errors import MeshdError

Document = dict[str, Any]

router = APIRouter(tags=["mesh"], responses=PEER_ROUTE)
_STREAMED: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {EVENT_STREAM: {"schema": {"type": "string"}}}}
}


@router.post("/discover", response_model=DiscoverAnswer, responses=_STREAMED)
async def discover(request: Request, daemon: Daemon, body: DiscoverRequest) -> Response:
    """Directories that speak of an agent and have no manifest; as a stream when asked for one."""
    for root in body.roots:
        require_in_scope(daemon, root)
    feed = request.app.state.feed
    events = daemon.discover(body.roots, body.max_depth, lambda: feed.closing)
    if wants_stream(request):
        return _SearchStream(_Search(events))
    with contextlib.closing(events):
        return Reply(await _Search(events).answer(request))


class _Search:
    """A search, step by step in threads of its own number: the readers' stay free."""

    def __init__(self, events: Generator[SearchEvent, None, None]) -> None:
        self._events = events
        self._limiter = CapacityLimiter(1)

    async def answer(self, request: Request) -> Document:
        """Return all candidates, or those found until the caller left."""
        candidates: list[Document] = []
        truncated = False
        async for step in self._steps():
            candidates += [_candidate(one) for one in step if isinstance(one, Candidate)]
            truncated = any(isinstance(one, Summary) and one.truncated for one in step)
            if await request.is_disconnected():
                break
        return {"candidates": candidates, "truncated": truncated}

    async def frames(self) -> AsyncIterator[bytes]:
        """Yield events of a stream: `candidate`, `progress`, and `done` or `error`."""
        try:
            async for step in self._steps():
                yield b"".join(_frame(event) for event in step)
        except MeshdError as error:
            yield _encoded("error", failure(error.code, error.message, error.hint))

    def close(self) -> None:
        """End the search; another may take its place."""
        self._events.close()

    async def _steps(self) -> AsyncIterator[list[SearchEvent]]:
        while step := await to_thread.run_sync(self._step, limiter=self._limiter):
            yield step

    def _step(self) -> list[SearchEvent]:
        """Return the next events, up to the progress that follows them."""
        step: list[SearchEvent] = []
        for event in self._events:
            step.append(event)
            if isinstance(event, Progress):
                break
        return step


class _SearchStream(StreamingResponse):
    """A search as a stream; it ends with its client."""

    media_type = EVENT_STREAM

    def __init__(self, search: _Search) -> None:
        super().__init__(search.frames(), headers={"cache-control": "no-store"})
        self._search = search

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the search ends or its client leaves."""
        with contextlib.closing(self._search):
            await super().__call__(scope, receive, send)


def _frame(event: SearchEvent) -> bytes:
    if isinstance(event, Candidate):
        return _encoded("candidate", _candidate(event))
    if isinstance(event, Progress):
        return _encoded(
            "progress",
            {
                "directories": event.directories,
                "candidates": event.candidates,
                "root": event.root,
            },
        )
    return _encoded(
        "done",
        {
            "candidates": event.candidates,
            "directories": event.directories,
            "truncated": event.truncated,
            "unreadable": event.unreadable,
            "seconds": event.seconds,
            "sickRoots": list(event.sick_roots),
            "unscanned": list(event.unscanned),
        },
    )


def _encoded(name: str, document: Document) -> bytes:
    return f"event: {name}\ndata: {json.dumps(document)}\n\n".encode("ascii")


def _candidate(found: Candidate) -> Document:
    """Return a candidate as an answer; what nobody could tell is left out."""
    hints = found.hints
    told = {
        "suggestedName": hints.suggested_name,
        "detectedRuntime": hints.detected_runtime,
        "inferredCapabilities": list(hints.inferred_capabilities) or None,
        "description": hints.description,
    }
    return {
        "path": found.path,
        "strategy": found.strategy,
        "hints": {key: value for key, value in told.items() if value is not None},
        "discoveredAt": found.discovered_at,
    }
