"""Which agent a person means.

Owns the ways to name one: its id, its path, its name, in this order. Assumes the rows of the
registry. Promises: what may mean several agents means none.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, TypeVar

from meshd.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable

    from meshd.cli.session import Reader
    from meshd.client import Document

METAVAR = "ID|PATH|NAME"
"""How the help writes a reference."""

# As `meshd.core.manifest` has it, which is slow to import.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", re.ASCII)

Answer = TypeVar("Answer")


def is_id(reference: str) -> bool:
    """Whether a reference may be an id."""
    return _ID.fullmatch(reference) is not None


def find(reader: Reader, reference: str) -> Document:
    """Return the row of the agent a person means.

    Raises:
        NotFoundError: none is meant, or more than one may be.
    """
    every = reader.registry()["agents"]
    path = os.path.realpath(reference)
    ways = (
        [agent for agent in every if agent["id"] == reference],
        [agent for agent in every if agent["projectPath"] == path],
        [agent for agent in every if agent["lastPath"] == path],
        [agent for agent in every if reference in (agent["name"], agent["displayName"])],
    )
    found: list[Document] = next(filter(None, ways), [])
    if not found:
        raise NotFoundError(f"there is no agent {reference}", hint="see meshd agents list")
    if len(found) > 1:
        ids = ", ".join(agent["id"] for agent in found)
        raise NotFoundError(f"{reference} may mean several agents", hint=f"say which: {ids}")
    return found[0]


def by_id(reader: Reader, reference: str, ask: Callable[[str], Answer]) -> Answer:
    """Ask about an agent by its id; the list of all is read only if it is named otherwise.

    Args:
        reader: knows all agents.
        reference: whom a person means.
        ask: asks about an id.

    Raises:
        NotFoundError: no agent is meant, or more than one may be.
    """
    if is_id(reference):
        try:
            return ask(reference)
        except NotFoundError:  # a name may look like an id
            return ask(find(reader, reference)["id"])
    return ask(find(reader, reference)["id"])
