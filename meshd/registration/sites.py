"""Where a project lies that is to be changed, and what lies there now.

Owns the refusals that come before any change: out of scope, a sick root, nothing that may be
replaced. Used by the reconciler's thread alone. Promises that what is refused was not touched,
and that each refusal says what to do.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from meshd.core.model import Hint, Outcome, Reason, Source
from meshd.core.scope import is_within
from meshd.errors import (
    BadRequestError,
    BusyError,
    InvalidManifestError,
    NotWritableError,
    OutOfScopeError,
    PermissionRefusedError,
    StoppingError,
)

if TYPE_CHECKING:
    from meshd.core.model import Agent, Observation
    from meshd.looker import Looker
    from meshd.shared import Shared

_NAMED: Final = 5  # so many are named in a message, and the others counted
_OUT_OF_SCOPE: Final = {
    Reason.DENIED: ("is denied", "`meshd allow` takes the denial back"),
    Reason.EXCLUDED: ("is excluded from the scan", "change `scan.exclude`, or move the project"),
    Reason.TOO_FAR_DOWN: ("lies deeper than is scanned", "raise `scan.max_depth`"),
}


@dataclass(frozen=True, slots=True)
class Site:
    """A project in scope, as it was just seen.

    Attributes:
        path: the project directory.
        looker: of the root that owns it.
        seen: what the look said.
    """

    path: str
    looker: Looker
    seen: Observation

    @property
    def agent_id(self) -> str | None:
        """The id that the project holds, None when it holds no valid manifest."""
        return None if self.seen.manifest is None else self.seen.manifest.id


class Sites:
    """Finds the sites of the reconciler's acts."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    def is_in_scope(self, path: str) -> bool:
        """Whether a path is scanned at all."""
        return self._shared.roots.view.scope.judge(path).refusal is None

    def find(self, path: str) -> Site:
        """Look at a project.

        Args:
            path: absolute, normal.

        Raises:
            PermissionRefusedError: it lies in no configured root.
            OutOfScopeError: it lies in one, and is not scanned.
            BusyError: its root is sick, or has not been checked yet.
        """
        view = self._shared.roots.view
        judgement = view.scope.judge(path)
        if judgement.root is None:
            raise PermissionRefusedError(
                f"{path!a} lies in no configured root", hint="`meshd roots list` shows them"
            )
        if judgement.refusal is not None:
            what, hint = _OUT_OF_SCOPE[judgement.refusal]
            raise OutOfScopeError(f"{path!a} {what}", hint=hint)
        state = view.states.get(judgement.root)
        if state is None:
            raise BusyError(
                f"root {judgement.root!a} has not been checked yet", hint="try again in a moment"
            )
        if not state.healthy:
            raise BusyError(
                f"root {judgement.root!a} is sick: {state.reason}",
                hint="`meshd doctor` says what to do about it",
            )
        return Site(path, view.lookers[judgement.root], self.look(path))

    def look(self, path: str) -> Observation:
        """Look at a project, if it may be looked at: else it could not be told."""
        (seen,) = self._shared.looking.look([(path, Source.API)], self._shared.roots.view)
        return seen

    def refuse_others_below(self, row: Agent) -> None:
        """Refuse what concerns the directory of an agent with everything below it.

        Raises:
            BadRequestError: other agents live there.
        """
        path = row.holder_path
        with self._shared.store.reading() as registry:
            rows = registry.agents_at(registry.paths_within(path))
        others = sorted(
            one.project_path
            for one in rows
            if one.id != row.id
            and one.project_path is not None
            and is_within(one.project_path, path)
        )
        if others:
            named = ", ".join(ascii(one) for one in others[:_NAMED])
            more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
            raise BadRequestError(
                f"to deny {path!a} would silence the agents below it too: {named}{more}",
                hint="let its manifest be removed, or `meshd deny` the path if all are meant",
            )

    def ask_again(self, path: str) -> None:
        """Have a project looked at in the way of every hint."""
        owner = self._shared.roots.view.scope.owner
        with contextlib.suppress(StoppingError):  # the next start's sweep has it
            self._shared.inbox.put([Hint(path, Source.API)], root_of=lambda one: owner(one) or one)


def may_hold(row: Agent, seen: Observation) -> bool:
    """Whether the path of an agent holds it, or may: where it cannot be told, the row is asked.

    Args:
        row: the agent.
        seen: the path that it lives at, or did last.
    """
    if seen.manifest is not None:
        return seen.manifest.id == row.id
    return seen.outcome is not Outcome.ABSENT and row.project_path is not None


def require_replaceable(site: Site) -> None:
    """Refuse a project whose manifest may not be written.

    Raises:
        OutOfScopeError: there is no such directory.
        InvalidManifestError: what lies there is not a manifest; it is never overwritten.
        NotWritableError: it cannot be told what lies there.
    """
    seen = site.seen
    if seen.reason is Reason.PROJECT_MISSING:
        raise OutOfScopeError(
            f"there is no directory at {site.path!a}",
            hint="create it first; if a symlink leads there, name the directory itself",
        )
    why = str(seen.reason) if seen.detail is None else f"{seen.reason}: {seen.detail}"
    if seen.outcome is Outcome.INVALID:
        raise InvalidManifestError(
            f"what lies at {site.path!a} is not a valid manifest: {why}",
            hint="mend or remove `.dork/agent.json`; `meshd check-manifest` helps",
        )
    if seen.outcome is Outcome.UNKNOWN:
        raise NotWritableError(
            f"the manifest at {site.path!a} cannot be read: {why}",
            hint="see that meshd may read it, and try again",
        )
