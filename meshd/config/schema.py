"""The keys that exist, as the settings declare them.

Owns the questions about names: which keys a section has, which text forms a value takes, and
which key a misspelt one may have meant.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from inspect import isclass
from typing import TYPE_CHECKING, get_args, get_origin

from pydantic import BaseModel

from meshd.config.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic.fields import FieldInfo


def fields(section: str) -> Mapping[str, FieldInfo]:
    """Return the keys of one section with what they hold; none for an unknown section."""
    known = Settings.model_fields.get(section)
    model = known.annotation if known else None
    return model.model_fields if isclass(model) and issubclass(model, BaseModel) else {}


def every_key() -> list[tuple[str, str]]:
    """Return every setting as (section, key), in the order of their declaration."""
    return [(section, key) for section in Settings.model_fields for key in fields(section)]


def nearest_key(section: str, key: str | None) -> str:
    """Return `, did you mean "x"?` for an unknown key or section, or nothing.

    A key that another section has is named with that section.
    """
    if key is None:
        elsewhere = [f"{other}.{name}" for other, name in every_key() if name == section]
        return nearest(section, Settings.model_fields) or nearest(section, elsewhere, cutoff=0)
    elsewhere = [f"{other}.{name}" for other, name in every_key() if name == key]
    return nearest(key, fields(section)) or nearest(key, elsewhere, cutoff=0)


def nearest(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return `, did you mean "x"?` with the nearest of the known words, or nothing."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)
    return f', did you mean "{found[0]}"?' if found else ""


def from_text(text: str, known: FieldInfo) -> object:
    """Read an environment variable: JSON where the setting is no text, else as it stands."""
    kinds = (known.annotation, *get_args(known.annotation))
    if not any(kind in (int, bool) or get_origin(kind) in (tuple, Mapping) for kind in kinds):
        return text
    try:
        value: object = json.loads(text)
    except ValueError:
        return text
    return value
