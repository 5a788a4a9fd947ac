"""What an answer of the daemon says.

Owns the way from a status and bytes to a document or to an error of the one tree.
"""

from __future__ import annotations

import http.client
import json
from typing import Any, TypeAlias

from meshd import errors
from meshd.errors import DeadlineError, MeshdError, NotFoundError, PermissionRefusedError

Document: TypeAlias = dict[str, Any]
"""A JSON object, as the daemon gives it."""


class GoneError(MeshdError):
    """The change log cannot go on from where the caller is.

    Its entries are no longer kept, or are those of a database that was rebuilt. The caller
    reads the registry anew, and follows from the `epoch` and `seq` of its status.
    """

    code = "gone"


def _codes() -> dict[str, type[MeshdError]]:
    """Return every class of error by its code."""
    found = (kind for kind in vars(errors).values() if isinstance(kind, type))
    return {
        GoneError.code: GoneError,
        **{kind.code: kind for kind in found if issubclass(kind, MeshdError)},
    }


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
    if isinstance(what, dict):
        code = str(what.get("code"))
        error = _codes().get(code, MeshdError)(str(what.get("message")), hint=what.get("hint"))
        error.code = code
        return error
    kinds: dict[int, type[MeshdError]] = {
        http.client.FORBIDDEN: PermissionRefusedError,
        http.client.NOT_FOUND: NotFoundError,
        http.client.GATEWAY_TIMEOUT: DeadlineError,
    }
    message = str(what) if what else f"the daemon answered with status {status}"
    details = said.get("details")
    if isinstance(details, list):
        told = (
            f"{one.get('path')}: {one.get('message')}" for one in details if isinstance(one, dict)
        )
        message += f": {'; '.join(told)}"
    return kinds.get(status, MeshdError)(message)
