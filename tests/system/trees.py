"""Projects on disk: single ones, and whole trees of them as people have them.

Owns how a project looks: a checkout with sources, dependencies and a manifest. Promises: the
same tree for the same number, and manifests saved as editors save them.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path

RUNTIMES: Final = ("claude-code", "codex", "opencode", "cursor")
GROUP_SIZE: Final = 50
"""Projects in one directory: a person's, a customer's, a team's."""

_DIRECTORIES: Final = (".dork", ".git", ".git/refs", "src", "node_modules", "node_modules/dotenv")
_FILES: Final = {
    ".git/HEAD": b"ref: refs/heads/main\n",
    ".git/config": b"[core]\n\trepositoryformatversion = 0\n",
    "README.md": b"# A project\n",
    "src/main.py": b"print('hello')\n",
    "node_modules/dotenv/package.json": b'{"name": "dotenv"}\n',
}


@dataclass(frozen=True, slots=True)
class Project:
    """An agent's id and the directory where it lives."""

    id: str
    path: Path

    @property
    def manifest(self) -> Path:
        """Its manifest."""
        return self.path / ".dork" / "agent.json"


def document(agent_id: str, **fields: object) -> dict[str, Any]:
    """Return what a manifest says."""
    return {
        "id": agent_id,
        "name": f"agent-{agent_id}",
        "runtime": "claude-code",
        "registeredAt": "2026-01-01T00:00:00.000Z",
        "registeredBy": "dorkos",
        **fields,
    }


def save(path: Path, agent_id: str, **fields: object) -> Project:
    """Save a manifest by a new file and a rename, creating the project if it is missing."""
    return save_bytes(path, agent_id, json.dumps(document(agent_id, **fields)).encode())


def save_bytes(path: Path, agent_id: str, content: bytes) -> Project:
    """Save anything as a manifest, the same way."""
    project = Project(agent_id, path)
    project.manifest.parent.mkdir(parents=True, exist_ok=True)
    draft = project.manifest.with_suffix(".draft")
    draft.write_bytes(content)
    draft.rename(project.manifest)
    return project


def plant(root: Path, count: int) -> list[Project]:
    """Create a tree of projects, with a dozen inodes each; every tenth is inside another."""
    projects: list[Project] = []
    for number in range(count):
        group = root / f"team-{number // GROUP_SIZE:03}"
        if number % GROUP_SIZE == 0:
            group.mkdir(parents=True)
            (group / ".cache").mkdir()
        parent = projects[-1].path / "src" if number % 10 == 9 else group
        path = parent / f"project-{number:05}"
        agent_id = f"01J{number:023}"
        _plant_one(str(path), agent_id, number)
        projects.append(Project(agent_id, path))
    return projects


def _plant_one(path: str, agent_id: str, number: int) -> None:
    for directory in ("", *_DIRECTORIES):
        os.mkdir(f"{path}/{directory}")  # noqa: PTH102 - a Path for each would double the time
    said = document(
        agent_id,
        runtime=RUNTIMES[number % len(RUNTIMES)],
        description=f"Looks after project {number}.",
        capabilities=["review", "deploy"][: number % 3],
        behavior={"responseMode": "always"},
        budget={"maxHopsPerMessage": 5, "maxCallsPerHour": 100 + number % 7},
    )
    for name, content in {**_FILES, ".dork/agent.json": json.dumps(said).encode()}.items():
        descriptor = os.open(f"{path}/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        os.write(descriptor, content)
        os.close(descriptor)


def git(directory: Path, *arguments: str) -> None:
    """Run git, as a person whose own settings do not matter."""
    settings = {
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_SYSTEM": "/dev/null",
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@example.org",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@example.org",
        "PATH": os.environ["PATH"],
    }
    subprocess.run(
        ["git", "-c", "init.defaultBranch=main", *arguments],
        cwd=directory,
        env=settings,
        check=True,
        capture_output=True,
    )


def commit_project(path: Path, agent_id: str) -> Project:
    """Create a real git checkout whose manifest is committed."""
    project = save(path, agent_id)
    git(path, "init")
    git(path, "add", "--all")
    git(path, "commit", "--message", "the agent")
    return project
