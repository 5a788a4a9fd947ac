"""What is wrong with the daemon itself, its configuration, its sweeps and its clock."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from meshd.diagnosis.findings import Document, Facts, Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

CLOCK_SLACK_SECONDS: Final = 120.0
"""A time so far ahead is a clock that was set back, and no rounding."""

MISSED_SWEEPS: Final = 3
"""So many intervals without a sweep are no delay any more."""


def service_findings(facts: Facts) -> Iterator[Finding]:
    """Yield what is wrong with the daemon."""
    yield from _answering(facts)
    yield from _configuration(facts)
    if facts.running and facts.status is not None:
        yield from _own_word(facts, facts.status)
        yield from _sweeps(facts, facts.status)
        yield from _clock(facts, facts.status)


def _answering(facts: Facts) -> Iterator[Finding]:
    if facts.refused is not None:
        why, hint = facts.refused
        yield Finding(
            Severity.ERROR, "daemon-refuses", facts.socket,
            f"a daemon listens and cannot be asked: {why}",
            hint or "see its log; if it hangs, restart it",
        )  # fmt: skip
    elif not facts.running and facts.holder is not None:
        yield Finding(
            Severity.ERROR, "daemon-elsewhere", facts.socket,
            f"process {facts.holder} keeps this registry, and does not answer here",
            "name its socket with --socket (it prints it when it starts); if it hangs, restart it",
        )  # fmt: skip
    elif not facts.running:
        yield Finding(
            Severity.WARNING, "no-daemon", facts.socket,
            "no daemon answers: nothing that changes on disk is noticed",
            "start one: meshd run DIR, or name its socket with --socket",
        )  # fmt: skip


def _configuration(facts: Facts) -> Iterator[Finding]:
    refused = None
    if facts.status is not None and facts.status["config"]["lastReloadOk"] is False:
        refused = facts.status["config"]["lastReloadError"]
    problem = facts.configuration_problem or refused
    if problem:
        yield Finding(
            Severity.ERROR, "configuration", None,
            f"the configuration is refused, the one before stays in force: {problem}",
            "correct it, see that `meshd check-config` says ok, then: meshd reload",
        )  # fmt: skip


def _own_word(facts: Facts, status: Document) -> Iterator[Finding]:
    if status["degraded"]:
        yield Finding(
            Severity.ERROR, "degraded", None, f"the daemon says: {status['degraded']}",
            "see its log; once the cause is gone it recovers by itself; restart it if it stays",
        )  # fmt: skip
    if status.get("rebuilt"):  # a daemon of an older version does not say
        yield Finding(
            Severity.REMARK, "database-rebuilt", None,
            f"the database was {status['rebuilt']} when it was opened, and was built anew from the"
            " manifests; the change log and the unreachable agents of before are lost",
            "nothing has to be done; see what moved or damaged it; to have them back, stop the"
            " daemon and put the file or a backup of it in its place",
        )  # fmt: skip
    if not status["ready"]:
        yield Finding(
            Severity.REMARK, "not-ready", None, "the first sweep is under way",
            "wait for it: meshd sync",
        )  # fmt: skip
    if status["version"] != facts.version:
        yield Finding(
            Severity.WARNING, "version", None,
            f"the daemon is meshd {status['version']}, this is {facts.version}",
            "restart the daemon",
        )  # fmt: skip


def _sweeps(facts: Facts, status: Document) -> Iterator[Finding]:
    last = status["lastSweep"]
    if last is None:
        return
    if last["held"]:
        yield Finding(
            Severity.WARNING, "held", None,
            f"the disappearance of {last['held']} agents at once is held until it is confirmed",
            "if they are meant to be gone: meshd sweep --confirm; else bring back their disk",
        )  # fmt: skip
    if last["drift"]:
        yield _drift(last["drift"], status["roots"])
    late = facts.now - _seconds(last["startedAt"])
    if facts.sweep_seconds is not None and late > MISSED_SWEEPS * facts.sweep_seconds:
        yield Finding(
            Severity.ERROR, "no-sweep", None,
            f"the last sweep began {late:.0f} s ago, and one is due"
            f" every {facts.sweep_seconds:.0f} s",
            "see the daemon's log, and try one: meshd sweep",
        )  # fmt: skip


def _drift(count: int, roots: list[Document]) -> Finding:
    """Return what the last sweep had to make up for: no fault where not all is watched."""
    is_watched = all(
        root["watch"] != "none" and root["watchedDirectories"] == root["wantedDirectories"]
        for root in roots
        if root["state"] in ("healthy", "truncated")
    )
    return Finding(
        Severity.WARNING if is_watched else Severity.REMARK, "drift", None,
        f"the last sweep found {_changes(count)} that no event had told of",
        "meshd events shows which; if it goes on, sweep more often: sweep.interval"
        if is_watched
        else "not all is watched, so that is what sweeps are for; meshd roots list shows how much",
    )  # fmt: skip


def _changes(count: int) -> str:
    return "1 change" if count == 1 else f"{count} changes"


def _clock(facts: Facts, status: Document) -> Iterator[Finding]:
    last = status["lastSweep"]
    times = [status["startedAt"], *([last["startedAt"]] if last is not None else [])]
    ahead = max(_seconds(moment) for moment in times) - facts.now
    if ahead > CLOCK_SLACK_SECONDS:
        yield Finding(
            Severity.WARNING, "clock", None,
            f"the clock was set back by {ahead:.0f} s or more since the daemon noted a time",
            "set it right, for example with timedatectl; no agent expires by it",
        )  # fmt: skip


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
