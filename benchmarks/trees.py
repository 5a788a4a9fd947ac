"""Trees of projects on disk, as people have them.

Owns how a tree looks: teams of a hundred checkouts, each with sources, tests, documents, `.git`
and `node_modules`, one in ten with an agent of its own inside another project. Assumes an empty
directory. Promises: the same tree for the same seed and number, a larger tree that begins with
the smaller one, and no directory deeper than the default depth of a scan.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

TEAM_SIZE: Final = 100
INODES_PER_PROJECT: Final = 31
"""As in the tree by which the peer was measured."""

_NESTED: Final = 0.1
_WIDE: Final = 0.25
"""Part of the projects with one directory of sources more, in place of a file: so that there are
5.26 directories to walk for each project."""

_SCANNED: Final = ("src", "src/core", "tests", "docs")
_UNSCANNED: Final = (
    ".git",
    ".git/objects",
    ".git/refs",
    ".git/refs/heads",
    "node_modules",
    "node_modules/dotenv",
    "node_modules/express",
)
_FILES: Final = (
    ".git/HEAD",
    ".git/config",
    "node_modules/dotenv/package.json",
    "node_modules/dotenv/main.js",
    "node_modules/express/package.json",
    "node_modules/express/index.js",
    "README.md",
    "package.json",
    "src/main.ts",
    "src/server.ts",
    "src/routes.ts",
    "src/core/model.ts",
    "src/core/store.ts",
    "src/core/errors.ts",
    "tests/model.test.ts",
    "docs/index.md",
)
_OPTIONAL: Final = "LICENSE"
_MORE_SOURCES: Final = "scripts"

_LETTERS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_RUNTIMES: Final = ("claude-code", "codex", "opencode", "cursor", "gemini")
_NOUNS: Final = ("checkout", "ledger", "search", "inbox", "billing", "metrics", "editor", "relay")
_SKILLS: Final = ("code", "review", "tests", "docs", "deploy", "triage", "research")


class Shape(StrEnum):
    """How much of each project is planted."""

    FULL = "full"
    SPARSE = "sparse"
    """Only what a walk sees: for a disk that has no room for the rest."""
    BARE = "bare"
    """As sparse, but without any manifest."""


@dataclass(frozen=True, slots=True)
class Project:
    """One agent and where it lives.

    Attributes:
        path: relative to the root.
        is_wide: whether it has one directory of sources more.
    """

    path: str
    agent_id: str
    name: str
    is_wide: bool


class NoRoomError(Exception):
    """The file system has not enough inodes or bytes left for the tree."""


def plan(count: int, seed: int = 0) -> list[Project]:
    """Return the projects of a tree, in the order of their creation."""
    teams = range(-(-count // TEAM_SIZE))
    return [project for team in teams for project in _team(team, seed)][:count]


def _team(team: int, seed: int) -> list[Project]:
    # By the team, so that a larger tree begins with the smaller one.
    random = Random(f"{seed}/{team}")
    projects: list[Project] = []
    outer = ""
    for number in range(TEAM_SIZE):
        name = f"{random.choice(_NOUNS)}-{number:02}"
        is_nested = random.random() < _NESTED and bool(outer)
        path = f"{outer}/{name}" if is_nested else f"team-{team:05}/{name}"
        if not is_nested:
            outer = path
        agent_id = "".join(random.choices(_LETTERS, k=26))
        projects.append(Project(path, agent_id, name, random.random() < _WIDE))
    return projects


def manifest(project: Project, said: str = "as planted") -> bytes:
    """Return the manifest of a project, about 930 bytes long, with `said` as its description."""
    random = Random(project.agent_id)
    document = {
        "id": project.agent_id,
        "name": project.name,
        "displayName": project.name.replace("-", " ").capitalize(),
        "description": said,
        "runtime": random.choice(_RUNTIMES),
        "capabilities": sorted(random.sample(_SKILLS, k=3)),
        "behavior": {"responseMode": "direct-only", "escalationThreshold": random.random()},
        "budget": {"maxHopsPerMessage": random.randint(1, 9), "maxCallsPerHour": 120},
        "persona": f"Looks after {project.name}. Writes short sentences, and asks before it"
        " changes what other teams rely on. Asks its owner once a week which of them still matter.",
        "personaEnabled": True,
        "traits": {
            trait: random.randint(1, 5)
            for trait in ("verbosity", "autonomy", "chaos", "creativity", "humor", "spice")
        },
        "conventions": {"soul": True, "nope": True, "dorkosKnowledge": False},
        "color": f"#{random.getrandbits(24):06x}",
        "icon": "book",
        "registeredAt": f"2026-0{random.randint(1, 9)}-11T09:30:00.000Z",
        "registeredBy": "mesh",
    }
    return json.dumps(document, indent=2).encode("ascii")


def shape_for(directory: Path, count: int) -> Shape:
    """Return the fullest shape for which a file system has room, with a fifth to spare.

    Raises:
        NoRoomError: there is none even for the sparse one.
    """
    room = os.statvfs(directory)
    bytes_free = room.f_bavail * room.f_frsize
    for shape in (Shape.FULL, Shape.SPARSE):
        directories = 7 + (len(_UNSCANNED) if shape is Shape.FULL else 0)
        inodes = INODES_PER_PROJECT if shape is Shape.FULL else directories + 1
        # Some file systems count no inodes.
        has_inodes = room.f_files == 0 or 1.2 * count * inodes < room.f_favail
        if has_inodes and 1.2 * count * (directories + 1) * room.f_frsize < bytes_free:
            return shape
    raise NoRoomError(f"no room for {count:,} projects where temporary files are kept")


def plant(root: Path, projects: Sequence[Project], shape: Shape = Shape.FULL) -> None:
    """Create the tree of some projects below a root that does not exist yet."""
    root.mkdir(parents=True)
    teams: dict[str, list[Project]] = {}
    for project in projects:
        teams.setdefault(project.path.partition("/")[0], []).append(project)
    if len(teams) < 2 * (os.cpu_count() or 1):
        _plant_teams(root, teams.values(), shape)
        return
    # Several processes, for a file system takes creations of different directories side by side.
    parts = [list(teams.values())[start::64] for start in range(64)]
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(mp_context=spawned) as pool:
        for planting in [pool.submit(_plant_teams, root, part, shape) for part in parts]:
            planting.result()


def _plant_teams(root: Path, teams: Iterable[Sequence[Project]], shape: Shape) -> None:
    for team in teams:
        (root / team[0].path).parent.mkdir()
        for project in team:
            _plant_project(f"{root}/{project.path}", project, shape)


def _plant_project(path: str, project: Project, shape: Shape) -> None:
    """Create one project through a descriptor: a third of the time that whole paths take."""
    os.mkdir(path)
    top = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        directories = [*_SCANNED, *(_UNSCANNED if shape is Shape.FULL else ())]
        if project.is_wide:
            directories.append(_MORE_SOURCES)
        for name in directories:
            os.mkdir(name, dir_fd=top)
        if shape is Shape.FULL:
            for name in _FILES if project.is_wide else (*_FILES, _OPTIONAL):
                _write(name, top, b"")
        if shape is not Shape.BARE:
            os.mkdir(".dork", dir_fd=top)
            _write(".dork/agent.json", top, manifest(project))
    finally:
        os.close(top)


def _write(name: str, directory: int, content: bytes) -> None:
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=directory)
    try:
        if content:
            os.write(descriptor, content)
    finally:
        os.close(descriptor)
