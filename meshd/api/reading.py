"""Routes that read.

Each handler is a plain function: the framework runs it in one of a few threads, each with a
reader of its own, so a long list never holds up the loop. The documents come from
`meshd.answers` and are written as they are; the models describe them for `/openapi.json`.
"""

# Annotations here are read at run time by the framework, so they are not postponed.

import os
from typing import Annotated, Any

from fastapi import APIRouter, Query

from meshd import answers
from meshd.answers import Running
from meshd.api import schemas
from meshd.api.failures import AgentNotFoundError
from meshd.api.replies import Reply
from meshd.api.requests import Daemon
from meshd.core.model import Agent, ClaimOutcome
from meshd.services import Services

router = APIRouter(tags=["registry"], responses=schemas.FAILURES)
_UNKNOWN_AGENT: dict[int | str, dict[str, Any]] = {404: {"model": schemas.PeerFailure}}


def running(services: Services) -> Running:
    """Return what only the running daemon can say."""
    view = services.roots.view
    roots = {root: view.states.get(root) for root in view.lookers}
    return Running(os.getpid(), services.state(), roots, services.coverage())


def _agent(services: Services, agent_id: str) -> Agent:
    with services.store.reading() as registry:
        agent = registry.agent(agent_id)
    if agent is None:
        raise AgentNotFoundError(f"no agent {agent_id!a}")
    return agent


@router.get("/registry", response_model=schemas.RegistryAnswer)
def list_registry(daemon: Daemon) -> Reply:
    """Every row of the registry, unreachable ones too."""
    with daemon.store.reading() as registry:
        return Reply(answers.registry_document(registry, daemon.clock.wall_ns()))


@router.get("/agents", response_model=schemas.AgentsAnswer, responses=schemas.PEER_FAILURES)
def list_agents(
    daemon: Daemon,
    runtime: Annotated[str | None, Query(min_length=1)] = None,
    capability: Annotated[str | None, Query(min_length=1)] = None,
    caller_namespace: Annotated[  # noqa: ARG001 - accepted, see the description
        str | None,
        Query(
            alias="callerNamespace",
            min_length=1,
            description="Accepted for the peer's clients; agents are not filtered by it.",
        ),
    ] = None,
) -> Reply:
    """Agents that may be discovered: never unreachable, denied or unscanned ones."""
    with daemon.store.reading() as registry:
        return Reply(
            answers.discovery_document(
                registry, daemon.clock.wall_ns(), runtime=runtime, capability=capability
            )
        )


@router.get("/agents/paths", response_model=schemas.PathsAnswer)
def list_agent_paths(daemon: Daemon) -> Reply:
    """Agents that may be discovered, with where they live."""
    with daemon.store.reading() as registry:
        return Reply(answers.paths_document(registry))


@router.get("/agents/{agent_id}", response_model=schemas.ManifestAnswer, responses=_UNKNOWN_AGENT)
def get_agent(agent_id: str, daemon: Daemon) -> Reply:
    """The manifest of one agent, live or not."""
    return Reply(answers.manifest_document(_agent(daemon, agent_id)))


@router.get(
    "/agents/{agent_id}/health", response_model=schemas.HealthAnswer, responses=_UNKNOWN_AGENT
)
def get_agent_health(agent_id: str, daemon: Daemon) -> Reply:
    """How lively one agent is."""
    return Reply(answers.health_document(_agent(daemon, agent_id), daemon.clock.wall_ns()))


@router.get("/status", response_model=schemas.StatusAnswer)
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
        return Reply(answers.unreachable_document(registry, daemon.clock.wall_ns(), limit))


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


@router.get("/denied", response_model=schemas.DeniedAnswer)
def list_denied(daemon: Daemon) -> Reply:
    """The denied paths."""
    with daemon.store.reading() as registry:
        return Reply(answers.denied_document(registry))
