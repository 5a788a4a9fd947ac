"""Routes that change manifests: register, update, unregister.

Each handler puts one act into the inbox (R3) and waits for its commit. An answer carries the
agent's `seq` as its ETag, for a later `If-Match`.
"""

# Annotations here are read at run time by the framework, so they are not postponed.

from typing import Any, Final

from anyio import to_thread
from fastapi import APIRouter

from meshd import answers
from meshd.api.members import GIVEN, Members, RegisterRequest, Said, meant
from meshd.api.mesh_schemas import PEER_ROUTE, RegisteredAnswer, UnregisteredAnswer
from meshd.api.replies import ACT_SECONDS, Reply, entity_tag, finished
from meshd.api.requests import (
    Daemon,
    DryRun,
    ExpectedSeqs,
    KeepManifest,
    require_in_scope,
)
from meshd.commands import Registered, Removal, Unregistered
from meshd.core.model import Agent
from meshd.core.scope import is_within
from meshd.errors import BadRequestError, ConflictError
from meshd.services import Services

router = APIRouter(tags=["acts"], responses=PEER_ROUTE)
_WOULD_BE: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": RegisteredAnswer, "description": "With `dryRun`: what would be."}
}


@router.post("/agents", status_code=201, response_model=RegisteredAnswer, responses=_WOULD_BE)
async def register(daemon: Daemon, body: RegisterRequest, dry_run: DryRun = False) -> Reply:
    """Give a project a manifest, or take the one it has; the overrides go over it."""
    require_in_scope(daemon, body.path)
    if body.scan_root is not None:
        require_in_scope(daemon, body.scan_root)
        if not is_within(body.path, body.scan_root):
            raise BadRequestError(
                f"scanRoot {body.scan_root!a} is not an ancestor of the path",
                hint="leave it out: the configured root that holds the path counts",
            )
    overrides = await _meant(daemon, body.path, body.overrides)
    future = daemon.register(body.path, overrides, body.approver, dry_run=dry_run)
    return _written(await finished(future, ACT_SECONDS), 200 if dry_run else 201)


@router.patch("/agents/{agent_id}", response_model=RegisteredAnswer)
async def update(
    agent_id: str,
    daemon: Daemon,
    body: Said,
    expected: ExpectedSeqs = None,
    dry_run: DryRun = False,
) -> Reply:
    """Change what is said in a manifest where it lies; null takes a key away."""
    changes = await _meant(daemon, agent_id, body)
    expected_seq = None if expected is None else await _one_of(daemon, agent_id, expected)
    future = daemon.update(agent_id, changes, expected_seq=expected_seq, dry_run=dry_run)
    return _written(await finished(future, ACT_SECONDS), 200)


async def _meant(daemon: Services, reference: str, said: Members) -> dict[str, Any]:
    """Return what is to change; the row is read only where it decides."""
    agent = None
    if not GIVEN.isdisjoint(said):
        agent = await to_thread.run_sync(_agent, daemon, reference)
    return meant(said, agent)


async def _one_of(daemon: Services, agent_id: str, seqs: frozenset[int]) -> int | None:
    """Return the seq that a change is meant for: of several, the one that the agent has.

    Raises:
        ConflictError: it has none of them.
    """
    if len(seqs) == 1:
        return next(iter(seqs))
    agent = await to_thread.run_sync(_agent, daemon, agent_id)
    if agent is None:
        return None  # which the act says in its own words
    if agent.seq not in seqs:
        raise ConflictError(
            f"{agent.id} is in no state that If-Match names", hint="read it again, and decide anew"
        )
    return agent.seq


def _agent(daemon: Services, reference: str) -> Agent | None:
    with daemon.store.reading() as registry:
        record = registry.record(reference)
    return None if record is None else record.agent


def _written(result: Registered, status: int) -> Reply:
    document = answers.manifest_document(result.agent)
    if result.pending:
        document["pending"] = True
    return Reply(document, status, headers=entity_tag(result.agent))


@router.delete("/agents/{agent_id}", response_model=UnregisteredAnswer)
async def unregister(
    agent_id: str, daemon: Daemon, keep_manifest: KeepManifest = False, dry_run: DryRun = False
) -> Reply:
    """Take an agent out of the registry, and its manifest off the disk."""
    removal = Removal.NOTHING if keep_manifest else Removal.MANIFEST
    future = daemon.unregister(agent_id, removal, dry_run=dry_run)
    return _gone(await finished(future, ACT_SECONDS))


@router.delete("/agents/{agent_id}/data", response_model=UnregisteredAnswer)
async def delete_data(agent_id: str, daemon: Daemon, dry_run: DryRun = False) -> Reply:
    """Take an agent out of the registry, and its `.dork` with all that is in it off the disk."""
    future = daemon.unregister(agent_id, Removal.DATA, dry_run=dry_run)
    return _gone(await finished(future, ACT_SECONDS))


def _gone(result: Unregistered) -> Reply:
    return Reply({"success": True, "deletedPath": result.path, "successor": result.successor})
