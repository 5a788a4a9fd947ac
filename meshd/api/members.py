"""What callers may say about an agent.

Owns the bodies that carry keys of a manifest. Each key has the type that the manifest gives it;
what more a value must be, and which keys may be said at all, is judged where the manifest is
written. Promises: only what a caller said is passed on, and all of it can be written as JSON.
Keys that no manifest of ours has are ignored, as the peer ignores them; those that are not a
caller's to give are refused, unless they say what is so already.
"""

# Annotations here are read at run time by the framework, so they are not postponed.

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, with_config
from typing_extensions import TypedDict

from meshd import answers
from meshd.api.requests import PathText
from meshd.core.editing import EDITABLE
from meshd.core.model import Agent

_Word = Annotated[str, Field(min_length=1)]
_Trait = Annotated[int, Field(ge=1, le=5)]
_AtLeastOne = Annotated[int, Field(ge=1, lt=2**63)]
_Effort = Literal["none", "minimal", "low", "medium", "high", "max", "xhigh"]


class Behavior(TypedDict, total=False):
    """When an agent answers."""

    responseMode: Literal["always", "engaged", "direct-only", "mention-only", "silent"]
    escalationThreshold: float


class Budget(TypedDict, total=False):
    """What an agent may spend."""

    maxHopsPerMessage: _AtLeastOne
    maxCallsPerHour: _AtLeastOne


class Traits(TypedDict, total=False):
    """Six traits, 1 to 5."""

    verbosity: _Trait
    autonomy: _Trait
    chaos: _Trait
    creativity: _Trait
    humor: _Trait
    spice: _Trait


class Conventions(TypedDict, total=False):
    """Files that an agent goes by."""

    soul: bool
    nope: bool
    dorkosKnowledge: bool


class ToolGroups(TypedDict, total=False):
    """Groups of tools that are on or off."""

    tasks: bool
    relay: bool
    mesh: bool
    adapter: bool


class Members(TypedDict, total=False):
    """Keys of a manifest that a caller may say; null takes one away."""

    name: _Word
    displayName: Annotated[str, Field(max_length=100)] | None
    description: str
    runtime: _Word
    capabilities: list[str]
    behavior: Behavior
    budget: Budget
    namespace: Annotated[str, Field(max_length=64)] | None
    persona: Annotated[str, Field(max_length=4000)] | None
    personaEnabled: bool
    traits: Traits | None
    conventions: Conventions | None
    color: str | None
    icon: str | None
    model: _Word | None
    effort: _Effort | None
    account: _Word | None
    enabledToolGroups: ToolGroups


# Values are taken as they are, never converted, and keys we do not know are the caller's own.
_AS_SAID: Final = ConfigDict(strict=True, extra="allow")
for _part in (Behavior, Budget, Traits, Conventions, ToolGroups, Members):
    with_config(_AS_SAID)(_part)


def _writable(members: dict[str, Any]) -> dict[str, Any]:
    """Refuse what JSON reads and no file can hold: half characters, NaN, infinities."""
    json.dumps(members, ensure_ascii=False, allow_nan=False).encode("utf-8")
    return members


Said = Annotated[Members, AfterValidator(_writable)]


GIVEN: Final = frozenset({"id", "registeredAt", "registeredBy", "isSystem", "mcpServers"})
"""Keys of a manifest that are not a caller's to give."""


def meant(said: Mapping[str, Any], agent: Agent | None) -> dict[str, Any]:
    """Return what a caller wants to change.

    Args:
        said: the keys of its request.
        agent: the row it speaks of, None when there is none.

    Returns:
        The keys that may be set, and those that are not the caller's to give and differ from
        what is there; whoever writes the manifest refuses them.
    """
    shown = {} if agent is None else answers.manifest_document(agent)
    # Who is a system agent is not up for discussion, not even to say that it is one.
    same = {key for key in GIVEN & said.keys() if key in shown and shown[key] == said[key]}
    if agent is not None and agent.is_system:
        same -= {"isSystem"}
    return {key: said[key] for key in said if key in EDITABLE | (GIVEN - same)}


class RegisterRequest(BaseModel):
    """Which project to register, and as what. Unknown keys are ignored, as the peer does."""

    path: PathText
    overrides: Said = Field(default_factory=Members)
    approver: _Word = "mesh"
    scan_root: PathText = Field(default=None, alias="scanRoot")
