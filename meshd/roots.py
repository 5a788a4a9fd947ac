"""The configured roots: what is scanned, by which looker, and how each root is.

Owns the scope, the lookers and the states of the roots. Assumes that only the reconciler
changes states and denials, and only a reload changes the configuration. Promises: readers
of other threads see one consistent view, old or new, never a mixture.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING

from meshd.core.quota import NO_QUOTAS, Quotas
from meshd.core.scope import DEFAULT_EXCLUDES, Judgement, Scope
from meshd.core.verdict import Circumstances
from meshd.mounts import may_hang_within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from meshd.config.settings import LimitSettings, ScanSettings
    from meshd.core.model import RootState
    from meshd.core.verdict import SweepContext
    from meshd.looker import Looker


@dataclass(frozen=True, slots=True)
class RootsView:
    """The roots at one moment.

    Attributes:
        scope: what is scanned and denied.
        namespaces: by root, the namespaces its manifests may claim.
        lookers: by root.
        states: by root; a root that has not been checked in this run has none.
        quotas: ceilings for newcomers.
    """

    scope: Scope
    namespaces: Mapping[str, tuple[str, ...]]
    lookers: Mapping[str, Looker]
    states: Mapping[str, RootState]
    quotas: Quotas = NO_QUOTAS

    def circumstances(
        self,
        *,
        incumbents: Mapping[str, str],
        sweep: SweepContext | None = None,
    ) -> Circumstances:
        """Return what a plan rests on, as of this moment."""
        return Circumstances(
            scope=self.scope,
            roots=self.states,
            namespaces=self.namespaces,
            incumbents=incumbents,
            sweep=sweep,
            quotas=self.quotas,
        )


def scope_of(scan: ScanSettings) -> Scope:
    """Return what a `[scan]` section scans, with nothing denied."""
    excludes = DEFAULT_EXCLUDES if scan.exclude_defaults else ()
    return Scope(
        roots=tuple(scan.roots), exclude=(*excludes, *scan.exclude), max_depth=scan.max_depth
    )


def _quotas(limits: LimitSettings) -> Quotas:
    return Quotas(limits.manifests_per_root, limits.agents_per_owner)


class Roots:
    """The holder of the current view.

    Args:
        scan: the `[scan]` section.
        denied: paths the operator denied.
        make_looker: builds the looker of a root; told whether it must be isolated.
        limits: the `[limits]` section; None limits nothing.

    Attributes:
        changed: called after roots or scope have changed, by the thread that changed them.
    """

    def __init__(
        self,
        scan: ScanSettings,
        denied: Iterable[str],
        make_looker: Callable[[str, bool], Looker],
        limits: LimitSettings | None = None,
    ) -> None:
        self._lock = Lock()
        self._make_looker = make_looker
        self.changed: Callable[[], None] = lambda: None
        self._isolated: frozenset[str] = frozenset()
        self._taken = (scan, limits)
        self.view = RootsView(Scope(roots=()), {}, {}, {})
        self.configure(scan, limits)
        self.deny(denied)

    def configure(self, scan: ScanSettings, limits: LimitSettings | None = None) -> None:
        """Take new sections; roots that stay keep their looker and their state."""
        with self._lock:
            scope = replace(
                scope_of(scan),
                denied=self.view.scope.denied,
                most_directories=None if limits is None else limits.directories_per_root,
            )
            isolated = self._isolated_in(scan, scope)
            self._taken = (scan, limits)
            replaced = self._take(scope, isolated)
        self._let_go(replaced)

    def remount(self) -> None:
        """Take other lookers where, by what is mounted now, a root may hang, or no longer may."""
        with self._lock:
            isolated = self._isolated_in(self._taken[0], self.view.scope)
            if isolated == self._isolated:
                return
            replaced = self._take(self.view.scope, isolated)
        self._let_go(replaced)

    def _isolated_in(self, scan: ScanSettings, scope: Scope) -> frozenset[str]:
        """Return the roots that need a process of their own: by the configuration, or by a mount.

        What is mounted cannot be read without a descriptor: then it is taken for unchanged, and
        a root that is new for one that may hang.
        """

        def may_hang(root: str) -> bool:
            try:
                return may_hang_within(root, lambda at: scope.judge(at) == Judgement(root, None))
            except OSError:
                return root in self._isolated or root not in self.view.lookers

        return frozenset(root for root in scope.roots if root in scan.isolated or may_hang(root))

    def _take(self, scope: Scope, isolated: frozenset[str]) -> list[Looker]:
        """Look at the roots of a scope from now on; return the lookers that are not needed."""
        old, (scan, limits) = self.view, self._taken
        kept = {
            root: looker
            for root, looker in old.lookers.items()
            if root in scope.roots and (root in isolated) == (root in self._isolated)
        }
        self._isolated = isolated
        lookers = {
            root: kept.get(root) or self._make_looker(root, root in isolated)
            for root in scope.roots
        }
        self.view = RootsView(
            scope=scope,
            namespaces={root: tuple(names) for root, names in scan.namespaces.items()},
            lookers=lookers,
            states={root: state for root, state in old.states.items() if root in lookers},
            quotas=NO_QUOTAS if limits is None else _quotas(limits),
        )
        return [looker for root, looker in old.lookers.items() if lookers.get(root) is not looker]

    def _let_go(self, lookers: Iterable[Looker]) -> None:
        for looker in lookers:
            looker.close()
        self.changed()

    def deny(self, paths: Iterable[str]) -> None:
        """Take a new set of denied paths."""
        with self._lock:
            view = self.view
            self.view = replace(view, scope=replace(view.scope, denied=frozenset(paths)))
        self.changed()

    def learn(self, states: Mapping[str, RootState]) -> None:
        """Take new states of some roots."""
        with self._lock:
            configured = {
                root: state for root, state in states.items() if root in self.view.lookers
            }
            self.view = replace(self.view, states={**self.view.states, **configured})

    def close(self) -> None:
        """Let go of every looker."""
        for looker in self.view.lookers.values():
            looker.close()
