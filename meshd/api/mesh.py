"""Routes about the mesh: who sees whom, who may reach whom, and by which rule."""

# Annotations here are read at run time by the framework, so they are not postponed.

from typing import Annotated, Final

from fastapi import APIRouter, Query
from starlette.requests import Request

from meshd import answers
from meshd.api.mesh_schemas import (
    OWN_ROUTE,
    PEER_ROUTE,
    AccessAnswer,
    AccessRule,
    RouteAnswer,
    RulesAnswer,
    TopologyAnswer,
)
from meshd.api.replies import ACT_SECONDS, Reply, finished
from meshd.api.requests import AccessRequest, Daemon, reference

router = APIRouter(tags=["mesh"])
_AGENT: Final = "An agent, by id or by path."


@router.get("/topology", response_model=TopologyAnswer, responses=PEER_ROUTE)
def get_topology(
    daemon: Daemon,
    namespace: Annotated[
        str, Query(min_length=1, description="Who looks: a namespace, or * for all there is.")
    ] = "*",
) -> Reply:
    """Namespaces with their agents, and the rules between them, as a namespace sees them."""
    with daemon.store.reading() as registry:
        return Reply(
            answers.topology_document(
                registry, daemon.clock.wall_ns(), namespace, daemon.system_ids
            )
        )


@router.put("/topology/access", response_model=AccessRule, responses=PEER_ROUTE)
async def set_access(daemon: Daemon, body: AccessRequest) -> Reply:
    """Let one namespace reach another, or not; `*` to `*` opens the mesh, or closes it."""
    await finished(daemon.set_rule(body.source, body.target, body.action), ACT_SECONDS)
    return Reply(
        {
            "sourceNamespace": body.source,
            "targetNamespace": body.target,
            "action": str(body.action),
            "origin": "explicit",
        }
    )


@router.get("/agents/{agent_id}/access", response_model=AccessAnswer, responses=PEER_ROUTE)
def get_access(agent_id: str, daemon: Daemon) -> Reply:
    """The agents that one may reach."""
    with daemon.store.reading() as registry:
        return Reply(answers.access_document(registry, agent_id, daemon.system_ids))


@router.get("/route", response_model=RouteAnswer, responses=OWN_ROUTE)
def get_route(
    request: Request,
    daemon: Daemon,
    source: Annotated[str, Query(alias="from", min_length=1, description=_AGENT)],  # noqa: ARG001 - read below, with the bytes of a path
    target: Annotated[str, Query(alias="to", min_length=1, description=_AGENT)],  # noqa: ARG001 - likewise
) -> Reply:
    """Whether one agent may reach another, at which subject, and by which rule."""
    ends = reference(request, "from"), reference(request, "to")
    with daemon.store.reading() as registry:
        return Reply(answers.route_document(registry, *ends, daemon.system_ids))


@router.get("/rules", response_model=RulesAnswer, responses=OWN_ROUTE)
def list_rules(daemon: Daemon) -> Reply:
    """The rules between namespaces, default and explicit."""
    with daemon.store.reading() as registry:
        return Reply(answers.rules_document(registry, daemon.system_ids))
