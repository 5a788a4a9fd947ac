"""What a table of directories may hold under a scope.

Assumes that whoever calls holds the lock of the table. Promises that a directory out of bounds
leaves no watch behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meshd.core.scope import Scope
    from meshd.looker.nodes import Node
    from meshd.looker.table import NodeTable


def prune(table: NodeTable, scope: Scope) -> None:
    """Take out of a table what the scope leaves out, watches included."""
    prefix = table.root.rstrip("/") + "/"
    if scope.denies(table.root):
        table.leave(table.top)
    stack: list[tuple[Node, str, int]] = [(table.top, "", 0)]
    barriers = {*scope.denied, *scope.roots}
    while stack:
        node, relative, depth = stack.pop()
        for child in node.children:
            below = f"{relative}/{child.name}" if relative else child.name
            if depth >= scope.max_depth or scope.prunes(relative, child.name):
                table.drop(child)
            elif prefix + below in barriers:
                table.leave(child)
            else:
                stack.append((child, below, depth + 1))
