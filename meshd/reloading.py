"""Taking a new configuration while the daemon runs: one path for every way to ask for it.

Owns what SIGHUP, `meshd reload` and an edit of the file do, and the checks that a
configuration must pass besides its own. Assumes that the main thread reloads; any thread may
ask. Promises: a refused configuration changes nothing and is told to everybody who asked; a
key that needs a restart is named until there is one.
"""

from __future__ import annotations

import os
import queue
import sys
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from meshd.config import RESTART_KEYS, differences, state_directory, watched_files
from meshd.core.model import Source
from meshd.errors import ConfigError, MeshdError
from meshd.mounts import may_hang
from meshd.roots import scope_of
from meshd.sandbox import notices
from meshd.services import ReloadOutcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from structlog.typing import FilteringBoundLogger

    from meshd.assembly import Parts
    from meshd.clock import Clock
    from meshd.config import Settings
    from meshd.log import Log
    from meshd.sdnotify import Notifier


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What outlives one opening of the store.

    Attributes:
        reload: reads the configuration anew; raises ConfigError.
        config_path: the file it was read from, None when there is none.
        environ: the environment.
    """

    reload: Callable[[], Settings]
    config_path: Path | None
    environ: Mapping[str, str]
    log: Log
    clock: Clock
    notifier: Notifier


class Rereadable(Protocol):
    """What is read from a file of its own, and anew at each reload."""

    def reread(self) -> None:
        """Take what the file holds now.

        Raises:
            ConfigError: it holds nothing that serves; nothing is changed.
        """
        ...


def keeping(new: Settings, running: Settings) -> Settings:
    """Return new settings with the sections that need a restart as the process runs with them."""
    return new.model_copy(
        update={"store": running.store, "api": running.api, "watch": running.watch}
    )


def check_places(settings: Settings, state: Path) -> None:
    """Refuse places that would make the daemon watch itself or lose its database.

    Raises:
        ConfigError: a root is `/`, the state directory is scanned, or it lies on a network
            file system, where SQLite's locks do not hold (fault 121).
    """
    if not sys.platform.startswith("linux"):
        raise ConfigError("meshd runs on Linux only")
    scope = replace(scope_of(settings.scan), max_depth=sys.maxsize)
    if "/" in settings.scan.roots:
        raise ConfigError("the root / would scan the whole machine", hint="name a directory")
    resolved = os.path.realpath(state)
    if scope.judge(resolved).refusal is None:
        raise ConfigError(
            f"store.directory: {resolved} lies in the scanned root {scope.owner(resolved)}",
            hint="set store.directory outside the roots, or below a dot-directory",
        )
    if may_hang(resolved):
        raise ConfigError(
            f"store.directory: {resolved} is on a network file system",
            hint="set store.directory to a directory on a local disk",
        )


def tell_confined(settings: Settings, logger: FilteringBoundLogger) -> tuple[str, ...]:
    """Log which roots the service keeps from the daemon, and return that for people."""
    told = notices(settings.scan.roots)
    for notice in told:
        logger.warning("root_confined", why=notice)
    return told


class Reloader:
    """Takes configurations for one life of the actors.

    Attributes:
        settings: the configuration in force.
        generation: its number; the one the daemon started with is 1.
        refused: why the newest configuration was refused, None when it was not.
    """

    def __init__(
        self,
        settings: Settings,
        surroundings: Surroundings,
        parts: Parts,
        token: Rereadable | None = None,
    ) -> None:
        self.settings = settings
        self._token = token
        self.generation = 1
        self.refused: str | None = None
        self._started_with = settings
        self._surroundings = surroundings
        self._parts = parts
        self._waiting: queue.SimpleQueue[Future[ReloadOutcome]] = queue.SimpleQueue()
        self._files = self._file_signatures()

    def ask(self) -> Future[ReloadOutcome]:
        """Return what the next reload resolves."""
        future: Future[ReloadOutcome] = Future()
        self._waiting.put(future)
        return future

    def cancel(self) -> None:
        """Answer those who still ask: there will be no reload."""
        for future in self._those_who_wait():
            future.cancel()

    def is_edited(self) -> bool:
        """Whether a configuration file looks otherwise than at the last reload."""
        return self._file_signatures() != self._files

    def reload(self) -> None:
        """Take the configuration as it is now, and answer everybody who asked for it."""
        waiting = self._those_who_wait()
        log, notifier = self._surroundings.log.logger, self._surroundings.notifier
        notifier.reloading()
        before, self._files = self._files, self._file_signatures()
        try:
            outcome = self._take(self._surroundings.reload())
        except MeshdError as error:
            # An alarm is raised once: a request after an edit often meets what the edit did.
            is_known = (error.message, before) == (self.refused, self._files)
            tell = log.info if is_known else log.error
            tell("reload_refused", why=error.message, what_to_do=error.hint)
            self.refused = error.message
            for future in waiting:
                future.set_exception(error)
        else:
            self.refused = None
            log.info(
                "reloaded",
                generation=outcome.generation,
                changed=list(outcome.changed),
                needs_restart=list(outcome.needs_restart),
            )
            for future in waiting:
                future.set_result(outcome)
        notifier.ready()

    def _those_who_wait(self) -> list[Future[ReloadOutcome]]:
        waiting = []
        while not self._waiting.empty():
            waiting.append(self._waiting.get_nowait())
        return waiting

    def _take(self, new: Settings) -> ReloadOutcome:
        check_places(new, state_directory(self._started_with, self._surroundings.environ))
        if self._token is not None:
            self._token.reread()
        changed = tuple(differences(self.settings, new))
        self._surroundings.log.change(new.log.level, new.log.format)
        self._parts.configure(new)
        self.settings = new
        self.generation += 1
        if any(key.startswith(("scan.", "limits.")) for key in changed):
            # What a root may hold or claim has changed, so every manifest is judged anew.
            self._parts.sweeper.request(Source.SWEEP, full=True)
        # Against what the daemon runs with: such a key stays named until it is restarted.
        restart = tuple(key for key in differences(self._started_with, new) if key in RESTART_KEYS)
        return ReloadOutcome(
            self.generation, changed, restart, tell_confined(new, self._surroundings.log.logger)
        )

    def _file_signatures(self) -> list[tuple[str, int, int]]:
        """Return how the configuration files look, to see an edit."""
        signatures = []
        for path in watched_files(self._surroundings.config_path):
            try:
                status = path.stat()
            except OSError:
                continue
            signatures.append((str(path), status.st_mtime_ns, status.st_ino))
        return signatures
