"""What the daemon answers is what its published description says, whatever is asked."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.result import Ok

from meshd.api import events
from meshd.services import ReloadOutcome
from tests.api.running import Daemon

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from schemathesis import Case
    from schemathesis.schemas import APIOperation, BaseSchema

    Operation = APIOperation[Any, Any, Any, Any]

TOKEN = "open-sesame"
EXAMPLES = 8

pytestmark = [
    pytest.mark.slow,
    # Of schemathesis' own strategies, now and then.
    pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies"),
]
load_all_checks()
CHECKED: Any = CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "negative_data_rejection",
        "missing_required_header",
        "unsupported_method",
    ]
)
"""All but those about authentication in the description, and one: what a description allows may
still be refused, for a path has to lie in a root and an agent has to exist."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    directory = tmp_path_factory.mktemp("served").resolve()
    with (
        contextlib.closing(Daemon(directory, TOKEN)) as running,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(events, "WAIT_LIMIT_SECONDS", 0.01)
        running.reloaded.set_result(ReloadOutcome(1, (), ()))
        for name in ("a", "b"):
            running.agent(name)
        running.get("/status")  # the thread that reads is not one that a test has started
        yield running


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as one:
        one.trust_env = False
        one.headers["authorization"] = f"Bearer {TOKEN}"
        yield one


@pytest.fixture(scope="module")
def schema(served: Daemon, session: requests.Session) -> BaseSchema:
    base = f"http://127.0.0.1:{served.port}"
    document = session.get(f"{base}/openapi.json").json()
    found: BaseSchema = schemathesis.openapi.from_dict(document)
    found.config.update(base_url=base)
    return found


def check(operation: Operation, mode: GenerationMode, ask: Callable[[Case[Any]], object]) -> int:
    """Ask what an operation can be asked, and return how often that was."""
    asked = []

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def examples(case: Case[Any]) -> None:
        asked.append(case)
        ask(case)

    examples()
    return len(asked)


def operations(schema: BaseSchema) -> list[Operation]:
    """Return every operation, those last that take agents away."""
    found = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
    return sorted(found, key=lambda one: one.method == "delete")


def test_what_is_asked_as_described_is_answered_as_described(
    schema: BaseSchema, session: requests.Session
) -> None:
    for operation in operations(schema):
        check(
            operation,
            GenerationMode.POSITIVE,
            lambda case: case.call_and_validate(session=session, checks=CHECKED),
        )


def test_what_is_asked_otherwise_is_refused(schema: BaseSchema, session: requests.Session) -> None:
    asked = 0
    for operation in operations(schema):
        with contextlib.suppress(Unsatisfiable):  # any text is an id, and some routes ask nothing
            asked += check(
                operation,
                GenerationMode.NEGATIVE,
                lambda case: case.call_and_validate(session=session, checks=CHECKED),
            )
    assert asked > 10 * EXAMPLES


def test_what_is_there_is_answered_as_described(
    served: Daemon, schema: BaseSchema, session: requests.Session
) -> None:
    """As the first, but about agents and projects that exist."""
    for name in ("new", "quiet"):
        (served.root / name).mkdir()
    answered = set()

    def ask(case: Case[Any]) -> None:
        make_real(case, served)
        if case.call_and_validate(session=session, checks=CHECKED).status_code < 300:
            answered.add(case.operation.label)

    for operation in operations(schema):
        check(operation, GenerationMode.POSITIVE, ask)
    assert {one.label for one in operations(schema)} - answered == {
        # These need a root or a denial of that very name, and two agents in the query.
        "POST /api/mesh/roots/accept",
        "DELETE /api/mesh/denied/{path}",
        "GET /api/mesh/route",
    }


def make_real(case: Case[Any], served: Daemon) -> None:
    """Let a case name what is there."""
    if "agent_id" in case.path_parameters:
        case.path_parameters["agent_id"] = "b" if case.path.endswith("/data") else "a"
    body = case.body if isinstance(case.body, dict) else {}
    if "path" in body:
        name = "quiet" if case.path.endswith("/deny") else "new"
        body.update(path=str(served.root / name))
        body.pop("scanRoot", None)
    if "roots" in body:
        body.update(roots=[str(served.root)])
    if "overrides" in body:
        body.update(overrides={"name": "new", "runtime": "codex"})
