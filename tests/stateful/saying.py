"""What a manifest says of an agent besides its name, as one text that can be compared.

Owns which fields a test varies: text, a list, an object, and one of a few words. Shares no code
with meshd: a manifest, and a row of the API, are documents with the same keys. Promises: two
texts are equal when and only when the fields are, defaults filled in.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

BUDGET: Final = {"maxHopsPerMessage": 5, "maxCallsPerHour": 100}
"""What a manifest without a budget has (design: §Manifest)."""


def fields(number: int) -> dict[str, Any]:
    """Return the varied fields for a number; each of them differs from one number to the next."""
    return {
        "description": f"is of {number}",
        "runtime": ("codex", "claude-code", "cursor")[number % 3],
        "capabilities": [f"can {one}" for one in range(number % 4)],
        "budget": {"maxHopsPerMessage": 1 + number % 5, "maxCallsPerHour": 100 + number % 7},
    }


def about(said: Mapping[str, Any]) -> str:
    """Return what a manifest or a row says, as one text."""
    return json.dumps(
        [
            said.get("description", ""),
            said["runtime"],
            list(said.get("capabilities", ())),
            sorted((BUDGET | dict(said.get("budget", {}))).items()),
        ]
    )
