"""The three acts, and the finishing of what earlier runs have left of them.

Owns the order of checks in each. Used by the reconciler's thread alone. Promises: everything
that can be refused is refused before a file is touched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from meshd.batch import Rider
from meshd.commands import Registered, Removal, Unregistered
from meshd.core.editing import require_editable
from meshd.core.endpoints import EndpointState
from meshd.core.model import Outcome
from meshd.core.snapshot import snapshot
from meshd.errors import ConflictError, NotWritableError
from meshd.looker.leftovers import RemoveLeftovers
from meshd.looker.removing import Aside
from meshd.looker.writing import Swap
from meshd.registration.carrier import Carrier
from meshd.registration.deeds import DataDeed, ManifestDeed, temporary_name
from meshd.registration.drafts import (
    new_draft,
    next_draft,
    not_found,
    refuse_protected,
    refuse_protected_overrides,
)
from meshd.registration.foresight import Foresight
from meshd.registration.sites import Site, Sites, may_hold, require_replaceable
from meshd.store.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    import apsw

    from meshd.acts import OperatorActs
    from meshd.batch import Committed
    from meshd.commands import ClearOn, Reap, Register, Unregister, Update
    from meshd.core.model import Agent, Observation
    from meshd.course import SweepCourses
    from meshd.deciding import Deciding
    from meshd.registration.carrier import Commit
    from meshd.registration.deeds import Deed
    from meshd.registration.drafts import Draft
    from meshd.shared import Shared

# Who unregisters an agent changes all that it is.
_ITSELF: Final = ("isSystem",)


class Registration:
    """Carries out what changes manifests.

    Args:
        shared: the parts that the stations of the flow meet at.
        courses: says which sweep is under way.
        deciding: takes what was written into the registry.
        operator: denies the path of an agent whose manifest is kept.
    """

    def __init__(
        self, shared: Shared, courses: SweepCourses, deciding: Deciding, operator: OperatorActs
    ) -> None:
        self._shared = shared
        self._deciding = deciding
        self._operator = operator
        self._sites = Sites(shared)
        self._foresight = Foresight(shared, courses.context)
        self._carrier = Carrier(shared)

    def finish(self) -> None:
        """Undo or clear up what was left unfinished, in this run or an earlier one."""
        self._carrier.finish()

    def clear_on(self, control: ClearOn) -> None:
        """Go on removing what an unregister has set aside."""
        self._carrier.clear_on(control.number)

    def reap(self, control: Reap) -> int:
        """Remove what changes have left that nobody answers for any more; return how much."""
        view = self._shared.roots.view
        state = view.states.get(control.root)
        if control.root not in view.lookers or state is None or not state.healthy:
            return 0
        spared = self._carrier.temporary_names()
        found = tuple(one for one in control.found if one.name not in spared)
        task = RemoveLeftovers(found, control.before_ns)
        removed = view.lookers[control.root].run(task)
        for path, name in removed:
            self._shared.log.info("leftover_removed", path=path, left=f".dork/{name}")
        return len(removed)

    def register(self, act: Register) -> Registered:
        """Give a project a manifest, or take the one it has.

        Raises:
            MeshdError: nothing was changed; the message says why.
        """
        require_editable(act.overrides)
        site = self._unfinished_aside(act.path, dry_run=act.dry_run)
        require_replaceable(site)
        manifest = site.seen.manifest
        if manifest is None:
            now = self._shared.clock.wall_ns()
            draft = new_draft(site, act.overrides, act.approver, now)
        else:
            is_system = self._is_system(manifest.id, site.seen)
            refuse_protected_overrides(manifest, act.overrides, is_system=is_system)
            draft = next_draft(site, act.overrides)
        return self._keep(draft, act.approver, dry_run=act.dry_run)

    def update(self, act: Update) -> Registered:
        """Change a manifest where it lies.

        Raises:
            MeshdError: nothing was changed; the message says why.
        """
        row = self._row(act.agent_id)
        refuse_protected(act.changes, is_system=self._is_system(row.id))
        require_editable(act.changes)
        if not row.live or row.project_path is None:
            raise NotWritableError(
                f"{row.id} is {'unreachable' if row.unscanned is None else 'unscanned'}:"
                " there is no manifest to change",
                hint="`meshd agents show` says where it was last",
            )
        site = self._unfinished_aside(row.project_path, dry_run=act.dry_run)
        require_replaceable(site)
        refuse_protected(act.changes, is_system=self._is_system(row.id, site.seen))
        if site.agent_id != row.id:
            self._sites.ask_again(site.path)
            raise ConflictError(
                f"{site.path!a} does not hold {row.id} any more",
                hint="`meshd agents show` says where it lives now",
            )
        self._require_seen(act.expected_seq, row, site)
        return self._keep(next_draft(site, act.changes), None, dry_run=act.dry_run)

    def unregister(self, act: Unregister) -> Unregistered:
        """Take an agent out of the registry for good.

        Raises:
            MeshdError: nothing was changed; the message says why. Only where it says that the
                agent is unregistered, what is left of its files is not removed yet.
        """
        row = self._row(act.agent_id)
        refuse_protected(_ITSELF, is_system=self._is_system(row.id))
        if act.removal is Removal.NOTHING:
            return self._keep_files(row, dry_run=act.dry_run)
        path = row.holder_path
        site = None
        if self._sites.is_in_scope(path):
            site = self._unfinished_aside(path, dry_run=act.dry_run)
            refuse_protected(_ITSELF, is_system=self._is_system(row.id, site.seen))
            if site.seen.outcome in (Outcome.INVALID, Outcome.UNKNOWN):
                require_replaceable(site)
        deed = _removal(site, act.removal) if site is not None and site.agent_id == row.id else None
        removed = None if deed is None else f"{path}/{_removed_name(deed)}"
        if act.dry_run:
            return Unregistered(row, removed, self._successor_of(row))
        if deed is None or site is None:
            self._tell(self._let_go(row, _nothing_more))
        else:
            self._tell(self._carry_out(deed, site, lambda also: self._let_go(row, also)))
        return Unregistered(row, removed, self._holder(row.id))

    def _row(self, agent_id: str) -> Agent:
        with self._shared.store.reading() as registry:
            row = registry.agent(agent_id)
        if row is None:
            raise not_found(agent_id)
        return row

    def _is_system(self, agent_id: str, seen: Observation | None = None) -> bool:
        """Whether an agent is protected: its row, the file just looked at or the operator says so.

        A file that says so may be newer than the row, and one that does not say so any more too.
        """
        manifest = None if seen is None else seen.manifest
        if manifest is not None and manifest.id == agent_id and manifest.is_system:
            return True
        with self._shared.store.reading() as registry:
            row = registry.agent(agent_id)
        return agent_id in self._shared.trust.system or (row is not None and row.is_system)

    def _unfinished_aside(self, path: str, *, dry_run: bool) -> Site:
        """Look at a project in which nothing is unfinished; a dry run finishes nothing."""
        self._carrier.require_finished(path, may_write=not dry_run)
        return self._sites.find(path)

    def _require_seen(self, expected: int | None, row: Agent, site: Site) -> None:
        """Refuse a change by somebody who has not seen the newest state (If-Match)."""
        if expected is None:
            return
        manifest = site.seen.manifest
        assert manifest is not None, "bug: the row's id without a manifest"
        if snapshot(self._foresight.row_of(site.seen, manifest)) != snapshot(row):
            self._sites.ask_again(site.path)
        elif row.seq == expected:
            return
        raise ConflictError(
            f"{row.id} has changed since it was read at {expected}",
            hint="read it again, and decide anew",
        )

    def _keep(self, draft: Draft, approver: str | None, *, dry_run: bool) -> Registered:
        """Bring a draft into the project and the registry."""
        foreseen = self._foresight.row_of(draft.site.seen, draft.manifest)
        if dry_run:
            return Registered(foreseen, draft.created, draft.changed)

        def take_in(also: Callable[[apsw.Connection], None]) -> Committed:
            return self._take_in(draft, approver, also)

        if draft.changed:
            committed = self._carry_out(draft.deed(), draft.site, take_in)
        else:
            committed = take_in(_nothing_more)
        self._tell(committed)
        row = self._row(draft.manifest.id)
        return Registered(row, draft.created, draft.changed, self._is_pending(row))

    def _carry_out(self, deed: Deed, site: Site, commit: Commit) -> Committed:
        try:
            return self._carrier.carry_out(deed, site.looker, commit)
        except ConflictError:
            self._sites.ask_again(site.path)
            raise

    def _take_in(
        self, draft: Draft, approver: str | None, also: Callable[[apsw.Connection], None]
    ) -> Committed:
        path, agent_id = draft.site.path, draft.manifest.id

        def act(connection: apsw.Connection) -> None:
            registry = Registry(connection)
            row, claims = registry.agent(agent_id), registry.claims_about(paths=[path])
            if (
                row is None
                or row.project_path != path
                or not row.live
                or not claims
                or claims[0].content_hash != draft.content_hash
            ):
                raise ConflictError(
                    f"{path!a} was changed meanwhile",
                    hint="look at what it says now, and try again",
                )
            also(connection)

        approvers = {} if approver is None else {agent_id: approver}
        return self._deciding.decide([path], rider=Rider(act=act), approvers=approvers)

    def _let_go(self, row: Agent, also: Callable[[apsw.Connection], None]) -> Committed:
        path = row.holder_path

        def act(connection: apsw.Connection) -> None:
            after = Registry(connection).agent(row.id)
            if after is not None and after.holder_path == path:
                raise ConflictError(
                    f"{path!a} holds {row.id} again, or cannot be judged now",
                    hint="look at what it says now, and try again",
                )
            also(connection)

        return self._deciding.decide([path], rider=Rider(act=act), unregistered=frozenset({row.id}))

    def _keep_files(self, row: Agent, *, dry_run: bool) -> Unregistered:
        """Take an agent out, and leave its files alone: its path is denied while it is there.

        Raises:
            BadRequestError: the denial would take other agents along.
        """
        seen = self._sites.look(row.holder_path)
        refuse_protected(_ITSELF, is_system=self._is_system(row.id, seen))
        is_there = may_hold(row, seen)
        if is_there:
            self._sites.refuse_others_below(row)
        if dry_run:
            return Unregistered(row, None, self._successor_of(row))
        if is_there:
            self._operator.silence(row)
        else:
            self._tell(self._let_go(row, _nothing_more))
        return Unregistered(row, None, self._holder(row.id))

    def _successor_of(self, row: Agent) -> str | None:
        return self._foresight.successor_of(row, self._sites.look(row.holder_path))

    def _holder(self, agent_id: str) -> str | None:
        with self._shared.store.reading() as registry:
            row = registry.agent(agent_id)
        return None if row is None else row.project_path

    def _is_pending(self, row: Agent) -> bool:
        with self._shared.store.reading() as registry:
            endpoint = registry.endpoint_of(row.id)
        return endpoint is not None and endpoint.state is EndpointState.PENDING

    def _tell(self, committed: Committed) -> None:
        self._shared.committer.tell(committed.changes)


def _nothing_more(_: apsw.Connection) -> None:
    """Write nothing besides."""


def _removal(site: Site, removal: Removal) -> Deed:
    """Return what removes the files of an agent."""
    seen = site.seen
    assert seen.content_hash is not None, "bug: a manifest that was not read"
    if removal is Removal.DATA:
        return DataDeed(Aside(site.path, temporary_name(".dork"), seen.content_hash))
    swap = Swap(site.path, temporary_name("agent.json"), seen.content_hash, None)
    return ManifestDeed(swap)


def _removed_name(deed: Deed) -> str:
    return ".dork" if isinstance(deed, DataDeed) else ".dork/agent.json"
