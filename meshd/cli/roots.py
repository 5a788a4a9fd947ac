"""How roots are shown, by `roots list` and by `status` alike.

Owns the table of roots. Promises: where directories are not watched that should be, the table
says so, and a note says which limit of the kernel to raise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from meshd.cli.output import print_note, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshd.client import Document

# By shortage (`meshd.watcher.coverage`), what an administrator can raise.
_LIMITS: Final = {
    "watch-limit": "fs.inotify.max_user_watches",
    "instance-limit": "fs.inotify.max_user_instances",
}


def print_roots(roots: Sequence[Document]) -> None:
    """Print one line for each root, and what to do where it is not watched whole."""
    print_table(
        ("ROOT", "STATE", "AGENTS", "WATCH", "REASON"),
        (
            (root["path"], root["state"], root["agents"], _watching(root), root["reason"])
            for root in roots
        ),
    )
    for shortage in sorted({root["watchShortage"] for root in roots} & _LIMITS.keys()):
        print_note(
            f"not all is watched: raise {_LIMITS[shortage]}; sweeps notice the rest meanwhile"
        )


def _watching(root: Document) -> str:
    """Return how a root is watched, how much of it, and why not all: `inotify 412/412`."""
    how: str = root["watch"]
    if how != "none":
        how = f"{how} {root['watchedDirectories']}/{root['wantedDirectories']}"
    return how if root["watchShortage"] is None else f"{how} ({root['watchShortage']})"
