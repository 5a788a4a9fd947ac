"""What the registry would say, if the disk said something else.

Owns the answers of dry runs, and the refusals that are better told before a file is touched.
Used by the reconciler's thread alone. Promises: nothing is written; what is foretold is what
the same plan makes of the same looks.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from meshd.batch import load_for
from meshd.core.model import ClaimOutcome, Outcome, Reason
from meshd.core.plan import Plan, plan
from meshd.errors import DuplicateError, LimitError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from meshd.core.manifest import Manifest
    from meshd.core.model import Agent, Observation
    from meshd.core.verdict import SweepContext
    from meshd.shared import Shared


class Foresight:
    """Foretells for the acts of the operator.

    Args:
        shared: the parts that the stations of the flow meet at.
        sweep: returns the sweep under way, None between sweeps.
    """

    def __init__(self, shared: Shared, sweep: Callable[[], SweepContext | None]) -> None:
        self._shared = shared
        self._sweep = sweep

    def row_of(self, seen: Observation, manifest: Manifest) -> Agent:
        """Return the row of a project, if it held this manifest.

        Args:
            seen: the project as it was looked at.
            manifest: what it would say.

        Raises:
            DuplicateError: another path holds the id.
            LimitError: its owner or its root has all the agents it may have.
        """
        would_be = replace(
            seen, outcome=Outcome.PRESENT, reason=None, detail=None, manifest=manifest
        )
        planned, rows = self._after(would_be)
        row = rows.get(manifest.id)
        if row is not None and row.project_path == seen.path:
            return row
        for claim in planned.claims:
            if claim.path == seen.path and claim.outcome is ClaimOutcome.REFUSED:
                raise LimitError(
                    f"there is no room for an agent in {seen.path!a}: {claim.detail}",
                    hint="raise the ceiling in [limits], or `meshd forget` agents that are gone",
                )
        holder = "another path" if row is None else f"{row.holder_path!a}"
        raise DuplicateError(
            f"the id in {seen.path!a} is held by {holder}",
            hint="unregister it there first, or give this project an id of its own",
        )

    def successor_of(self, row: Agent, seen: Observation) -> str | None:
        """Return the path that would hold an id, if the one that does let go of it.

        Args:
            row: the agent.
            seen: its project as it was looked at.
        """
        gone = replace(
            seen,
            outcome=Outcome.ABSENT,
            reason=Reason.MANIFEST_MISSING,
            detail=None,
            manifest=None,
        )
        _, rows = self._after(gone, unregistered=frozenset({row.id}))
        after = rows.get(row.id)
        return None if after is None or after.project_path == seen.path else after.project_path

    def _after(
        self, seen: Observation, unregistered: frozenset[str] = frozenset()
    ) -> tuple[Plan, Mapping[str, Agent]]:
        """Return the plan of a look, and the rows it touches as the plan would leave them."""
        view = self._shared.roots.view
        with self._shared.store.reading() as registry:
            circumstances = replace(
                view.circumstances(incumbents=registry.inherited_incumbents(), sweep=self._sweep()),
                unregistered=unregistered,
            )
            closed = self._shared.looking.close(registry, [seen], view, circumstances)
            known = load_for(registry, closed.observations)
            if circumstances.quotas.is_limiting:
                known = replace(known, holdings=registry.holdings())
        planned = plan(known, closed.verdicts, circumstances)
        rows = {**known.rows, **{row.id: row for row in planned.rows}}
        return planned, {key: row for key, row in rows.items() if key not in planned.removed}
