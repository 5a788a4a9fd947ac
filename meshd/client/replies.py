"""What an answer of the daemon says.

Owns the way from a status and bytes to a document or to an error of the one tree.
"""

from __future__ import annotations

import http.client
import json
from typing import Any, TypeAlias

from meshd import errors
from meshd.errors import (
    BadRequestError,
    DeadlineError,
    MeshdError,
    NotFoundError,
    PermissionRefusedError,
)

Document: TypeAlias = dict[str, Any]
"""A JSON object, as the daemon gives it."""


class TooLargeError(MeshdError):
    """What was sent is more than the daemon takes."""

    code = "too-large"


class NoSuchMethodError(MeshdError):
    """The route does not know the method: client and daemon are of different versions."""

    code = "method-not-allowed"


class UnauthorizedError(PermissionRefusedError):
    """The token is missing, or is not the daemon's."""

    code = "unauthorized"


def _codes() -> dict[str, type[MeshdError]]:
    """Return every class of error by its code."""
    ours = (TooLargeError, NoSuchMethodError, UnauthorizedError)
    shared = (kind for kind in vars(errors).values() if isinstance(kind, type))
    return {kind.code: kind for kind in (*ours, *shared) if issubclass(kind, MeshdError)}


def expect_ok(status: int, answer: bytes) -> bytes:
    """Return an answer that is none of an error.

    Raises:
        MeshdError: what the answer says otherwise, by the class of its code.
    """
    if status < http.client.BAD_REQUEST:
        return answer
    try:
        said = json.loads(answer)
    except ValueError:
        said = None
    raise error_said(status, said if isinstance(said, dict) else {})


def document(status: int, answer: bytes) -> Document:
    """Return the JSON object of an answer.

    Raises:
        MeshdError: it is none, or the answer is an error; by the class of its code.
    """
    try:
        said = json.loads(expect_ok(status, answer))
    except ValueError as error:
        raise MeshdError("the daemon's answer is not JSON") from error
    if not isinstance(said, dict):
        raise MeshdError("the daemon's answer is not a JSON object")
    return said


def error_said(status: int, said: Document) -> MeshdError:
    """Return what an error answer says, in either of the shapes the routes have."""
    what = said.get("error")
    problem = what if isinstance(what, dict) else {**said, "message": what}
    code, hint = problem.get("code"), problem.get("hint")
    if code is not None:
        error = _codes().get(str(code), MeshdError)(str(problem.get("message")), hint=hint)
        error.code = str(code)
        return error
    kinds: dict[int, type[MeshdError]] = {
        http.client.BAD_REQUEST: BadRequestError,
        http.client.FORBIDDEN: PermissionRefusedError,
        http.client.NOT_FOUND: NotFoundError,
        http.client.GATEWAY_TIMEOUT: DeadlineError,
    }
    message = str(what) if what else f"the daemon answered with status {status}"
    return kinds.get(status, MeshdError)(message + _details(said.get("details")))


def _details(details: object) -> str:
    """Return what is wrong with a request, as the end of a sentence."""
    if not isinstance(details, list):
        return ""
    told = (f"{one.get('path')}: {one.get('message')}" for one in details if isinstance(one, dict))
    return f": {'; '.join(told)}"
