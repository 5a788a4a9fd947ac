"""What every manifest path looked like when it was last read.

Owns the memory that lets a sweep pass by a file that did not move. Assumes that only the
reconciler writes. Promises: a signature is trusted only when the file was older than the
racy window when it was read, because within one tick of the clock two different files can
look the same (fault 53).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meshd.core.model import Signature

RACY_WINDOW_NS: Final = 2_000_000_000


class Signatures:
    """Signatures by path; None for a path that must be looked at whatever it shows."""

    def __init__(self, known: Iterable[tuple[str, Signature | None, int]] = ()) -> None:
        """Begin with what the claims say: path, signature, wall-clock time of the look (ns)."""
        self._trusted: dict[str, Signature | None] = {}
        for path, signature, looked_at_ns in known:
            self.learn(path, signature, looked_at_ns)

    def learn(self, path: str, signature: Signature | None, looked_at_ns: int) -> None:
        """Remember what a look at `path` saw at `looked_at_ns`."""
        settled = signature is not None and looked_at_ns - signature.ctime_ns >= RACY_WINDOW_NS
        self._trusted[path] = signature if settled else None

    def forget(self, path: str) -> None:
        """Nothing lies at `path` any more."""
        self._trusted.pop(path, None)

    def unchanged(self, path: str, signature: Signature | None) -> bool:
        """Whether a file that looks so needs no second reading."""
        return signature is not None and self._trusted.get(path) == signature

    def knows(self, path: str) -> bool:
        """Whether something was seen at a path before."""
        return path in self._trusted

    def paths(self) -> set[str]:
        """Return every path known, as a set of the caller's own."""
        return set(self._trusted)
