"""What a daemon may be told to do, one method for each route.

Owns the names of the acts and of their parameters. Assumes to be part of a `Client`. Promises:
a method returns when what it asks for is done and durable.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from meshd.client.conversation import PREFIX, as_query, safe
from meshd.client.replies import document

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshd.client.conversation import Conversation
    from meshd.client.replies import Document

SWEEP_DEADLINE_SECONDS = 635.0
"""For answers that wait for an act and then a sweep, to which the daemon gives 30 and 600 s."""


class Acts:
    """The half of a client that changes something."""

    _conversation: Conversation

    def register(
        self,
        path: str,
        overrides: Mapping[str, Any] | None = None,
        approver: str | None = None,
        *,
        dry_run: bool = False,
    ) -> Document:
        """Give a project a manifest, or take the one it has; return the manifest.

        Args:
            path: the project directory, absolute.
            overrides: manifest keys, over what the file says; a new one needs name and runtime.
            approver: who wants it.
            dry_run: say what would be, and change nothing.
        """
        said = {"path": path, "overrides": dict(overrides or {}), "approver": approver}
        asked = {key: value for key, value in said.items() if value is not None}
        return self._conversation.post(f"/agents{_dry(dry_run)}", asked)

    def update(
        self,
        agent_id: str,
        changes: Mapping[str, Any],
        *,
        expected_seq: int | None = None,
        dry_run: bool = False,
    ) -> Document:
        """Change keys of a manifest where it lies; return the manifest.

        Args:
            agent_id: whose.
            changes: manifest keys; None takes an optional one away.
            expected_seq: the `seq` of the row that the change is meant for, None for any.
            dry_run: say what would be, and change nothing.

        Raises:
            ConflictError: the agent has changed since.
        """
        target = f"/agents/{safe(agent_id)}{_dry(dry_run)}"
        headers = {} if expected_seq is None else {"If-Match": f'"{expected_seq}"'}
        return self._conversation.act_once("PATCH", target, dict(changes), headers)

    def unregister(
        self,
        agent_id: str,
        *,
        keep_manifest: bool = False,
        data: bool = False,
        dry_run: bool = False,
    ) -> Document:
        """Take an agent out of the registry, and its manifest off the disk.

        The answer says which path was removed and which one holds the id now, each or null.

        Args:
            agent_id: whom.
            keep_manifest: deny its path, and leave the file where it is.
            data: remove `.dork` with all that is in it, not the manifest alone.
            dry_run: say what would be, and change nothing.

        Raises:
            ValueError: both `keep_manifest` and `data`.
        """
        if keep_manifest and data:
            raise ValueError("the manifest is either kept or removed with all the data")
        query = {"keepManifest": _true(keep_manifest), "dryRun": _true(dry_run)}
        what = "/data" if data else ""
        target = f"/agents/{safe(agent_id)}{what}{as_query(query)}"
        return self._conversation.act_once("DELETE", target)

    def heartbeat(self, agent_id: str, event: str | None = None) -> Document:
        """Tell that an agent lives, and what it did."""
        said = {} if event is None else {"event": event}
        return self._conversation.post(f"/agents/{safe(agent_id)}/heartbeat", said)

    def set_rule(self, source: str, target: str, action: str) -> Document:
        """Let one namespace reach another, or not: `allow`, `deny`; `*` to `*` is the mesh."""
        said = {"sourceNamespace": source, "targetNamespace": target, "action": action}
        answer = self._conversation.exchange("PUT", f"{PREFIX}/topology/access", said)
        return document(*answer)

    def accept_root(self, path: str) -> Document:
        """Take what lies at a root now for the root."""
        return self._conversation.post("/roots/accept", {"path": path})

    def sweep(self, *, full: bool = False, confirm: bool = False) -> Document:
        """Sweep from now, and return what the committed sweep did."""
        return self._conversation.post(
            "/sweep", {"full": full, "confirm": confirm}, SWEEP_DEADLINE_SECONDS
        )

    def sync(self) -> Document:
        """Bring the registry up to date with the disk; return `{"seq", "held", "roots"}`."""
        return self._conversation.post("/sync", {}, SWEEP_DEADLINE_SECONDS)

    def reload(self) -> Document:
        """Reload the configuration; return `{"generation", "changed", "needsRestart"}`."""
        return self._conversation.post("/reload", {})

    def deny(self, path: str, *, reason: str | None = None, denier: str | None = None) -> Document:
        """Leave a path alone, with everything below it."""
        said = {"path": path, "reason": reason, "denier": denier}
        return self._conversation.post(
            "/deny", {key: value for key, value in said.items() if value is not None}
        )

    def allow(self, path: str) -> Document:
        """Take a denial back; returns once what lies there is registered."""
        target = f"{PREFIX}/denied/{quote(os.fsencode(path), safe='')}"
        return document(
            *self._conversation.exchange("DELETE", target, deadline=SWEEP_DEADLINE_SECONDS)
        )

    def forget(self, agent_id: str | None = None) -> Document:
        """Drop the row of an id that is not live, or every row out of scope (None)."""
        return self._conversation.post(
            "/forget", {"unscanned": True} if agent_id is None else {"id": agent_id}
        )


def _true(switch: bool) -> str | None:
    return "true" if switch else None


def _dry(dry_run: bool) -> str:
    return as_query({"dryRun": _true(dry_run)})
