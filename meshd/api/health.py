"""Routes for whoever watches over the daemon."""

# Annotations here are read at run time by the framework, so they are not postponed.

from typing import Final

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

from meshd.api import schemas
from meshd.api.failures import failure
from meshd.api.metrics import exposition
from meshd.api.replies import Reply, finished
from meshd.api.requests import Daemon
from meshd.errors import MeshdError

WRITER_SECONDS: Final = 5.0
"""How long the writer may take for a round trip before the daemon counts as ill."""

router = APIRouter(tags=["health"])


@router.get("/healthz", response_model=schemas.Healthy, responses={503: {"model": schemas.Failure}})
async def healthz(daemon: Daemon) -> Reply:
    """Whether the writer still answers."""
    try:
        await finished(daemon.store.writer.submit(lambda _: None), WRITER_SECONDS)
    except MeshdError as error:
        return Reply(failure(error.code, error.message, error.hint), status_code=503)
    return Reply({"healthy": True})


@router.get("/readyz", response_model=schemas.Ready, responses={503: {"model": schemas.Ready}})
async def readyz(daemon: Daemon) -> Reply:
    """Whether the first sweep of every reachable root is committed."""
    ready = daemon.state().ready
    return Reply({"ready": ready}, status_code=200 if ready else 503)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def metrics(daemon: Daemon, request: Request) -> Response:
    """Figures for Prometheus."""
    subscribers: int = request.app.state.feed.subscribers
    return Response(exposition(daemon, subscribers), media_type=CONTENT_TYPE_LATEST)
