"""Errors as answers.

Owns the table from an error's code to a status. The two bodies that the peer's clients know
(`Agent not found`, `Validation failed`) are kept on its routes; every other failure is
`{"error": {"code", "message", "hint"}}`. Promises: nothing a caller sent, and nothing of a
file, comes back in a refusal's words but by our own escaping (R9).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import apsw
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from meshd.api.replies import Reply
from meshd.errors import MeshdError, NotFoundError, StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fastapi import FastAPI
    from starlette.requests import Request

STATUS: Final = {
    "bad-request": 400,
    "permission": 403,
    "not-found": 404,
    "still-live": 409,
    "gone": 410,
    "invalid-config": 422,
    "store": 503,
    "stopping": 503,
    "timeout": 504,
}
"""Status by the code of a MeshdError; any other is 500."""

UNREADABLE: Final = (apsw.Error, UnicodeDecodeError, StoreError)
"""What reading the database raises when it cannot be read, or is damaged."""

_CODES: Final = {404: "not-found", 405: "method-not-allowed", 413: "too-large"}
_PEER_ROUTES: Final = tuple(f"/api/mesh/{name}" for name in ("agents", "deny", "denied", "status"))


class AgentNotFoundError(NotFoundError):
    """No agent has this id; told in the peer's words."""


def failure(code: str, message: str, hint: str | None = None) -> dict[str, object]:
    """Return the document of a failure."""
    return {"error": {"code": code, "message": message, "hint": hint}}


async def _of_meshd(_: Request, error: Exception) -> Reply:
    assert isinstance(error, MeshdError)
    status = STATUS.get(error.code, 500)
    return Reply(failure(error.code, error.message, error.hint), status_code=status)


async def _agent_not_found(_request: Request, _error: Exception) -> Reply:
    return Reply({"error": "Agent not found"}, status_code=404)


async def _of_request(request: Request, error: Exception) -> Reply:
    assert isinstance(error, RequestValidationError)
    details = [
        {"path": ".".join(map(str, one["loc"])), "message": one["msg"]} for one in error.errors()
    ]
    if request.url.path.startswith(_PEER_ROUTES):
        return Reply({"error": "Validation failed", "details": details}, status_code=400)
    message = "; ".join(f"{one['path']}: {one['message']}" for one in details)
    return Reply(failure("bad-request", message), status_code=400)


async def _of_http(_: Request, error: Exception) -> Reply:
    assert isinstance(error, HTTPException)
    code = _CODES.get(error.status_code, "bad-request")
    return Reply(failure(code, error.detail), error.status_code, headers=error.headers)


async def _of_database(_request: Request, _error: Exception) -> Reply:
    document = failure("store", "the database cannot be read", "`meshd db check` examines it")
    return Reply(document, status_code=STATUS["store"])


async def _of_bug(_request: Request, _error: Exception) -> Reply:
    # The error itself is raised on after this answer, and logged by the server.
    return Reply(failure("failed", "meshd failed to answer; its log says why"), status_code=500)


def install(app: FastAPI) -> None:
    """Make an application answer errors so."""
    handlers: dict[type[Exception], Callable[[Request, Exception], Awaitable[Reply]]] = {
        AgentNotFoundError: _agent_not_found,
        MeshdError: _of_meshd,
        RequestValidationError: _of_request,
        HTTPException: _of_http,
        apsw.Error: _of_database,
        Exception: _of_bug,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
