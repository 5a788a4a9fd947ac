"""Routes that act.

Each handler puts one act into the inbox (R3) and waits for its commit, so an answer means
that it is done and durable. A caller that goes away changes nothing about it.
"""

# Annotations here are read at run time by the framework, so they are not postponed.

import json

from fastapi import APIRouter
from starlette.requests import Request

from meshd import answers
from meshd.api import schemas
from meshd.api.mesh_schemas import PEER_ROUTE
from meshd.api.replies import ACT_SECONDS, SWEEP_SECONDS, Reply, finished
from meshd.api.requests import (
    AcceptRequest,
    Daemon,
    DenyRequest,
    ForgetRequest,
    SweepRequest,
    encoded_path,
    require_in_scope,
)
from meshd.errors import NotFoundError

router = APIRouter(tags=["acts"], responses=schemas.FAILURES)
_DONE = {"success": True}
_HEARTBEAT = "heartbeat"


@router.post("/sweep", response_model=schemas.SweepAnswer)
async def sweep(daemon: Daemon, body: SweepRequest | None = None) -> Reply:
    """Sweep from now, and answer when it is committed."""
    asked = body or SweepRequest()
    future = daemon.sweep(full=asked.full, confirm=asked.confirm)
    return Reply(answers.sweep_document(await finished(future, SWEEP_SECONDS)))


@router.post("/sync", response_model=schemas.SyncAnswer)
async def sync(daemon: Daemon) -> Reply:
    """Bring the registry up to date with everything that is on disk now."""
    result = await finished(daemon.sync(), SWEEP_SECONDS)
    roots = [{"path": path, "by": by} for path, by in sorted(result.roots.items())]
    return Reply({"seq": result.seq, "held": result.held, "roots": roots})


@router.post("/reload", response_model=schemas.ReloadAnswer)
async def reload(daemon: Daemon) -> Reply:
    """Read the configuration anew; a refused one changes nothing."""
    outcome = await finished(daemon.reload(), ACT_SECONDS)
    return Reply(
        {
            "generation": outcome.generation,
            "changed": list(outcome.changed),
            "needsRestart": list(outcome.needs_restart),
            "notices": list(outcome.notices),
        }
    )


@router.post("/roots/accept", response_model=schemas.Done)
async def accept_root(daemon: Daemon, body: AcceptRequest) -> Reply:
    """Take what lies at a root now for the root."""
    await finished(daemon.accept_root(body.path), ACT_SECONDS)
    return Reply(_DONE)


@router.post("/deny", status_code=201, response_model=schemas.Done, responses=PEER_ROUTE)
async def deny(daemon: Daemon, body: DenyRequest) -> Reply:
    """Leave a path alone, with everything below it."""
    require_in_scope(daemon, body.path)
    await finished(daemon.deny(body.path, body.reason, body.denier), ACT_SECONDS)
    return Reply(_DONE, status_code=201)


@router.delete("/denied/{path:path}", response_model=schemas.Done, responses=PEER_ROUTE)
async def allow(
    path: str,  # noqa: ARG001 - named for the route; read from the raw URL below
    request: Request,
    daemon: Daemon,
) -> Reply:
    """Take a denial back, and answer when the agents below the path are registered again."""
    denied = encoded_path(request, "/denied/")
    require_in_scope(daemon, denied)
    if not await finished(daemon.allow(denied), ACT_SECONDS):
        raise NotFoundError(f"{denied!a} is not denied", hint="`meshd denied` shows what is")
    # Not a sweep: what it would find here is no drift, for no event was missed.
    await finished(daemon.sync(), SWEEP_SECONDS)
    return Reply(_DONE)


@router.post("/forget", response_model=schemas.ForgetAnswer)
async def forget(daemon: Daemon, body: ForgetRequest) -> Reply:
    """Drop the row of an agent that is not live, or every row out of scope."""
    rows = await finished(daemon.forget(body.id), ACT_SECONDS)
    return Reply({"forgotten": [{"id": row.id, "lastPath": row.last_path} for row in rows]})


@router.post(
    "/agents/{agent_id}/heartbeat",
    response_model=schemas.Done,
    responses=PEER_ROUTE,
    openapi_extra={
        "requestBody": {
            "content": {"application/json": {"schema": {}}},
            "description": "`{event}`: what the agent did. Anything else counts as none.",
        }
    },
)
async def heartbeat(agent_id: str, request: Request, daemon: Daemon) -> Reply:
    """Note that an agent lives."""
    event = _event_of(await request.body())
    await finished(daemon.heartbeat(agent_id, event), ACT_SECONDS)
    return Reply(_DONE)


def _event_of(body: bytes) -> str:
    """Return what a heartbeat says; one that cannot be understood is a heartbeat all the same."""
    try:
        event = json.loads(body)["event"]
        event.encode("utf-8")  # half characters are no text
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return _HEARTBEAT
    return str(event) or _HEARTBEAT
