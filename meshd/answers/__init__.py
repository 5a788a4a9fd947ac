"""What meshd answers: the JSON documents of HTTP and of the command line.

Owns the names, the order and the presence of every key (design: Surfaces). Assumes a
`Registry` whose connection only this thread uses, and the daemon's own word when one runs.
Promises: an answer is made of plain values, ready for `json.dumps`; paths are `str` with lone
surrogates where a name is not UTF-8, for the sink to escape. Imports neither the web framework
nor a validator, so that the command line can answer from the database at no cost.
"""

from __future__ import annotations

from meshd.answers.agents import (
    agent_document,
    discovery_document,
    health_document,
    manifest_document,
    paths_document,
    registry_document,
    unreachable_document,
)
from meshd.answers.instant import InvalidTimeError, instant
from meshd.answers.mesh import (
    Running,
    Tally,
    claims_document,
    denied_document,
    events_document,
    roots_document,
    status_document,
    sweep_document,
    tally,
)
from meshd.answers.topology import (
    access_document,
    route_document,
    rules_document,
    topology_document,
)

__all__ = [
    "InvalidTimeError",
    "Running",
    "Tally",
    "access_document",
    "agent_document",
    "claims_document",
    "denied_document",
    "discovery_document",
    "events_document",
    "health_document",
    "instant",
    "manifest_document",
    "paths_document",
    "registry_document",
    "roots_document",
    "route_document",
    "rules_document",
    "status_document",
    "sweep_document",
    "tally",
    "topology_document",
    "unreachable_document",
]
