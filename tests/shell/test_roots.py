"""The health of a root, opening beneath it, and the kind of looker it gets."""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from meshd.clock import SystemClock
from meshd.config.settings import ScanSettings
from meshd.core.model import Outcome, Reason, RootIdentity, Source
from meshd.looker import IsolatedLooker, LocalLooker, make_looker, syscalls
from meshd.looker.syscalls import filesystem_of, open_by_components, open_directory
from meshd.mounts import Mount, filesystem_name, may_hang, may_hang_within
from meshd.roots import Roots

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from meshd.looker import Looker

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts, setuid")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path.resolve() / "root").mkdir()
    return tmp_path.resolve() / "root"


def looker_of(root: Path) -> LocalLooker:
    return LocalLooker(str(root), clock=SystemClock(), numbers=itertools.count(1).__next__)


def identity_of(root: Path) -> RootIdentity:
    identity = looker_of(root).check(None).identity
    assert identity is not None
    return identity


def mount_tmpfs(target: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", target], check=True)


def unmount(target: Path) -> None:
    subprocess.run(["umount", target], check=True)


# --- health --------------------------------------------------------------------------------


def test_a_root_that_can_be_listed_is_healthy_and_has_an_identity(root: Path) -> None:
    look = looker_of(root).check(None)
    assert (look.healthy, look.reason) == (True, None)
    assert look.identity is not None
    assert look.identity.inode == root.stat().st_ino
    assert looker_of(root).check(look.identity) == look


def remove(root: Path) -> None:
    root.rmdir()


def become_a_file(root: Path) -> None:
    root.rmdir()
    root.touch()


def become_a_symlink(root: Path) -> None:
    root.rename(root.with_name("moved"))
    root.symlink_to("moved")


def become_another_directory(root: Path) -> None:
    root.rename(root.with_name("moved"))
    root.mkdir()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(remove, "missing", id="75: missing"),
        pytest.param(become_a_file, "not-a-directory", id="a file"),
        pytest.param(become_a_symlink, "identity-changed", id="a symlink to what it was"),
        pytest.param(become_another_directory, "identity-changed", id="73: another tree"),
    ],
)
def test_a_root_that_is_not_the_one_first_seen_is_sick(
    root: Path, change: Callable[[Path], None], reason: str
) -> None:
    known = identity_of(root)
    change(root)
    look = looker_of(root).check(known)
    assert (look.healthy, look.reason) == (False, reason)


def test_a_symlink_above_the_root_makes_it_sick(root: Path) -> None:
    known = identity_of(root)
    above = root.parent
    above.rename(above.with_name(above.name + "-moved"))
    above.symlink_to(above.name + "-moved")
    assert looker_of(root).check(known).reason == "identity-changed"


@needs_root
def test_an_unmounted_root_is_sick_and_its_projects_are_not_absent(root: Path) -> None:
    """Fault 72: the empty mount point is not the root."""
    mount_tmpfs(root)
    (root / "project" / ".dork").mkdir(parents=True)
    looker = looker_of(root)
    known = looker.check(None).identity
    unmount(root)
    assert looker.check(known).reason == "not-mounted"
    [seen] = looker.look([str(root / "project")], Source.SWEEP)
    assert (seen.outcome, seen.reason) == (Outcome.UNKNOWN, Reason.ROOT_SICK)


@needs_root
def test_a_root_can_be_unmounted_between_two_calls(root: Path) -> None:
    """No descriptor into a root outlives a call."""
    mount_tmpfs(root)
    looker = looker_of(root)
    looker.check(None)
    looker.look([str(root / "project")], Source.SWEEP)
    unmount(root)


@needs_root
def test_another_device_number_within_one_run_is_another_root(root: Path) -> None:
    """The identity on record leaves the device out; the looker remembers it for its run."""
    mount_tmpfs(root)
    looker = looker_of(root)
    looker.check(None)
    unmount(root)
    (root.parent / "spare").mkdir()
    mount_tmpfs(root.parent / "spare")  # takes the device number that became free
    mount_tmpfs(root)
    try:
        now = identity_of(root)
        assert looker.check(now).reason == "identity-changed"
        assert looker.check(None).healthy
        assert looker.check(now).healthy
    finally:
        unmount(root)
        unmount(root.parent / "spare")


def test_a_root_that_is_missing_makes_every_look_unknown(root: Path) -> None:
    looker = looker_of(root)
    root.rmdir()
    seen = looker.look([str(root / "a"), str(root / "b")], Source.SWEEP)
    assert [(one.outcome, one.reason, one.detail) for one in seen] == [
        (Outcome.UNKNOWN, Reason.ROOT_SICK, "ENOENT")
    ] * 2


def test_looks_are_numbered_in_order(root: Path) -> None:
    seen = looker_of(root).look([str(root / name) for name in "abc"], Source.API)
    assert [(one.look, one.path[-1]) for one in seen] == [(1, "a"), (2, "b"), (3, "c")]


def test_running_out_of_descriptors_is_a_sickness_of_its_own(root: Path) -> None:
    """Fault 80."""
    looker = looker_of(root)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        look = looker.check(None)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert look.reason == "no-descriptors"


AS_NOBODY = """
import itertools, os, sys
from meshd.clock import SystemClock
from meshd.looker.local import LocalLooker
os.chdir("/"); os.setgroups([]); os.setgid(65534); os.setuid(65534)
looker = LocalLooker(sys.argv[1], clock=SystemClock(), numbers=itertools.count().__next__)
print(looker.check(None).reason)
"""


@needs_root
def test_a_root_we_may_not_list_is_sick(root: Path) -> None:
    """Fault 79."""
    root.chmod(0o700)
    ran = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, root],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert ran.stdout.strip() == "permission-denied"


# --- opening beneath a root ----------------------------------------------------------------


def by_components(start: int, path: str, flags: int) -> int:
    return open_by_components(start, os.fsencode(path), flags)


def by_openat2(start: int, path: str, flags: int) -> int:
    return open_directory(start, path, flags=flags)


@pytest.fixture
def start(root: Path) -> Iterator[int]:
    (root / "a" / "b").mkdir(parents=True)
    (root / "file").touch()
    (root / "link").symlink_to("a")
    (root / "a" / "up").symlink_to("..")
    descriptor = os.open(root, os.O_PATH)
    yield descriptor
    os.close(descriptor)


@pytest.mark.parametrize("opens", [by_openat2, by_components])
@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("a/b", None),
        (".", None),
        ("nowhere", errno.ENOENT),
        ("nowhere/b", errno.ENOENT),
        ("file", errno.ENOTDIR),
        ("file/b", errno.ENOTDIR),
        ("link", errno.ELOOP),  # 7: the last component
        ("link/b", errno.ELOOP),  # 6: any component
        ("a/up/a", errno.ELOOP),
        ("../root", errno.EXDEV),  # 16
        ("/etc", errno.EXDEV),
        ("x" * 256, errno.ENAMETOOLONG),
    ],
)
def test_the_fallback_opens_exactly_what_openat2_opens(
    start: int, opens: Callable[[int, str, int], int], path: str, error: int | None
) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    found = None
    try:
        os.close(opens(start, path, os.O_RDONLY))
    except OSError as raised:
        found = raised.errno
    assert found == error
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM])
def test_where_openat2_is_forbidden_the_fallback_is_taken(
    start: int, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Old container runtimes answer so for every call they do not know."""

    def forbidden(*_arguments: object) -> int:
        ctypes.set_errno(number)
        return -1

    monkeypatch.setattr(syscalls, "_SYSCALL", forbidden)
    syscalls._has_openat2.cache_clear()
    try:
        os.close(open_directory(start, "a/b", flags=os.O_PATH))
        with pytest.raises(OSError, match="symbolic links"):
            open_directory(start, "link", flags=os.O_PATH)
    finally:
        syscalls._has_openat2.cache_clear()


def test_a_file_system_is_named_by_type_and_fsid(root: Path) -> None:
    kind, fsid = filesystem_of_path(root).split(":")
    words = subprocess.run(
        ["stat", "-f", "-c", "%t", root], check=True, capture_output=True, text=True
    )
    assert kind == words.stdout.strip()
    assert int(fsid, 16) == os.statvfs(root).f_fsid


def filesystem_of_path(path: Path) -> str:
    descriptor = os.open(path, os.O_PATH)
    try:
        return filesystem_of(descriptor)
    finally:
        os.close(descriptor)


# --- which looker --------------------------------------------------------------------------

MOUNTINFO = b"""\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:30 / /home rw shared:2 - nfs4 server:/home rw
31 30 0:31 / /home/me/local rw shared:3 master:9 - tmpfs tmpfs rw
32 22 0:32 / /mnt/with\\040space rw - fuse.sshfs host: rw
33 22 0:33 / /mnt/twice rw - ext4 /dev/vdb rw
34 33 0:34 / /mnt/twice rw - cifs //host/share rw
35 22 0:35 / /mnt/caf\xc3\xa9 rw - 9p share rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/homestead", "ext4"),  # a prefix of letters is not a directory above
        ("/home", "nfs4"),
        ("/home/me/projects", "nfs4"),
        ("/home/me/local/projects", "tmpfs"),
        ("/mnt/with space/x", "fuse.sshfs"),
        ("/mnt/twice", "cifs"),  # the later mount is on top
        ("/mnt/café", "9p"),
    ],
)
def test_the_longest_mount_point_names_the_file_system(path: str, kind: str) -> None:
    assert filesystem_name(path, MOUNTINFO) == kind


@pytest.mark.parametrize(
    ("path", "entered", "hangs"),
    [
        ("/home/me/local", (), False),
        ("/mnt", ("/mnt/twice",), True),
        ("/mnt", ("/mnt/with space",), True),
        ("/mnt", (), False),  # nobody goes into what is mounted there
        ("/home/me", (), True),
        ("/srv", ("/mnt/twice",), False),
    ],
)
def test_what_is_mounted_below_a_path_may_hang_who_enters_it(
    path: str, entered: tuple[str, ...], hangs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshd.mounts.Path.read_bytes", lambda _: MOUNTINFO)
    assert may_hang_within(path, entered.__contains__) is hangs


def test_a_local_root_is_looked_at_in_process_unless_it_is_marked(root: Path) -> None:
    assert not may_hang(str(root))
    numbers = itertools.count(1).__next__
    local = make_looker(str(root), isolated=False, clock=SystemClock(), numbers=numbers)
    marked = make_looker(str(root), isolated=True, clock=SystemClock(), numbers=numbers)
    assert (type(local), type(marked)) == (LocalLooker, IsolatedLooker)


@pytest.mark.parametrize("kind", ["nfs4", "fuse.sshfs", "fuse", "cifs", "autofs"])
def test_a_root_that_may_hang_is_isolated(
    root: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("meshd.mounts.mount_of", lambda *_: Mount("/", kind))
    looker = make_looker(
        str(root), isolated=False, clock=SystemClock(), numbers=itertools.count(1).__next__
    )
    assert type(looker) is IsolatedLooker


def test_what_cannot_be_read_of_the_mounts_is_taken_for_unchanged(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when no descriptor is left (fault 80): no looker is replaced, and nobody ends."""
    made: list[bool] = []

    def make(path: str, isolated: bool) -> Looker:
        made.append(isolated)
        return looker_of(Path(path))

    roots = Roots(ScanSettings(roots=[str(root)]), (), make)
    looker = roots.view.lookers[str(root)]

    def exhausted(*_: object) -> bool:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("meshd.roots.may_hang_within", exhausted)
    roots.remount()
    assert roots.view.lookers[str(root)] is looker
    monkeypatch.setattr("meshd.roots.may_hang_within", lambda *_: True)
    roots.remount()
    monkeypatch.setattr("meshd.roots.may_hang_within", exhausted)
    roots.remount()
    roots.configure(ScanSettings(roots=[str(root)]))
    assert made == [False, True]
    other = root.parent / "other"
    other.mkdir()
    roots.configure(ScanSettings(roots=[str(root), str(other)]))
    assert made == [False, True, True], "a new root may hang until the mounts tell otherwise"
    roots.close()
