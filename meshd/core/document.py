"""A manifest as answers show it.

Owns the outside shape of a manifest: the keys of the peer's schema, optional ones left out
when they are absent. Assumes values that were validated when they were read. Imports no
validator, so that the command line can show a row without one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshd.core.model import Agent

if TYPE_CHECKING:
    from meshd.core.manifest import Manifest


def to_document(source: Manifest | Agent) -> dict[str, object]:
    """Return a manifest, or a row, as HTTP answers show one; absent optional keys are left out.

    `namespace` is what the file declares, for a row too: the one derived for it is no part of
    its manifest.
    """
    declared = source.declared_namespace if isinstance(source, Agent) else source.namespace
    optional = {
        "displayName": source.display_name,
        "namespace": declared,
        "persona": source.persona,
        "traits": source.traits,
        "conventions": source.conventions,
        "color": source.color,
        "icon": source.icon,
        "model": source.model,
        "effort": source.effort,
        "account": source.account,
    }
    return {
        "id": source.id,
        "name": source.name,
        "description": source.description,
        "runtime": source.runtime,
        "capabilities": list(source.capabilities),
        "behavior": dict(source.behavior),
        "budget": dict(source.budget),
        "registeredAt": source.registered_at,
        "registeredBy": source.registered_by,
        "personaEnabled": source.persona_enabled,
        "isSystem": source.is_system,
        "enabledToolGroups": dict(source.enabled_tool_groups),
        "mcpServers": [dict(server) for server in source.mcp_servers],
    } | {key: value for key, value in optional.items() if value is not None}
