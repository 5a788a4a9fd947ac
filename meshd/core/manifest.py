"""The manifest: from untrusted bytes to a value, or to a reason.

Owns what `.dork/agent.json` may say: the union of both generations of the peer's schema, with
their defaults. Assumes nothing of the bytes (R9). Promises a valid, picklable `Manifest` or
one `Rejected` whose words are all our own: no byte, value or unknown key of the file is in it.
Unknown keys are ignored here and kept in `Manifest.document`, so that a write-back keeps them.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

from pydantic import ValidationError

from meshd.core.manifest_schema import ManifestSchema, describe
from meshd.core.model import Reason
from meshd.errors import InvalidManifestError

if TYPE_CHECKING:
    from collections.abc import Mapping

CAP_BYTES: Final = 64 * 1024
"""The largest manifest that is read: it bounds one parse to some 30 ms (fault 37)."""

MAX_NESTING: Final = 64
"""Levels of objects and lists. A fixed figure, so that neither this parse nor a later dump or
pickle meets the interpreter's own limit, which depends on the caller's stack (fault 36)."""

_DETAIL_CHARACTERS: Final = 200


class Rejected(InvalidManifestError):  # noqa: N818 - the word of the flow; the base says Error
    """The bytes are not a manifest.

    Attributes:
        reason: why, one of the fixed words.
        detail: which known key breaks which rule, at most 200 characters; None when the
            reason says it all.
    """

    def __init__(self, reason: Reason, detail: str | None = None) -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail[:_DETAIL_CHARACTERS] if detail else None

    def __reduce__(self) -> tuple[type[Rejected], tuple[Reason, str | None]]:
        """Pickle by its own two arguments: a looker may run in another process."""
        return (Rejected, (self.reason, self.detail))


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a valid manifest says, defaults filled in.

    Attributes:
        behavior: `responseMode` and, when given, `escalationThreshold`.
        budget: `maxHopsPerMessage` and `maxCallsPerHour`.
        namespace: as declared; the effective one is derived elsewhere.
        registered_at: RFC 3339 in UTC; another offset of the file is converted.
        traits: all six, 1 to 5; None when the file has none.
        conventions: all three switches; None when the file has none.
        model: None means inherit, as for `effort` and `account`; so does a bad value.
        mcp_servers: `name` and `enabled` only, for the rest can hold secrets.
        document: the parsed file as it stands, secrets included: for write-back only.
    """

    id: str
    name: str
    runtime: str
    registered_at: str
    registered_by: str
    display_name: str | None
    description: str
    capabilities: tuple[str, ...]
    behavior: Mapping[str, object]
    budget: Mapping[str, object]
    namespace: str | None
    persona: str | None
    persona_enabled: bool
    traits: Mapping[str, object] | None
    conventions: Mapping[str, object] | None
    color: str | None
    icon: str | None
    model: str | None
    effort: str | None
    account: str | None
    is_system: bool
    enabled_tool_groups: Mapping[str, object]
    mcp_servers: tuple[Mapping[str, object], ...]
    document: Mapping[str, object]


def parse(data: bytes) -> Manifest:
    """Read a manifest.

    Args:
        data: the whole file.

    Raises:
        Rejected: the bytes are not a valid manifest.
    """
    document = _read_json(data)
    try:
        schema = ManifestSchema.model_validate(document)
    except ValidationError as error:
        detail = describe(error)
    else:
        return _to_manifest(schema, document)
    # Raised outside the handler: the validator's error holds values of the file (R9).
    raise Rejected(Reason.BAD_SCHEMA, detail)


def _to_manifest(schema: ManifestSchema, document: Mapping[str, object]) -> Manifest:
    return Manifest(
        id=schema.id,
        name=schema.name,
        runtime=schema.runtime,
        registered_at=schema.registered_at,
        registered_by=schema.registered_by,
        display_name=schema.display_name,
        description=schema.description,
        capabilities=tuple(schema.capabilities),
        behavior=schema.behavior.to_members(),
        budget=schema.budget.to_members(),
        namespace=schema.namespace,
        persona=schema.persona,
        persona_enabled=schema.persona_enabled,
        traits=None if schema.traits is None else schema.traits.to_members(),
        conventions=None if schema.conventions is None else schema.conventions.to_members(),
        color=schema.color,
        icon=schema.icon,
        model=schema.model,
        effort=schema.effort,
        account=schema.account,
        is_system=schema.is_system,
        enabled_tool_groups=schema.enabled_tool_groups.to_members(),
        mcp_servers=tuple(
            {"name": server.name, "enabled": server.enabled} for server in schema.mcp_servers
        ),
        document=document,
    )


# --- bytes to JSON -------------------------------------------------------------------------


def _read_json(data: bytes) -> dict[str, object]:
    """Return the one JSON object that `data` is.

    Raises:
        Rejected: it is not, or it is one that two readers could read differently.
    """
    text = _decode(data)
    try:
        document: object = _DECODER.decode(text)
    except RecursionError:
        raise Rejected(Reason.TOO_DEEP) from None
    except ValueError:  # JSONDecodeError, or a number of more digits than Python takes
        raise Rejected(Reason.NOT_JSON) from None
    if text.count("[") + text.count("{") > MAX_NESTING and _nesting(document) > MAX_NESTING:
        raise Rejected(Reason.TOO_DEEP)
    if not isinstance(document, dict):
        raise Rejected(Reason.NOT_OBJECT)
    if _ESCAPED_SURROGATE.search(text) and _has_lone_surrogate(document):
        raise Rejected(Reason.LONE_SURROGATE)
    return document


def _decode(data: bytes) -> str:
    if len(data) > CAP_BYTES:
        raise Rejected(Reason.TOO_BIG)
    if data.startswith(b"\xef\xbb\xbf"):
        raise Rejected(Reason.BOM)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise Rejected(Reason.NOT_UTF8) from None
    if not text or text.isspace():
        raise Rejected(Reason.EMPTY)
    return text


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Build an object; two readers may disagree about one with a key given twice (fault 21)."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Rejected(Reason.DUPLICATE_KEY)
    return members


def _refuse_constant(_constant: str) -> NoReturn:
    """Refuse NaN and the infinities, which are not JSON (fault 22)."""
    raise Rejected(Reason.NOT_FINITE)


def _finite(text: str) -> float:
    """Return a number; 1e999 would silently become an infinity (fault 23)."""
    number = float(text)
    if not math.isfinite(number):
        raise Rejected(Reason.NOT_FINITE)
    return number


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_unique_keys, parse_constant=_refuse_constant, parse_float=_finite
)
_ESCAPED_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


def _has_lone_surrogate(document: object) -> bool:
    """Whether any string or key holds half a character, which SQLite refuses (fault 26)."""
    try:
        json.dumps(document, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _nesting(document: object) -> int:
    """Return how many levels of objects and lists `document` has."""
    levels = 0
    level = [document]
    while level := [item for item in level if isinstance(item, dict | list)]:
        levels += 1
        level = [
            member
            for item in level
            for member in (item.values() if isinstance(item, dict) else item)
        ]
    return levels
