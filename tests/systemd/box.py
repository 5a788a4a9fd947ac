"""A real systemd in namespaces of its own, over a copy of this system.

Owns the box from boot to end: its cgroup, its processes and its directory. Assumes root,
a cgroup2 mount that can be written, and overlayfs; without them `reason_against` says which
is missing. Promises: nothing of the host is written, and nothing is left behind, however a
test ends.

Inside, meshd is /usr/local/bin/meshd; `ada` has agents in her home directory, `bob` has none.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

REPOSITORY: Final = Path(__file__).parent.parent.parent
BOOT: Final = Path(__file__).parent / "boot.sh"
SYSTEMD: Final = Path("/lib/systemd/systemd")
TOOLS: Final = ("journalctl", "nsenter", "setpriv", "systemctl", "unshare")
DEADLINE: Final = 60.0
"""Seconds until something that takes well under one is given up: machines are shared."""
POLL: Final = 0.01

UIDS: Final = {"root": 0, "ada": 4711, "bob": 4712}
HOMES: Final = {"root": "/root", "ada": "/home/ada", "bob": "/var/bob"}
PYTHON: Final = Path("/opt/python")
PACKAGES: Final = Path("/opt/packages")
SOURCES: Final = Path("/opt/meshd")
PROGRAM: Final = Path("/usr/local/bin/meshd")

Done = subprocess.CompletedProcess[str]

HUNG_MOUNT: Final = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
os.makedirs(sys.argv[1], exist_ok=True)
device = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
if libc.mount(b"hung", os.fsencode(sys.argv[1]), b"fuse.hung", 0, options):
    sys.exit(os.strerror(ctypes.get_errno()))
print("held", flush=True)
sys.stdin.read()
libc.umount2(os.fsencode(sys.argv[1]), 2)
"""


def cgroup2() -> Path | None:
    """Return where the host's unified cgroup tree is mounted."""
    for line in Path("/proc/self/mountinfo").read_text("utf-8").splitlines():
        fields, _, rest = line.partition(" - ")
        if rest.startswith("cgroup2 "):
            return Path(fields.split(" ")[4])
    return None


def reason_against() -> str | None:
    """Return why no box can be booted here, None when one can."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if os.geteuid() != 0:
        return "needs root, to boot a systemd in namespaces"
    if missing or not SYSTEMD.exists():
        return f"needs systemd and its tools: {', '.join(missing) or SYSTEMD}"
    tree = cgroup2()
    if tree is None or not os.access(tree, os.W_OK):
        return "needs a cgroup2 mount that can be written"
    if "overlay" not in Path("/proc/filesystems").read_text("utf-8").split():
        return "needs overlayfs"
    return None


class Box:
    """A booted systemd; a context manager that ends it.

    Args:
        directory: an empty directory of its own.
        lower: the system that is copied.
    """

    def __init__(self, directory: Path, lower: Path = Path("/")) -> None:
        tree = cgroup2()
        assert tree is not None, "bug: ask reason_against first"
        self._directory = directory
        self._cgroup = tree / f"meshd-test-{os.getpid()}-{time.monotonic_ns()}"
        self._lower = lower
        self._outer: subprocess.Popen[bytes] | None = None
        self._first = 0

    def __enter__(self) -> Self:
        self._cgroup.mkdir()
        try:
            self._boot()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every process of the box, and take its traces away."""
        with contextlib.suppress(OSError):
            (self._cgroup / "cgroup.kill").write_text("1", "ascii")
        if self._outer is not None:
            self._outer.kill()
            self._outer.wait(DEADLINE)
        # The deepest first; a killed process leaves its cgroup a moment later.
        until = time.monotonic() + DEADLINE
        for path, _, _ in os.walk(self._cgroup, topdown=False):
            while True:
                try:
                    Path(path).rmdir()
                    break
                except OSError:
                    assert time.monotonic() < until, f"{path} does not empty"
                    time.sleep(POLL)

    def _boot(self) -> None:
        binds = [str(REPOSITORY), str(SOURCES), str(site_packages()), str(PACKAGES)]
        if brings_python():
            binds += [sys.base_prefix, str(PYTHON)]
        log = self._directory / "log"
        box = self._directory / "box"
        box.mkdir()
        with log.open("wb") as sink:
            self._outer = subprocess.Popen(
                ["unshare", "--fork", "--kill-child=KILL", "--pid", "--", "bash", str(BOOT),
                 str(self._cgroup), str(box), str(self._lower), *binds],
                stdin=subprocess.DEVNULL, stdout=sink, stderr=sink,
            )  # fmt: skip
        self._await(self._has_first_process, "the first process")
        self._await(self._is_up, "basic.target", log)
        self._write_program()

    def _await(self, condition: Callable[[], bool], what: str, log: Path | None = None) -> None:
        assert self._outer is not None
        until = time.monotonic() + DEADLINE
        while not condition():
            said = "" if log is None else log.read_text("utf-8", "replace")
            assert self._outer.poll() is None, f"the box ended: {said}"
            assert time.monotonic() < until, f"no {what}: {said}"
            time.sleep(POLL)

    def _has_first_process(self) -> bool:
        assert self._outer is not None
        pid = self._outer.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
        self._first = int(children[0]) if children else 0
        return bool(children)

    def _is_up(self) -> bool:
        if Path(f"/proc/{self._first}/comm").read_text("ascii").strip() != "systemd":
            return False
        return self.run("systemctl", "is-active", "-q", "basic.target", check=False).returncode == 0

    def _write_program(self) -> None:
        """Write meshd as its users start it: a Python and packages that all of them may read."""
        python, home = os.path.realpath(sys.executable), ""
        if brings_python():
            python = f"{PYTHON}/bin/python{sys.version_info.major}.{sys.version_info.minor}"
            # Its library would else be sought where it was built, which ada may not enter.
            home = f"PYTHONHOME={PYTHON} LD_LIBRARY_PATH={PYTHON}/lib "
        variables = f"{home}PYTHONPATH={SOURCES}:{PACKAGES} PYTHONDONTWRITEBYTECODE=1"
        started = "import sys; sys.argv[0] = {!r}; from meshd.cli import main; sys.exit(main())"
        for name in ("meshd", "meshd-python"):
            program = self.path("/usr/local/bin") / name
            program.parent.mkdir(parents=True, exist_ok=True)
            options = "" if name == "meshd-python" else f'-c "{started.format(str(PROGRAM))}" '
            program.write_text(f'#!/bin/sh\n{variables} exec {python} {options}"$@"\n', "utf-8")
            program.chmod(0o755)

    # inside

    def path(self, inside: str | Path) -> Path:
        """Return a path of the box as the host reaches it."""
        return Path(f"/proc/{self._first}/root{inside}")

    def run(
        self,
        *command: str | Path,
        user: str = "root",
        check: bool = True,
        environ: Mapping[str, str] | None = None,
        text: str = "",
        deadline: float = DEADLINE,
    ) -> Done:
        """Run a command inside, as a user, and return what it said.

        Args:
            *command: the program and its arguments.
            user: who runs it.
            check: fail when its exit code is not 0.
            environ: further variables.
            text: its standard input.
            deadline: seconds until it is ended.
        """
        try:
            done = subprocess.run(
                self._entering(command, user, environ or {}),
                check=False, capture_output=True, text=True, timeout=deadline, input=text,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            if check:
                raise
            return Done(command, -1, "", "not in time")
        if check and done.returncode != 0:
            said = f"{shlex.join(map(str, command))}\n{done.stdout}{done.stderr}"
            raise AssertionError(f"{said}\n{self.log()}")
        return done

    @contextlib.contextmanager
    def open(self, *command: str | Path, user: str = "root") -> Iterator[None]:
        """Run a command beside a block: from its first line to the end of its input."""
        with subprocess.Popen(
            self._entering(command, user, {}),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        ) as process:  # fmt: skip
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                first = process.stdout.readline()
                assert first == "held\n", first + process.stdout.read()
                yield
            finally:
                process.stdin.close()
                process.wait(DEADLINE)

    def _entering(
        self, command: Sequence[str | Path], user: str, environ: Mapping[str, str]
    ) -> list[str]:
        """Return the command that runs another one inside, as a user."""
        uid = UIDS[user]
        variables = {
            "PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL": "C.UTF-8",
            "HOME": HOMES[user],
            "USER": user,
            **({"XDG_RUNTIME_DIR": f"/run/user/{uid}"} if uid else {}),
            **environ,
        }
        become = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"] if uid else []
        return [
            "nsenter", "-t", str(self._first), "-m", "-p", "-u", "-i", "-n", "-C", "-r", "-w", "--",
            "env", "-i", *(f"{name}={value}" for name, value in variables.items()),
            *become, *map(str, command),
        ]  # fmt: skip

    @contextlib.contextmanager
    def hung_mount(self, inside: str) -> Iterator[None]:
        """Mount a file system whose server never answers."""
        with self.open("meshd-python", "-c", HUNG_MOUNT, inside):
            yield

    def write(self, inside: str, text: str, user: str = "root") -> None:
        """Write a file, with the directories above it, as a user."""
        script = 'mkdir -p "${1%/*}" && cat > "$1.new" && mv "$1.new" "$1"'
        self.run("sh", "-c", script, "sh", inside, user=user, text=text)

    def log(self) -> str:
        """Return what meshd's units and their manager logged last."""
        return self.run("journalctl", "--no-pager", "-n", "40", "-o", "short", check=False).stdout

    def journal(self, *matches: str) -> list[dict[str, Any]]:
        """Return what journald has of records that match, oldest first."""
        self.run("journalctl", "--sync", check=False)
        read = self.run("journalctl", "--no-pager", "-o", "json", "--all", *matches, check=False)
        return [json.loads(line) for line in read.stdout.splitlines()]

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until something holds inside."""
        until = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < until, f"not in time: {what}\n{self.log()}"
            time.sleep(POLL)


def brings_python() -> bool:
    """Whether the Python that runs this is no part of the system that the box copies."""
    return Path(sys.base_prefix) not in (Path("/usr"), Path("/usr/local"))


def site_packages() -> Path:
    """Return where the libraries are that meshd needs."""
    import click  # noqa: PLC0415 - asked only where a box is booted

    return Path(click.__file__).parent.parent
