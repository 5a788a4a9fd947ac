"""The relay in the database: endpoints are where the live rows are, always."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from meshd.commands import Deny, Forget
from meshd.core.endpoints import EndpointState
from meshd.store import endpoints
from tests.harness import World, delete_manifest, delete_project, write_manifest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import apsw


def subjects(world: World) -> dict[str, str]:
    """Return, by subject, the state of its endpoint."""
    with world.store.reading() as registry:
        return {row.endpoint.subject: str(row.state) for row in registry.endpoints()}


def namespaces(world: World) -> list[str]:
    with world.store.reading() as registry:
        return registry.namespaces()


def moves(world: World, since: int) -> list[tuple[str | None, Any, Any]]:
    """Return agent, from and to of every `endpoint` entry after `since`."""
    with world.store.reading() as registry:
        entries = registry.changes_since(since)
    return [(one.agent_id, one.before, one.after) for one in entries if one.kind == "endpoint"]


def write(world: World, operation: Callable[[apsw.Connection], object]) -> None:
    world.store.writer.submit(operation).result(timeout=10)


def test_every_live_row_has_one_endpoint_and_births_are_told_once(world: World) -> None:
    assert subjects(world) == {
        "relay.agent.x.a": "live",
        "relay.agent.x.b": "live",
        "relay.agent.y.c": "live",
    }
    assert namespaces(world) == ["x", "y"]
    assert moves(world, 0) == []


def test_the_endpoint_of_an_agent_is_found_by_its_id(world: World) -> None:
    with world.store.reading() as registry:
        found = registry.endpoint_of("a")
        assert found is not None
        assert (found.endpoint.subject, found.state) == ("relay.agent.x.a", EndpointState.LIVE)
        assert registry.endpoint_of("nobody") is None
        assert registry.endpoint_states() == dict.fromkeys("abc", EndpointState.LIVE)


def test_a_move_within_a_namespace_keeps_the_endpoint(world: World, root: Path) -> None:
    before = world.seq()
    (root / "x" / "p").rename(root / "x" / "elsewhere")
    world.sweep()
    assert world.kinds(before) == [("relocated", "a")]
    assert subjects(world)["relay.agent.x.a"] == "live"


def test_a_move_to_another_namespace_retires_the_old_endpoint(world: World, root: Path) -> None:
    before = world.seq()
    (root / "x" / "p").rename(root / "y" / "q")
    result = world.sweep()
    assert sorted(subjects(world)) == ["relay.agent.x.b", "relay.agent.y.a", "relay.agent.y.c"]
    assert moves(world, before) == [
        ("a", {"subject": "relay.agent.x.a"}, {"subject": "relay.agent.y.a"})
    ]
    assert (result.synced, result.drift) == (1, 1)


def test_another_namespace_in_the_manifest_moves_the_endpoint(world: World, root: Path) -> None:
    before = world.seq()
    write_manifest(root / "y" / "p", "c", namespace="z")
    world.hint(root / "y" / "p")
    world.settle()
    assert world.kinds(before) == [("updated", "c"), ("endpoint", "c")]
    assert namespaces(world) == ["x", "z"]


@pytest.mark.parametrize("lose", [delete_manifest, delete_project])
def test_the_last_agent_out_takes_its_namespace_along(
    lose: Callable[[Path], None], world: World, root: Path
) -> None:
    lose(root / "y" / "p")
    world.sweep()
    assert sorted(subjects(world)) == ["relay.agent.x.a", "relay.agent.x.b"]
    assert namespaces(world) == ["x"]


def test_a_denied_path_loses_its_endpoints_and_an_id_found_elsewhere_keeps_one(
    world: World, root: Path
) -> None:
    write_manifest(root / "y" / "clone", "a")
    world.sweep()
    world.act(Deny(str(root / "x"), None, "test"))
    assert sorted(subjects(world)) == ["relay.agent.y.a", "relay.agent.y.c"]


def test_what_is_out_of_scope_has_no_endpoint_and_gets_it_back(world: World, root: Path) -> None:
    world.roots.configure(world.settings.scan.model_copy(update={"exclude": ("x",)}))
    world.sweep()
    assert sorted(subjects(world)) == ["relay.agent.y.c"]
    world.roots.configure(world.settings.scan)
    world.sweep()
    assert len(subjects(world)) == 3


def test_a_forgotten_row_leaves_no_endpoint(world: World, root: Path) -> None:
    delete_manifest(root / "y" / "p")
    world.sweep()
    world.act(Forget("c"))
    assert sorted(subjects(world)) == ["relay.agent.x.a", "relay.agent.x.b"]


DAMAGES = {
    "lost": "DELETE FROM endpoints WHERE agent_id = 'a'",
    "of nobody": "INSERT INTO endpoints VALUES ('relay.agent.x.z', 'z', 'x', 'live', '')",
    "of another namespace": "UPDATE endpoints SET namespace = 'y', subject = 'relay.agent.y.a'"
    " WHERE agent_id = 'a'",
    "of another agent": "UPDATE endpoints SET agent_id = 'z' WHERE agent_id = 'a'",
    "pending": "UPDATE endpoints SET state = 'pending' WHERE agent_id = 'a'",
    "to be retired": "UPDATE endpoints SET state = 'retired' WHERE agent_id = 'a'",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_sweep_mends_endpoints_that_do_not_agree_with_the_rows(damage: str, world: World) -> None:
    healthy = subjects(world)
    before = world.seq()
    write(world, lambda one: one.execute(DAMAGES[damage]))
    assert world.sweep().drift == 0
    assert subjects(world) == healthy
    assert {kind for kind, _ in world.kinds(before)} == {"endpoint"}
    told = [call.method_name for call in world.log.calls if "endpoints_mended" in str(call.kwargs)]
    assert told == ["warning"]

    seq, commits = world.seq(), world.store.writer.commits
    world.sweep()
    assert (world.seq(), world.store.writer.commits) == (seq, commits)


def test_endpoints_that_waited_for_a_relay_are_settled_once_there_is_none(world: World) -> None:
    """The operator has taken the relay outside the database away again."""

    def leave_open(connection: apsw.Connection) -> None:
        endpoints.retire(connection, "relay.agent.x.a")
        connection.execute("UPDATE endpoints SET state = 'pending' WHERE agent_id = 'b'")
        connection.execute(
            "INSERT INTO endpoints VALUES ('relay.agent.w.a', 'a', 'w', 'retired', '')"
        )

    healthy = subjects(world)
    write(world, leave_open)
    world.sweep()
    assert subjects(world) == healthy
