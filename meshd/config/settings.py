"""The settings, section by section, with their defaults.

Owns what may be configured and what a valid value is. Assumes that paths are already
absolute (`meshd.config.layers` resolves them, because only the file that names a path knows
what it is relative to). Promises: a `Settings` that exists is valid and does not change.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from meshd.config.duration import Duration, PositiveDuration

_NAMESPACE = re.compile(r"[a-z0-9-]{1,64}", re.ASCII)
_MODE = re.compile(r"0?[0-7]{3}", re.ASCII)
_LISTEN = re.compile(r"(?:127\.[0-9.]+|localhost|\[::1\]):[0-9]{1,5}", re.ASCII)
_LAST_PORT = 65535


def _namespace(text: str) -> str:
    if not _NAMESPACE.fullmatch(text):
        raise ValueError(f'"{text}" is not a namespace: 1 to 64 of a-z, 0-9 and "-"')
    return text


def _mode(text: str) -> str:
    if not _MODE.fullmatch(text):
        raise ValueError(f'"{text}" is not a file mode, write it as "0600"')
    return text


def _loopback(text: str) -> str:
    """Refuse anything but loopback: a token over a plain network is no protection."""
    if not _LISTEN.fullmatch(text) or int(text.rpartition(":")[2]) > _LAST_PORT:
        raise ValueError(f'"{text}" is not a loopback address, write it as "127.0.0.1:4390"')
    return text


def _without_nul(text: str) -> str:
    """Refuse what no system call takes as a path."""
    if "\0" in text:
        raise ValueError("must not hold a NUL character")
    return text


Flag = Annotated[bool, Field(strict=True)]
Count = Annotated[int, Field(strict=True, ge=1)]
Depth = Annotated[int, Field(strict=True, ge=0, le=64)]
Limit = Annotated[int | None, Field(strict=True, ge=1)]
Name = Annotated[str, Field(min_length=1), AfterValidator(_without_nul)]
Namespace = Annotated[str, AfterValidator(_namespace)]
AgentId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]


class _Section(BaseModel):
    """A table of the configuration: unknown keys are errors, values do not change."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _require_roots(paths: Iterable[str], info: ValidationInfo) -> None:
    """Refuse a path that is not a root; roots that are themselves wrong are reported alone."""
    for path in paths:
        if "roots" in info.data and path not in info.data["roots"]:
            raise ValueError(f'"{path}" is not one of scan.roots')


class ScanSettings(_Section):
    """What is scanned.

    Attributes:
        roots: absolute, resolved directories.
        exclude: directory names, or globs relative to the root, that are left out.
        exclude_defaults: whether the built-in exclusions are left out too.
        max_depth: levels below its root at which a project may lie.
        namespaces: by root, the namespaces its manifests may claim.
        isolated: roots looked at by a worker process of their own.
    """

    roots: tuple[Name, ...] = ()
    exclude: tuple[Name, ...] = ()
    exclude_defaults: Flag = True
    max_depth: Depth = 5
    namespaces: Mapping[Name, tuple[Namespace, ...]] = Field(default_factory=dict)
    isolated: tuple[Name, ...] = ()

    @field_validator("namespaces")
    @classmethod
    def _limit_configured_roots(
        cls, value: Mapping[str, tuple[str, ...]], info: ValidationInfo
    ) -> Mapping[str, tuple[str, ...]]:
        _require_roots(value, info)
        return value

    @field_validator("isolated")
    @classmethod
    def _isolate_configured_roots(
        cls, value: tuple[str, ...], info: ValidationInfo
    ) -> tuple[str, ...]:
        _require_roots(value, info)
        return value


class SweepSettings(_Section):
    """When the disk is compared with the registry, and when an absent agent is removed.

    Attributes:
        interval: seconds between sweeps.
        full_every: every how many sweeps everything is read again.
        grace: seconds of observed absence before an unreachable agent is removed.
    """

    interval: PositiveDuration = 300.0
    full_every: Count = 12
    grace: Duration = 86400.0


class WatchSettings(_Section):
    """How changes are noticed between sweeps.

    Attributes:
        settle: seconds a project must be quiet before it is looked at.
        settle_max: seconds after which it is looked at although it is not quiet.
    """

    backend: Literal["auto", "inotify", "fanotify", "none"] = "auto"
    settle: Duration = 0.2
    settle_max: Duration = 2.0

    @field_validator("settle_max")
    @classmethod
    def _not_below_settle(cls, value: float, info: ValidationInfo) -> float:
        if value < info.data.get("settle", 0.0):
            raise ValueError("must not be shorter than watch.settle")
        return value


class StoreSettings(_Section):
    """Where the registry is kept.

    Attributes:
        directory: the state directory; None for the place the session offers.
        keep_changes: seconds the change log reaches back.
    """

    directory: Name | None = None
    keep_changes: PositiveDuration = 7_776_000.0


class ApiSettings(_Section):
    """How programs reach the daemon.

    Attributes:
        socket: path of the Unix socket; None for the place the session offers.
        socket_mode: its permission bits, in octal.
        token_file: file that holds the bearer token `listen` asks for.
        listen: a loopback HOST:PORT to listen on as well; None for none.
    """

    socket: Name | None = None
    socket_mode: Annotated[str, AfterValidator(_mode)] = "0600"
    token_file: Name | None = None
    listen: Annotated[str, AfterValidator(_loopback)] | None = None

    @field_validator("listen")
    @classmethod
    def _requires_a_token(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("token_file", "") is None:
            raise ValueError("needs api.token_file: anyone on this host could connect")
        return value


class RelaySettings(_Section):
    """Whom the relay trusts.

    Attributes:
        system: ids of the agents that everyone may reach, and that may reach everyone.
    """

    system: tuple[AgentId, ...] = ()


class LimitSettings(_Section):
    """Ceilings against floods; None for no limit (faults 48 and 49)."""

    manifests_per_root: Limit = None
    directories_per_root: Limit = None
    agents_per_owner: Limit = None


class LogSettings(_Section):
    """What is logged, and how it is written."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json", "journal"] = "auto"


class Settings(BaseSettings):
    """The whole configuration. `meshd.config.load` makes it; `Settings()` is the defaults."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid")

    scan: ScanSettings = ScanSettings()
    sweep: SweepSettings = SweepSettings()
    watch: WatchSettings = WatchSettings()
    store: StoreSettings = StoreSettings()
    api: ApiSettings = ApiSettings()
    relay: RelaySettings = RelaySettings()
    limits: LimitSettings = LimitSettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic-settings'
        init_settings: PydanticBaseSettingsSource,
        *_: object,
        **_others: object,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read nothing unasked: `load` adds the sources it was handed."""
        return (init_settings,)
