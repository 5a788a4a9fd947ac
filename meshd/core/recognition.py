"""Whether what lies at a root is the root we knew, although its identity changed.

Owns the majority rule of design §What a look means: most known manifests are there with
their ids. No evidence is no recognition; then only the operator can say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from meshd.core.model import Observation


def recognises(ids: Mapping[str, str], looks: Iterable[Observation]) -> bool:
    """Whether most of the paths hold the ids they are known for.

    Args:
        ids: by path, the id of every row that the registry has below the root.
        looks: what lies at those paths now.
    """
    same = sum(
        look.manifest is not None and look.manifest.id == ids.get(look.path) for look in looks
    )
    return 2 * same > len(ids)
