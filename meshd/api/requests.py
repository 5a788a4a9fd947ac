"""What callers may send.

Owns the bodies of requests, the checks of paths in them, and how a handler gets at the
daemon. A path is checked as text alone: the API never touches a root (R6).
"""

# Annotations here are read at run time by the framework, so they are not postponed.

import os
import re
from typing import Annotated, Any, Final, Self
from urllib.parse import parse_qs, unquote_to_bytes

from fastapi import Depends, Header, Query
from fastapi.exceptions import RequestValidationError
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)
from starlette.requests import Request

from meshd.core.access import ANY, Action
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


def reference(request: Request, name: str) -> str:
    """Return an id or a path from the query, with bytes of a path that are not UTF-8."""
    query: str = request.scope["query_string"].decode("ascii", "replace")
    return parse_qs(query, errors="surrogateescape")[name][-1]


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


def _switch(text: object) -> bool:
    """Return what a switch of a query says, in the words of JSON alone."""
    if text not in ("true", "false"):
        raise ValueError("must be true or false")
    return text == "true"


Switch = Annotated[bool, BeforeValidator(_switch)]
DryRun = Annotated[
    Switch, Query(alias="dryRun", description="Say what would be, and change nothing.")
]
KeepManifest = Annotated[
    Switch, Query(alias="keepManifest", description="Deny the path instead of changing it.")
]

_TAG: Final = r'(?:W/)?"[!#-~]*"'
_IF_MATCH: Final = rf"(?:[*]|[0-9]{{1,18}}|{_TAG}(?:[ \t]*,[ \t]*{_TAG})*)"
_SEQ: Final = re.compile(r'(?<!/)"([0-9]{1,18})"', re.ASCII)


def _expected_seqs(text: object) -> frozenset[int] | None:
    """Return the seqs a caller has seen, as If-Match says them (RFC 9110 §13.1.1).

    A tag that is weak, or is none of ours, is well-formed and matches no state. A bare number is
    taken too, for a person.

    Returns:
        None for `*`, which is any.

    Raises:
        ValueError: it is not the value of an If-Match.
    """
    said = str(text)
    if re.fullmatch(_IF_MATCH, said, re.ASCII) is None:
        raise ValueError('must be "SEQ", several of them with commas between, or *')
    if said == "*":
        return None
    return frozenset(map(int, [said] if said.isdigit() else _SEQ.findall(said)))


ExpectedSeqs = Annotated[
    Any,
    PlainValidator(_expected_seqs),
    WithJsonSchema({"type": "string", "pattern": f"^{_IF_MATCH}$"}),
    Header(alias="If-Match", description="The agent's seq that the change is meant for."),
]


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


class DiscoverRequest(BaseModel):
    """Where to look for candidates. Unknown keys are ignored, as the peer ignores them."""

    roots: list[PathText] = Field(min_length=1)
    max_depth: int | None = Field(
        default=None,
        ge=0,
        strict=True,
        alias="maxDepth",
        description="Levels below each of the roots; 0 looks at them alone.",
    )


NamespaceText = Annotated[str, Field(pattern=r"^([a-z0-9-]{1,64}|[*])$")]


class AccessRequest(BaseModel):
    """Which namespace may reach which, or may not. Unknown keys are ignored."""

    source: NamespaceText = Field(alias="sourceNamespace")
    target: NamespaceText = Field(alias="targetNamespace")
    action: Action

    @model_validator(mode="after")
    def _all_or_none(self) -> Self:
        if (self.source == ANY) != (self.target == ANY):
            raise ValueError("* stands for the whole mesh, so it is on both sides or on neither")
        return self
