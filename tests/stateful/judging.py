"""What must be so once all is quiet, whatever happened before.

Owns the judgement of a daemon at rest. Shares no code with meshd: rows and endpoints are read as
its users read them, or straight out of its database. A failed assertion names the invariant.
"""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Any

from tests.stateful import saying

if TYPE_CHECKING:
    from collections.abc import Container, Mapping
    from pathlib import Path

    from meshd.client import Client
    from tests.stateful.estate import Estate
    from tests.stateful.oracle import Look

Row = dict[str, Any]


def is_live(row: Row) -> bool:
    """Whether a row may be discovered and routed to."""
    return row["status"] == "active" and row["unscanned"] is None


def holder(row: Row) -> str:
    """Return the path that holds the id of a row."""
    path: str = row["projectPath"] or row["lastPath"]
    return path


def expect_registry(
    disk: Mapping[str, Look], rows: Mapping[str, Row], in_doubt: Container[str]
) -> None:
    """Expect the registry to say what lies on the disk (I1, I4, I20).

    Args:
        disk: a look at every path.
        rows: by id.
        in_doubt: paths that could not be read since a database was lost: whose id was there waits.
    """
    live = {row["projectPath"]: row for row in rows.values() if is_live(row)}
    assert len(live) == sum(map(is_live, rows.values())), "I4: a path with two rows"
    waits = any(look.outcome == "invalid" and path in in_doubt for path, look in disk.items())
    for look in disk.values():
        if look.outcome != "present":
            continue
        row = rows.get(look.agent_id)
        if row is None:
            assert waits, f"I1: {look.agent_id} has no row, and waits for nobody"
        elif not is_live(row):
            assert disk[holder(row)].outcome == "invalid", f"I1: found, and not live: {row}"
    for path, row in live.items():
        look = disk[path]
        assert look.outcome in ("present", "invalid"), f"I1: live, and {look.outcome}: {row}"
        if look.outcome == "present":
            told = (row["id"], row["name"], saying.about(row))
            assert told == (look.agent_id, look.name, look.about), f"I1: {look} is told as {row}"
    for row in rows.values():
        where = disk[holder(row)].outcome
        assert where != "denied", f"I1: {row} is of a denied path"
        # Back in scope, a row stays out until something good is seen there.
        out = ("unscanned", "invalid") if row["unscanned"] else ("present", "absent", "invalid")
        assert where in out, f"I1: {where}: {row}"


def expect_claims(
    disk: Mapping[str, Look], rows: Mapping[str, Row], claims: Mapping[str, str]
) -> None:
    """Expect every path's claim to be judged as what it is."""
    live = {row["projectPath"]: row["id"] for row in rows.values() if is_live(row)}
    for path, look in disk.items():
        if look.outcome == "present":
            mine = live.get(path) == look.agent_id
            assert claims.get(path) == ("valid" if mine else "duplicate"), f"claim of {path}"
        elif look.outcome == "invalid":
            assert claims.get(path) == "invalid", f"claim of {path}"


def expect_nothing_invented(estate: Estate, rows: Mapping[str, Row]) -> None:
    """Expect every id to be where it was at some time."""
    for row in rows.values():
        assert row["id"] in estate.held.get(holder(row), ()), f"invented: {row}"


def expect_surfaces(client: Client, database: Path, rows: Mapping[str, Row]) -> None:
    """Expect discovery, relay and routes to know the live agents and no others (I9, I18)."""
    live = {row["id"]: row for row in rows.values() if is_live(row)}
    assert {one["id"] for one in client.agents()["agents"]} == live.keys(), "I9: discovery"
    assert {one["id"] for one in client.paths()["agents"]} == live.keys(), "I9: paths"
    subjects = {f"relay.agent.{row['namespace']}.{row['id']}" for row in live.values()}
    assert endpoints(database) == {(subject, "live") for subject in subjects}, "I18"
    for row in rows.values():
        assert (client.subject(row["id"]) in subjects) == is_live(row), f"I9: route to {row}"


def endpoints(database: Path) -> set[tuple[str, str]]:
    """Return subject and state of every endpoint, straight from the file."""
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return set(connection.execute("SELECT subject, state FROM endpoints"))


def expect_acknowledged(
    client: Client, estate: Estate, rules: Mapping[tuple[str, str], str]
) -> None:
    """Expect every act that was acknowledged to be kept."""
    denied = {one["path"] for one in client.denied()["denied"]}
    assert denied == {estate.path(place) for place in estate.denied}, "R1: the denials"
    listed = client.rules()["rules"]
    explicit = {
        (rule["sourceNamespace"], rule["targetNamespace"]): rule["action"]
        for rule in listed
        if rule["origin"] == "explicit"
    }
    assert explicit.items() >= rules.items(), f"R1: the rules: {listed}"


def expect_health(status: Row) -> None:
    """Expect a daemon that lacks nothing and owes nothing."""
    assert (status["ready"], status["degraded"], status["unfinished"]) == (True, None, 0), status
    assert status["config"]["lastReloadOk"] is not False, status["config"]
    sick = [root for root in status["roots"] if root["state"] == "sick"]
    assert not sick, f"I20: {sick}"
