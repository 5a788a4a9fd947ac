"""What every answer promises, whatever it is about."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from meshd import answers
from meshd.answers import Running
from meshd.core.model import (
    ClaimOutcome,
    RootState,
)
from tests.answers.filled import NOW_NS, STATE, Base, agent, claim, unreachable

if TYPE_CHECKING:
    import pytest


def test_a_path_that_is_not_utf8_survives_as_ascii_json(base: Base) -> None:
    path = os.fsdecode(b"/root/caf\xe9")
    base.put(agent("a", project_path=path, last_path=path))

    text = json.dumps(answers.registry_document(base.registry, NOW_NS), ensure_ascii=True)

    assert r"caf\udce9" in text
    assert json.loads(text)["agents"][0]["projectPath"] == path


def test_answers_are_plain_values(base: Base) -> None:
    base.put(agent("a"), unreachable("b", flags=("x",)), claim("b", ClaimOutcome.ABSENT))
    running = Running(1, STATE, {"/root": RootState("/root", healthy=True)})

    for document in (
        answers.registry_document(base.registry, NOW_NS),
        answers.status_document(base.registry, NOW_NS, running),
        answers.claims_document(base.registry),
    ):
        assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_a_record_is_shown_the_same_alone_as_in_the_list(base: Base) -> None:
    base.put(agent("a"), RootState("/root", healthy=True))

    assert answers.agent_document(base.registry, "/root/a", NOW_NS) == base.listed()["a"]
    assert answers.agent_document(base.registry, "none", NOW_NS) is None


def test_an_agent_that_goes_while_it_is_asked_for_is_nobody(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    base.put(agent("a"))
    record = base.registry.record("a")
    base.connection.execute("DELETE FROM agents")
    monkeypatch.setattr(base.registry, "record", lambda _: record)

    assert answers.agent_document(base.registry, "a", NOW_NS) is None


def test_answering_needs_neither_web_framework_nor_validator() -> None:
    code = "import sys, meshd.answers; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()

    heavy = {"pydantic", "pydantic_settings", "fastapi", "starlette", "uvicorn", "structlog"}
    assert heavy.isdisjoint(loaded)
