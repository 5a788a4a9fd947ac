"""What the registry must say after a sweep, told a second time and in another way.

The plan decides closed sets of looks; this walks the whole disk at once and knows nothing
of hints, batches, claims or transactions. It shares no code with meshd: paths, ids and
states are plain strings. A sweep here is the operator's own (`--confirm`), so nothing is
held by the mass guard.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Look:
    """What lies at one path.

    `outcome` is present (then with id, name and `about`, whatever else its manifest says of
    the agent), absent, invalid, frozen, denied or unscanned.
    """

    outcome: str
    agent_id: str = ""
    name: str = ""
    worktree: bool = False
    about: str = ""


@dataclass(frozen=True)
class Row:
    """One expected row.

    Attributes:
        waited: how long it has been seen absent, in seconds, None while no sweep has seen it.
        unscanned: whether its path is out of scope.
        about: what its manifest said besides its name.
    """

    agent_id: str
    name: str
    path: str | None
    last_path: str
    status: str = "active"
    waited: float | None = None
    unscanned: bool = False
    about: str = ""

    @property
    def holder(self) -> str:
        return self.path or self.last_path


@dataclass
class Oracle:
    """The expected registry.

    Attributes:
        incumbents: by id, the path that held it before the database was lost.
    """

    grace: float
    interval: float
    rows: dict[str, Row] = field(default_factory=dict)
    incumbents: dict[str, str] = field(default_factory=dict)
    last_sweep: dict[str, float] = field(default_factory=dict)

    def observe(self, healthy: set[str], now: float) -> dict[str, float]:
        """Return how much time a sweep observed in each healthy root (R8)."""
        passed = {root: max(0.0, now - self.last_sweep.get(root, now)) for root in healthy}
        self.last_sweep.update(dict.fromkeys(healthy, now))
        return {root: min(seconds, 2 * self.interval) for root, seconds in passed.items()}

    def sweep(
        self, disk: dict[str, Look], roots: dict[str, str], healthy: set[str], now: float
    ) -> None:
        """Sweep.

        Args:
            disk: a look at every path there is or was.
            roots: the root of every path.
            healthy: roots that can be seen.
            now: monotonic seconds.
        """
        observed = self.observe(healthy, now)
        self.rows = {
            row.agent_id: replace(row, waited=row.waited + observed.get(roots[row.holder], 0.0))
            if row.waited is not None
            else row
            for row in self.rows.values()
        }
        claims: dict[str, list[str]] = {}
        for path, look in disk.items():
            if look.outcome == "present":
                claims.setdefault(look.agent_id, []).append(path)
        before = dict(self.rows)
        self.rows = {}
        for agent_id in sorted(before.keys() | claims.keys()):
            first = self.incumbents.get(agent_id)
            better = sorted(
                claims.get(agent_id, []),
                key=lambda path: (path != first, disk[path].worktree, path),
            )
            row = before.get(agent_id)
            if row is not None:
                taken = row.path is None and any(one.path == row.holder for one in before.values())
                seen = roots[row.holder] in healthy
                self._decide(row, better, disk, taken=taken, seen=seen)
            elif first is None or disk[first].outcome not in ("frozen", "invalid"):
                self._live(agent_id, better[0], disk)

    def _decide(
        self, row: Row, better: list[str], disk: dict[str, Look], *, taken: bool, seen: bool
    ) -> None:
        """Say what becomes of a row that there is.

        Args:
            row: as it was.
            better: every path that holds its id, best first.
            disk: a look at every path.
            taken: whether another lives where it was last.
            seen: whether the root of its path is healthy.
        """
        there = disk[row.holder]
        if there.outcome == "present" and there.agent_id == row.agent_id:
            self._live(row.agent_id, row.holder, disk)
        elif there.outcome in ("frozen", "invalid") and not (taken and better):
            anew = there.outcome == "invalid"
            self.rows[row.agent_id] = replace(row, waited=None if anew else row.waited)
        elif better:
            self._live(row.agent_id, better[0], disk)
        elif there.outcome == "unscanned":
            self.rows[row.agent_id] = replace(row, waited=None, unscanned=True)
        elif there.outcome != "denied":
            self._lose(row, there, seen=seen)

    def _live(self, agent_id: str, path: str, disk: dict[str, Look]) -> None:
        look = disk[path]
        self.rows[agent_id] = Row(agent_id, look.name, path, path, about=look.about)

    def _lose(self, row: Row, there: Look, *, seen: bool) -> None:
        waited = None if row.unscanned else row.waited
        if seen and waited is not None and waited >= self.grace:
            return
        self.rows[row.agent_id] = replace(
            row,
            path=None if there.outcome == "present" else row.path,
            status="unreachable",
            waited=0.0 if seen and waited is None else waited,
            unscanned=False,
        )
