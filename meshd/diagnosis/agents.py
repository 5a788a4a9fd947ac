"""What is wrong with single agents: claims that were refused, agents without their manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from meshd.diagnosis.findings import Document, Facts, Finding, Severity, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator


# By reason of a refusal: the key of `[limits]` that leaves no room.
_LIMITS: Final = {"owner-limit": "agents_per_owner", "root-limit": "manifests_per_root"}
# By reason of a look: nothing is wrong with a file, there is none.
_MISSING: Final = ("manifest-missing", "project-missing")
# By reason of a look: what makes it readable again; else it is a matter of permissions.
_READABLE: Final = {"timed-out": "see whether its server or disk is up"}
_PERMITTED: Final = "let the daemon's user read the file and enter the directories above it"


def agent_findings(facts: Facts) -> Iterator[Finding]:
    """Yield what is wrong with agents, claim by claim, then those that no claim explains."""
    holders = {agent["id"]: agent for agent in facts.agents}
    last = None if facts.status is None else facts.status["lastSweep"]
    held = last is not None and last["held"] > 0  # of those one finding tells, for all of them
    for claim in facts.claims:
        match claim["outcome"]:
            case "invalid":
                yield _invalid(claim)
            case "unreadable":
                if claim["reason"] not in _MISSING:
                    yield _unreadable(claim)
                elif not held:
                    yield _unconfirmed(claim)
            case "duplicate":
                yield _duplicate(claim, holders.get(claim["agentId"]))
            case "refused":
                yield _refused(claim)
    yield from _pending(facts)
    yield from _unreachable(facts)
    yield from _unscanned(facts)


def _invalid(claim: Document) -> Finding:
    detail = f": {claim['detail']}" if claim["detail"] else ""
    return Finding(
        Severity.WARNING, "invalid", claim["path"],
        f"its manifest is not valid ({claim['reason']}{detail})",
        f"correct {claim['path']}/.dork/agent.json; meshd check-manifest says what is wrong",
    )  # fmt: skip


def _unreadable(claim: Document) -> Finding:
    return Finding(
        Severity.WARNING, "unreadable", claim["path"],
        f"its manifest cannot be read ({claim['reason']}), so what is known of it is frozen",
        _READABLE.get(claim["reason"], _PERMITTED),
    )  # fmt: skip


def _unconfirmed(claim: Document) -> Finding:
    return Finding(
        Severity.REMARK, "unconfirmed", claim["path"],
        f"it was gone when it was last looked at ({claim['reason']}), and that is not confirmed",
        "the next sweep decides: meshd sweep",
    )  # fmt: skip


def _duplicate(claim: Document, holder: Document | None) -> Finding:
    agent_id, path = claim["agentId"], claim["path"]
    if holder is None:
        return Finding(
            Severity.WARNING, "duplicate", path, f"it claims {agent_id}, which no agent holds yet",
            "the next sweep decides: meshd sweep",
        )  # fmt: skip
    held = holder["projectPath"] or holder["lastPath"]
    return Finding(
        Severity.WARNING, "duplicate", path,
        f"it claims {agent_id}, which {held} holds; it takes over when the manifest there is"
        " gone or names another id",
        f"give it an id of its own, or leave it alone: meshd deny {quoted(path)}",
    )  # fmt: skip


def _refused(claim: Document) -> Finding:
    key = _LIMITS.get(claim["reason"], "agents_per_owner")
    return Finding(
        Severity.WARNING, claim["reason"], claim["path"],
        f"{claim['agentId']} is refused as a newcomer: {claim['detail']}; those known stay",
        f"raise limits.{key}, or make room: meshd agents unreachable, then meshd forget ID;"
        " the next sweep takes in as many as there is room for",
    )  # fmt: skip


def _pending(facts: Facts) -> Iterator[Finding]:
    for agent in facts.agents:
        if "relay-pending" in agent["flags"]:
            yield Finding(
                Severity.WARNING, "endpoint-pending", agent["id"],
                "the relay has not confirmed its endpoint, so it cannot be reached",
                "see that the relay runs; it is tried again by itself",
            )  # fmt: skip


def _unreachable(facts: Facts) -> Iterator[Finding]:
    gone = [agent for agent in facts.agents if agent["status"] == "unreachable"]
    if gone:
        yield Finding(
            Severity.REMARK, "unreachable", None,
            f"{_are(len(gone))} unreachable: the manifest or the project is gone",
            "see meshd agents unreachable; each is removed after its grace",
        )  # fmt: skip


def _are(count: int) -> str:
    return "1 agent is" if count == 1 else f"{count} agents are"


def _unscanned(facts: Facts) -> Iterator[Finding]:
    for agent in facts.agents:
        if agent["unscanned"] not in (None, "no-root"):  # of a lost root its own finding tells
            yield Finding(
                Severity.REMARK, "unscanned", agent["id"],
                f"{agent['lastPath']} is not scanned any more ({agent['unscanned']})",
                f"change scan.exclude or scan.max_depth, or drop it: meshd forget {agent['id']}",
            )  # fmt: skip
