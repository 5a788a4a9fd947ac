"""The rules a manifest must keep, field by field.

Owns the schema of `.dork/agent.json`, both generations of the peer, and the sentence that says
which rule is broken. Assumes parsed JSON. Promises strict types, no coercion, and a sentence
made of known keys, list positions and the descriptions below; nothing of the input is in it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    FailFast,
    Field,
)
from pydantic.alias_generators import to_camel

if TYPE_CHECKING:
    from pydantic import ValidationError

EFFORTS: Final = frozenset({"none", "minimal", "low", "medium", "high", "max", "xhigh"})

_INT64: Final = 2**63  # beyond it a number cannot be stored (fault 24)
_NO_NUL: Final = r"^[^\x00]*$"  # SQLite's length() stops at a NUL (fault 28)
# Nothing that forges a line, hides text or turns its direction (fault 29).
_ONE_LINE: Final = r"^[^\p{Cc}\p{Cf}\p{Zl}\p{Zp}]*$"
_MOMENT: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


def _to_utc(text: str) -> str:
    """Return an RFC 3339 time in UTC, unchanged when it is written so."""
    if not _MOMENT.fullmatch(text):
        raise ValueError("not RFC 3339")
    try:
        in_utc = datetime.fromisoformat(text.upper()).astimezone(UTC)
    except OverflowError:
        raise ValueError("outside the calendar") from None
    return text if text.endswith("Z") else in_utc.isoformat().replace("+00:00", "Z")


def _word_or_inherit(value: object) -> str | None:
    """Return a non-empty word; anything else means inherit, it never fails the manifest."""
    return value if isinstance(value, str) and value and "\x00" not in value else None


def _effort_or_inherit(value: object) -> str | None:
    """Return a known effort; anything else means inherit."""
    return value if isinstance(value, str) and value in EFFORTS else None


# Each description is the rule as a person is shown it. A key that may be left out may be null.
_Id = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$",
        description="must be 1 to 64 letters, digits, - or _, the first a letter or digit",
    ),
]
_Name = Annotated[
    str,
    Field(
        pattern=_ONE_LINE,
        min_length=1,
        description="must be text, not empty, without control characters",
    ),
]
_Runtime = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9][a-z0-9-]{0,63}$",
        description="must be 1 to 64 lower-case letters, digits or -, the first not -",
    ),
]
_Text = Annotated[str, Field(pattern=_NO_NUL, description="must be text without NUL")]
_FullText = Annotated[
    str, Field(pattern=_NO_NUL, min_length=1, description="must be text, not empty, without NUL")
]
_OptionalText = Annotated[
    str | None, Field(pattern=_NO_NUL, description="must be text without NUL")
]
_Switch = Annotated[bool, Field(description="must be true or false")]
_OptionalSwitch = Annotated[bool | None, Field(description="must be true or false")]
_Moment = Annotated[
    str, AfterValidator(_to_utc), Field(description="must be an RFC 3339 time with its offset")
]
_AtLeastOne = Annotated[
    int, Field(ge=1, lt=_INT64, description="must be a whole number of at least 1")
]
_Trait = Annotated[int, Field(ge=1, le=5, description="must be a whole number from 1 to 5")]
_Word = Annotated[str | None, BeforeValidator(_word_or_inherit)]


class _Part(BaseModel):
    """An object of the manifest: camel-case keys, strict types, unknown keys ignored."""

    model_config = ConfigDict(
        strict=True,
        frozen=True,  # so that a default is shared, and not copied for each manifest
        extra="ignore",
        alias_generator=to_camel,
        hide_input_in_errors=True,
        protected_namespaces=(),  # `model` is a key of the manifest, not of pydantic
    )

    def to_members(self) -> dict[str, object]:
        """Return its members under their own keys, those not given left out."""
        aliases = self._aliases()
        return {aliases[key]: value for key, value in self.__dict__.items() if value is not None}

    @classmethod
    @cache
    def _aliases(cls) -> dict[str, str]:
        return {name: field.alias or name for name, field in cls.model_fields.items()}


class _Behavior(_Part):
    response_mode: Annotated[
        Literal["always", "engaged", "direct-only", "mention-only", "silent"],
        Field(description="must be always, engaged, direct-only, mention-only or silent"),
    ] = "always"
    escalation_threshold: Annotated[
        float | None,
        Field(gt=-_INT64, lt=_INT64, description="must be a number"),
    ] = None


class _Budget(_Part):
    max_hops_per_message: _AtLeastOne = 5
    max_calls_per_hour: _AtLeastOne = 100


class _Traits(_Part):
    verbosity: _Trait = 3
    autonomy: _Trait = 3
    chaos: _Trait = 3
    creativity: _Trait = 3
    humor: _Trait = 3
    spice: _Trait = 3


class _Conventions(_Part):
    soul: _Switch = True
    nope: _Switch = True
    dorkos_knowledge: _Switch = True


class _ToolGroups(_Part):
    tasks: _OptionalSwitch = None
    relay: _OptionalSwitch = None
    mesh: _OptionalSwitch = None
    adapter: _OptionalSwitch = None


class _Process(_Part):
    transport: Literal["stdio"]
    command: _FullText
    args: Annotated[list[_Text], FailFast(), Field(description="must be a list of texts")] = []
    env: Annotated[dict[_Text, _Text], Field(description="must be an object of texts")] = {}


class _Url(_Part):
    transport: Literal["http", "sse"]
    url: Annotated[
        str,
        Field(pattern=r"^[A-Za-z][A-Za-z0-9+.-]*:[^\s\x00]+$", description="must be a URL"),
    ]
    headers: Annotated[dict[_Text, _Text], Field(description="must be an object of texts")] = {}
    auth_kind: _OptionalText = None


class _McpServer(_Part):
    name: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9_-]{1,64}$",
            description="must be 1 to 64 letters, digits, - or _",
        ),
    ]
    enabled: _Switch = False
    connection: Annotated[
        _Process | _Url,
        Discriminator("transport"),
        Field(description="must be an object whose transport is stdio, http or sse"),
    ]
    added_at: _Moment
    added_by: _FullText


class ManifestSchema(_Part):
    """A whole manifest. Its own name for each field is that of `Manifest`."""

    id: _Id
    name: _Name
    runtime: _Runtime
    registered_at: _Moment
    registered_by: _FullText
    display_name: Annotated[
        str | None,
        Field(
            pattern=_ONE_LINE,
            max_length=100,
            description="must be text of at most 100 characters, without control characters",
        ),
    ] = None
    description: _Text = ""
    capabilities: Annotated[
        list[_Text], FailFast(), Field(description="must be a list of texts without NUL")
    ] = Field(default_factory=list)  # copied, a default would cost as much as all the rest
    behavior: Annotated[_Behavior, Field(description="must be an object")] = _Behavior()
    budget: Annotated[_Budget, Field(description="must be an object")] = _Budget()
    namespace: Annotated[
        str | None,
        Field(
            pattern=_ONE_LINE,
            max_length=64,
            description="must be text of at most 64 characters, without control characters",
        ),
    ] = None
    persona: Annotated[
        str | None,
        Field(
            pattern=_NO_NUL,
            max_length=4000,
            description="must be text of at most 4000 characters, without NUL",
        ),
    ] = None
    persona_enabled: _Switch = True
    traits: Annotated[_Traits | None, Field(description="must be an object")] = None
    conventions: Annotated[_Conventions | None, Field(description="must be an object")] = None
    color: _OptionalText = None
    icon: _OptionalText = None
    model: _Word = None
    effort: Annotated[str | None, BeforeValidator(_effort_or_inherit)] = None
    account: _Word = None
    is_system: _Switch = False
    enabled_tool_groups: Annotated[_ToolGroups, Field(description="must be an object")] = (
        _ToolGroups()
    )
    mcp_servers: Annotated[
        list[_McpServer], FailFast(), Field(description="must be a list of objects")
    ] = Field(default_factory=list)


_PLACES: Final[tuple[tuple[str, type[_Part]], ...]] = (
    ("", ManifestSchema),
    ("behavior.", _Behavior),
    ("budget.", _Budget),
    ("traits.", _Traits),
    ("conventions.", _Conventions),
    ("enabledToolGroups.", _ToolGroups),
    ("mcpServers.", _McpServer),
    ("mcpServers.connection.", _Process),
    ("mcpServers.connection.", _Url),
)

# The rule of every known key, by its path without list positions.
_RULES: Final = {
    f"{place}{field.alias}": field.description or "is not valid"
    for place, part in _PLACES
    for field in part.model_fields.values()
}


def describe(error: ValidationError) -> str:
    """Return which known key breaks which rule, e.g. "capabilities[3]: must be a list of texts".

    Only the first fault is named. A part of its location that is not a known key, such as the
    name of an environment variable, is left out, for it comes from the file (R9).
    """
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    key = ""
    shown = ""
    for part in first["loc"]:
        if isinstance(part, int):
            shown += f"[{part}]"
            continue
        longer = f"{key}.{part}" if key else part
        if longer in _RULES:
            key = longer
            shown += f".{part}" if shown else part
    rule = "is required" if first["type"] == "missing" else _RULES[key]
    return f"{shown}: {rule}"
