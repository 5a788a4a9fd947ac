"""Routes that change manifests: register, update, unregister.

Each handler puts one act into the inbox (R3) and waits for its commit. An answer carries the
agent's `seq` as its ETag, for a later `If-Match`.
"""

# Annotations here are read at run time by the framework, so they are not postponed.

from typing import Any, Final

from fastapi import APIRouter

from meshd import answers
from meshd.api.members import RegisterRequest, Said
from meshd.api.mesh_schemas import PEER_ROUTE, RegisteredAnswer, UnregisteredAnswer
from meshd.api.replies import ACT_SECONDS, Reply, entity_tag, finished
from meshd.api.requests import (
    Daemon,
    DryRun,
    ExpectedSeq,
    KeepManifest,
    require_in_scope,
)
from meshd.commands import Registered, Removal, Unregistered
from meshd.core.scope import is_within
from meshd.errors import BadRequestError

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
    future = daemon.register(body.path, dict(body.overrides), body.approver, dry_run=dry_run)
    return _written(await finished(future, ACT_SECONDS), 200 if dry_run else 201)


@router.patch("/agents/{agent_id}", response_model=RegisteredAnswer)
async def update(
    agent_id: str,
    daemon: Daemon,
    body: Said,
    expected_seq: ExpectedSeq = None,
    dry_run: DryRun = False,
) -> Reply:
    """Change what is said in a manifest where it lies; null takes a key away."""
    future = daemon.update(agent_id, dict(body), expected_seq=expected_seq, dry_run=dry_run)
    return _written(await finished(future, ACT_SECONDS), 200)


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
