"""Durations as the configuration writes them: a number and a unit.

Owns the one reading of `"200ms"`, `"5m"`, `"24h"`. Promises: a bare number, a sign or an
unknown unit is refused with an example, so that 5 never means seconds to one reader and
minutes to another.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h|d)", re.ASCII)


def parse_duration(value: object) -> float:
    """Return a written duration in seconds.

    Raises:
        ValueError: it is not a number followed by ms, s, m, h or d.
    """
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f'write a duration with its unit, for example "5m", not {_shown(value)}')
    return float(match[1]) * _SECONDS[match[2]]


def parse_positive_duration(value: object) -> float:
    """Return a written duration in seconds; zero is refused.

    Raises:
        ValueError: it is not a duration, or it is zero.
    """
    seconds = parse_duration(value)
    if seconds == 0:
        raise ValueError('must be longer than zero, for example "5m"')
    return seconds


def _shown(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


Duration = Annotated[float, BeforeValidator(parse_duration)]
PositiveDuration = Annotated[float, BeforeValidator(parse_positive_duration)]
