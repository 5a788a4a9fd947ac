"""What facts are found to be wrong: those that no test can bring about on a real host."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest

from meshd.clock import timestamp
from meshd.diagnosis import (
    Facts,
    Limits,
    Severity,
    StateDirectory,
    Unfinished,
    diagnose,
    is_healthy,
)
from meshd.looker.health import Sickness

NOW = 2_000_000_000.0
GIBI = 1024 * 1024 * 1024


def at(seconds: float) -> str:
    """Return a moment so many seconds after now."""
    return timestamp(int((NOW + seconds) * 1_000_000_000))


def root(**members: object) -> dict[str, Any]:
    return {
        "path": "/r", "state": "healthy", "reason": None, "agents": 3, "watch": "inotify",
        "watchedDirectories": 9, "wantedDirectories": 9, "watchShortage": None, "overflows": 0,
        "lastOverflow": None, **members,
    }  # fmt: skip


def sweep(**members: object) -> dict[str, Any]:
    return {"startedAt": at(-60), "held": 0, "drift": 0, **members}


def status(**members: object) -> dict[str, Any]:
    return {
        "pid": 4711, "version": "1", "ready": True, "degraded": None, "startedAt": at(-3600),
        "roots": [root()], "lastSweep": sweep(),
        "config": {"lastReloadOk": True, "lastReloadError": None}, **members,
    }  # fmt: skip


def agent(**members: object) -> dict[str, Any]:
    return {
        "id": "a", "projectPath": "/r/a", "lastPath": "/r/a", "status": "active", "flags": [],
        "unscanned": None, **members,
    }  # fmt: skip


def claim(outcome: str, **members: object) -> dict[str, Any]:
    return {
        "path": "/r/copy", "outcome": outcome, "agentId": "a", "reason": "word", "detail": None,
        **members,
    }  # fmt: skip


def state(**members: Any) -> StateDirectory:  # noqa: ANN401 - any attribute of it
    return StateDirectory(
        **{"path": "/s", "owner": 1, "mode": 0o700, "free_bytes": GIBI, **members}
    )


def facts(**members: Any) -> Facts:  # noqa: ANN401 - any fact
    healthy = {
        "now": NOW, "user": 1, "version": "1", "socket": "/s/meshd.sock", "database": "/s/meshd.db",
        "status": status(), "agents": (agent(),), "sweep_seconds": 300.0, "state": state(),
        "database_problems": (), "socket_mode": 0o600, "limits": Limits(1000, 128, 16384),
    }  # fmt: skip
    return Facts(**{**healthy, **members})


def test_nothing_is_wrong_with_what_is_right() -> None:
    assert diagnose(facts()) == []


def test_fanotify_that_watches_is_what_was_asked_for_and_has_no_limit() -> None:
    watched = status(roots=[root(watch="fanotify")])
    assert diagnose(facts(status=watched, backend="fanotify", limits=Limits(watches=9))) == []


def test_a_change_that_is_under_way_is_not_wrong() -> None:
    under_way = (Unfinished("/r/a", ".dork/x.tmp", at(-29)),)
    assert diagnose(facts(state=state(unfinished=under_way))) == []


SHORT = {"watchedDirectories": 5, "watchShortage": "watch-limit"}


@pytest.mark.parametrize(
    ("wrong", "severity", "code", "subject", "said"),
    [
        ({"refused": ("no answer", None), "status": None}, "error", "daemon-refuses",
         "/s/meshd.sock", "cannot be asked: no answer -> see its log; if it hangs, restart it"),
        ({"status": status(pid=None)}, "warning", "no-daemon", "/s/meshd.sock", "start one"),
        ({"status": status(degraded="disk full")}, "error", "degraded", None, "says: disk full"),
        ({"status": status(ready=False)}, "remark", "not-ready", None, "meshd sync"),
        ({"status": status(version="0")}, "warning", "version", None, "restart the daemon"),
        ({"status": status(roots=[])}, "warning", "no-roots", None, "[scan] roots"),
        ({"status": status(lastSweep=sweep(drift=2))}, "warning", "drift", None, "2 changes that"),
        ({"status": status(lastSweep=sweep(startedAt=at(-901)))}, "error", "no-sweep", None,
         "began 901 s ago, and one is due every 300 s"),
        ({"status": status(startedAt=at(121))}, "warning", "clock", None, "set back by 121 s"),
        ({"status": status(lastSweep=sweep(startedAt=at(999)))}, "warning", "clock", None, "999 s"),
        ({"status": status(roots=[root(lastOverflow=at(-9), overflows=2)])}, "remark", "overflow",
         "/r", "lost 2 times, last at"),
        ({"status": status(roots=[root(lastOverflow=at(-9), overflows=2)])}, "remark", "overflow",
         "/r", "raise fs.inotify.max_queued_events, now 16384"),
        ({"status": status(roots=[root(watch="fanotify", lastOverflow=at(-9), overflows=2)])},
         "remark", "overflow", "/r", "raise fs.fanotify.max_queued_events"),
        ({"backend": "fanotify"}, "remark", "backend", "/r", "asks for fanotify, and inotify"),
        ({"status": status(roots=[root(**SHORT)])}, "warning", "watch-limit", "/r",
         "sysctl fs.inotify.max_user_watches=1008 (now 1000)"),
        ({"status": status(roots=[root(**SHORT)])}, "warning", "watch-limit", "/r",
         "other programs of this user hold watches, or a user namespace allows fewer"),
        ({"status": status(roots=[root(**SHORT)]), "limits": Limits()}, "warning", "watch-limit",
         "/r", "max_user_watches=18; keep it in /etc/sysctl.d/; or watch without"),
        ({"status": status(roots=[root(**SHORT), root(path="/s", watch="fanotify")])}, "warning",
         "watch-limit", "/r", "=1008 (now 1000); keep it in /etc/sysctl.d/"),
        ({"status": status(roots=[root(watch="none", watchShortage="instance-limit")])}, "warning",
         "watch-instance-limit", "/r", "sysctl fs.inotify.max_user_instances=256 (now 128)"),
        ({"limits": Limits(watches=9)}, "warning", "watch-limit-near", None, "9 of the 9 watches"),
        ({"root_checks": {"/q": "missing"}}, "error", "root-sick", "/q", "it does not exist"),
        ({"state": state(owner=2)}, "warning", "state-owner", "/s", "chown -R 1 /s"),
        ({"state": state(mode=0o500)}, "error", "state-closed", "/s", "chmod 0700 /s"),
        ({"state": state(free_bytes=9)}, "error", "disk-full", "/s", "0 MiB left"),
        ({"state": state(set_aside=("meshd.db.corrupt-x",))}, "remark", "set-aside",
         "/s/meshd.db.corrupt-x", "set aside"),
        ({"state": state(policy_problem="it is no JSON")}, "error", "policy", "/s/policy.json",
         "it is no JSON"),
        ({"state": state(unfinished=(Unfinished("/r/a", ".dork.x.tmp", at(-31)),))}, "warning",
         "unfinished", "/r/a", ".dork.x.tmp is to go"),
        ({"socket_mode": 0o666}, "remark", "socket-open", "/s/meshd.sock", "mode 0666"),
        ({"claims": (claim("duplicate"),)}, "warning", "duplicate", "/r/copy",
         "it claims a, which /r/a holds; it takes over when the manifest there is gone"),
        ({"claims": (claim("duplicate", agentId="x"),)}, "warning", "duplicate", "/r/copy",
         "which no agent holds yet"),
        ({"claims": (claim("unreadable", reason="unreadable"),)}, "warning", "unreadable",
         "/r/copy", "let the daemon's user read the file"),
        ({"claims": (claim("unreadable", reason="timed-out"),)}, "warning", "unreadable",
         "/r/copy", "see whether its server or disk is up"),
        ({"claims": (claim("unreadable", reason="project-missing"),)}, "remark", "unconfirmed",
         "/r/copy", "(project-missing), and that is not confirmed"),
        ({"claims": (claim("unreadable", reason="manifest-missing"),),
          "status": status(lastSweep=sweep(held=1))}, "warning", "held", None,
         "1 agents at once is held"),
        ({"agents": (agent(flags=["relay-pending"]),)}, "warning", "endpoint-pending", "a",
         "see that the relay runs"),
        ({"agents": (agent(status="unreachable"),)}, "remark", "unreachable", None, "1 agent is"),
        ({"agents": (agent(unscanned="excluded"),)}, "remark", "unscanned", "a", "meshd forget a"),
    ],
)  # fmt: skip
def test_one_wrong_fact_is_one_finding(
    wrong: dict[str, Any], severity: str, code: str, subject: str | None, said: str
) -> None:
    (found,) = diagnose(facts(**wrong))
    assert (found.severity, found.code, found.subject) == (severity, code, subject)
    assert said in f"{found.message} -> {found.hint}"


@pytest.mark.parametrize("reason", list(Sickness))
def test_every_sickness_of_a_root_has_advice_of_its_own(reason: Sickness) -> None:
    (found,) = diagnose(facts(status=status(roots=[root(state="sick", reason=reason.value)])))
    assert (found.code, "it is sick" in found.message, "{" in found.hint) == (
        "root-sick", False, False,
    )  # fmt: skip


def test_the_directory_below_a_missing_mount_is_not_offered_for_a_root() -> None:
    """Whoever accepts it starts every agent of the disk towards unreachable."""
    (found,) = diagnose(facts(status=status(roots=[root(state="sick", reason="not-mounted")])))
    assert "nothing is mounted there" in found.message
    assert (found.hint.startswith("mount its disk"), "accept" in found.hint) == (True, False)


def test_what_is_known_of_a_dead_daemons_watching_is_no_finding() -> None:
    gone = status(
        pid=None, ready=False, lastSweep=None, roots=[root(watch="none", lastOverflow=at(-9))]
    )
    assert [found.code for found in diagnose(facts(status=gone))] == ["no-daemon"]


def test_a_path_in_a_hint_may_be_pasted_into_a_shell() -> None:
    """Directories below a root have the names that anybody gave them."""
    path = "/r/$(touch x) 'y'"
    sick = root(path=path, state="sick", reason="identity-changed")
    wrong = {
        "claims": (claim("duplicate", path=path),),
        "state": state(path=path, mode=0o755, owner=2),
        "status": status(roots=[sick]),
    }
    hints = [found.hint for found in diagnose(facts(**wrong))]
    assert len(hints) == 4
    assert [hint for hint in hints if shlex.quote(path) not in hint] == []


def test_the_worst_comes_first_and_remarks_are_no_fault() -> None:
    found = diagnose(facts(socket_mode=0o666, state=state(mode=0o500, owner=2)))
    assert [one.severity for one in found] == ["error", "warning", "remark"]
    assert [is_healthy(found), is_healthy(found[2:])] == [False, True]


@pytest.mark.parametrize("shortage", ["watch-limit", "instance-limit", "permission", "EIO"])
def test_every_shortage_is_one_warning_with_what_to_do(shortage: str) -> None:
    short = root(watchedDirectories=1, wantedDirectories=11, watchShortage=shortage)
    (found,) = diagnose(facts(status=status(roots=[short])))
    assert (found.severity, found.hint != "") == (Severity.WARNING, True)


@pytest.mark.parametrize("limit", [5, 9, 17, 18, 19, 1000, 1_000_000])
@pytest.mark.parametrize("elsewhere", [0, 30])
def test_a_limit_that_is_too_low_is_never_advised_to_be_lowered(limit: int, elsewhere: int) -> None:
    """What the user's other programs hold, or a namespace, leaves less than the limit says."""
    more = root(path="/s", watchedDirectories=elsewhere, wantedDirectories=elsewhere)
    short = status(roots=[root(**SHORT), more])
    (found,) = diagnose(facts(status=short, limits=Limits(watches=limit)))
    advised = re.search(r"fs\.inotify\.max_user_watches=(\d+)", found.hint)
    assert advised is not None
    assert int(advised[1]) >= limit + 2 * 4, "what is missing is 4"
    assert ("other programs" in found.hint) == (limit > 9 + elsewhere)
