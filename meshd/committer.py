"""Handing an operation to the writer, and what follows from its commit.

Owns what happens once changes are durable: signatures are learnt, a relay outside the database
is woken, changes are told to the log. Used by the reconciler's thread alone. Promises: nothing
follows from what was not committed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from meshd.batch import commit_operation, mend_operation
from meshd.clock import timestamp
from meshd.core.allowance import Allowance
from meshd.core.model import Kind, Source
from meshd.core.verdict import OPERATOR_ACTS, Stand
from meshd.relay.embedded import SETTLED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import apsw
    from structlog.typing import FilteringBoundLogger

    from meshd.batch import Committed, Decidable
    from meshd.clock import Clock
    from meshd.commands import SweepResult
    from meshd.core.model import Change, Reason
    from meshd.core.verdict import Verdict
    from meshd.signatures import Signatures
    from meshd.store.store import Store

# More changes at once than this are logged as one summary; the change log has each. What comes in
# smaller portions has the same ceiling a minute, but for what somebody asked for (fault 50).
TOLD_ONE_BY_ONE = 100
_ALLOWANCE_SECONDS = 60.0
_SUMMARIES = 10
_EXAMPLES = 3

_WARNINGS = {Kind.UNREACHABLE, Kind.DISPLACED, Kind.REFUSED, Kind.INVALID, Kind.HELD}
_ERRORS = {Kind.ROOT_SICK}
_ALARMS = {Kind.ROOT_SICK, Kind.REFUSED, Kind.INVALID, Kind.HELD}
# What a thing left, where that says more than what it came to.
_FROM = {Kind.RELOCATED: "projectPath", Kind.ENDPOINT: "subject"}


def _advice(change: Change) -> dict[str, object]:
    """Return what an alarm says besides: how many, what exactly, and what to do about it."""
    after = change.after or {}
    detail = after.get("detail")  # of our own words, never of the file (R9)
    match change.kind:
        case Kind.HELD:
            return {
                "count": sum(int(str(count)) for count in after.values()),
                "why": f"{' and '.join(after)} of so many agents at once wait to be confirmed",
                "what_to_do": "bring back their disk; if they are meant to be gone:"
                " meshd sweep --confirm",
            }
        case Kind.ROOT_SICK:
            return {"what_to_do": "its agents are frozen until it is back: meshd doctor says how"}
        case Kind.INVALID:
            return {"detail": detail, "what_to_do": "correct it: meshd check-manifest says where"}
        case _ if "reason" in after:
            return {
                "detail": detail,
                "what_to_do": "raise the ceiling in [limits], or make room: meshd forget ID",
            }
        case _:
            return {"what_to_do": "give it an id of its own, or leave it alone: meshd deny DIR"}


@dataclass(slots=True)
class _Untold:
    """Changes that wait for a summary: how many of each kind, and the paths of the first."""

    kinds: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def note(self, changes: Sequence[tuple[int, Change]]) -> None:
        """Count changes in."""
        self.kinds.update(str(change.kind) for _, change in changes)
        paths = (change.path for _, change in changes if change.path is not None)
        self.examples += islice(paths, _EXAMPLES - len(self.examples))


class Committer:
    """Commits for the reconciler.

    Attributes:
        is_outbox: whether a relay outside the database has to confirm endpoints.
        committed: called after each commit, for that relay; must return at once.
    """

    def __init__(
        self,
        store: Store,
        signatures: Signatures,
        clock: Clock,
        log: FilteringBoundLogger,
        *,
        is_outbox: bool = False,
    ) -> None:
        self._store = store
        self._clock = clock
        self._signatures = signatures
        self._log = log
        self.is_outbox = is_outbox
        self._allowance = Allowance(TOLD_ONE_BY_ONE, _ALLOWANCE_SECONDS)
        self._summaries = Allowance(_SUMMARIES, _ALLOWANCE_SECONDS)
        self._untold = _Untold()
        self.committed: Callable[[], None] = lambda: None
        # How many paths of each root could not be read, as the log was told.
        self._unreadable: dict[str, int] = {}

    def now(self) -> str:
        """Return the wall-clock time that is stamped on what is committed, RFC 3339."""
        return timestamp(self._clock.wall_ns())

    def carry_out(self, decidable: Decidable) -> Committed:
        """Decide looks and commit what follows.

        Raises:
            StoreError: nothing was written.
        """
        writer = self._store.writer
        return self.commit(
            commit_operation(decidable, lambda: writer.version, self.now, is_outbox=self.is_outbox)
        )

    def mend_endpoints(self, source: Source) -> Sequence[tuple[int, Change]]:
        """Bring endpoints to what rows ask for, if they differ; return what was changed.

        Raises:
            StoreError: nothing was written.
        """
        with self._store.reading() as registry:
            if not registry.endpoints_differ(SETTLED[self.is_outbox]):
                return ()
        operation = mend_operation(source, self.now, is_outbox=self.is_outbox)
        changes = self.commit(operation).changes
        self._log.warning(
            "endpoints_mended", agents=len(changes), why="rows and endpoints did not agree"
        )
        return changes

    def commit(self, operation: Callable[[apsw.Connection], Committed]) -> Committed:
        """Run an operation in the writer and learn from it.

        Raises:
            StoreError: nothing was written.
        """
        committed = self._store.writer.submit(operation).result()
        self._learn(committed.verdicts)
        self.committed()
        return committed

    def _learn(self, verdicts: Mapping[str, Verdict]) -> None:
        for path, verdict in verdicts.items():
            seen = verdict.observation
            if verdict.stand in (Stand.PRESENT, Stand.INVALID):
                self._signatures.learn(path, seen.signature, seen.looked_at_ns)
            elif verdict.stand in OPERATOR_ACTS or verdict.stand is Stand.ABSENT:
                self._signatures.forget(path)

    def tell_truncated(self, before: Mapping[str, Reason], now: Mapping[str, Reason]) -> None:
        """Log once that a root has more than it may have, and once that it has not any more.

        Args:
            before: by root, of what there was too much at the sweep before.
            now: the same at this sweep.
        """
        for root in sorted(now.keys() - before.keys()):
            self._log.warning(
                "root_truncated",
                path=root,
                why=str(now[root]),
                what_to_do="raise the ceiling in [limits], or leave directories out: scan.exclude",
            )
        for root in sorted(before.keys() - now.keys()):
            self._log.info("root_whole", path=root)

    def tell_swept(self, result: SweepResult) -> None:
        """Log what a sweep has brought about."""
        self._log.info(
            "swept",
            seconds=result.seconds,
            full=result.full,
            discovered=result.discovered,
            synced=result.synced,
            unreachable=result.unreachable,
            resurrected=result.resurrected,
            removed=result.removed,
            held=result.held,
            sick_roots=len(result.sick_roots),
        )

    def tell_unreadable(self) -> None:
        """Log how many paths of a root cannot be read, when that is not what was logged last."""
        with self._store.reading() as registry:
            found = registry.unreadable_per_root()
        for root in sorted(found):
            count, first = found[root]
            if count != self._unreadable.get(root):
                self._log.warning(
                    "unreadable",
                    path=first,
                    root=root,
                    count=count,
                    why="it cannot be read, so what is known of it is frozen",
                )
        for root in sorted(self._unreadable.keys() - found.keys()):
            self._log.info("readable", root=root)
        self._unreadable = {root: count for root, (count, _) in found.items()}

    def _may_tell_each(self, changes: Sequence[tuple[int, Change]], now: float) -> bool:
        if len(changes) > TOLD_ONE_BY_ONE:
            return False
        if any(change.source is Source.API or change.kind in _ERRORS for _, change in changes):
            return True
        return self._allowance.spend(len(changes), now)

    def _tell_untold(self) -> None:
        """Log one event for all that was not told, if there is any; a sweep's end does at last."""
        untold, self._untold = self._untold, _Untold()
        if untold.kinds:
            tell = self._log.warning if untold.kinds.keys() & _WARNINGS else self._log.info
            tell(
                "changed",
                changes=untold.kinds.total(),
                kinds=", ".join(f"{count} {kind}" for kind, count in untold.kinds.most_common()),
                examples=untold.examples,
                why="the change log has each",
            )

    def tell(self, changes: Sequence[tuple[int, Change]]) -> None:
        """Log one event per change, or one for all when there are very many."""
        now = self._clock.monotonic()
        if not self._may_tell_each(changes, now):
            self._untold.note(changes)
            if self._summaries.spend(1, now):
                self._tell_untold()
            return
        self._tell_untold()
        for seq, change in changes:
            after = change.after or {}
            before = change.before or {}
            fields = {
                "path": change.path,
                "agent_id": change.agent_id,
                "seq": seq,
                "from_": before.get(_FROM.get(change.kind, "")),
                "to": after.get("subject"),
                "why": after.get("unreachableReason") or after.get("reason"),
            }
            if change.kind in _ALARMS:
                fields |= _advice(change)
            level = "warning" if change.kind in _WARNINGS else "info"
            level = "error" if change.kind in _ERRORS else level
            getattr(self._log, level)(
                str(change.kind), **{key: value for key, value in fields.items() if value}
            )
