"""The manifest that a call asks for, before anything is written.

Owns what a register and an update make of a manifest, and what they may not. Used by the
reconciler's thread alone. Promises: a draft is a valid manifest within the cap; the id, the
origin and every key that is not asked for are those of the file.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ulid import ULID

from meshd.clock import timestamp
from meshd.core.editing import differing, edited, written_anew
from meshd.core.manifest import Rejected, parse
from meshd.core.model import Outcome
from meshd.errors import BadRequestError, NotFoundError, SystemAgentError
from meshd.looker.writing import ReadManifest, Swap, Trouble
from meshd.registration.deeds import ManifestDeed, refusal, temporary_name

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from meshd.core.manifest import Manifest
    from meshd.registration.sites import Site

_PROTECTED: Final = frozenset({"name", "description", "namespace", "isSystem"})
_INHERITED: Final = ("model", "effort", "account")


@dataclass(frozen=True, slots=True)
class Draft:
    """A manifest to be.

    Attributes:
        data: its bytes.
        manifest: what they say.
        created: whether the project has none yet.
        changed: whether it differs from the one that is there.
    """

    site: Site
    data: bytes
    manifest: Manifest
    created: bool
    changed: bool

    @property
    def content_hash(self) -> str:
        """SHA-256 of the bytes."""
        return hashlib.sha256(self.data).hexdigest()

    def deed(self) -> ManifestDeed:
        """Return what writes it."""
        seen = self.site.seen
        swap = Swap(
            path=self.site.path,
            temporary=temporary_name("agent.json"),
            previous=None if self.created else seen.content_hash,
            new=self.content_hash,
            makes_dork=seen.dork is None,
        )
        return ManifestDeed(swap, self.data)


def new_draft(site: Site, overrides: Mapping[str, Any], approver: str, wall_ns: int) -> Draft:
    """Draft the first manifest of a project.

    Args:
        site: where nothing lies yet.
        overrides: what it is to say.
        approver: who wants it.
        wall_ns: the time.

    Raises:
        BadRequestError: name or runtime is missing, or a value breaks a rule.
    """
    missing = [key for key in ("name", "runtime") if key not in overrides]
    if missing:
        raise BadRequestError(
            f"{' and '.join(missing)} must be given: the project has no manifest yet",
            hint="`meshd discover` suggests both",
        )
    document = {
        "id": str(ULID.from_timestamp(wall_ns / 1_000_000_000)),
        **overrides,
        "registeredAt": timestamp(wall_ns),
        "registeredBy": approver,
    }
    data = written_anew(document)
    return Draft(site, data, _parsed(data, overrides), created=True, changed=True)


def next_draft(site: Site, changes: Mapping[str, Any]) -> Draft:
    """Draft what a manifest says after some changes.

    Args:
        site: where a valid manifest lies.
        changes: values by key; None takes a key away.

    Raises:
        BadRequestError: a value breaks a rule.
        ConflictError: the file is not the one that was looked at.
        NotWritableError: it cannot be read.
    """
    seen = site.seen
    assert seen.outcome is Outcome.PRESENT, "bug: nothing to change"
    assert seen.content_hash is not None, "bug: a manifest that was not read"
    before = site.looker.run(ReadManifest(site.path, seen.content_hash))
    if isinstance(before, Trouble):
        raise refusal(before, site.path)
    data = edited(before, changes)
    return Draft(site, data, _parsed(data, changes), created=False, changed=data != before)


def refuse_protected(changes: Collection[str], *, is_system: bool) -> None:
    """Refuse what would change who a system agent is.

    Raises:
        SystemAgentError: it would.
    """
    touched = sorted(_PROTECTED.intersection(changes))
    if is_system and touched:
        raise SystemAgentError(
            f"{', '.join(touched)} of a system agent cannot be changed",
            hint="edit its manifest by hand if you must",
        )


def refuse_protected_overrides(
    manifest: Manifest, overrides: Mapping[str, Any], *, is_system: bool
) -> None:
    """Refuse overrides that would change who a system agent is; the same again changes nothing.

    Raises:
        SystemAgentError: they would.
    """
    refuse_protected(differing(manifest.document, overrides), is_system=is_system)


def not_found(agent_id: str) -> NotFoundError:
    """Return the error for an id that no row has."""
    return NotFoundError(f"no agent {agent_id[:64]!a}", hint="`meshd agents list` shows all")


def _parsed(data: bytes, changes: Mapping[str, Any]) -> Manifest:
    try:
        manifest = parse(data)
    except Rejected as rejected:
        why = rejected.message
    else:
        # In a file they degrade to "inherit"; a caller is told.
        ignored = [
            key
            for key in _INHERITED
            if changes.get(key) is not None and getattr(manifest, key) is None
        ]
        if not ignored:
            return manifest
        why = f"{ignored[0]} is not one that is known"
    raise BadRequestError(
        f"the manifest would not be valid: {why}", hint="`meshd check-manifest` knows the rules"
    )
