"""What libraries log by the standard library is an event of the log like any other."""

from __future__ import annotations

import io
import json
import logging
from typing import Any

from meshd.log import Log


def test_what_a_library_logs_is_an_event_until_the_log_is_closed() -> None:
    stream = io.StringIO()
    library = logging.getLogger("uvicorn.error")
    log = Log("info", "json", stream=stream, environ={})
    log.adopt(library.name)

    library.warning("left out")
    library.error("gone wrong at %s\n", "noon")
    nothing: dict[str, str] = {}
    try:
        nothing["why"]
    except KeyError:
        library.exception("with a traceback")
    log.close()

    first, second = events(stream)
    assert (first["event"], first["why"], first["library"]) == (
        "library_failed",
        "gone wrong at noon",
        "uvicorn.error",
    )
    assert "exception" not in first
    assert "KeyError: 'why'" in second["exception"]
    assert (library.handlers, library.propagate) == ([], True)


def events(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]
