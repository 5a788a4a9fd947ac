"""What callers may send.

Owns the bodies of requests, the checks of paths in them, and how a handler gets at the
daemon. A path is checked as text alone: the API never touches a root (R6).
"""

# Annotations here are read at run time by the framework, so they are not postponed.

import os
from typing import Annotated, Any, Self
from urllib.parse import unquote_to_bytes

from fastapi import Depends
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, PlainValidator, WithJsonSchema, model_validator
from starlette.requests import Request

from meshd.errors import PermissionRefusedError
from meshd.services import Services


def normal_path(text: object) -> str:
    """Return an absolute path without `.`, doubled or trailing slashes.

    Args:
        text: as a caller wrote it; half characters stand for bytes that are not UTF-8.

    Raises:
        ValueError: it is not an absolute path, or climbs.
    """
    if not isinstance(text, str) or not text.startswith("/"):
        raise ValueError("must be an absolute path")
    if "\x00" in text:
        raise ValueError("must not hold NUL")
    if ".." in text.split("/"):
        raise ValueError("must not hold `..`")
    os.fsencode(text)  # a UnicodeEncodeError, which is a ValueError, for what is no file name
    return os.path.normpath("/" + text.lstrip("/"))


# Not `str`, which refuses the half characters of a path that is not UTF-8.
PathText = Annotated[
    Any, PlainValidator(normal_path), WithJsonSchema({"type": "string", "pattern": "^/"})
]


def encoded_path(request: Request, prefix: str) -> str:
    """Return the path that was percent-encoded behind a route's prefix.

    It is taken from the raw bytes, for the decoded URL has lost what is not UTF-8.

    Raises:
        RequestValidationError: it is not an absolute path, or climbs.
    """
    raw = request.scope["raw_path"].partition(prefix.encode("ascii"))[2]
    try:
        return normal_path(os.fsdecode(unquote_to_bytes(raw)))
    except ValueError as error:
        problem = {"loc": ("path",), "msg": str(error), "type": "value_error"}
        raise RequestValidationError([problem]) from None


def require_in_scope(services: Services, path: str) -> None:
    """Refuse a path that lies in no configured root.

    Raises:
        PermissionRefusedError: it does not.
    """
    if services.roots.view.scope.owner(path) is None:
        raise PermissionRefusedError(
            f"{path!a} lies in no configured root", hint="`meshd roots list` shows them"
        )


async def services_of(request: Request) -> Services:
    """Return the daemon behind an application."""
    services: Services = request.app.state.services
    return services


Daemon = Annotated[Services, Depends(services_of)]


class Body(BaseModel):
    """A body of our own routes: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid")


class SweepRequest(Body):
    """How to sweep: `full` reads everything again, `confirm` means held disappearances."""

    full: bool = False
    confirm: bool = False


class AcceptRequest(Body):
    """Which root to take as it is now."""

    path: PathText


class ForgetRequest(Body):
    """What to drop: one row by id, or every row out of scope."""

    id: str | None = None
    unscanned: bool = False

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.id is None) != self.unscanned:
            raise ValueError("give either id or unscanned")
        return self


class DenyRequest(BaseModel):
    """Which path to leave alone. Unknown keys are ignored, as the peer ignores them."""

    path: PathText
    reason: str | None = None
    denier: str = "mesh"
