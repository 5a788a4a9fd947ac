"""Files first, then the registry; and back again when either fails.

Owns the order of a change: a durable intent, the files, the transaction that takes them in, the
clearing up. Used by the reconciler's thread alone. Promises: a call that fails leaves the files
as they were, unless their owner changed them since; what cannot be undone or cleared up at once
is at the next sweep that may, and at the next start, whenever the process died (faults 131-134).
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

from meshd.commands import ClearOn
from meshd.errors import BusyError, MeshdError, StoppingError
from meshd.looker import RootLostError
from meshd.looker.writing import Obstacle, Trouble
from meshd.registration.deeds import DataDeed, ManifestDeed, from_document, refusal, to_document
from meshd.store import intents

if TYPE_CHECKING:
    from collections.abc import Callable

    import apsw

    from meshd.batch import Committed
    from meshd.core.model import FileIdentity
    from meshd.looker import Looker
    from meshd.registration.deeds import Deed
    from meshd.shared import Shared


_HINT: Final = "see that meshd may write there"


class Commit(Protocol):
    """Takes what was done to files into the registry, in one transaction."""

    def __call__(self, also: Callable[[apsw.Connection], None], /) -> Committed:
        """Commit, with a further statement."""
        ...


@dataclass(frozen=True, slots=True)
class _Undertaking:
    """A deed that is not cleared up yet.

    Attributes:
        number: of its intent.
        done: whether the registry has taken it in.
        unfinished: why it could not be undone or cleared up when that was last tried.
    """

    number: int
    deed: Deed
    done: bool = False
    unfinished: MeshdError | None = None

    @property
    def is_out_of_the_way(self) -> bool:
        """Whether another deed on the same project may go first: only rubbish is left of this."""
        return self.done and isinstance(self.deed, DataDeed)


class Carrier:
    """Carries out deeds."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        # None until the database was asked what earlier runs have left.
        self._left: dict[int, _Undertaking] | None = None
        # Numbers of those that are cleared up a part at a time, and have asked to go on.
        self._clearing: set[int] = set()

    def carry_out(self, deed: Deed, looker: Looker, commit: Commit) -> Committed:
        """Do a deed and take it into the registry.

        Args:
            deed: what is done to files.
            looker: of the root they are in.
            commit: called when it is done; what it raises undoes the deed.

        Raises:
            MeshdError: it failed, and everything is or will be as it was; or, where the
                message says so, only the clearing up failed.
        """
        undertaking = self._announce(deed)
        done: FileIdentity | None = None
        try:
            answer = looker.run(deed.task())
            if isinstance(answer, Trouble):
                raise refusal(answer, deed.path)
            done = answer
            document = to_document(deed, done=True)
            committed = commit(
                lambda connection: intents.rewrite(connection, undertaking.number, document)
            )
        except RootLostError:
            # A worker that is late may do its last step yet: the next sweep looks again.
            self._undo(undertaking, looker, done, is_over=False)
            raise
        except MeshdError:
            self._undo(undertaking, looker, done)
            raise
        undertaking = replace(undertaking, done=True)
        self._remember(undertaking)
        error = self._clear(undertaking, looker)
        if error is not None:
            raise error
        return committed

    def finish(self) -> None:
        """Undo or clear up what is left, in the roots that are healthy.

        Raises:
            StoreError: the database cannot say what is left.
        """
        for undertaking in list(self._undertakings().values()):
            if undertaking.number not in self._clearing:
                self._finish(undertaking)

    def clear_on(self, number: int) -> None:
        """Go on clearing up a deed that the registry has taken in."""
        undertaking = self._undertakings().get(number)
        if undertaking is not None:
            self._clearing.discard(number)
            self._finish(undertaking)

    def temporary_names(self) -> frozenset[str]:
        """Return the names in `.dork` that what is unfinished may need yet.

        Raises:
            StoreError: the database cannot say what is left.
        """
        deeds = [one.deed for one in self._undertakings().values()]
        swaps = [one.swap for one in deeds if isinstance(one, ManifestDeed)]
        return frozenset(name for swap in swaps for name in swap.temporary_names)

    def require_finished(self, path: str, *, may_write: bool = True) -> None:
        """Finish what is left in one project.

        Args:
            path: the project.
            may_write: whether it may be finished now; else it is only refused.

        Raises:
            BusyError: something still is.
        """
        for undertaking in list(self._undertakings().values()):
            if undertaking.deed.path != path or undertaking.is_out_of_the_way:
                continue
            if not may_write or not self._finish(undertaking):
                error = self._undertakings()[undertaking.number].unfinished
                why = "" if error is None else f": {error.message}"
                raise BusyError(
                    f"an earlier change of {path!a} is not finished{why}",
                    hint=f"{(error and error.hint) or _HINT}; every sweep tries again",
                )

    def _undertakings(self) -> dict[int, _Undertaking]:
        if self._left is None:
            listed = self._shared.store.writer.submit(intents.listed).result()
            self._left = {
                one.number: _Undertaking(
                    one.number, *from_document(one.kind, one.path, one.document)
                )
                for one in listed
            }
        return self._left

    def _announce(self, deed: Deed) -> _Undertaking:
        """Make a deed known to the next start, before anything of it is done."""
        self._undertakings()
        at, document = self._shared.committer.now(), to_document(deed, done=False)
        intent = self._shared.store.writer.submit(
            lambda connection: intents.add(connection, deed.kind, deed.path, document, at)
        ).result()
        undertaking = _Undertaking(intent.number, deed)
        self._remember(undertaking)
        return undertaking

    def _remember(self, undertaking: _Undertaking) -> None:
        self._undertakings()[undertaking.number] = undertaking

    def _forget(self, undertaking: _Undertaking) -> None:
        """Drop an intent. Nobody waits for that: an intent too many finds nothing to do."""
        self._undertakings().pop(undertaking.number)
        with contextlib.suppress(StoppingError):
            self._shared.store.writer.submit(
                lambda connection: intents.drop(connection, undertaking.number)
            )

    def _finish(self, undertaking: _Undertaking) -> bool:
        """Undo or clear up; return whether nothing is left of it."""
        view = self._shared.roots.view
        root = view.scope.owner(undertaking.deed.path)
        state = None if root is None else view.states.get(root)
        if root is None or state is None or not state.healthy:
            return False
        if undertaking.done:
            self._clear(undertaking, view.lookers[root])
        else:
            self._undo(undertaking, view.lookers[root], None)
        return undertaking.number not in self._undertakings()

    def _undo(
        self,
        undertaking: _Undertaking,
        looker: Looker,
        done: FileIdentity | None,
        *,
        is_over: bool = True,
    ) -> None:
        deed = undertaking.deed
        try:
            trouble = looker.run(deed.undo(done))
        except MeshdError as error:
            self._leave(undertaking, error)
            return
        if trouble is not None and trouble.obstacle is not Obstacle.CHANGED:
            self._leave(undertaking, refusal(trouble, deed.path))
            return
        if trouble is not None:
            self._tell_kept(deed, trouble)
        if is_over:
            self._forget(undertaking)

    def _clear(self, undertaking: _Undertaking, looker: Looker) -> MeshdError | None:
        """Clear up; return what to tell whoever waits for the deed, None when all went well."""
        deed = undertaking.deed
        self._clearing.discard(undertaking.number)
        try:
            answer = looker.run(deed.clear())
        except MeshdError as error:
            self._leave(undertaking, error)
            return None
        if answer is False:
            self._come_back(undertaking.number)
            return None
        if isinstance(answer, Trouble) and answer.obstacle is not Obstacle.CHANGED:
            self._leave(undertaking, refusal(answer, deed.path))
            return deed.unclear(answer)
        self._forget(undertaking)
        if not isinstance(answer, Trouble):
            return None
        if answer.detail is not None:
            self._tell_kept(deed, answer)
            return None  # the call itself is done
        return refusal(answer, deed.path)

    def _come_back(self, number: int) -> None:
        """Clear on in a later turn: what waits is served first."""
        with contextlib.suppress(StoppingError):  # the next start goes on
            self._shared.inbox.post(ClearOn(number))
            self._clearing.add(number)

    def _tell_kept(self, deed: Deed, trouble: Trouble) -> None:
        """Log that something of its owner lay in the way, and stays under a name of its own."""
        self._shared.log.error(
            "data_left", path=deed.path, why=str(trouble.obstacle), left=trouble.detail
        )

    def _leave(self, undertaking: _Undertaking, error: MeshdError) -> None:
        """Keep what cannot be finished now, and why."""
        self._remember(replace(undertaking, unfinished=error))
        self._shared.log.warning(
            "change_unfinished",
            path=undertaking.deed.path,
            why=error.message,
            what_to_do=f"{error.hint or _HINT}; every sweep tries again",
        )
