"""A few places on disk, and what people, editors, git and attackers do to them by chance.

Owns the disk and what is scanned of it, and can say what lies at each place. Assumes that nobody
else writes there. Promises: the same operations for the same numbers.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.stateful import saying
from tests.stateful.oracle import Look
from tests.system.trees import git

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

ROOTS: Final = ("one", "two")
PLACES: Final = tuple(f"{root}/{place}" for root in ROOTS for place in ("p", "q", "r", "deep/s"))
IDS: Final = ("a", "b", "c", "d")

TEAM: Final = "team"
"""Name of the directory of a team, below its root."""

CAP: Final = 65_536
"""Bytes; a larger manifest is none (design: §Manifest)."""

QUEUE: Final = Path("/proc/sys/fs/inotify/max_queued_events")
"""Says how many events the kernel keeps for who does not read."""


@dataclass
class Estate:
    """The places.

    Attributes:
        base: below it, the roots lie as the daemon sees them.
        disk: below it, they lie as their users see them, whatever became of a mount; `base`
            itself by default.
        roots: their names.
        places: paths of the projects, below `base`.
        team: names of agents of each root, in a directory of theirs, whom nobody touches; they
            vanish together.
        is_hostile: whether there are attackers too.
        denied: places the daemon was told to leave alone.
        unscanned: places that its configuration leaves out.
        shut: places that nobody touches for now.
        held: every id that lay at each place after an act.
        trail: what was done, for whoever wants to know how it came to this.
    """

    base: Path
    chance: Random
    disk: Path = Path()
    roots: tuple[str, ...] = ROOTS
    places: tuple[str, ...] = PLACES
    team: tuple[str, ...] = ()
    is_hostile: bool = False
    denied: set[str] = field(default_factory=set)
    unscanned: set[str] = field(default_factory=set)
    shut: set[str] = field(default_factory=set)
    held: dict[str, set[str]] = field(default_factory=dict)
    trail: list[str] = field(default_factory=list)
    _saves: int = 0

    def __post_init__(self) -> None:
        if self.disk == Path():
            self.disk = self.base
        for root in self.roots:
            (self.disk / root).mkdir(parents=True)
        for place in self.of_teams(*self.roots):
            self.manifest(place).parent.mkdir(parents=True)
            self.manifest(place).write_text(self._text(place.replace("/", "-")))

    @property
    def everywhere(self) -> tuple[str, ...]:
        """Every place at which a project may be."""
        return (*self.places, *self.of_teams(*self.roots))

    def of_teams(self, *roots: str) -> tuple[str, ...]:
        """Return the places of the teams of some roots."""
        return tuple(f"{root}/{TEAM}/{name}" for root in roots for name in self.team)

    def vanish_or_return(self, root: str) -> None:
        """Let the whole team of a root vanish, or come back."""
        here, away = self.disk / root / TEAM, self.disk / f"{TEAM}-of-{root}"
        if here.exists():
            here.rename(away)
        else:
            away.rename(here)
        self.trail.append(f"team of {root}: {here.exists()}")

    def look(self, place: str) -> Look:
        """Return what lies at a place."""
        if place in self.denied:
            return Look("denied")
        if place in self.unscanned:
            return Look("unscanned")
        return self.found(place)

    def found(self, place: str) -> Look:
        """Return what lies at a place, whether it is scanned or not."""
        project = self.disk / place
        if project.is_symlink() or project.parent.is_symlink():
            return Look("absent")
        if (project / ".dork").is_symlink():
            return Look("invalid")
        try:
            status = self.manifest(place).lstat()
            if not stat.S_ISREG(status.st_mode) or status.st_size > CAP:
                return Look("invalid")
            said = json.loads(self.manifest(place).read_bytes())
        except OSError:
            return Look("absent")
        except (ValueError, RecursionError):
            return Look("invalid")
        worktree = (project / ".git").is_file()
        return Look("present", said["id"], said["name"], worktree, saying.about(said))

    def looks(self) -> dict[str, Look]:
        """Return what lies at every place, by path."""
        return {self.path(place): self.look(place) for place in self.everywhere}

    def root_of_paths(self) -> dict[str, str]:
        """Return the root of every path."""
        return {self.path(place): place.partition("/")[0] for place in self.everywhere}

    def path(self, place: str) -> str:
        """Return the path of a place as the daemon sees it."""
        return str(self.base / place)

    def manifest(self, place: str) -> Path:
        """Return where the manifest of a place is for its users."""
        return self.disk / place / ".dork" / "agent.json"

    def act(self) -> None:
        """Do one thing to the disk."""
        acts: list[tuple[Callable[[str, str], None], int]] = [
            (self.save, 6),
            (self.tear, 1),
            (self.delete_manifest, 1),
            (self.delete_project, 1),
            (self.move, 4),
            (self.clone, 1),
            (self.swap_manifests, 1),
            (self.swap_projects, 1),
            (self.check_out, 1),
            (self.switch_branches, 1),
            (self.move_group, 1),
        ]
        if self.is_hostile:
            acts += [(self.plant_trap, 2), (self.link_project, 1)]
        (act,) = self.chance.choices([one for one, _ in acts], [weight for _, weight in acts])
        one, other = self.chance.sample([one for one in self.places if one not in self.shut], 2)
        self.trail.append(f"{act.__name__} {one} {other}")
        act(one, other)
        self.note()

    def note(self) -> None:
        """Remember which ids lie where."""
        for place in self.everywhere:
            look = self.found(place)
            if look.outcome == "present":
                self.held.setdefault(self.path(place), set()).add(look.agent_id)

    # saving, as programs save

    def save(self, place: str, _other: str) -> None:
        """Save a manifest, in the manner of one program or another."""
        manifest = self.manifest(place)
        self._clear(place)
        manifest.parent.mkdir(parents=True, exist_ok=True)
        text = self._text(self.chance.choice(IDS))
        how = self.chance.choice((_by_rename, _in_place, _in_two_writes, _with_backup, _anew))
        self.trail[-1] += f" {how.__name__} {text}"
        how(manifest, text)

    def tear(self, place: str, _other: str) -> None:
        """Leave half a manifest."""
        if self._is_plain(place):
            self.manifest(place).write_text(self._text("a")[:-9])

    def check_out(self, place: str, _other: str) -> None:
        """Remove a manifest and write it again, as a switch of branches and back does."""
        manifest = self.manifest(place)
        if self._is_plain(place):
            said = manifest.read_bytes()
            shutil.rmtree(manifest.parent)
            manifest.parent.mkdir()
            manifest.write_bytes(said)

    def switch_branches(self, place: str, _other: str) -> None:
        """Have git switch to a branch without the manifest, and back."""
        project = self.disk / place
        if self._is_plain(place) and not (project / ".git").is_file():
            git(project, "init")
            git(project, "add", "--force", ".dork")
            git(project, "commit", "--allow-empty", "--message", "as it is")
            git(project, "checkout", "--orphan", "empty")
            git(project, "rm", "-rf", ".")
            git(project, "checkout", "main")

    # losing, moving, copying

    def delete_manifest(self, place: str, _other: str) -> None:
        """Delete a manifest."""
        if self._is_plain(place):
            self.manifest(place).unlink()

    def delete_project(self, place: str, _other: str) -> None:
        """Delete a project."""
        project = self.disk / place
        if project.is_symlink():
            project.unlink()
        else:
            shutil.rmtree(project, ignore_errors=True)

    def move(self, one: str, other: str) -> None:
        """Move a project to a free place."""
        source, target = self.disk / one, self.disk / other
        if source.is_dir() and not os.path.lexists(target):
            target.parent.mkdir(exist_ok=True)
            source.rename(target)

    def move_group(self, _one: str, _other: str) -> None:
        """Move the directory above a project to the other root."""
        groups = [self.disk / root / "deep" for root in self.roots]
        source, target = self.chance.sample(groups, 2)
        if not self.shut and source.is_dir() and not target.exists():
            source.rename(target)

    def clone(self, one: str, other: str) -> None:
        """Copy a project to a free place, or make a worktree of it there."""
        source, target = self.disk / one, self.disk / other
        if source.is_dir() and not source.is_symlink() and not os.path.lexists(target):
            target.parent.mkdir(exist_ok=True)
            subprocess.run(["cp", "-a", source, target], check=True)
            if self.chance.random() < 0.5 and not (target / ".git").exists():
                (target / ".git").write_text("gitdir: elsewhere\n")

    def swap_manifests(self, one: str, other: str) -> None:
        """Let two projects swap their ids."""
        first, second = self.manifest(one), self.manifest(other)
        if self._is_plain(one) and self._is_plain(other):
            between = first.rename(first.with_name("aside"))
            second.rename(first)
            between.rename(second)

    def swap_projects(self, one: str, other: str) -> None:
        """Let two projects swap their places."""
        first, second = self.disk / one, self.disk / other
        if first.is_dir() and second.is_dir():
            between = first.rename(self.disk / "aside")
            second.rename(first)
            between.rename(second)

    def flood(self) -> None:
        """Make more events than the kernel keeps."""
        most = int(QUEUE.read_text())
        names = [str(self.disk / root / f"noise-{n}") for root in self.roots for n in (1, 2)]
        self.trail.append("flood")
        for name in names:
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
        for number in range(most):
            # Two equal events that follow each other would be one.
            os.rename(names[number % 2], f"{names[number % 2]}-away")  # noqa: PTH104
            os.rename(f"{names[number % 2]}-away", names[number % 2])  # noqa: PTH104
        for name in names:
            os.unlink(name)  # noqa: PTH108

    # what no program does by mistake

    def plant_trap(self, place: str, _other: str) -> None:
        """Put something in the place of a manifest that is none, and may hurt who opens it."""
        if not (self.disk / place).is_dir() or (self.disk / place).is_symlink():
            return
        trap = self.chance.choice(tuple(_TRAPS))
        self.trail[-1] += f" {trap}"
        self._clear(place)
        manifest = self.manifest(place)
        manifest.parent.mkdir(exist_ok=True)
        manifest.unlink(missing_ok=True)
        _TRAPS[trap](manifest, self.disk / "outside")

    def link_project(self, place: str, other: str) -> None:
        """Put a link to another project, or to one outside of the roots, at a free place."""
        project = self.disk / place
        if project.parent.is_dir() and not os.path.lexists(project):
            inside = self.chance.random() < 0.5
            project.symlink_to(self.disk / (other if inside else "outside"))

    def _is_plain(self, place: str) -> bool:
        """Whether the manifest of a place is an ordinary file, and its project is no link."""
        above = (self.disk / place, self.disk / place / ".dork")
        if any(one.is_symlink() for one in above) or not os.path.lexists(self.manifest(place)):
            return False
        status = self.manifest(place).lstat()
        return stat.S_ISREG(status.st_mode) and status.st_size <= CAP

    def _clear(self, place: str) -> None:
        """Take away what a save would go through, or wait for."""
        for one in (self.disk / place, self.disk / place / ".dork"):
            if one.is_symlink():
                one.unlink()
        manifest = self.manifest(place)
        if manifest.is_dir() and not manifest.is_symlink():
            manifest.rmdir()
        elif os.path.lexists(manifest) and not self._is_plain(place):
            manifest.unlink()

    def _text(self, agent_id: str) -> str:
        self._saves += 1
        said = {
            "id": agent_id,
            "name": f"save {self._saves}",
            **saying.fields(self._saves),
            "registeredAt": "2026-01-01T00:00:00Z",
            "registeredBy": "test",
            "unknownKey": {"kept": [1, None, "\u00e9"]},
        }
        return json.dumps(said)


def _by_rename(manifest: Path, text: str) -> None:
    draft = manifest.with_suffix(".draft")
    draft.write_text(text)
    draft.rename(manifest)


def _in_place(manifest: Path, text: str) -> None:
    manifest.write_text(text)


def _in_two_writes(manifest: Path, text: str) -> None:
    with manifest.open("w") as file:
        file.write(text[:30])
        file.flush()
        file.write(text[30:])


def _with_backup(manifest: Path, text: str) -> None:
    backup = manifest.with_name("agent.json~")
    if manifest.exists():
        manifest.rename(backup)
    manifest.write_text(text)
    backup.unlink(missing_ok=True)


def _anew(manifest: Path, text: str) -> None:
    manifest.unlink(missing_ok=True)
    manifest.write_text(text)


def _link_dork(manifest: Path, outside: Path) -> None:
    shutil.rmtree(manifest.parent)
    manifest.parent.symlink_to(outside / ".dork")


def _sparse(manifest: Path, _outside: Path) -> None:
    with manifest.open("wb") as file:
        file.truncate(1 << 40)


_TRAPS: Final[dict[str, Callable[[Path, Path], object]]] = {
    "fifo": lambda manifest, _: os.mkfifo(manifest),
    "link": lambda manifest, outside: manifest.symlink_to(outside / ".dork" / "agent.json"),
    "endless link": lambda manifest, _: manifest.symlink_to("/dev/zero"),
    "loop": lambda manifest, _: manifest.symlink_to(manifest.name),
    "directory": lambda manifest, _: manifest.mkdir(),
    "link above": _link_dork,
    "sparse": _sparse,
    "nothing": lambda manifest, _: manifest.write_bytes(b""),
    "deep": lambda manifest, _: manifest.write_bytes(b"[" * 60_000),
    "text": lambda manifest, _: manifest.write_bytes(b"\xff\x1b[2J not a manifest"),
}
