"""What befalls a daemon's surroundings, and is taken back: mounts, modes, a full disk.

Owns which faults there are at the moment, and who lives where nobody can look. Assumes that the
users act on the disk itself, which no fault reaches. Promises: every fault can be lifted, and
who was frozen by one is as they were until then (I5).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from meshd.errors import MeshdError

if TYPE_CHECKING:
    from tests.stateful.estate import Estate
    from tests.stateful.ground import Ground
    from tests.stateful.operating import Operator
    from tests.system.daemon import Daemon

Document = dict[str, Any]

PATIENCE: Final = 60.0
"""Seconds that a daemon gets to be well again."""


@dataclass
class Faults:
    """The faults of one daemon.

    Attributes:
        away: roots that are not mounted.
        read_only: roots below which the daemon cannot write.
        is_full: whether the file system of the state directory is full.
        frozen: by root or place, the rows of those who live there, as they were.
    """

    estate: Estate
    ground: Ground
    daemon: Daemon
    operator: Operator
    away: set[str] = field(default_factory=set)
    read_only: set[str] = field(default_factory=set)
    is_full: bool = False
    frozen: dict[str, dict[str, Document]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.chance = self.estate.chance

    # Each of these returns whether it did anything.

    def unmount_or_mount(self) -> bool:
        """A root goes away, or comes back."""
        root = self.chance.choice(self.estate.roots)
        if root in self.away:
            self._mount(root)
            return True
        if root in self.read_only:
            return False
        there = [place for place in self.estate.everywhere if place.startswith(f"{root}/")]
        self._freeze(root, there)
        self.ground.unmount(root)
        self.away.add(root)
        return True

    def _mount(self, root: str) -> None:
        self.expect_frozen()
        self.frozen.pop(root, None)
        self.ground.mount(root)
        self.away.discard(root)

    def replace_root(self) -> bool:
        """A root is replaced by its copy, and the operator accepts it."""
        root = self.chance.choice(self.estate.roots)
        path = self.estate.path(root)
        is_scanned = f'"{path}"' in self.operator.configuration()
        if root in self.away | self.read_only or self.estate.shut or not is_scanned:
            return False
        self.make_room()
        self.estate.trail[-1] += f" {root}"
        self.operator.expect_untouched()
        self.ground.replace(root)
        with self.daemon.client() as client:
            client.accept_root(path)
        return True

    def write_protect(self) -> bool:
        """Nothing can be written below a root any more, or it can again."""
        root = self.chance.choice(self.estate.roots)
        if root in self.away:
            return False
        self._set_read_only(root, on=root not in self.read_only)
        return True

    def _set_read_only(self, root: str, *, on: bool) -> None:
        self.ground.set_read_only(root, on=on)
        (self.read_only.add if on else self.read_only.discard)(root)

    def shut_place(self) -> bool:
        """A project cannot be entered any more, or it can again."""
        if self.estate.shut:
            self._open(self.chance.choice(sorted(self.estate.shut)))
            return True
        place = self.chance.choice(self.estate.places)
        project = self.estate.disk / place
        if not project.is_dir() or project.is_symlink():
            return False
        self._freeze(place, [place])
        self.estate.shut.add(place)
        self.ground.set_shut(place, on=True)
        return True

    def _open(self, place: str) -> None:
        self.expect_frozen()
        self.frozen.pop(place, None)
        self.ground.set_shut(place, on=False)
        self.estate.shut.discard(place)

    def fill_state(self) -> bool:
        """The file system of the state directory is full, or it is no more."""
        self.estate.trail[-1] += f" {not self.is_full}"
        if self.is_full:
            self.make_room()
        else:
            self.ground.set_full(on=True)
            self.is_full = True
        return True

    def make_room(self) -> None:
        """Let the daemon write its state again."""
        if self.is_full:
            self.ground.set_full(on=False)
            self.is_full = False
            self.daemon.wait_until(self._is_well, "end of degraded", PATIENCE)

    def _is_well(self) -> bool:
        try:
            with self.daemon.client() as client:
                client.sweep()
                return client.status()["degraded"] is None
        except MeshdError:
            return False

    def lift_all(self) -> None:
        """Take every fault back."""
        self.make_room()
        for place in sorted(self.estate.shut):
            self._open(place)
        for root in sorted(self.away):
            self._mount(root)
        for root in sorted(self.read_only):
            self._set_read_only(root, on=False)

    def _freeze(self, name: str, places: list[str]) -> None:
        """Note who lives where nobody can look from now on."""
        self.make_room()
        self.estate.trail[-1] += f" {name}"
        with self.daemon.client() as client:
            client.sweep()
            client.sync()
            rows = client.registry()["agents"]
        paths = {self.estate.path(place) for place in places}
        self.frozen[name] = {row["id"]: row for row in rows if row["projectPath"] in paths}

    def let_go(self) -> None:
        """Expect nothing more of those whose place the operator denied, or took out of the scan.

        Another claim may have taken such an id by the time that the place is let in again.
        """
        out = self.estate.denied | self.estate.unscanned
        taken = {self.estate.path(place) for place in out}
        for frozen in self.frozen.values():
            for agent_id, was in list(frozen.items()):
                if was["projectPath"] in taken or was["unscanned"]:
                    del frozen[agent_id]

    def expect_frozen(self) -> None:
        """Expect everybody there to be as they were (I5), but by an act of the operator."""
        if self.is_full:
            return
        self.let_go()
        with self.daemon.client() as client:
            rows = {row["id"]: row for row in client.registry()["agents"]}
        for frozen in self.frozen.values():
            for agent_id, was in frozen.items():
                now = rows.get(agent_id)
                assert now is not None, f"I5: frozen, and gone: {was}"
                same = ("projectPath", "status", "name")
                assert [now[key] for key in same] == [was[key] for key in same], f"I5: {was}: {now}"
