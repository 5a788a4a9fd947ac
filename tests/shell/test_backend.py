"""What `watch.backend` asks for is what watches, and what is not watched is swept more often."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import structlog

from meshd.assembly import assemble
from meshd.clock import SystemClock
from meshd.config.settings import ScanSettings, Settings, WatchSettings
from meshd.opening import open_store
from meshd.watcher.inotify import Inotify
from tests.watcher.test_shortage import with_limit

if TYPE_CHECKING:
    from pathlib import Path

    from meshd.assembly import Parts


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


def test_what_is_not_watched_wholly_is_swept_every_minute_until_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path.resolve() / "root"
    (root / "directory").mkdir(parents=True)
    clock = SystemClock()
    store = open_store(tmp_path, clock).store
    settings = Settings(scan=ScanSettings.model_validate({"roots": [str(root)]}))
    parts = assemble(settings, store, clock, structlog.get_logger())
    assert parts.watcher is not None
    try:
        with monkeypatch.context() as patch:
            patch.setattr(Inotify, "add", with_limit(2))  # the canary and the root
            parts.watcher.open()
            walk(parts)
            assert parts.sweeper._cadence_now().interval == 60.0
        parts.watcher._watches.retry()
        walk(parts)
        assert parts.sweeper._cadence_now().interval == settings.sweep.interval == 300.0
    finally:
        parts.watcher._close()
        store.writer.stop()
        store.writer.run()
        store.close_readers()


def walk(parts: Parts) -> None:
    """Walk as a sweep does, and place watches on the way."""
    view = parts.shared.roots.view
    for looker in view.lookers.values():
        for _ in looker.walk(view.scope, full=False, stop=lambda: False):
            pass
