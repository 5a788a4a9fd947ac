"""The mesh as one namespace sees it.

Owns which agents, namespaces and rules are shown to whom: what a namespace may not reach is not
there at all, and no rule gives it away. Assumes agents that may be discovered. Promises the
same answer as `access.decide` gives for an ordinary agent of the namespace.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from meshd.core.access import ANY, Action, may_see, reachable_namespaces
from meshd.core.endpoints import Origin

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from meshd.core.access import ExplicitRules
    from meshd.core.model import Agent


class ListedRule(NamedTuple):
    """A rule between namespaces as answers list it; `*` is every namespace."""

    source: str
    target: str
    action: Action
    origin: Origin


@dataclass(frozen=True, slots=True)
class Topology:
    """What one namespace may see.

    Attributes:
        namespaces: by name, the agents in it; none is empty.
        rules: the rules between what is seen, the default ones first.
    """

    namespaces: Mapping[str, Sequence[Agent]]
    rules: Sequence[ListedRule]


def topology(
    agents: Iterable[Agent], caller: str, explicit: ExplicitRules, system_ids: Collection[str]
) -> Topology:
    """Return the mesh as a namespace sees it.

    Args:
        agents: those that may be discovered.
        caller: a namespace, or `*` for the operator, who sees everything.
        explicit: the operator's rules.
        system_ids: ids of `[relay] system`; everyone sees them.
    """
    agents = list(agents)
    namespaces: dict[str, list[Agent]] = {}
    for agent in agents:
        if may_see(caller, agent, explicit, system_ids):
            namespaces.setdefault(agent.namespace, []).append(agent)
    named = {name for pair in explicit for name in pair} - {ANY}
    seen = {ANY, caller, *namespaces, *reachable_namespaces(caller, named, explicit)}
    shown = {pair: action for pair, action in explicit.items() if seen.issuperset(pair)}
    trusted = system_namespaces(agents, system_ids)
    return Topology(
        {name: namespaces[name] for name in sorted(namespaces)},
        rules_between(namespaces, shown, trusted),
    )


def system_namespaces(agents: Iterable[Agent], system_ids: Collection[str]) -> frozenset[str]:
    """Return the namespaces in which every agent is a system agent."""
    agents = list(agents)
    ordinary = {agent.namespace for agent in agents if agent.id not in system_ids}
    return frozenset(agent.namespace for agent in agents) - ordinary


def rules_between(
    namespaces: Iterable[str], explicit: ExplicitRules, system: Collection[str] = ()
) -> list[ListedRule]:
    """Return the rules that hold between namespaces: the default ones, then the operator's.

    Args:
        namespaces: those whose default rules are listed.
        explicit: the operator's rules that are listed.
        system: namespaces in which every agent is a system agent. The rule that opens such a
            one both ways stands in place of the one that closes it, which never decides.
    """
    listed = []
    for name in sorted(namespaces):
        trusted = name in system
        outward = Action.ALLOW if trusted else Action.DENY
        listed.append(ListedRule(name, name, Action.ALLOW, Origin.DEFAULT))
        listed.append(ListedRule(name, ANY, outward, Origin.DEFAULT))
        if trusted:
            listed.append(ListedRule(ANY, name, Action.ALLOW, Origin.DEFAULT))
    for (source, target), action in sorted(explicit.items()):
        listed.append(ListedRule(source, target, action, Origin.EXPLICIT))
    return listed
