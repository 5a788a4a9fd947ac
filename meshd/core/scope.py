"""Which root owns a path, and whether the path is scanned at all.

Owns the order in which a path is judged before any look counts: denied, then out of scope.
The walk prunes by the same object, so what is walked and what is judged cannot differ.
Assumes absolute, resolved, normalised paths. Promises: no I/O, the same answer every time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fnmatch import translate
from functools import cached_property, lru_cache

from meshd.core.model import Reason

# Directories that hold no projects, by name: the list DorkOS Mesh scans by, less the
# dot-directories, which are never scanned.
DEFAULT_EXCLUDES = (
    "node_modules",
    "vendor",
    "Library",
    "AppData",
    "dist",
    "build",
    "__pycache__",
    "venv",
    "*.dorkos-bak-*",
)


@dataclass(frozen=True, slots=True)
class Judgement:
    """Where a path stands: the root that owns it, and why it is not scanned (None: it is)."""

    root: str | None
    refusal: Reason | None


@dataclass(frozen=True)
class Scope:
    """The configured roots and what is left out below them.

    Attributes:
        roots: absolute paths; the longest that is a prefix of a path owns it.
        exclude: directory names or, with a slash, globs relative to the root.
        max_depth: how many levels below its root a project may lie; the root itself is level 0.
        denied: paths the operator denied, each with everything below it.
        most_directories: so many directories of one root are walked, each `.dork` counted as
            one (fault 48); None for no limit.
    """

    roots: tuple[str, ...]
    exclude: tuple[str, ...] = DEFAULT_EXCLUDES
    max_depth: int = 5
    denied: frozenset[str] = field(default_factory=frozenset)
    most_directories: int | None = None

    def owner(self, path: str) -> str | None:
        """Return the longest configured root at or above `path`, or None."""
        roots = self._roots
        while path not in roots:
            if path in ("/", ""):
                return None
            path = path.rpartition("/")[0] or "/"
        return path

    @cached_property
    def _roots(self) -> frozenset[str]:
        return frozenset(self.roots)

    @cached_property
    def _matchers(self) -> tuple[re.Pattern[str] | None, re.Pattern[str] | None]:
        return _matchers(self.exclude)

    def judge(self, path: str) -> Judgement:
        """Say which root owns `path` and why it is not scanned, denials first."""
        root = self.owner(path)
        if self.denies(path):
            return Judgement(root, Reason.DENIED)
        if root is None:
            return Judgement(None, Reason.NO_ROOT)
        relative = "" if path == root else path[len(root.rstrip("/")) + 1 :]
        parts = relative.split("/") if relative else []
        if len(parts) > self.max_depth:
            return Judgement(root, Reason.TOO_FAR_DOWN)
        parent = ""
        for name in parts:
            if self.prunes(parent, name):
                return Judgement(root, Reason.EXCLUDED)
            parent = f"{parent}/{name}" if parent else name
        return Judgement(root, None)

    def denies(self, path: str) -> bool:
        """Whether `path` or a directory above it is denied."""
        return bool(self.denied) and any(above in self.denied for above in self_and_above(path))

    def prunes(self, parent: str, name: str) -> bool:
        """Whether the walk leaves out directory `name` below `parent` (relative to the root).

        Dot-directories are never descended into; `.dork` is looked into, never walked.
        """
        if name.startswith("."):
            return True
        names, globs = self._matchers
        if names is not None and names.match(name):
            return True
        return globs is not None and bool(globs.match(f"{parent}/{name}" if parent else name))


def self_and_above(path: str) -> list[str]:
    """Return `path` and every directory above it, nearest first, `/` last."""
    above = [path]
    while path not in ("/", ""):
        path = path.rpartition("/")[0] or "/"
        above.append(path)
    return above


def is_within(path: str, directory: str) -> bool:
    """Whether `path` is `directory` or lies below it."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


@lru_cache(maxsize=64)
def _matchers(
    patterns: tuple[str, ...],
) -> tuple[re.Pattern[str] | None, re.Pattern[str] | None]:
    """Compile patterns into one expression for names and one for paths below a root."""
    # `name/` is how people write a directory; it is a name all the same.
    plain = [pattern.rstrip("/") for pattern in patterns]
    names = [translate(pattern) for pattern in plain if "/" not in pattern]
    globs = [translate(pattern.lstrip("/")) for pattern in plain if "/" in pattern]
    return (
        re.compile("|".join(names)) if names else None,
        re.compile("|".join(globs)) if globs else None,
    )
