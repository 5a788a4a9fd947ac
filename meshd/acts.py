"""Acts of the operator: deny, allow, forget, accept a root, set a rule.

Owns how each becomes one transaction. They pass the same inbox, looker, plan and writer as
everything else (R3), but are free of R4 and of the grace: the operator said so. Used by the
reconciler's thread alone.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from meshd.batch import Committed, Rider
from meshd.clock import timestamp
from meshd.commands import Deny
from meshd.core.access import ANY, Action
from meshd.core.lifecycle import Event, state_of, transition
from meshd.core.model import Agent, Change, Denial, Hint, Kind, RootState, Source
from meshd.core.namespace import normalise
from meshd.core.snapshot import snapshot
from meshd.errors import BadRequestError, NotFoundError, StillLiveError, StoppingError
from meshd.store import apply, changelog
from meshd.store.registry import Registry

if TYPE_CHECKING:
    import apsw

    from meshd.commands import AcceptRoot, Allow, Forget, SetRule
    from meshd.course import SweepCourses
    from meshd.deciding import Deciding
    from meshd.shared import Shared


class OperatorActs:
    """Carries out what the operator asks."""

    def __init__(self, shared: Shared, courses: SweepCourses, deciding: Deciding) -> None:
        self._shared = shared
        self._courses = courses
        self._deciding = deciding

    def deny(self, act: Deny) -> tuple[str, ...]:
        """Deny a path: what lives there leaves, and other claims of its ids are looked at."""
        return tuple(
            change.agent_id
            for _, change in self._deny(act, frozenset()).changes
            if change.kind is Kind.DENIED and change.agent_id is not None
        )

    def silence(self, row: Agent) -> None:
        """Unregister an agent by denying its path; its files stay."""
        self._deny(Deny(row.holder_path, "unregistered", "mesh"), frozenset({row.id}))

    def _deny(self, act: Deny, unregistered: frozenset[str]) -> Committed:
        denial = Denial(act.path, act.reason, act.denier, timestamp(self._shared.clock.wall_ns()))
        with self._shared.store.reading() as registry:
            paths = registry.paths_within(act.path)
        before = self._shared.roots.view.scope.denied
        self._shared.roots.deny(before | {act.path})
        told = Change(
            Kind.DENIED, None, act.path, Source.API,
            after={"reason": act.reason, "denier": act.denier},
        )  # fmt: skip
        rider = Rider((told,), lambda one: apply.add_denial(one, denial))
        try:
            committed = self._deciding.decide(paths, rider=rider, unregistered=unregistered)
        except BaseException:
            self._shared.roots.deny(before)
            raise
        self._shared.committer.tell(committed.changes)
        return committed

    def allow(self, act: Allow) -> bool:
        """Take a denial back. The next sweep looks at the subtree."""
        told = Change(Kind.ALLOWED, None, act.path, Source.API)

        def operation(connection: apsw.Connection) -> Committed:
            if not apply.remove_denial(connection, act.path):
                return Committed()
            numbers = changelog.append(connection, [told], timestamp(self._shared.clock.wall_ns()))
            return Committed(((numbers[0], told),))

        committed = self._shared.committer.commit(operation)
        self._shared.roots.deny(self._shared.roots.view.scope.denied - {act.path})
        self._shared.committer.tell(committed.changes)
        return bool(committed.changes)

    def forget(self, act: Forget) -> tuple[Agent, ...]:
        """Drop rows that are not live; other paths that claim their ids are looked at.

        Raises:
            NotFoundError: there is no such agent.
            StillLiveError: it is live, and would come back at once.
        """
        with self._shared.store.reading() as registry:
            rows = self._rows_to_forget(registry, act.agent_id)
            claims = registry.claims_about(ids=[row.id for row in rows])
        told = [
            Change(
                transition(state_of(row), Event.FORGOTTEN)[1] or Kind.FORGOTTEN,
                row.id, row.holder_path, Source.API, before=snapshot(row),
            )
            for row in rows
        ]  # fmt: skip

        def operation(connection: apsw.Connection) -> Committed:
            numbers = changelog.append(connection, told, timestamp(self._shared.clock.wall_ns()))
            apply.forget(connection, rows)
            return Committed(tuple(zip(numbers, told, strict=True)))

        if rows:
            self._shared.committer.tell(self._shared.committer.commit(operation).changes)
            hints = [Hint(claim.path, Source.API) for claim in claims]
            owner = self._shared.roots.view.scope.owner
            for row in rows:
                self._shared.signatures.forget(row.holder_path)
            with contextlib.suppress(StoppingError):  # the next start's sweep has them
                self._shared.inbox.put(hints, root_of=lambda path: owner(path) or path)
        return tuple(rows)

    def _rows_to_forget(self, registry: Registry, agent_id: str | None) -> list[Agent]:
        if agent_id is None:
            return [one.agent for one in registry.records() if one.agent.unscanned is not None]
        record = registry.record(agent_id)
        if record is None:
            raise NotFoundError(f"no agent {agent_id!a}", hint="`meshd agents list` shows all")
        if record.agent.live:
            raise StillLiveError(
                f"{record.agent.id} is live and would be registered again at once",
                hint="deny its path to silence it, or delete its manifest",
            )
        return [record.agent]

    def set_rule(self, act: SetRule) -> bool:
        """Let one namespace reach another, or not; return whether that was news.

        `*` to `*` is the open mesh: denying it takes that one rule away. Any other denial is
        kept, because it holds in an open mesh too.

        Raises:
            BadRequestError: the two are not namespaces between which a rule can say anything.
        """
        _require_rule(act.source, act.target)
        action = None if act.source == ANY and act.action is Action.DENY else act.action

        def operation(connection: apsw.Connection) -> Committed:
            before = Registry(connection).explicit_rules().get((act.source, act.target))
            if before is action:
                return Committed()
            at = self._shared.committer.now()
            ends = {"sourceNamespace": act.source, "targetNamespace": act.target}
            told = Change(
                Kind.RULE, None, None, Source.API,
                before={**ends, "action": before}, after={**ends, "action": action},
            )  # fmt: skip
            (number,) = changelog.append(connection, [told], at)
            apply.set_rule(connection, act.source, act.target, action, at)
            return Committed(((number, told),))

        committed = self._shared.committer.commit(operation)
        self._shared.committer.tell(committed.changes)
        return bool(committed.changes)

    def accept_root(self, act: AcceptRoot) -> None:
        """Take what lies at a root now for the root.

        Raises:
            NotFoundError: it is not a configured root, or nothing can be listed there.
        """
        view = self._shared.roots.view
        looker = view.lookers.get(act.path)
        if looker is None:
            raise NotFoundError(
                f"{act.path!a} is not a configured root", hint="`meshd roots list` shows them"
            )
        check = looker.check(None)
        if not check.healthy:
            raise NotFoundError(
                f"nothing can be accepted at {act.path!a}: {check.reason}",
                hint="mount or create it first",
            )
        with self._shared.store.reading() as registry:
            stored = registry.roots()
        known = stored.get(act.path, RootState(act.path, healthy=False))
        state = RootState(act.path, True, None, check.identity, known.observed_seconds)
        self._courses.set_states({act.path: state}, stored, Source.API)


def _require_rule(source: str, target: str) -> None:
    """Refuse two names between which no rule can say anything.

    Raises:
        BadRequestError: it says which, and what to write instead.
    """
    if (source == ANY) != (target == ANY):
        raise BadRequestError(
            f"a rule from {source!a} to {target!a} is one-sided",
            hint="name both namespaces, or give * for both to open the mesh",
        )
    for name in (source, target):
        normal = normalise(name)
        if name not in (ANY, normal):
            instead = f"write {normal}" if normal else "use letters, digits and hyphens"
            raise BadRequestError(f"{name!a} is not a namespace", hint=instead)
    if source == target != ANY:
        raise BadRequestError(
            f"agents of one namespace always reach each other: {source}",
            hint="give a project another namespace in its manifest to set it apart",
        )
