"""Tidying up: the sweep finds what no intent knows of, the reconciler removes it.

Owns when rubbish is looked for and how old it must be. Used by the sweeper's thread alone.
Promises that nothing is removed here: what is found is handed to the thread that changes
manifests, which knows what is unfinished (fault 131).
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from meshd.commands import Reap
from meshd.errors import StoppingError
from meshd.looker import RootLostError
from meshd.looker.leftovers import FindLeftovers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshd.looker import Looker
    from meshd.shared import Shared

AGE_SECONDS: Final = 3600
"""What was touched later than so long ago may belong to a change under way, of whomever."""

PATHS_PER_TASK: Final = 64
"""Few enough for the deadline of one request to a looker with a process of its own."""


def seek_leftovers(shared: Shared, looker: Looker, paths: Sequence[str]) -> None:
    """Look for rubbish in some projects that hold a manifest, and have it removed.

    A root that is lost meanwhile is the walk's to tell.

    Raises:
        NoDescriptorsError: EMFILE or ENFILE.
    """
    before_ns = shared.clock.wall_ns() - AGE_SECONDS * 1_000_000_000
    for start in range(0, len(paths), PATHS_PER_TASK):
        chunk = tuple(paths[start : start + PATHS_PER_TASK])
        try:
            found = looker.run(FindLeftovers(chunk, before_ns))
        except RootLostError:
            return
        if found:
            with contextlib.suppress(StoppingError):  # the next run's sweeps find it again
                shared.inbox.post(Reap(looker.root, tuple(found), before_ns))
