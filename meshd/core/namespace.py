"""Which namespace an agent belongs to.

Owns the one rule (design: §Namespaces): what the manifest declares, as far as its root allows,
else the place on disk. Assumes nothing of its text. Promises a name that is a safe subject
token for any input: a bad namespace is never a reason to lose an agent.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from meshd.core.scope import is_within

if TYPE_CHECKING:
    from collections.abc import Sequence

FALLBACK: Final = "default"
REFUSED: Final = "namespace-refused"
LONGEST_CHARACTERS: Final = 64

# The runtimes the peer knows. A namespace of that name would read as the runtime's own.
KNOWN_RUNTIMES: Final = frozenset(
    {
        "claude-code",
        "cursor",
        "codex",
        "opencode",
        "windsurf",
        "gemini",
        "cline",
        "roo-code",
        "copilot",
        "amazon-q",
        "continue",
        "augment",
        "jetbrains-ai",
        "kilo-code",
        "trae",
        "other",
    }
)

_OTHER_CHARACTERS: Final = re.compile(r"[^a-z0-9]+")


def derive(
    declared: str | None, root: str, path: str, allowed: Sequence[str] | None
) -> tuple[str, tuple[str, ...]]:
    """Return the effective namespace of an agent and the flags its row carries for it.

    Args:
        declared: what the manifest says, as written.
        root: the root that owns `path`.
        path: the project directory.
        allowed: what manifests of this root may declare; None when anything goes.

    Returns:
        `[a-z0-9-]`, 1 to 64 characters, and `("namespace-refused",)` when the declared one is
        not allowed and the place on disk decided instead.
    """
    from_place = _from_place(root, path)
    wanted = normalise(declared) if declared else None
    if wanted is None:
        return from_place, ()
    if allowed is not None and wanted not in {normalise(name) for name in allowed}:
        return from_place, (REFUSED,)
    return wanted, ()


@lru_cache(maxsize=1024)  # hardly a project has a namespace of its own
def normalise(name: str) -> str | None:
    """Return `name` as a namespace, or None when nothing of it can be kept.

    Accents are dropped, every run of other characters becomes one hyphen, and the name of a
    runtime gets `-ns`. Normalising twice changes nothing.
    """
    plain = unicodedata.normalize("NFKD", name.casefold())
    unaccented = "".join(letter for letter in plain if not unicodedata.combining(letter))
    slug = _OTHER_CHARACTERS.sub("-", unaccented).strip("-")[:LONGEST_CHARACTERS].rstrip("-")
    if not slug:
        return None
    return f"{slug}-ns" if slug in KNOWN_RUNTIMES else slug


def _from_place(root: str, path: str) -> str:
    """Return the namespace of a place: the first segment below the root, else the root's name."""
    base = root.rstrip("/")
    below = path[len(base) :].strip("/") if is_within(path, root) else ""
    segment = below.partition("/")[0] or base.rpartition("/")[2]
    return normalise(segment) or FALLBACK
