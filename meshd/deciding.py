"""Deciding what an act of the operator has made of some projects, at once.

Owns the loop of look, close and commit that such an act goes through, past the settle time:
the operator said so, so no second look is owed (R4). Used by the reconciler's thread alone.
Promises: what is committed was planned on looks taken after the act began, in one transaction
with what the act itself writes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from meshd.batch import NO_RIDER, Decidable
from meshd.core.model import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from meshd.batch import Committed, Rider
    from meshd.core.verdict import SweepContext
    from meshd.shared import Shared


class Deciding:
    """Decides for the acts of the operator.

    Args:
        shared: the parts that the stations of the flow meet at.
        sweep: returns the sweep under way, None between sweeps.
    """

    def __init__(self, shared: Shared, sweep: Callable[[], SweepContext | None]) -> None:
        self._shared = shared
        self._sweep = sweep

    def decide(
        self,
        paths: Iterable[str],
        *,
        rider: Rider = NO_RIDER,
        unregistered: frozenset[str] = frozenset(),
        approvers: Mapping[str, str] | None = None,
    ) -> Committed:
        """Look at projects and commit what follows; nothing is told to the log yet.

        Args:
            paths: projects that the act concerns.
            rider: what the act itself writes.
            unregistered: ids whose rows leave because the operator unregistered them.
            approvers: by id, who has it registered.

        Raises:
            StoreError: nothing was written.
        """
        with self._shared.store.reading() as registry:
            incumbents = registry.inherited_incumbents()
        looking = self._shared.looking
        looks = looking.look(((path, Source.API) for path in paths), self._shared.roots.view)
        while True:
            view = self._shared.roots.view
            circumstances = replace(
                view.circumstances(incumbents=incumbents, sweep=self._sweep()),
                unregistered=unregistered,
                approvers=approvers or {},
            )
            if looks:
                with self._shared.store.reading() as registry:
                    closed = looking.close(registry, looks, view, circumstances)
                looks = list(closed.observations)
            seen = {one.path for one in looks}
            committed = self._shared.committer.carry_out(
                Decidable(looks, circumstances, seen, rider=rider)
            )
            if not committed.reopened:
                return committed
            again = ((path, Source.API) for path in committed.reopened)
            looks += looking.look(again, view)
