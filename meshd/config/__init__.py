"""The configuration: read, checked, compared.

Owns the way from files, environment and flags to one `Settings`. Assumes nothing of what it
reads. Promises: all or nothing (a configuration with one error is not applied at all), every
error listed with its file and line, and no reading of the process's own environment.

Weakest first: defaults, `config.toml`, `conf.d/*.toml`, MESHD_SECTION__KEY, flags. Tables are
merged; a list replaces the weaker list.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from meshd import places
from meshd.config.layers import KeyPath, Layer, Problem, Reading
from meshd.config.schema import nearest_key
from meshd.config.settings import Settings
from meshd.errors import ConfigError
from meshd.places import find_config, runtime_directory, watched_files

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

__all__ = [
    "RESTART_KEYS",
    "Settings",
    "differences",
    "find_config",
    "load",
    "runtime_directory",
    "socket_path",
    "state_directory",
    "watched_files",
]

# What a running daemon has bound, opened or started, and cannot exchange.
RESTART_KEYS = frozenset(
    {
        "store.directory",
        "api.socket",
        "api.socket_mode",
        "api.listen",
        "api.token_file",
        "watch.backend",
    }
)


def load(
    path: Path | None,
    *,
    environ: Mapping[str, str],
    overrides: Mapping[str, object] | None = None,
) -> Settings:
    """Read a configuration from all its places.

    Args:
        path: the configuration file, as `find_config` or a flag names it; None for none.
        environ: the environment; relative paths in it start from the current directory.
        overrides: what the flags say, section -> key -> value; relative paths likewise.

    Raises:
        ConfigError: something in it is wrong; one line for each error.
    """
    reading = Reading(environ)
    for file in watched_files(path.absolute() if path else None):
        reading.add_file(file)
    if reading.problems:  # half a configuration would only be blamed for what it lacks
        raise _refusal(reading.problems)
    here = Path.cwd()
    reading.add_environment(here)
    reading.add_flags(overrides or {}, here)
    try:
        settings = _merge(reading.layers)
    except ValidationError as error:
        found = [_problem(details, reading.layers) for details in error.errors()]
        raise _refusal([*reading.problems, *found]) from None
    if reading.problems:
        raise _refusal(reading.problems)
    return settings


def state_directory(settings: Settings, environ: Mapping[str, str]) -> Path:
    """Return the directory of the database; it need not exist yet."""
    return places.state_directory(settings.store.directory, environ)


def socket_path(settings: Settings, environ: Mapping[str, str]) -> Path:
    """Return where the daemon listens."""
    return places.socket_path(settings.api.socket, state_directory(settings, environ), environ)


def differences(old: Settings, new: Settings) -> list[str]:
    """Return the keys whose values differ, as `section.key`, sorted."""
    before, after = _flat(old), _flat(new)
    return sorted(key for key, value in after.items() if before[key] != value)


class _LayerSource(PydanticBaseSettingsSource):
    """One layer, as pydantic-settings merges it."""

    def __init__(self, settings_cls: type[BaseSettings], layer: Layer) -> None:
        super().__init__(settings_cls)
        self._layer = layer

    def get_field_value(
        self,
        field: FieldInfo,  # noqa: ARG002 - the signature is pydantic-settings'
        field_name: str,
    ) -> tuple[object, str, bool]:
        return self._layer.values.get(field_name), field_name, False

    def __call__(self) -> dict[str, object]:
        # Whole, so that keys which do not exist reach the validation and are refused there.
        return self._layer.values


def _merge(layers: list[Layer]) -> Settings:
    """Let pydantic-settings merge and validate the layers, weakest first."""

    class Layered(Settings):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *_: object, **_others: object
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return tuple(_LayerSource(settings_cls, layer) for layer in reversed(layers))

    # The same values under the class everyone knows: models of two classes are never equal.
    return Settings.model_construct(**dict(Layered()))


def _refusal(problems: list[Problem]) -> ConfigError:
    return ConfigError("\n".join(map(str, problems)), hint="nothing of it was applied")


def _problem(details: ErrorDetails, layers: list[Layer]) -> Problem:
    """Say one validation error in our words, with the strongest place that holds the key."""
    location: KeyPath = details["loc"]
    return Problem(_place(location, layers), _key(location), _what(details))


def _place(location: KeyPath, layers: list[Layer]) -> str:
    """Return the place that says a key or, if none does, the nearest table above it."""
    for length in range(len(location), 0, -1):
        for layer in reversed(layers):
            if layer.says(location[:length]):
                return layer.place(location)
    return ""


def _key(location: KeyPath) -> str:
    """Write a location as TOML would: `scan.roots[2]`."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def _what(details: ErrorDetails) -> str:
    match details["type"]:
        case "extra_forbidden":
            section, *rest = (str(part) for part in details["loc"])
            return f"unknown key{nearest_key(section, rest[0] if rest else None)}"
        case "value_error":
            return str(details["ctx"]["error"])
        case "model_type" | "model_attributes_type" | "mapping_type":
            return "must be a table"
        case "tuple_type":
            return 'must be a list, for example ["a", "b"]'
        case _:
            return details["msg"].replace("Input should be", "must be")


def _flat(settings: Settings) -> dict[str, object]:
    """Return every setting by `section.key`."""
    sections: dict[str, BaseModel] = dict(settings)
    return {
        f"{section}.{key}": value for section, table in sections.items() for key, value in table
    }
