"""A manifest as answers show it.

Owns the outside shape of a manifest: the keys of the peer's schema, optional ones left out
when they are absent. Assumes values that were validated when they were read. Imports no
validator, so that the command line can show a row without one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from meshd.core.model import Agent

if TYPE_CHECKING:
    from meshd.core.manifest import Manifest

_DECLARED: Final = "declared_namespace"
"""What the file says; the namespace derived for a row is no part of its manifest."""

_REQUIRED: Final = {
    "id": "id",
    "name": "name",
    "description": "description",
    "runtime": "runtime",
    "capabilities": "capabilities",
    "behavior": "behavior",
    "budget": "budget",
    "registeredAt": "registered_at",
    "registeredBy": "registered_by",
    "personaEnabled": "persona_enabled",
    "isSystem": "is_system",
    "enabledToolGroups": "enabled_tool_groups",
    "mcpServers": "mcp_servers",
}
_OPTIONAL: Final = {
    "displayName": "display_name",
    "namespace": _DECLARED,
    "persona": "persona",
    "traits": "traits",
    "conventions": "conventions",
    "color": "color",
    "icon": "icon",
    "model": "model",
    "effort": "effort",
    "account": "account",
}

FIELDS: Final = _REQUIRED | _OPTIONAL
"""The field of a row behind each key of its manifest."""


def without_absent(document: dict[str, Any]) -> dict[str, Any]:
    """Take the optional keys that are absent out of a manifest with all of `FIELDS`."""
    for key in _OPTIONAL:
        if document[key] is None:
            del document[key]
    return document


def to_document(source: Manifest | Agent) -> dict[str, Any]:
    """Return a manifest, or a row, as HTTP answers show one; absent optional keys are left out."""
    declared = _DECLARED if isinstance(source, Agent) else "namespace"
    document = {
        key: getattr(source, declared if field is _DECLARED else field)
        for key, field in FIELDS.items()
    }
    document["capabilities"] = list(source.capabilities)
    document["mcpServers"] = [dict(server) for server in source.mcp_servers]
    for key in ("behavior", "budget", "enabledToolGroups"):
        document[key] = dict(document[key])
    return without_absent(document)
