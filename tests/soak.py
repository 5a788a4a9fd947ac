"""Whole daemons under siege, one after the other: `python -m tests.soak --minutes N --seed S`.

Owns the loop, the figures and the evidence. Each episode is one daemon and one seed, printed with
what happened, and can be had again: `python -m tests.soak --seed THAT --episodes 1`. Assumes
Linux with user namespaces, or root. Promises: exit code 1 as soon as one thing was wrong, with
all that is needed to see why kept in a directory that it names.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

from meshd.errors import MeshdError
from tests.stateful.footprint import NOTHING, lies_below
from tests.stateful.siege import Siege

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.stateful.footprint import Footprint

APART: Final = "MESHD_SOAK_APART"
"""Set in the process that has its own mount namespace."""
LARGEST: Final = 1 << 20
"""Bytes of a file that is kept as evidence."""
FAULTS: Final = (
    "kill", "kill_in_a_call", "restart", "overflow", "pause", "unmount_or_mount", "replace_root",
    "write_protect", "shut_place", "fill_state", "damage", "vanish",
)  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    """Run episodes until the time is over or something is wrong; return the exit code."""
    options = _options(arguments)
    if APART not in os.environ:
        return _run_apart(arguments)
    # Asked to end, it ends its daemon too, and unmounts.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    seed = random.SystemRandom().randrange(1 << 31) if options.seed is None else options.seed
    _say(f"seed {seed}, for {options.minutes} minutes; replay one: --seed N --episodes 1")
    until = time.monotonic() + 60 * options.minutes
    total: Counter[str] = Counter()
    most = NOTHING
    while options.episodes is None or total["episodes"] < options.episodes:
        if options.episodes is None and time.monotonic() >= until:
            break
        counts, footprint, evidence = _episode(seed + total["episodes"], options)
        most = most.most(footprint)
        total += counts
        total["episodes"] += 1
        if evidence is not None:
            total["violations"] += 1
            if not options.go_on:
                break
    _say(_summary(total, most))
    return 1 if total["violations"] else 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long, 10 by default")
    parser.add_argument("--seed", type=int, help="of the first episode; random by default")
    parser.add_argument("--episodes", type=int, help="so many, instead of for a time")
    parser.add_argument("--steps", type=int, default=150, help="in an episode, 150 by default")
    parser.add_argument("--each", action="store_true", help="first, every kind of fault once")
    parser.add_argument("--go-on", action="store_true", help="do not end at what is wrong")
    parser.add_argument("--keep", type=Path, help="where evidence goes; a new directory by default")
    return parser.parse_args(arguments)


def _run_apart(arguments: Sequence[str]) -> int:
    """Run in a mount namespace of its own: whatever happens, no mount is left behind."""
    mapped = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    command = ["unshare", *mapped, "--mount", "--propagation", "private"]
    run = [*command, sys.executable, "-m", "tests.soak", *arguments]
    return subprocess.run(run, env=os.environ | {APART: "1"}, check=False).returncode


def _episode(seed: int, options: argparse.Namespace) -> tuple[Counter[str], Footprint, Path | None]:
    """Run one daemon; return what happened, its largest footprint, and where evidence lies."""
    memory = Path("/dev/shm")  # a memory file system: no commit waits for a disk
    base = Path(tempfile.mkdtemp(prefix="meshd-soak-", dir=memory if memory.is_dir() else None))
    began = time.monotonic()
    evidence = None
    siege = Siege(base.resolve(), random.Random(seed))
    try:
        with siege:
            try:
                if options.each:
                    siege.each_fault()
                for _ in range(options.steps):
                    siege.step()
                siege.judge()
            except BaseException:
                evidence = _keep(siege, seed, options.keep)
                raise
    except (AssertionError, MeshdError, OSError, LookupError, subprocess.SubprocessError) as error:
        evidence = evidence or _keep(siege, seed, options.keep)
        _say(f"WRONG in episode {seed}: {type(error).__name__}: {str(error)[:2000]}")
        (evidence / "error").write_text(traceback.format_exc(), "utf-8")
        _say(f"kept: {evidence}")
    finally:
        shutil.rmtree(base, ignore_errors=True)
    siege.counts["acts of the operator"] += siege.operator.done
    siege.counts["acts refused"] += siege.operator.refused
    siege.counts["answered kills"] += siege.operator.answered
    siege.counts["unanswered kills"] += siege.operator.unanswered
    siege.counts["questions"] += siege.bystander.questions
    faults = sum(siege.counts[fault] for fault in FAULTS)
    _say(
        f"episode {seed}: {siege.counts['steps']} steps, {faults} faults,"
        f" {siege.counts['judge']} judgements, {time.monotonic() - began:.0f} s; {siege.most}"
    )
    return siege.counts, siege.most, evidence


def _keep(siege: Siege, seed: int, keep: Path | None) -> Path:
    """Keep all that shows how it came to this, and how it is now."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix=f"meshd-soak-{seed}-", dir=keep))
    (place / "trail").write_text("\n".join(siege.estate.trail), "utf-8", "backslashreplace")
    (place / "log").write_text(siege.daemon.log, "utf-8", "backslashreplace")
    tree = lies_below(siege.estate.disk)
    looks = {path: str(look) for path, look in siege.estate.looks().items()}
    _write(place / "disk.json", {"looks": looks, "tree": tree})
    with contextlib.suppress(OSError):
        shutil.copytree(siege.estate.disk, place / "disk", symlinks=True, ignore=_no_pipes)
    with contextlib.suppress(OSError):
        shutil.copytree(siege.daemon.state, place / "state")
    with contextlib.suppress(MeshdError, AssertionError), siege.daemon.client() as client:
        _write(place / "status.json", client.status())
        _write(place / "rows.json", client.registry())
        _write(place / "claims.json", client.claims())
        _write(place / "events.json", client.events(0, 100_000))
    _write(place / "counts.json", dict(siege.counts))
    return place


def _no_pipes(directory: str, names: list[str]) -> list[str]:
    """Name what cannot be copied: pipes wait, and a sparse file is larger than the disk."""
    found = [(name, Path(directory, name).lstat()) for name in names]
    kept = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)
    return [
        name
        for name, status in found
        if status.st_size > LARGEST or stat.S_IFMT(status.st_mode) not in kept
    ]


def _write(path: Path, document: object) -> None:
    path.write_text(json.dumps(document, indent=1), "utf-8")


def _summary(total: Counter[str], most: Footprint) -> str:
    shown = (
        "episodes", "steps", "acts of users", "acts of the operator", "acts refused", "questions",
        "judge", "glance", "sweep", "back_up", *FAULTS,
        "answered kills", "unanswered kills",
    )  # fmt: skip
    figures = ", ".join(f"{name.replace('_', ' ')} {total[name]}" for name in shown)
    faults = sum(total[fault] for fault in FAULTS)
    return f"{figures}; at most {most}; faults {faults}, violations {total['violations']}"


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
