"""The operator's rules between namespaces: what is set, what is refused, what is told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from meshd.commands import SetRule
from meshd.core.access import Action
from meshd.core.endpoints import AccessRule, Origin, rules_for
from meshd.errors import BadRequestError
from tests.harness import World

if TYPE_CHECKING:
    from pathlib import Path

ALLOW, DENY = Action.ALLOW, Action.DENY


def explicit(world: World) -> dict[tuple[str, str], Action]:
    with world.store.reading() as registry:
        return registry.explicit_rules()


@pytest.mark.parametrize("action", [ALLOW, DENY])
@pytest.mark.parametrize("ends", [("x", "y"), ("y", "x"), ("x", "nobody-yet")])
def test_a_rule_holds_one_way_and_is_news_once(
    ends: tuple[str, str], action: Action, world: World
) -> None:
    before = world.seq()
    assert world.act(SetRule(*ends, action)) is True
    commits = world.store.writer.commits
    assert world.act(SetRule(*ends, action)) is False
    assert world.store.writer.commits == commits
    assert explicit(world) == {ends: action}
    assert world.kinds(before) == [("rule", None)]


def test_a_rule_is_told_as_it_was_and_as_it_is(world: World) -> None:
    world.act(SetRule("x", "y", ALLOW))
    before = world.seq()
    world.act(SetRule("x", "y", DENY))
    with world.store.reading() as registry:
        (entry,) = registry.changes_since(before)
    ends = {"sourceNamespace": "x", "targetNamespace": "y"}
    assert entry.before == {**ends, "action": "allow"}
    assert entry.after == {**ends, "action": "deny"}
    assert explicit(world) == {("x", "y"): DENY}


def test_denying_the_open_mesh_takes_its_rule_away_and_leaves_the_others(world: World) -> None:
    assert world.act(SetRule("*", "*", DENY)) is False
    assert world.act(SetRule("*", "*", ALLOW)) is True
    assert world.act(SetRule("x", "y", DENY)) is True
    assert world.act(SetRule("*", "*", DENY)) is True
    assert explicit(world) == {("x", "y"): DENY}


@pytest.mark.parametrize(
    ("source", "target", "hint"),
    [
        ("*", "x", "open the mesh"),
        ("x", "*", "open the mesh"),
        ("X", "y", "write x"),
        ("x", "a b", "write a-b"),
        ("codex", "y", "write codex-ns"),
        ("", "y", "letters, digits"),
        ("x", "\N{SNOWMAN}", "letters, digits"),
        ("x", "y" * 65, "write yyy"),
        ("x", "y.>", "write y"),
        ("x\udcff", "y", "write x"),
        ("x", "x", "another namespace"),
    ],
)
def test_what_is_no_rule_is_refused_with_what_to_do(
    source: str, target: str, hint: str, world: World
) -> None:
    before = world.seq()
    with pytest.raises(BadRequestError) as refused:
        world.act(SetRule(source, target, ALLOW))
    assert (refused.value.code, refused.value.exit_code) == ("bad-request", 2)
    assert hint in (refused.value.hint or "")
    assert refused.value.message.isascii()
    assert (world.seq(), explicit(world)) == (before, {})


def test_rules_survive_the_loss_of_the_database(world: World, root: Path, tmp_path: Path) -> None:
    world.act(SetRule("x", "y", DENY))
    world.act(SetRule("*", "*", ALLOW))
    world.stop()
    policy = json.loads((tmp_path / "state" / "policy.json").read_text())
    assert [(one["source"], one["target"], one["action"]) for one in policy["rules"]] == [
        ("*", "*", "allow"),
        ("x", "y", "deny"),
    ]
    for name in ("meshd.db", "meshd.db-wal", "meshd.db-shm"):
        (tmp_path / "state" / name).unlink(missing_ok=True)
    again = World(tmp_path / "state", [root])
    assert explicit(again) == {("x", "y"): DENY, ("*", "*"): ALLOW}
    again.stop()


def test_a_relay_gets_every_rule_as_a_pattern_of_subjects_with_its_priority() -> None:
    rules = rules_for(["x"], {("x", "y"): ALLOW, ("*", "*"): ALLOW}, ["boss"])
    every, own, other = "relay.agent.>", "relay.agent.x.*", "relay.agent.y.*"
    boss = "relay.agent.*.boss"
    assert rules == {
        AccessRule(own, own, ALLOW, 100, Origin.DEFAULT),
        AccessRule(own, every, DENY, 10, Origin.DEFAULT),
        AccessRule(own, other, ALLOW, 50, Origin.EXPLICIT),
        AccessRule(every, every, ALLOW, 50, Origin.EXPLICIT),
        AccessRule(boss, every, ALLOW, 200, Origin.SYSTEM),
        AccessRule(every, boss, ALLOW, 200, Origin.SYSTEM),
    }
