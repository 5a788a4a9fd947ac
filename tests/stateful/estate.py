"""A few places on disk, and what people, editors and git do to them by chance.

Owns the disk and what is denied of it, and can say what lies at each place. Assumes that nobody
else writes there. Promises: the same operations for the same numbers.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.stateful.oracle import Look
from tests.system.trees import git

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

ROOTS: Final = ("one", "two")
PLACES: Final = tuple(f"{root}/{place}" for root in ROOTS for place in ("p", "q", "r", "deep/s"))
IDS: Final = ("a", "b", "c", "d")

QUEUE: Final = Path("/proc/sys/fs/inotify/max_queued_events")
"""Says how many events the kernel keeps for who does not read."""


@dataclass
class Estate:
    """The places.

    Attributes:
        denied: places the daemon was told to leave alone.
        trail: what was done, for whoever wants to know how it came to this.
    """

    base: Path
    chance: Random
    denied: set[str] = field(default_factory=set)
    trail: list[str] = field(default_factory=list)
    _saves: int = 0

    def __post_init__(self) -> None:
        for root in ROOTS:
            (self.base / root).mkdir()

    def look(self, place: str) -> Look:
        """Return what lies at a place."""
        if place in self.denied:
            return Look("denied")
        project = self.base / place
        try:
            said = json.loads(self._manifest(place).read_bytes())
        except OSError:
            return Look("absent")
        except ValueError:
            return Look("invalid")
        return Look("present", said["id"], said["name"], worktree=(project / ".git").is_file())

    def looks(self) -> dict[str, Look]:
        """Return what lies at every place, by path."""
        return {str(self.base / place): self.look(place) for place in PLACES}

    def roots(self) -> dict[str, str]:
        """Return the root of every path."""
        return {str(self.base / place): place.partition("/")[0] for place in PLACES}

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
        (act,) = self.chance.choices([one for one, _ in acts], [weight for _, weight in acts])
        one, other = self.chance.sample(PLACES, 2)
        self.trail.append(f"{act.__name__} {one} {other}")
        act(one, other)

    # saving, as programs save

    def save(self, place: str, _other: str) -> None:
        """Save a manifest, in the manner of one program or another."""
        manifest = self._manifest(place)
        manifest.parent.mkdir(parents=True, exist_ok=True)
        text = self._text(self.chance.choice(IDS))
        how = self.chance.choice((_by_rename, _in_place, _in_two_writes, _with_backup, _anew))
        self.trail[-1] += f" {how.__name__} {text}"
        how(manifest, text)

    def tear(self, place: str, _other: str) -> None:
        """Leave half a manifest."""
        if self._manifest(place).exists():
            self._manifest(place).write_text(self._text("a")[:-9])

    def check_out(self, place: str, _other: str) -> None:
        """Remove a manifest and write it again, as a switch of branches and back does."""
        manifest = self._manifest(place)
        if manifest.exists():
            text = manifest.read_text()
            shutil.rmtree(manifest.parent)
            manifest.parent.mkdir()
            manifest.write_text(text)

    def switch_branches(self, place: str, _other: str) -> None:
        """Have git switch to a branch without the manifest, and back."""
        project = self.base / place
        if self._manifest(place).exists() and not (project / ".git").is_file():
            git(project, "init")
            git(project, "add", "--force", ".dork")
            git(project, "commit", "--allow-empty", "--message", "as it is")
            git(project, "checkout", "--orphan", "empty")
            git(project, "rm", "-rf", ".")
            git(project, "checkout", "main")

    # losing, moving, copying

    def delete_manifest(self, place: str, _other: str) -> None:
        """Delete a manifest."""
        self._manifest(place).unlink(missing_ok=True)

    def delete_project(self, place: str, _other: str) -> None:
        """Delete a project."""
        shutil.rmtree(self.base / place, ignore_errors=True)

    def move(self, one: str, other: str) -> None:
        """Move a project to a free place."""
        source, target = self.base / one, self.base / other
        if source.is_dir() and not target.exists():
            target.parent.mkdir(exist_ok=True)
            source.rename(target)

    def move_group(self, _one: str, _other: str) -> None:
        """Move the directory above a project to the other root."""
        groups = [self.base / root / "deep" for root in ROOTS]
        source, target = self.chance.sample(groups, 2)
        if source.is_dir() and not target.exists():
            source.rename(target)

    def clone(self, one: str, other: str) -> None:
        """Copy a project to a free place, or make a worktree of it there."""
        source, target = self.base / one, self.base / other
        if source.is_dir() and not target.exists():
            shutil.copytree(source, target)
            if self.chance.random() < 0.5 and not (target / ".git").exists():
                (target / ".git").write_text("gitdir: elsewhere\n")

    def swap_manifests(self, one: str, other: str) -> None:
        """Let two projects swap their ids."""
        first, second = self._manifest(one), self._manifest(other)
        if first.exists() and second.exists():
            between = first.rename(first.with_name("aside"))
            second.rename(first)
            between.rename(second)

    def swap_projects(self, one: str, other: str) -> None:
        """Let two projects swap their places."""
        first, second = self.base / one, self.base / other
        if first.is_dir() and second.is_dir():
            between = first.rename(self.base / "aside")
            second.rename(first)
            between.rename(second)

    def flood(self) -> None:
        """Make more events than the kernel keeps."""
        most = int(QUEUE.read_text())
        names = [str(self.base / root / f"noise-{n}") for root in ROOTS for n in (1, 2)]
        self.trail.append("flood")
        for name in names:
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
        for number in range(most):
            # Two equal events that follow each other would be one.
            os.rename(names[number % 2], f"{names[number % 2]}-away")  # noqa: PTH104
            os.rename(f"{names[number % 2]}-away", names[number % 2])  # noqa: PTH104
        for name in names:
            os.unlink(name)  # noqa: PTH108

    def _manifest(self, place: str) -> Path:
        return self.base / place / ".dork" / "agent.json"

    def _text(self, agent_id: str) -> str:
        self._saves += 1
        said = {
            "id": agent_id,
            "name": f"save {self._saves}",
            "runtime": "codex",
            "registeredAt": "2026-01-01T00:00:00Z",
            "registeredBy": "test",
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
