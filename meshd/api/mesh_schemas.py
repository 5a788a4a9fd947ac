"""The shapes of answers about the mesh and of acts on manifests, for `/openapi.json`.

Owns the published description of these documents, as `meshd.api.schemas` does of the others.
"""

# Annotations here are read at run time by the framework, so they are not postponed.

from typing import Any, Final, Literal

from pydantic import Field

from meshd.api.schemas import Failure, ListedAgent, ManifestAnswer, PeerFailure, Shape
from meshd.core.access import Action, Rule

PEER_ROUTE: Final[dict[int | str, dict[str, Any]]] = {
    400: {"model": PeerFailure, "description": "The request is not valid."},
    "default": {"model": PeerFailure, "description": "A failure; `error` says which."},
}
"""What a route of the peer answers when it fails."""

OWN_ROUTE: Final[dict[int | str, dict[str, Any]]] = {
    "default": {"model": Failure, "description": "A failure; `code` says which."}
}


class RegisteredAnswer(ManifestAnswer):
    """A manifest that was written."""

    pending: bool = Field(
        default=False, description="True while the relay has yet to confirm the endpoint."
    )


class UnregisteredAnswer(Shape):
    """What became of an agent's files and of its id, or would become of them."""

    success: Literal[True]
    deleted_path: str | None = Field(description="Null when nothing was there to remove.")
    successor: str | None = Field(description="The path that holds the id from now on.")


class ReachableAgent(ManifestAnswer):
    """A manifest, and where its agent is."""

    project_path: str | None


class AccessAnswer(Shape):
    """The agents that one may reach."""

    agents: list[ReachableAgent]


class TopologyAgent(ListedAgent):
    """A manifest, where its agent is, and how it is reached."""

    project_path: str | None
    relay_adapters: list[str]
    relay_subject: str | None
    task_count: int


class TopologyNamespace(Shape):
    """A namespace and its agents."""

    namespace: str
    agent_count: int
    agents: list[TopologyAgent]


class AccessRule(Shape):
    """Whether one namespace may reach another."""

    source_namespace: str
    target_namespace: str
    action: Action
    origin: Literal["default", "explicit"]


class TopologyAnswer(Shape):
    """The mesh as one namespace sees it, or all of it."""

    caller_namespace: str
    namespaces: list[TopologyNamespace]
    access_rules: list[AccessRule]
    open_mesh: bool


class RouteAnswer(Shape):
    """Whether one agent may reach another."""

    allowed: bool
    subject: str | None = Field(description="Where to send; null when it may not.")
    rule: Rule | None = Field(description="What decided; null when no rule was asked.")
    reason: str


class ListedRule(AccessRule):
    """A rule and its age."""

    created_at: str | None = Field(description="Null for a default rule.")


class RulesAnswer(Shape):
    """The rules between namespaces, default and explicit."""

    rules: list[ListedRule]


class Hints(Shape):
    """What a manifest of a candidate could say."""

    suggested_name: str
    detected_runtime: str
    inferred_capabilities: list[str] | None = None
    description: str | None = None


class CandidateEntry(Shape):
    """A directory that speaks of an agent and has no manifest."""

    path: str
    strategy: str
    hints: Hints
    discovered_at: str


class DiscoverAnswer(Shape):
    """The candidates that were found."""

    candidates: list[CandidateEntry]
    truncated: bool = Field(description="Whether the search ended before all was seen.")
