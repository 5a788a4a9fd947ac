"""The units and drop-ins as files: understood whole, exposed no more than promised, explained."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

SHIPPED: Final = Path(__file__).parent.parent.parent / "systemd"
UNITS: Final = {"system": "meshd@.service", "user": "user/meshd.service"}

pytestmark = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="needs systemd-analyze"
)

# How each installed form is exposed, as `systemd-analyze security` counts: 0 to 10.
FORMS: Final = (
    ("system", (), 0.3),
    ("system", ("open-socket",), 0.3),
    ("system", ("loopback",), 1.0),
    ("system", ("fanotify",), 1.1),
    ("user", (), 0.8),
    ("user", ("loopback",), 1.5),
)


def lay_out(directory: Path, manager: str, drop_ins: tuple[str, ...]) -> Path:
    """Install a unit with drop-ins, and a program where the unit looks for it."""
    shipped = SHIPPED / UNITS[manager]
    program = directory / "meshd"
    program.touch(0o755)
    unit = directory / shipped.name
    unit.write_text(re.sub(r"=\S+/bin/meshd ", f"={program} ", shipped.read_text("utf-8")), "utf-8")
    below = directory / f"{unit.name}.d"
    below.mkdir()
    for name in drop_ins:
        shutil.copy(SHIPPED / "drop-ins" / f"{name}.conf", below)
    return unit


def analyze(manager: str, directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", f"--{manager}", "--no-pager", *arguments],
        check=False, capture_output=True, text=True,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(directory),
             "XDG_RUNTIME_DIR": str(directory), "LC_ALL": "C.UTF-8"},
    )  # fmt: skip


@pytest.mark.parametrize(("manager", "drop_ins", "most"), FORMS, ids=str)
def test_an_installed_form_is_verified_in_silence(
    manager: str, drop_ins: tuple[str, ...], most: float, tmp_path: Path
) -> None:
    """`verify` exits 0 on unknown keys, so what counts is that it says nothing."""
    unit = lay_out(tmp_path, manager, drop_ins)
    verified = analyze(manager, tmp_path, "--man=no", "--recursive-errors=no", "verify", str(unit))
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")


@pytest.mark.parametrize(("manager", "drop_ins", "most"), FORMS, ids=str)
def test_an_installed_form_is_exposed_no_more_than_promised(
    manager: str, drop_ins: tuple[str, ...], most: float, tmp_path: Path
) -> None:
    unit = lay_out(tmp_path, manager, drop_ins)
    judged = analyze(manager, tmp_path, "security", "--offline=yes", str(unit))
    found = re.search(r"Overall exposure level for \S+: (\d+\.\d)", judged.stdout)
    assert found, judged.stderr
    assert float(found[1]) <= most, judged.stdout


def test_every_drop_in_has_a_form_that_is_tested() -> None:
    tested = {name for _, names, _ in FORMS for name in names}
    assert {path.stem for path in (SHIPPED / "drop-ins").iterdir()} == tested


@pytest.mark.parametrize("path", sorted(SHIPPED.rglob("*.*")), ids=lambda path: path.name)
def test_every_block_of_settings_is_explained(path: Path) -> None:
    """A block may be told of as one; none stands without a comment above it."""
    if path.is_dir():
        return
    for section in re.split(r"^\[.*\]$", path.read_text("utf-8"), flags=re.MULTILINE)[1:]:
        for block in section.strip().split("\n\n"):
            plain = block.startswith(("Description=", "WantedBy="))
            assert plain or block.startswith("#"), f"{path.name}: unexplained:\n{block}"


@pytest.mark.parametrize("name", UNITS.values())
def test_no_unit_runs_as_root(name: str) -> None:
    """A system unit has a user who is not root; a user's manager runs as nobody else."""
    text = (SHIPPED / name).read_text("utf-8")
    assert ("User=%i" in text) == ("@" in name)
    assert "User=root" not in text
    assert "NoNewPrivileges=yes" in text
