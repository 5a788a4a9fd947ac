"""One look: every input of the fault catalogue, on real files, ends in the right outcome."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshd.clock import SystemClock
from meshd.core.manifest import CAP_BYTES
from meshd.core.model import FileIdentity, Git, Observation, Outcome, Reason, Source
from meshd.looker import look as look_module
from meshd.looker.health import open_root
from meshd.looker.look import NoDescriptorsError, look, signature_of
from meshd.looker.syscalls import filesystem_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DOCUMENT = {
    "id": "01JN4M2X5SEMG9MB2Z8W6KTNKE",
    "name": "builder",
    "runtime": "claude-code",
    "registeredAt": "2026-01-01T00:00:00Z",
    "registeredBy": "test",
}
VALID = json.dumps(DOCUMENT).encode()
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts, owners, devices")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path.resolve()


@pytest.fixture
def project(root: Path) -> Path:
    """A project with a valid manifest."""
    (root / "project" / ".dork").mkdir(parents=True)
    manifest_of(root / "project").write_bytes(VALID)
    return root / "project"


@pytest.fixture
def mounted() -> Iterator[Callable[..., None]]:
    """Mount with the words of mount(8); unmounted at the end."""
    targets: list[Path] = []

    def mount(*words: str | Path) -> None:
        subprocess.run(["mount", *words], check=True)
        targets.append(Path(words[-1]))

    yield mount
    for target in reversed(targets):
        subprocess.run(["umount", target], check=False, stderr=subprocess.DEVNULL)


def manifest_of(project: Path) -> Path:
    return project / ".dork" / "agent.json"


def look_at(root: Path, project: Path, number: int = 1) -> Observation:
    with open_root(str(root)) as opened:
        return look(opened, str(project), number=number, source=Source.SWEEP, clock=SystemClock())


def open_descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def verdict(root: Path, project: Path) -> tuple[Outcome, Reason | None]:
    observation = look_at(root, project)
    return observation.outcome, observation.reason


def test_a_valid_manifest_is_present_with_everything_known_about_it(
    root: Path, project: Path
) -> None:
    before = SystemClock().wall_ns()
    seen = look_at(root, project, number=7)
    dork = (project / ".dork").stat()
    assert (seen.outcome, seen.reason, seen.detail) == (Outcome.PRESENT, None, None)
    assert seen.manifest is not None
    assert seen.manifest.id == DOCUMENT["id"]
    assert (seen.path, seen.look, seen.source) == (str(project), 7, Source.SWEEP)
    assert seen.signature == signature_of(manifest_of(project).stat())
    assert seen.content_hash == hashlib.sha256(VALID).hexdigest()
    assert seen.dork == FileIdentity(dork.st_dev, dork.st_ino)
    assert before <= seen.looked_at_ns <= SystemClock().wall_ns()
    descriptor = os.open(project, os.O_PATH)
    assert seen.filesystem == filesystem_of(descriptor)
    os.close(descriptor)


def test_the_root_itself_may_be_a_project(project: Path) -> None:
    assert verdict(project, project) == (Outcome.PRESENT, None)


# --- nothing there -------------------------------------------------------------------------


def remove_manifest(project: Path) -> None:
    manifest_of(project).unlink()


def remove_dork(project: Path) -> None:
    shutil.rmtree(project / ".dork")


def dork_becomes_a_file(project: Path) -> None:
    remove_dork(project)
    (project / ".dork").write_text("")


def remove_project(project: Path) -> None:
    shutil.rmtree(project)


def project_becomes_a_file(project: Path) -> None:
    shutil.rmtree(project)
    project.write_text("")


def project_becomes_a_symlink(project: Path) -> None:
    project.rename(project.with_name("moved"))
    project.symlink_to("moved")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (remove_manifest, Reason.MANIFEST_MISSING),
        (remove_dork, Reason.MANIFEST_MISSING),
        (dork_becomes_a_file, Reason.MANIFEST_MISSING),
        (remove_project, Reason.PROJECT_MISSING),
        (project_becomes_a_file, Reason.PROJECT_MISSING),
        # Fault 7: a project that moved and left a link behind is found where it is now.
        (project_becomes_a_symlink, Reason.PROJECT_MISSING),
    ],
)
def test_what_is_gone_is_absent(
    root: Path, project: Path, change: Callable[[Path], None], reason: Reason
) -> None:
    filesystem = look_at(root, project).filesystem
    change(project)
    seen = look_at(root, project)
    assert (seen.outcome, seen.reason, seen.filesystem) == (Outcome.ABSENT, reason, filesystem)


def test_a_symlink_anywhere_above_the_project_makes_it_absent(root: Path, project: Path) -> None:
    (root / "link").symlink_to(root)
    below_link = root / "link" / "project"
    assert verdict(root, below_link) == (Outcome.ABSENT, Reason.PROJECT_MISSING)


def test_a_path_that_climbs_out_of_the_root_is_not_looked_at(root: Path, project: Path) -> None:
    """Fault 16."""
    seen = look_at(project, project / ".." / "project")
    assert (seen.outcome, seen.detail) == (Outcome.UNKNOWN, "EXDEV")


# --- what may sit at .dork/agent.json (faults 1 to 20) ---------------------------------------


def replaced(make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Put something else where the manifest was."""

    def change(project: Path) -> None:
        manifest_of(project).unlink()
        make(manifest_of(project))

    return change


def symlink_to(target: str) -> Callable[[Path], None]:
    return replaced(lambda path: path.symlink_to(target))


def make_socket(path: Path) -> None:
    """Bind from inside the directory: an address holds 108 bytes."""
    here = os.open(".", os.O_RDONLY)
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.fchdir(here)
        os.close(here)


def make_sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


def dork_becomes_a_symlink(project: Path) -> None:
    (project / ".dork").rename(project / "dork")
    (project / ".dork").symlink_to("dork")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(replaced(os.mkfifo), Reason.NOT_REGULAR, id="1-fifo"),
        pytest.param(symlink_to("/etc/shadow"), Reason.SYMLINK, id="2-secret"),
        pytest.param(symlink_to("/dev/zero"), Reason.SYMLINK, id="3-endless"),
        pytest.param(symlink_to("/proc/self/environ"), Reason.SYMLINK, id="4-environment"),
        pytest.param(symlink_to("/proc/kmsg"), Reason.SYMLINK, id="5-blocking"),
        pytest.param(dork_becomes_a_symlink, Reason.DORK_SYMLINK, id="6-dork"),
        pytest.param(symlink_to("agent.json"), Reason.SYMLINK, id="8-loop"),
        pytest.param(replaced(Path.mkdir), Reason.NOT_REGULAR, id="9-directory"),
        pytest.param(replaced(make_socket), Reason.NOT_REGULAR, id="10-socket"),
        pytest.param(replaced(make_sparse), Reason.TOO_BIG, id="13-sparse-tebibyte"),
        pytest.param(replaced(Path.touch), Reason.EMPTY, id="19-empty"),
    ],
)
def test_what_is_not_a_manifest_is_invalid_and_never_read(
    root: Path, project: Path, change: Callable[[Path], None], reason: Reason
) -> None:
    change(project)
    assert verdict(root, project) == (Outcome.INVALID, reason)


@needs_root
@pytest.mark.parametrize("kind", [stat.S_IFCHR, stat.S_IFBLK])
def test_a_device_node_is_invalid_and_never_opened(root: Path, project: Path, kind: int) -> None:
    """Fault 11: opening one can have effects of its own."""
    manifest_of(project).unlink()
    os.mknod(manifest_of(project), kind | 0o600, os.makedev(1, 5))
    assert verdict(root, project) == (Outcome.INVALID, Reason.NOT_REGULAR)


@pytest.mark.parametrize(
    ("size", "outcome"), [(64 * 1024, Outcome.PRESENT), (64 * 1024 + 1, Outcome.INVALID)]
)
def test_the_cap_is_64_kib_to_the_byte(
    root: Path, project: Path, size: int, outcome: Outcome
) -> None:
    """Faults 12 and 14."""
    manifest_of(project).write_bytes(VALID + b" " * (size - len(VALID)))
    seen = look_at(root, project)
    assert (seen.outcome, seen.reason is Reason.TOO_BIG) == (outcome, size > 64 * 1024)


def test_a_file_above_the_cap_is_not_read(
    root: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 12: the size alone decides."""
    manifest_of(project).write_bytes(VALID + b" " * 65536)
    monkeypatch.setattr(look_module, "_read", lambda *_: pytest.fail("it was read"))
    assert look_at(root, project).reason is Reason.TOO_BIG


@needs_root
@pytest.mark.parametrize(
    ("owner", "links", "reason"),
    [
        pytest.param(1234, 1, None, id="the project's owner"),
        pytest.param(1234, 2, None, id="the owner's own hard link"),
        pytest.param(0, 1, None, id="written by root for the owner"),
        pytest.param(0, 2, Reason.WRONG_OWNER, id="a link to a file of root's"),
        pytest.param(4321, 1, Reason.WRONG_OWNER, id="somebody else's file"),
    ],
)
def test_the_owner_rule(
    root: Path, project: Path, owner: int, links: int, reason: Reason | None
) -> None:
    """Fault 15: in a project of uid 1234. What is refused is not read either."""
    os.chown(project, 1234, -1)
    os.chown(manifest_of(project), owner, -1)
    if links == 2:
        (root / "link").hardlink_to(manifest_of(project))
    seen = look_at(root, project)
    assert (seen.reason, seen.content_hash is None) == (reason, reason is not None)


@needs_root
def test_mode_000_is_read_by_root(root: Path, project: Path) -> None:
    """Fault 18: no consent is read out of a mode."""
    manifest_of(project).chmod(0)
    assert verdict(root, project) == (Outcome.PRESENT, None)


@needs_root
def test_a_bind_mounted_project_shows_the_dork_of_the_original(
    root: Path, project: Path, mounted: Callable[..., None]
) -> None:
    """Faults 17 and 69: mounts are followed, and one directory is known as one."""
    (root / "twin").mkdir()
    mounted("--bind", project, root / "twin")
    twin = look_at(root, root / "twin")
    assert (twin.outcome, twin.dork) == (Outcome.PRESENT, look_at(root, project).dork)


@needs_root
def test_a_project_on_an_unmounted_submount_shows_the_filesystem_of_its_ancestor(
    root: Path, mounted: Callable[..., None]
) -> None:
    volume = root / "volume"
    volume.mkdir()
    mounted("-t", "tmpfs", "tmpfs", volume)
    (volume / "group" / "project" / ".dork").mkdir(parents=True)
    manifest_of(volume / "group" / "project").write_bytes(VALID)
    before = look_at(root, volume / "group" / "project")
    subprocess.run(["umount", volume], check=True)
    after = look_at(root, volume / "group" / "project")
    assert (before.outcome, after.outcome) == (Outcome.PRESENT, Outcome.ABSENT)
    assert after.filesystem == look_at(root, root).filesystem != before.filesystem


@needs_root
def test_a_project_missing_from_a_mounted_submount_shows_the_filesystem_of_the_mount(
    root: Path, mounted: Callable[..., None]
) -> None:
    volume = root / "volume"
    volume.mkdir()
    mounted("-t", "tmpfs", "tmpfs", volume)
    seen = look_at(root, volume / "group" / "project")
    assert seen.filesystem == look_at(root, volume).filesystem != look_at(root, root).filesystem


# --- changed while it was looked at (faults 14, 20, 51) ---------------------------------------


def rewrite(path: Path) -> None:
    path.write_bytes(VALID + b"\n")


def replace_by_another(path: Path) -> None:
    path.with_name("new").write_bytes(VALID)
    path.with_name("new").replace(path)


def swap_for_symlink(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


@pytest.mark.parametrize("change", [replace_by_another, swap_for_symlink, Path.unlink])
def test_a_file_swapped_between_stat_and_open_is_not_judged(
    root: Path, project: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    judge = look_module._refusal

    def judge_then_change(status: os.stat_result, owner: int) -> Reason | None:
        change(manifest_of(project))
        return judge(status, owner)

    monkeypatch.setattr(look_module, "_refusal", judge_then_change)
    monkeypatch.setattr(look_module, "read_bounded", lambda _: pytest.fail("it was read"))
    assert verdict(root, project) == (Outcome.UNKNOWN, Reason.CHANGED_WHILE_READ)


def test_a_file_that_grows_while_it_is_read_is_not_judged(
    root: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = look_module.read_bounded

    def read_then_change(descriptor: int) -> bytes:
        data = read(descriptor)
        rewrite(manifest_of(project))
        return data

    monkeypatch.setattr(look_module, "read_bounded", read_then_change)
    assert verdict(root, project) == (Outcome.UNKNOWN, Reason.CHANGED_WHILE_READ)


def test_a_file_that_grows_after_it_was_judged_is_read_to_the_cap_and_a_byte(
    root: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 14: what `fstat` said of its size bounds nothing."""
    path = manifest_of(project)
    fstat, read, taken = os.fstat, os.read, 0

    def fstat_then_grow(descriptor: int) -> os.stat_result:
        status = fstat(descriptor)
        if status.st_ino == path.stat().st_ino:
            with path.open("ab") as file:
                file.write(b" " * 4 * CAP_BYTES)
        return status

    def read_and_count(descriptor: int, size: int) -> bytes:
        nonlocal taken
        data = read(descriptor, size)
        taken += len(data)
        return data

    monkeypatch.setattr(os, "fstat", fstat_then_grow)
    monkeypatch.setattr(os, "read", read_and_count)
    assert verdict(root, project) == (Outcome.UNKNOWN, Reason.CHANGED_WHILE_READ)
    assert taken == CAP_BYTES + 1


# --- bytes (faults 19 to 36 in short: the parser's own tests are in tests/core) ----------------


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (VALID[:40], Reason.NOT_JSON),  # 51: torn
        (VALID[:-1] + b',"id":"other"}', Reason.DUPLICATE_KEY),  # 21
        (VALID[:-1] + b',"x":NaN}', Reason.NOT_FINITE),  # 22
        (b"\xef\xbb\xbf" + VALID, Reason.BOM),  # 30
        (VALID.decode().encode("utf-16-le"), Reason.NOT_JSON),  # 31
        (VALID + b"}", Reason.NOT_JSON),  # 32
        (b"[]", Reason.NOT_OBJECT),  # 33
        (b"{}", Reason.BAD_SCHEMA),  # 34
        (b"[" * 60_000, Reason.TOO_DEEP),  # 36
    ],
)
def test_what_does_not_parse_is_invalid_and_still_hashed(
    root: Path, project: Path, data: bytes, reason: Reason
) -> None:
    manifest_of(project).write_bytes(data)
    seen = look_at(root, project)
    assert (seen.outcome, seen.reason) == (Outcome.INVALID, reason)
    assert seen.content_hash == hashlib.sha256(data).hexdigest()
    assert seen.signature == signature_of(manifest_of(project).stat())


@given(data=st.binary(max_size=200))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_of_a_rejected_file_are_in_the_observation(
    root: Path, project: Path, data: bytes
) -> None:
    canary = b"canary-7f3a"
    manifest_of(project).write_bytes(canary + data)
    seen = look_at(root, project)
    assert seen.outcome is Outcome.INVALID
    assert canary.decode() not in repr(seen)


# --- names (faults 42, 43, 46, 47) -------------------------------------------------------------


@pytest.mark.parametrize("name", [b"caf\xe9", b"two\nlines\x1b[31m", "schön".encode(), b"a" * 255])
def test_any_name_that_linux_allows_can_be_looked_at(root: Path, name: bytes) -> None:
    project = root / os.fsdecode(name)
    (project / ".dork").mkdir(parents=True)
    manifest_of(project).write_bytes(VALID)
    assert look_at(root, project).path == str(project)
    assert verdict(root, project) == (Outcome.PRESENT, None)


def test_a_path_longer_than_path_max_is_like_any_other(root: Path) -> None:
    name = "d" * 200
    here = os.open(root, os.O_RDONLY)
    for part in [name] * 40 + [".dork"]:
        os.mkdir(part, dir_fd=here)
        below = os.open(part, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    manifest = os.open("agent.json", os.O_CREAT | os.O_WRONLY, dir_fd=here)
    os.write(manifest, VALID)
    os.close(manifest)
    os.close(here)
    deep = root / "/".join([name] * 40)
    assert verdict(root, deep) == (Outcome.PRESENT, None)
    assert verdict(root, deep / name) == (Outcome.ABSENT, Reason.PROJECT_MISSING)


# --- could not tell ----------------------------------------------------------------------------


@needs_root
@pytest.mark.parametrize("closed", ["group", "group/project", "group/project/.dork"])
def test_a_directory_we_may_not_enter_is_unknown(tmp_path: Path, closed: str) -> None:
    """Faults 77 and 79: EACCES is not absence."""
    project = tmp_path / "group" / "project"
    (project / ".dork").mkdir(parents=True)
    manifest_of(project).write_bytes(VALID)
    (tmp_path / closed).chmod(0o700)
    assert as_nobody(tmp_path, project) == "unknown unreadable EACCES"


@needs_root
def test_a_manifest_we_may_not_read_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "project" / ".dork").mkdir(parents=True)
    manifest_of(tmp_path / "project").write_bytes(VALID)
    manifest_of(tmp_path / "project").chmod(0)
    assert as_nobody(tmp_path, tmp_path / "project") == "unknown unreadable EACCES"


AS_NOBODY = """
import os, sys
from pathlib import Path
from meshd.clock import SystemClock
from meshd.core.model import Source
from meshd.looker.look import OpenRoot, look
descriptor = os.open(sys.argv[1], os.O_RDONLY)
os.setgroups([]); os.setgid(65534); os.setuid(65534)
root = OpenRoot(descriptor, sys.argv[1])
seen = look(root, sys.argv[2], number=1, source=Source.SWEEP, clock=SystemClock())
print(seen.outcome, seen.reason, seen.detail)
"""


def as_nobody(root: Path, project: Path) -> str:
    """Look without privileges, through a root opened with them."""
    ran = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, root, project],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    return ran.stdout.strip()


@pytest.mark.parametrize("error", [MemoryError, RecursionError])
def test_running_out_of_memory_or_stack_is_unknown_for_that_look_only(
    root: Path, project: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """Fault 81."""

    def fail(data: bytes) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(look_module, "parse", fail)
        seen = look_at(root, project)
    assert (seen.outcome, seen.detail) == (Outcome.UNKNOWN, error.__name__)
    assert verdict(root, project) == (Outcome.PRESENT, None)


def test_running_out_of_descriptors_ends_the_whole_call(root: Path, project: Path) -> None:
    """Fault 80: with no descriptor left, nothing that is seen proves anything."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with open_root(str(root)) as opened:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            with pytest.raises(NoDescriptorsError):
                look(opened, str(project), number=1, source=Source.SWEEP, clock=SystemClock())
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_no_look_leaves_a_descriptor_open(root: Path, project: Path) -> None:
    before = open_descriptors()
    for path in (project, root / "nowhere" / "below", root):
        look_at(root, path)
    assert open_descriptors() == before


# --- git ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "git"),
    [
        (lambda path: None, Git.NONE),
        (Path.mkdir, Git.MAIN),
        (Path.touch, Git.WORKTREE),
        (lambda path: path.symlink_to("elsewhere"), Git.NONE),
    ],
)
def test_a_directory_git_is_the_main_checkout_and_a_file_a_worktree(
    root: Path, project: Path, make: Callable[[Path], None], git: Git
) -> None:
    make(project / ".git")
    assert look_at(root, project).git is git
