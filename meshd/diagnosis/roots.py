"""What is wrong with roots: sick, no longer scanned, not watched whole."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from meshd.diagnosis.findings import Document, Facts, Finding, Severity, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

OVERFLOW_SECONDS: Final = 86_400.0
"""Lost events of the last day are worth a word: the sweep after them has repaired it."""
NEAR_LIMIT: Final = 0.9

# By reason (`meshd.looker.health.Sickness`): what it means, and what to do about it.
_SICK: Final = {
    "missing": ("it does not exist", "mount or create it, or take it out of scan.roots"),
    "not-a-directory": ("it is not a directory", "put the directory back"),
    "permission-denied": (
        "the daemon may not list it",
        "let the daemon's user read and enter it: ls -ld {path}",
    ),
    "unreadable": ("it cannot be read", "see the kernel's log for what its disk says"),
    "identity-changed": (
        "another directory or disk lies there now",
        "mount or bring back the right one; if this one is right now: meshd roots accept {path}",
    ),
    "not-mounted": (
        "nothing is mounted there, and it was a mount point",
        "mount its disk: what lies there now is the directory below it",
    ),
    "no-descriptors": ("the daemon has no file descriptors left", "raise its LimitNOFILE"),
    "timed-out": ("it did not answer in time", "see whether its server or disk is up"),
}
_UNKNOWN: Final = ("it is sick", "see the daemon's log")

# By reason of a truncated root: what there is too much of, and the key that limits it.
_TRUNCATED: Final = {
    "directory-limit": ("directories", "directories_per_root"),
    "manifest-limit": ("manifests", "manifests_per_root"),
}

# By shortage (`meshd.watcher.coverage`): the setting of the kernel, and what it limits.
_SETTINGS: Final = {
    "watch-limit": "fs.inotify.max_user_watches",
    "instance-limit": "fs.inotify.max_user_instances",
}
_OTHERS: Final = (
    "; it would do for the roots alone, so other programs of this user hold watches, or a user"
    " namespace allows fewer: user.max_inotify_watches there"
)


def root_findings(facts: Facts) -> Iterator[Finding]:
    """Yield what is wrong with the roots."""
    roots = [] if facts.status is None else facts.status["roots"]
    for path, reason in facts.root_checks.items():
        if reason is not None:
            yield _sick(path, reason, "a daemon would freeze its agents")
    if facts.running and not roots:
        yield Finding(
            Severity.WARNING, "no-roots", None, "nothing is scanned",
            'name what to scan: [scan] roots = ["DIR"] in the configuration',
        )  # fmt: skip
    for root in roots:
        if root["path"] not in facts.root_checks:
            yield from _state(root)
    if facts.running:
        for root in roots:
            yield from _overflow(root, facts)
            yield from _refused_backend(root, facts)
        yield from _shortages(facts, roots)
        yield from _near_the_limit(facts, roots)


def _state(root: Document) -> Iterator[Finding]:
    path = root["path"]
    if root["state"] == "sick":
        yield _sick(path, root["reason"], f"its {root['agents']} agents are frozen")
    elif root["state"] == "truncated":
        yield _truncated(path, root["reason"])
    elif root["reason"] == "no-root" and root["agents"]:
        yield Finding(
            Severity.WARNING, "root-unscanned", path,
            f"it is no root any more, and {root['agents']} agents lived there",
            "put it back into scan.roots, or drop them: meshd forget --unscanned",
        )  # fmt: skip


def _sick(path: str, reason: str, consequence: str) -> Finding:
    meaning, hint = _SICK.get(reason, _UNKNOWN)
    return Finding(
        Severity.ERROR, "root-sick", path,
        f"the root is sick ({reason}): {meaning}; {consequence}",
        hint.replace("{path}", quoted(path)),
    )  # fmt: skip


def _truncated(path: str, reason: str) -> Finding:
    what, key = _TRUNCATED[reason]
    return Finding(
        Severity.WARNING, "root-truncated", path,
        f"the root is truncated ({reason}): it has more {what} than limits.{key} allows; newcomers"
        " are left out, and nothing in it counts as absent",
        f"raise limits.{key}, or leave directories out: scan.exclude, meshd deny DIR",
    )  # fmt: skip


def _overflow(root: Document, facts: Facts) -> Iterator[Finding]:
    last = root["lastOverflow"]
    if last is None:
        return
    ago = facts.now - datetime.fromisoformat(last).timestamp()
    if ago < OVERFLOW_SECONDS:
        queue = "fanotify" if root["watch"] == "fanotify" else "inotify"
        now = facts.limits.queued_events if queue == "inotify" else None
        yield Finding(
            Severity.REMARK, "overflow", root["path"],
            f"events were lost {root['overflows']} times, last at {last}; a sweep made up for it",
            f"if it goes on, raise fs.{queue}.max_queued_events" + (f", now {now}" if now else ""),
        )  # fmt: skip


def _shortages(facts: Facts, roots: list[Document]) -> Iterator[Finding]:
    for root in roots:
        shortage = root["watchShortage"]
        if shortage is None:
            continue
        watched, wanted = root["watchedDirectories"], root["wantedDirectories"]
        yield Finding(
            Severity.WARNING, f"watch-{shortage.removeprefix('watch-')}", root["path"],
            f"{watched} of {wanted} directories are watched ({shortage});"
            " sweeps notice the rest, later",
            _raise(facts, shortage, _limited(roots)),
        )  # fmt: skip


def _limited(roots: list[Document]) -> list[Document]:
    """Return the roots whose watches are counted against the user's limit."""
    return [root for root in roots if root["watch"] != "fanotify"]


def _refused_backend(root: Document, facts: Facts) -> Iterator[Finding]:
    if facts.backend == "fanotify" and root["watch"] == "inotify":
        yield Finding(
            Severity.REMARK, "backend", root["path"],
            "the configuration asks for fanotify, and inotify watches",
            "restart the daemon if that is new; else its log says why: backend_unavailable",
        )  # fmt: skip


def _raise(facts: Facts, shortage: str, roots: list[Document]) -> str:
    """Return what to do about missing watches."""
    setting = _SETTINGS.get(shortage)
    if setting is None:
        return "let the daemon's user read those directories, or exclude them: scan.exclude"
    if shortage == "instance-limit":
        now = facts.limits.instances
        return _sysctl(setting, 2 * (now or 128), now)
    now = facts.limits.watches
    wanted = sum(root["wantedDirectories"] for root in roots)
    missing = max(wanted - sum(root["watchedDirectories"] for root in roots), 1)
    enough = max(2 * wanted, (now or 0) + 2 * missing)
    others = "" if now is None or now <= wanted else _OTHERS
    without = '; or watch without a limit: watch.backend = "fanotify"'
    return _sysctl(setting, enough, now) + others + without


def _sysctl(setting: str, value: int, now: int | None) -> str:
    known = "" if now is None else f" (now {now})"
    return f"as root: sysctl {setting}={value}{known}; keep it in /etc/sysctl.d/"


def _near_the_limit(facts: Facts, roots: list[Document]) -> Iterator[Finding]:
    placed = sum(root["watchedDirectories"] for root in _limited(roots))
    limit = facts.limits.watches
    short = any(root["watchShortage"] for root in _limited(roots))
    if limit is not None and not short and placed > NEAR_LIMIT * limit:
        yield Finding(
            Severity.WARNING, "watch-limit-near", None,
            f"{placed} of the {limit} watches that one user may have are in use",
            _sysctl(_SETTINGS["watch-limit"], 2 * placed, limit),
        )  # fmt: skip
