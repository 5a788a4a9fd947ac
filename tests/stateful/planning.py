"""The pure plan over long histories of a disk, judged by an oracle that shares no code with it.

Owns a disk of a dozen paths, what befalls it, and how a registry follows. An operation is four
numbers that mean something in any state, so that a history with some of them left out is a
history too: one that fails is shortened by leaving out what does not matter. Promises: the same
history for the same operations.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from random import Random
from typing import TYPE_CHECKING, Final, NamedTuple

from meshd.core.guard import Holds, guard
from meshd.core.model import FileIdentity, Git, Reason, RootState
from meshd.core.plan import Plan, plan
from meshd.core.scope import Scope
from meshd.core.snapshot import snapshot
from meshd.core.verdict import Circumstances, SweepContext, judge
from tests.core import batches
from tests.stateful import laws
from tests.stateful.oracle import Look, Oracle, Row

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterable, Sequence

    from meshd.core.model import Agent, Change, Observation

ROOTS: Final = ("/r", "/s")
PLACES: Final = ("a", "b", "c", "d", "e", "excluded/f", "deep/g")
TEAMS: Final = {
    f"{root}/team/{number}": f"{root[1]}{number}" for root in ROOTS for number in range(6)
}
"""Agents whom nobody touches by path, with their ids: they vanish and come back together."""
PATHS: Final = (*(f"{root}/{place}" for root in ROOTS for place in PLACES), *TEAMS)
IDS: Final = tuple("ABCDEFGHIJ")
INTERVAL: Final = 300.0
GRACE: Final = 900.0
HALF_HELD: Final = 5
AGREES_AFTER: Final = 60.0
NOT_OF_ROWS: Final = frozenset({"refused", "invalid", "valid"})

ABSENT: Final = Look("absent")


class Operation(NamedTuple):
    """What happens: a number of `OPERATIONS`, and three that say where, to whom and how."""

    kind: int
    one: int
    other: int
    how: int


@cache
def observed(path: str, look: Look) -> Observation:
    """Return a look as the looker tells of it."""
    if look.outcome == "invalid":
        return batches.invalid(path)
    if look.outcome == "frozen":
        return batches.unknown(path)
    if look.outcome == "absent":
        return batches.absent(path)
    return batches.present(
        path,
        look.agent_id,
        manifest=batches.manifest(
            look.agent_id,
            name=look.name,
            description=f"of {look.about}",
            capabilities=(look.about,),
            runtime=look.about,
            budget={"maxCallsPerHour": look.about},
        ),
        git=Git.WORKTREE if look.worktree else Git.MAIN,
        dork=FileIdentity(1, PATHS.index(path)),
    )


class Planning:
    """One history.

    Args:
        seen: counts what the mass guard held, absences and removals.
    """

    def __init__(self, seen: Counter[str]) -> None:
        self.seen = seen
        self.disk: dict[str, Look] = dict.fromkeys(PATHS, ABSENT)
        for root in ROOTS:
            self._bring_team(root)
        self.registry = batches.Disk({})
        self.oracle = Oracle(GRACE, INTERVAL)
        self.sick: set[str] = set()
        self.denied: set[str] = set()
        self.roots: tuple[str, ...] = ROOTS
        self.exclude: tuple[str, ...] = ()
        self.clocks = dict.fromkeys(ROOTS, 0.0)
        self.now = 0.0
        self.sweeps = 0
        self.holds = Holds()
        self.told: dict[str, dict[str, object]] = {}
        self.vanished: dict[str, float] = {}
        self.leaving: dict[str, float] = {}
        self._names = 0
        self._chance = Random(0)

    def run(self, operations: Iterable[Operation]) -> None:
        """Let operations happen, one after the other."""
        for operation in operations:
            OPERATIONS[operation.kind](self, operation)

    # the disk

    def write(self, at: Operation) -> None:
        """Save a manifest."""
        self._names += 1
        name = f"name {self._names % 5}"
        about = f"about {self._names % 3}"
        self.disk[_path(at.one)] = Look("present", _id(at.other), name, at.how % 3 == 0, about)

    def delete(self, at: Operation) -> None:
        """Delete a manifest."""
        self.disk[_path(at.one)] = ABSENT

    def spoil(self, at: Operation) -> None:
        """Leave what is no manifest, or what cannot be read."""
        self.disk[_path(at.one)] = Look("invalid" if at.how % 2 else "frozen")

    def move(self, at: Operation) -> None:
        """Move a project."""
        one, other = _path(at.one), _path(at.other)
        if self.disk[other] == ABSENT:
            self.disk[other], self.disk[one] = self.disk[one], ABSENT

    def copy(self, at: Operation) -> None:
        """Copy a project."""
        one, other = _path(at.one), _path(at.other)
        if self.disk[other] == ABSENT and self.disk[one].outcome == "present":
            self.disk[other] = replace(self.disk[one], worktree=at.how % 2 == 0)

    def swap(self, at: Operation) -> None:
        """Let two projects swap places."""
        one, other = _path(at.one), _path(at.other)
        self.disk[one], self.disk[other] = self.disk[other], self.disk[one]

    def wipe(self, at: Operation) -> None:
        """Delete all that one root holds."""
        root = ROOTS[at.one % len(ROOTS)]
        self.disk |= {path: ABSENT for path in PATHS if path.startswith(root)}

    def vanish_or_return(self, at: Operation) -> None:
        """Let the team of a root vanish, or come back."""
        root = ROOTS[at.one % len(ROOTS)]
        team = [path for path in TEAMS if path.startswith(root)]
        if all(self.disk[path] == ABSENT for path in team):
            self._bring_team(root)
        else:
            self.disk |= dict.fromkeys(team, ABSENT)

    def _bring_team(self, root: str) -> None:
        self.disk |= {
            path: Look("present", agent_id, "one of a team", about="about 0")
            for path, agent_id in TEAMS.items()
            if path.startswith(root)
        }

    # circumstances

    def sicken(self, at: Operation) -> None:
        """Let a root become sick, or healthy again."""
        self.sick ^= {ROOTS[at.one % len(ROOTS)]}

    def deny(self, at: Operation) -> None:
        """Deny a path, or allow it again: what is denied is looked at at once."""
        path = _path(at.one)
        self.denied ^= {path}
        if path in self.denied:
            self._decide([path])

    def rescope(self, at: Operation) -> None:
        """Change what the configuration scans."""
        self.roots = ROOTS[: 1 + at.one % len(ROOTS)]
        self.exclude = ("excluded",) if at.how % 2 else ()

    def lose(self, _at: Operation) -> None:
        """Lose the database: who held which id is remembered beside it."""
        held = {row.id: row.holder_path for row in self.registry.holds.rows.values() if row.live}
        self.oracle.incumbents |= held
        self.oracle.rows.clear()
        self.registry.holds = batches.known()
        self.told.clear()
        self.vanished.clear()
        self.leaving.clear()
        self.holds = Holds()

    # looks

    def hear(self, at: Operation) -> None:
        """Look at a few paths, as after events; what would cost something may stay put off."""
        paths = [_path(at.one), _path(at.other), _path(at.how)]
        given = self._given()
        looks = self._close(paths, given)
        costly = self.registry.costly(looks, given)
        self._commit([one for one in looks if one.path not in costly], given)
        if at.how % 4:
            self._commit([one for one in looks if one.path in costly], given)
        self._believe()

    def sweep(self, at: Operation) -> None:
        """Sweep, confirmed by the operator, and compare with the oracle (I1, I20)."""
        self.now += (0, 61, 300, 1000, 100_000)[at.how % 5]
        given = self._begin_sweep()
        self._gain(at, given)
        looks = self._close(self._everything(), given)
        before = dict(self.registry.holds.rows)
        self._commit(looks, given)
        self._expect_removals(before, given)
        self.holds = Holds()
        self.vanished.clear()
        self.leaving.clear()
        seen = {path: self._seen(path) for path in PATHS}
        roots = {path: path[:2] for path in PATHS}
        self.oracle.sweep(seen, roots, self._healthy(), self.now)
        self._drop_incumbents()
        expected = {row.agent_id: _rounded(row) for row in self.oracle.rows.values()}
        assert self._rows() == expected, "I1: the registry is not what the disk says"
        again = plan(self.registry.holds, self.registry.judge(looks, given), given)
        assert again == Plan(), f"I2: planned again: {again}"
        self._expect_routable(seen)
        rows = self.registry.holds.rows
        assert self.told == {one: snapshot(row) for one, row in rows.items()}, "I8: the log"

    def sweep_guarded(self, at: Operation) -> None:
        """Sweep as the timer does: many who vanish at once are held (I13)."""
        self.now += (0, 30, 61, 300)[at.how % 4]
        given = self._begin_sweep()
        self.oracle.observe(self._healthy(), self.now)
        looks = self._close(self._everything(), given)
        counts = self._agents_per_root()
        unheld = plan(self.registry.holds, self.registry.judge(looks, given), given)
        self.holds = guard(unheld, counts, self.holds, self.now)
        self.seen["absences"] += bool(self.holds.absences)
        self.seen["removals"] += bool(self.holds.removals)
        given = replace(given, held=self.holds.ids)
        before = dict(self.registry.holds.rows)
        self._commit(looks, given)
        self._expect_removals(before, given)
        self._expect_guarded(before, counts)
        self._believe()

    # how a registry follows

    def _given(self, sweep: SweepContext | None = None) -> Circumstances:
        scope = Scope(self.roots, exclude=self.exclude, denied=frozenset(self.denied))
        states = {root: RootState(root, root not in self.sick) for root in self.roots}
        return Circumstances(
            scope=scope, roots=states, incumbents=dict(self.oracle.incumbents), sweep=sweep
        )

    def _begin_sweep(self) -> Circumstances:
        self.sweeps += 1
        last = self.oracle.last_sweep
        for root in self._healthy():
            passed = max(0.0, self.now - last.get(root, self.now))
            self.clocks[root] += min(passed, 2 * INTERVAL)
        clocks = {root: self.clocks[root] for root in self._healthy()}
        return self._given(SweepContext(self.sweeps, clocks, GRACE))

    def _gain(self, at: Operation, given: Circumstances) -> None:
        """Commit what a walk meets on its way, batch by batch, before absences are judged."""
        context = SweepContext(self.sweeps, {}, 0.0)
        for path in self._chance.sample(PATHS, at.one % 4):
            early = replace(given, sweep=context)
            looks = self._close([path], early)
            costly = self.registry.costly(looks, early)
            self._commit([one for one in looks if one.path not in costly], early)

    def _healthy(self) -> set[str]:
        return set(self.roots) - self.sick

    def _everything(self) -> set[str]:
        return {*PATHS, *self.registry.holds.claims}

    def _close(self, paths: Iterable[str], given: Circumstances) -> list[Observation]:
        self.registry.looks = {path: observed(path, look) for path, look in self.disk.items()}
        return self.registry.close(paths, given)

    def _decide(self, paths: Sequence[str]) -> None:
        given = self._given()
        self._commit(self._close(paths, given), given)
        self._believe()

    def _commit(self, looks: Sequence[Observation], given: Circumstances) -> None:
        """Plan and apply, and check what holds of every single plan."""
        if not looks:
            return
        before = self.registry.holds
        shuffled = list(looks)
        self._chance.shuffle(shuffled)
        planned = self.registry.commit(looks, given)  # refuses a path with two rows (I4)
        if self._chance.random() < 0.25:
            rows = dict(self._chance.sample(sorted(before.rows.items()), len(before.rows)))
            known = replace(before, rows=rows)
            again = plan(known, judge(shuffled, known, given), given)
            assert again == planned, "I3: another order, another plan"
        for change in planned.changes:
            self._hear_of(change)
        seen = {one.path: self._seen(one.path) for one in looks}
        after = self.registry.holds.rows
        for agent_id, row in before.rows.items():
            laws.expect_frozen(row, after.get(agent_id), seen, before.owners)
            laws.expect_sticky(row, after.get(agent_id), seen, before.owners, self.sweeps)

    def _hear_of(self, change: Change) -> None:
        """Replay the log (I8)."""
        if change.agent_id is None or change.kind in NOT_OF_ROWS:
            return
        was = self.told.pop(change.agent_id, {})
        wrong = {
            field: value
            for field, value in (change.before or {}).items()
            if was.get(field) != value
        }
        assert not wrong, f"I8: {change.kind} tells of {wrong} as it was not"
        if change.after is None:
            assert change.before is not None, "I8: left without a trace"
            assert change.before.keys() == was.keys(), "I8: not all is told of who left"
        else:
            self.told[change.agent_id] = {**was, **change.after}

    def _drop_incumbents(self) -> None:
        for agent_id in self.registry.holds.rows.keys() & self.oracle.incumbents.keys():
            del self.oracle.incumbents[agent_id]

    def _seen(self, path: str) -> Look:
        """Return what a path is to the registry, told in the order of design's precedence."""
        if path in self.denied:
            return Look("denied")
        if path[:2] not in self.roots or (self.exclude and "/excluded/" in path):
            return Look("unscanned")
        return Look("frozen") if path[:2] in self.sick else self.disk[path]

    def _rows(self) -> dict[str, Row]:
        return {
            row.id: _rounded(
                Row(
                    row.id,
                    row.name,
                    row.project_path,
                    row.last_path,
                    str(row.status),
                    None
                    if row.absent_clock is None
                    else self.clocks[row.scan_root] - row.absent_clock,
                    unscanned=row.unscanned is not None,
                    about=_about(row),
                )
            )
            for row in self.registry.holds.rows.values()
        }

    def _believe(self) -> None:
        """Take the rows as they are: the oracle knows whole disks only."""
        self.oracle.rows = self._rows()

    # what must hold

    def _expect_removals(self, before: dict[str, Agent], given: Circumstances) -> None:
        """Expect who was removed to have been absent for the grace, by the root's clock (I7)."""
        for agent_id in before.keys() - self.registry.holds.rows.keys():
            row = before[agent_id]
            there = self._seen(row.holder_path)
            if there.outcome == "denied":
                continue
            assert there.outcome in ("absent", "present"), f"I7: removed on {there}"
            assert there.agent_id != agent_id, "I7: removed, and it is there"
            assert row.absent_clock is not None, "I7: its absence was never seen"
            waited = self.clocks[row.holder_path[:2]] - row.absent_clock
            assert waited >= GRACE, f"I7: removed after {waited} s"
            assert agent_id not in given.held, "I13: removed while held"

    def _expect_routable(self, seen: dict[str, Look]) -> None:
        for row in self.registry.holds.rows.values():
            if row.live:
                there = seen[str(row.project_path)]
                good = there.agent_id == row.id or there.outcome in ("invalid", "frozen")
                assert good, f"I9: routed, and {there}"

    def _agents_per_root(self) -> dict[str, tuple[int, int]]:
        rows = self.registry.holds.rows.values()
        return {
            root: (
                sum(row.live for row in rows if row.scan_root == root),
                sum(row.scan_root == root for row in rows),
            )
            for root in ROOTS
        }

    def _expect_guarded(self, before: dict[str, Agent], counts: dict[str, tuple[int, int]]) -> None:
        """Expect no half of a root to go before another sweep agreed a minute later (I13)."""
        after = self.registry.holds.rows
        for root in ROOTS:
            lost = {
                one
                for one, row in before.items()
                if row.live and row.scan_root == root and one in after
                if not after[one].live and after[one].unreachable_reason == Reason.PROJECT_MISSING
            }
            self._expect_few(lost, self.vanished, counts[root][0])
            removed = {
                one
                for one, row in before.items()
                if row.scan_root == root and one not in after
                if self._seen(row.holder_path).outcome != "denied"
            }
            self._expect_few(removed, self.leaving, counts[root][1])
        held = {one: after[one] for one in self.holds.ids if one in after}
        self.vanished = {
            one: self.vanished.get(one, self.now) for one, row in held.items() if row.live
        }
        self.leaving = {
            one: self.leaving.get(one, self.now) for one, row in held.items() if not row.live
        }

    def _expect_few(self, gone: set[str], since: dict[str, float], size: int) -> None:
        """Expect those who were not held for a minute to be few of all."""
        fresh = {one for one in gone if self.now - since.get(one, self.now) < AGREES_AFTER}
        many = len(fresh) >= HALF_HELD and 2 * len(fresh) > size
        assert not many, f"I13: {sorted(fresh)} at once"


def _path(number: int) -> str:
    return PATHS[number % (len(ROOTS) * len(PLACES))]


def _id(number: int) -> str:
    return IDS[number % len(IDS)]


def _about(row: Agent) -> str:
    """Return what a row was told about its agent, which each of four fields says."""
    (said,) = {
        row.description.removeprefix("of "),
        *row.capabilities,
        row.runtime,
        str(row.budget["maxCallsPerHour"]),
    }
    return said


def _rounded(row: Row) -> Row:
    return row if row.waited is None else replace(row, waited=round(row.waited, 3))


OPERATIONS: Final[tuple[Callable[[Planning, Operation], None], ...]] = (
    Planning.write, Planning.delete, Planning.spoil, Planning.move, Planning.copy, Planning.swap,
    Planning.wipe, Planning.sicken, Planning.deny, Planning.rescope, Planning.lose, Planning.hear,
    Planning.sweep, Planning.sweep_guarded, Planning.vanish_or_return,
)  # fmt: skip
