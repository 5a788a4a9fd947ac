"""Routes that read.

Each handler is a plain function: the framework runs it in one of a few threads, each with a
reader of its own, so a long list never holds up the loop. The documents come from
`meshd.answers` and are written as they are; the models describe them for `/openapi.json`.
"""

# Annotations here are read at run time by the framework, so they are not postponed.

import os
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request

from meshd import answers
from meshd.answers import Running
from meshd.api import schemas
from meshd.api.mesh_schemas import PEER_ROUTE
from meshd.api.replies import ListReply, Reply, entity_tag, passed_on
from meshd.api.requests import Daemon, reference
from meshd.core.model import Agent, ClaimOutcome
from meshd.errors import NotFoundError
from meshd.services import Services

router = APIRouter(tags=["registry"], responses=schemas.FAILURES)


def running(services: Services) -> Running:
    """Return what only the running daemon can say."""
    view = services.roots.view
    roots = {root: view.states.get(root) for root in view.lookers}
    return Running(os.getpid(), services.state(), roots, services.coverage())


def _agent(services: Services, agent_id: str) -> Agent:
    with services.store.reading() as registry:
        agent = registry.agent(agent_id)
    if agent is None:
        raise NotFoundError(f"no agent {agent_id!a}")
    return agent


@router.get("/registry", response_model=schemas.RegistryAnswer)
def list_registry(
    request: Request,
    daemon: Daemon,
    agent: Annotated[
        str | None, Query(min_length=1, description="Only this row, by id or by path.")
    ] = None,
    namespace: Annotated[
        str | None, Query(min_length=1, description="Only rows of this namespace.")
    ] = None,
) -> Reply:
    """Every row of the registry, unreachable ones too."""
    now_ns = daemon.clock.wall_ns()
    with daemon.store.reading() as registry:
        if agent is None:
            rows = answers.registry_document(registry, now_ns, passed_on)["agents"]
        else:
            path_or_id = reference(request, "agent")
            row = answers.agent_document(registry, path_or_id, now_ns, passed_on)
            rows = [] if row is None else [row]
    return ListReply({"agents": [row for row in rows if namespace in (None, row["namespace"])]})


@router.get("/agents", response_model=schemas.AgentsAnswer, responses=PEER_ROUTE)
def list_agents(
    daemon: Daemon,
    runtime: Annotated[str | None, Query(min_length=1)] = None,
    capability: Annotated[str | None, Query(min_length=1)] = None,
    caller_namespace: Annotated[
        str | None,
        Query(
            alias="callerNamespace",
            min_length=1,
            description="Only agents that this namespace may reach; * for all.",
        ),
    ] = None,
) -> Reply:
    """Agents that may be discovered: never unreachable, denied or unscanned ones."""
    with daemon.store.reading() as registry:
        return ListReply(
            answers.discovery_document(
                registry,
                daemon.clock.wall_ns(),
                runtime=runtime,
                capability=capability,
                caller_namespace=caller_namespace,
                system_ids=daemon.system_ids,
                passing=passed_on,
            )
        )


@router.get("/agents/paths", response_model=schemas.PathsAnswer, responses=PEER_ROUTE)
def list_agent_paths(daemon: Daemon) -> Reply:
    """Agents that may be discovered, with where they live."""
    with daemon.store.reading() as registry:
        return ListReply(answers.paths_document(registry, passed_on))


@router.get("/agents/{agent_id}", response_model=schemas.ManifestAnswer, responses=PEER_ROUTE)
def get_agent(agent_id: str, daemon: Daemon) -> Reply:
    """The manifest of one agent, live or not."""
    agent = _agent(daemon, agent_id)
    return Reply(answers.manifest_document(agent), headers=entity_tag(agent))


@router.get("/agents/{agent_id}/health", response_model=schemas.HealthAnswer, responses=PEER_ROUTE)
def get_agent_health(agent_id: str, daemon: Daemon) -> Reply:
    """How lively one agent is."""
    return Reply(answers.health_document(_agent(daemon, agent_id), daemon.clock.wall_ns()))


@router.get("/status", response_model=schemas.StatusAnswer, responses=PEER_ROUTE)
def get_status(daemon: Daemon) -> Reply:
    """The state of the mesh."""
    with daemon.store.reading() as registry:
        now_ns = daemon.clock.wall_ns()
        return Reply(answers.status_document(registry, now_ns, running(daemon)))


@router.get("/unreachable", response_model=schemas.RegistryAnswer)
def list_unreachable(
    daemon: Daemon,
    before: Annotated[str | None, Query(description="An RFC 3339 time.")] = None,
) -> Reply:
    """Unreachable agents; with `before`, those unreachable since before that time."""
    limit = None if before is None else answers.instant(before)
    with daemon.store.reading() as registry:
        now_ns = daemon.clock.wall_ns()
        return ListReply(answers.unreachable_document(registry, now_ns, limit, passed_on))


@router.get("/claims", response_model=schemas.ClaimsAnswer)
def list_claims(daemon: Daemon, outcome: ClaimOutcome | None = None) -> Reply:
    """What the paths on disk claim, and how each claim was judged."""
    with daemon.store.reading() as registry:
        return Reply(answers.claims_document(registry, outcome))


@router.get("/roots", response_model=schemas.RootsAnswer)
def list_roots(daemon: Daemon) -> Reply:
    """The roots and how each is."""
    with daemon.store.reading() as registry:
        return Reply(answers.roots_document(registry, running(daemon)))


@router.get("/denied", response_model=schemas.DeniedAnswer, responses=PEER_ROUTE)
def list_denied(daemon: Daemon) -> Reply:
    """The denied paths."""
    with daemon.store.reading() as registry:
        return Reply(answers.denied_document(registry))
