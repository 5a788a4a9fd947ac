"""The repository as a whole: the direction of imports, the files that ship, what must not."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

import pytest

import meshd
from meshd.config import load
from meshd.core.manifest import parse

REPOSITORY: Final = Path(__file__).parent.parent
MODULES: Final = sorted((REPOSITORY / "meshd").rglob("*.py"))
MANIFESTS: Final = sorted((REPOSITORY / "examples").glob("*/.dork/agent.json"))
UNITS: Final = sorted((REPOSITORY / "systemd").rglob("*.service"))

MOST_LINES: Final = 400
"""A module that is longer is split (design: §Layout)."""

OF_ONE_MACHINE: Final = re.compile(
    r"(?<!\.)/home/(?!(ada|me)\b)\w|/root/\.|/(?:work|Users)/|C:\\Users|"
    r"\b(10\.\d+|192\.168|172\.(1[6-9]|2\d|3[01]))\.\d+\.\d+\b|\w\.(?:internal|lan|corp)\b"
)
"""Paths and hosts of one person or company. `ada` and `me` are the users of the examples."""


def tracked_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, check=True, capture_output=True, text=True
    ).stdout
    paths = [REPOSITORY / name for name in listed.split("\0") if name]
    return [path for path in paths if path.is_file()]


def test_imports_point_in_the_direction_of_the_contracts() -> None:
    """The contracts are in pyproject.toml; without them a layer could reach up unnoticed."""
    contracts = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run(
        [str(contracts), "--no-cache"], cwd=REPOSITORY, check=False, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_version_is_said_once_and_repeated_right() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["version"] == meshd.__version__


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "LICENSE", "docs/architecture.md"])
def test_the_files_a_reader_expects_are_there(name: str) -> None:
    assert (REPOSITORY / name).read_text("utf-8").strip()


def test_the_changelog_has_the_version() -> None:
    changelog = (REPOSITORY / "CHANGELOG.md").read_text("utf-8")
    assert f"\n## [{meshd.__version__}]" in changelog


def test_the_example_configuration_loads() -> None:
    load(REPOSITORY / "config.example.toml", environ={})


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.parent.parent.name)
def test_an_example_is_a_valid_manifest(path: Path) -> None:
    assert parse(path.read_bytes()).name == path.parent.parent.name


def test_the_examples_differ_in_what_a_reader_should_see() -> None:
    manifests = [parse(path.read_bytes()) for path in MANIFESTS]
    assert len({manifest.id for manifest in manifests}) == 3
    assert len({manifest.runtime for manifest in manifests}) == 3
    assert len({manifest.namespace for manifest in manifests}) == 3
    assert any("x-team" in manifest.document for manifest in manifests)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_a_unit_is_understood_whole(
    unit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`verify` exits 0 on unknown keys, so what counts is that it says nothing."""
    scope = "--user" if unit.parent.name == "user" else "--system"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    result = subprocess.run(
        ["systemd-analyze", scope, "--man=no", "--recursive-errors=no", "verify", str(unit)],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    complaints = [
        line
        for line in result.stderr.splitlines()
        # The program is not installed where the tests run, which is no fault of the unit.
        if not re.search(r"Command .*/bin/meshd is not executable", line)
    ]
    assert not complaints


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_a_unit_starts_commands_that_exist(unit: Path) -> None:
    commands = re.findall(r"^Exec\w+=\S*/meshd (\S+)", unit.read_text("utf-8"), re.MULTILINE)
    assert commands
    for command in commands:
        shown = subprocess.run(
            [sys.executable, "-m", "meshd", command, "--help"], check=False, capture_output=True
        )
        assert shown.returncode == 0, shown.stderr


def test_no_module_is_too_long_to_take_in() -> None:
    lengths = {
        str(path.relative_to(REPOSITORY)): len(path.read_text("utf-8").splitlines())
        for path in MODULES
    }
    assert not {path: length for path, length in lengths.items() if length > MOST_LINES}


def test_nothing_in_the_repository_belongs_to_one_machine() -> None:
    found = []
    for path in tracked_files():
        text = path.read_bytes().decode("utf-8", "replace")
        found += [
            f"{path.relative_to(REPOSITORY)}: {match[0]}" for match in OF_ONE_MACHINE.finditer(text)
        ]
    assert not found


def test_the_continuous_integration_runs_what_the_readme_tells_developers() -> None:
    readme = (REPOSITORY / "README.md").read_text("utf-8")
    script = (REPOSITORY / ".ci" / "run").read_text("utf-8")
    (command,) = re.findall(
        r"^ *(python3 -m venv .*\.venv/bin/python -m tests)$", script, re.MULTILINE
    )
    assert f"\n{command}\n" in readme


def test_the_architecture_names_modules_that_exist() -> None:
    text = (REPOSITORY / "docs" / "architecture.md").read_text("utf-8")
    named = set(re.findall(r"`(meshd(?:\.\w+)+)`", text))
    assert named
    existing = {
        ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")
        for path in MODULES
    }
    assert not named - existing
    assert [f"R{number}" for number in range(1, 12)] == re.findall(
        r"^\| (R\d+) ", text, re.MULTILINE
    )
