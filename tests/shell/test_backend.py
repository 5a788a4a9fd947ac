"""What `watch.backend` asks for is what watches, or the log says what does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import structlog

from meshd.assembly import assemble
from meshd.clock import SystemClock
from meshd.config.settings import Settings, WatchSettings
from meshd.opening import open_store

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("backend", "wanted"),
    [
        pytest.param("auto", "inotify", id="takes inotify"),
        pytest.param("inotify", "inotify", id="inotify"),
        pytest.param("fanotify", "fanotify", id="fanotify"),
        pytest.param("none", None, id="nothing"),
    ],
)
def test_the_watcher_is_made_for_the_backend_that_was_asked_for(
    tmp_path: Path, backend: str, wanted: str | None
) -> None:
    log = structlog.testing.CapturingLogger()
    clock = SystemClock()
    store = open_store(tmp_path, clock).store
    settings = Settings(watch=WatchSettings.model_validate({"backend": backend}))
    try:
        parts = assemble(settings, store, clock, structlog.wrap_logger(log, processors=[]))
    finally:
        store.writer.stop()
        store.writer.run()
        store.close_readers()
    prefers = parts.watcher and ("inotify", "fanotify")[parts.watcher.prefers_fanotify]
    assert (prefers, log.calls) == (wanted, [])
