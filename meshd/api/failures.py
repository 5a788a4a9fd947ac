"""Errors as answers.

Owns the table from an error's code to a status, and the two bodies: on the peer's routes
`{"error": "text"}`, with the details of a refused request or else our code and hint beside it;
on our own `{"error": {"code", "message", "hint"}}`. Promises: nothing a caller sent, and nothing
of a file, comes back in a refusal's words but by our own escaping (R9).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import apsw
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from meshd.api.replies import Reply
from meshd.errors import MeshdError, NotFoundError, StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from fastapi import FastAPI
    from starlette.requests import Request

STATUS: Final = {
    "bad-request": 400,
    "unauthorized": 401,
    "permission": 403,
    "system-agent": 403,
    "not-found": 404,
    "not-writable": 409,
    "duplicate": 409,
    "limit": 409,
    "still-live": 409,
    "gone": 410,
    "conflict": 412,
    "too-large": 413,
    "invalid-config": 422,
    "invalid-manifest": 422,
    "out-of-scope": 422,
    "busy": 503,
    "store": 503,
    "stopping": 503,
    "timeout": 504,
}
"""Status by the code of a MeshdError; any other is 500."""

UNREADABLE: Final = (apsw.Error, UnicodeDecodeError, StoreError)
"""What reading the database raises when it cannot be read, or is damaged."""

_CODES: Final = {404: "not-found", 405: "method-not-allowed", 413: "too-large"}
_PREFIX: Final = "/api/mesh/"
_PEER_ROUTES: Final = frozenset({"agents", "denied", "deny", "discover", "status", "topology"})
_ONE_AGENT: Final = "/api/mesh/agents/"


def failure(code: str, message: str, hint: str | None = None) -> dict[str, object]:
    """Return the document of a failure."""
    return {"error": {"code": code, "message": message, "hint": hint}}


def failed(  # noqa: PLR0913 - the last two are keywords, and have defaults
    path: str,
    status: int,
    code: str,
    message: str,
    *,
    hint: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Return a failure in the body of the route it happened on.

    Args:
        path: of the request's URL.
        status: of HTTP.
        code: our word for it.
        message: what is wrong.
        hint: what to do about it.
        headers: of the reply.
    """
    document = failure(code, message, hint)
    if _is_peers(path):
        document = {"error": message, "code": code, "hint": hint}
    return Reply(document, status_code=status, headers=headers)


def _is_peers(path: str) -> bool:
    """Whether a path belongs to a route of the peer."""
    below = path.startswith(_PREFIX)
    return below and path.removeprefix(_PREFIX).partition("/")[0] in _PEER_ROUTES


async def _of_meshd(request: Request, error: Exception) -> Reply:
    assert isinstance(error, MeshdError)
    path = request.url.path
    if isinstance(error, NotFoundError) and path.startswith(_ONE_AGENT):
        return Reply({"error": "Agent not found"}, status_code=404)
    status = STATUS.get(error.code, 500)
    return failed(path, status, error.code, error.message, hint=error.hint)


async def _of_request(request: Request, error: Exception) -> Reply:
    assert isinstance(error, RequestValidationError)
    details = [
        {"path": ".".join(map(str, one["loc"])), "message": one["msg"]} for one in error.errors()
    ]
    if _is_peers(request.url.path):
        return Reply({"error": "Validation failed", "details": details}, status_code=400)
    message = "; ".join(f"{one['path']}: {one['message']}" for one in details)
    return Reply(failure("bad-request", message), status_code=400)


async def _of_http(request: Request, error: Exception) -> Reply:
    assert isinstance(error, HTTPException)
    code = _CODES.get(error.status_code, "bad-request")
    path = request.url.path
    return failed(path, error.status_code, code, error.detail, headers=error.headers)


async def _of_database(request: Request, _error: Exception) -> Reply:
    hint = "`meshd db check` examines it"
    path, status = request.url.path, STATUS["store"]
    return failed(path, status, "store", "the database cannot be read", hint=hint)


async def _of_bug(request: Request, _error: Exception) -> Reply:
    # The error itself is raised on after this answer, and logged by the server.
    message = "meshd failed to answer; its log says why"
    return failed(request.url.path, 500, "failed", message)


def install(app: FastAPI) -> None:
    """Make an application answer errors so."""
    handlers: dict[type[Exception], Callable[[Request, Exception], Awaitable[Reply]]] = {
        MeshdError: _of_meshd,
        RequestValidationError: _of_request,
        HTTPException: _of_http,
        apsw.Error: _of_database,
        Exception: _of_bug,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
