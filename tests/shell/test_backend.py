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
    ("backend", "watches", "told"),
    [
        pytest.param("auto", True, [], id="takes inotify"),
        pytest.param("inotify", True, [], id="is what there is"),
        pytest.param("none", False, [], id="was asked for"),
        pytest.param(
            "fanotify",
            True,
            [{"event": "backend_unavailable", "backend": "fanotify", "using": "inotify"}],
            id="is not built yet",
        ),
    ],
)
def test_a_backend_that_is_not_built_is_said_once_and_replaced(
    tmp_path: Path, backend: str, watches: bool, told: list[object]
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
    assert (watches, told) == (parts.watcher is not None, [call.kwargs for call in log.calls])
