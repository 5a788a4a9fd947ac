"""What may be asked of the registry, and that asking does not read all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from meshd.core.model import ClaimOutcome, Kind, Reason, RootState, Signature, Status
from meshd.core.plan import Plan
from meshd.store import apply, changelog, listing
from meshd.store.registry import Registry
from meshd.store.transactions import transaction
from tests.store.builders import AT, agent, change, claim, new_database, unreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import apsw

    from meshd.store.listing import Selection
    from meshd.store.registry import Record

JANUARY, FEBRUARY, MARCH = (f"2026-0{month}-01T00:00:00.000Z" for month in (1, 2, 3))


def listed(registry: Registry, selection: Selection) -> list[str]:
    return [row["id"] for row in registry.listed({"id": "id"}, selection)]


def ids(records: Iterable[Record]) -> list[str]:
    return [record.agent.id for record in records]


def test_unreachable_agents_are_listed_and_never_among_the_live(
    connection: apsw.Connection, registry: Registry
) -> None:
    apply.upsert_agents(
        connection,
        [
            agent("here"),
            agent("out", unscanned=Reason.EXCLUDED),
            unreachable("gone", JANUARY),
        ],
    )

    assert listed(registry, listing.unreachable()) == ["gone"]
    assert listed(registry, listing.live()) == ["here"]
    assert ids(registry.live_records()) == ["here"]
    assert ids(registry.records()) == ["gone", "here", "out"]


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (JANUARY, []),  # "before" leaves out the instant itself
        (FEBRUARY, ["january"]),
        ("2026-02-01T00:00:00.001Z", ["february", "january"]),
        (None, ["february", "january"]),
    ],
)
def test_unreachable_before_a_time(
    before: str | None, expected: list[str], connection: apsw.Connection, registry: Registry
) -> None:
    rows = [unreachable("january", JANUARY), unreachable("february", FEBRUARY), agent("here")]
    apply.upsert_agents(connection, rows)

    assert listed(registry, listing.unreachable(before)) == expected


def test_marking_unreachable_by_a_plan_puts_it_on_the_list_with_the_time(
    connection: apsw.Connection, registry: Registry
) -> None:
    apply.upsert_agents(connection, [agent("a"), agent("b")])
    lost = agent("a", status=Status.UNREACHABLE, unreachable_reason=Reason.PROJECT_MISSING)
    with transaction(connection):
        apply.apply(connection, Plan((change("a", Kind.UNREACHABLE),), rows=(lost,)), FEBRUARY)

    assert listed(registry, listing.unreachable(MARCH)) == ["a"]
    assert ids(registry.live_records()) == ["b"]
    assert registry.agents_per_root() == {"/r": (1, 2)}
    assert registry.waiting_roots() == {"/r"}


def test_a_record_says_what_confirms_its_agent(
    connection: apsw.Connection, registry: Registry
) -> None:
    rows = [agent("valid"), agent("torn"), agent("unseen"), agent("sick", scan_root="/s")]
    apply.upsert_agents(connection, [*rows, agent("new", scan_root="/unknown")])
    torn = claim("/r/torn", "torn", outcome=ClaimOutcome.INVALID, reason=Reason.NOT_JSON)
    apply.upsert_claims(connection, [claim("/r/valid", "valid"), torn, claim("/r/sick", "sick")])
    apply.upsert_roots(
        connection,
        [RootState("/r", healthy=True, observed_seconds=9.5), RootState("/s", healthy=False)],
    )

    found = {
        one.agent.id: (
            one.claim_outcome,
            one.claim_reason,
            one.root_healthy,
            one.root_observed_seconds,
        )
        for one in registry.records()
    }

    assert found == {
        "valid": (ClaimOutcome.VALID, None, True, 9.5),
        "torn": (ClaimOutcome.INVALID, "not-json", True, 9.5),
        "unseen": (None, None, True, 9.5),
        "sick": (ClaimOutcome.VALID, None, False, 0.0),
        "new": (None, None, False, 0.0),
    }


def test_a_reference_is_an_id_or_else_where_the_agent_lives_or_lived(
    connection: apsw.Connection, registry: Registry
) -> None:
    rows = [agent("a"), agent("lost", project_path=None, last_path="/r/\udcff")]
    apply.upsert_agents(connection, [*rows, agent("ghost", project_path=None, last_path="/r/a")])

    def found(reference: str) -> str | None:
        record = registry.record(reference)
        return None if record is None else record.agent.id

    assert [found(one) for one in ("a", "/r/a", "/r/\udcff", "/r/none", "\udcff")] == [
        "a",
        "a",  # who lives there goes before who lived there
        "lost",
        None,
        None,  # not UTF-8, so nobody's id
    ]


@pytest.mark.parametrize(
    ("directory", "expected"),
    [
        ("/a/b", ["/a/b", "/a/b/\udcff", "/a/b/c"]),  # not its siblings /a/b-, /a/b0 and /a/bc
        ("/a/b/", ["/a/b", "/a/b/\udcff", "/a/b/c"]),
        ("/a/b/c", ["/a/b/c"]),
        ("/a/none", []),
        ("/x", ["/x"]),
        ("/", ["/", "/a/b", "/a/b-", "/a/b/\udcff", "/a/b/c", "/a/b0", "/a/bc", "/x"]),
    ],
)
def test_paths_within_a_directory_are_its_own_and_those_below(
    directory: str, expected: list[str], connection: apsw.Connection, registry: Registry
) -> None:
    live = [agent("1", "/a/b"), agent("2", "/a/b-"), agent("3", "/a/bc"), agent("4", "/")]
    lost = [agent("5", project_path=None, last_path="/a/b/c")]
    # A row from before schema 3 may know no path at all; it is within nothing.
    old = [agent("6", project_path=None, last_path="")]
    apply.upsert_agents(connection, [*live, *lost, *old])
    claims = [claim(path, None) for path in ("/a/b/\udcff", "/a/b0", "/x", "/a/b")]
    apply.upsert_claims(connection, claims)

    assert sorted(registry.paths_within(directory)) == sorted(expected)


def test_contested_are_the_rows_whose_id_another_path_claims(
    connection: apsw.Connection, registry: Registry
) -> None:
    apply.upsert_agents(
        connection, [agent("a"), agent("b"), agent("lost", project_path=None, last_path="/r/l")]
    )
    twice = ClaimOutcome.DUPLICATE
    apply.upsert_claims(
        connection,
        [
            claim("/r/a", "a"),
            claim("/r/copy1", "a", outcome=twice),
            claim("/r/copy2", "a", outcome=twice),
            claim("/r/alias", "b", outcome=ClaimOutcome.ALIAS),
            claim("/r/copy3", "lost", outcome=twice),
            claim("/r/copy4", "nobody", outcome=twice),
        ],
    )

    assert registry.contested() == {"a": "/r/a"}


def test_unconfirmed_looks_are_the_paths_no_signature_may_excuse(
    connection: apsw.Connection, registry: Registry
) -> None:
    rows = [
        agent("fine"),
        agent("out", unscanned=Reason.EXCLUDED),
        agent("never-looked-at"),
        agent("unreadable"),
        unreachable("gone", JANUARY),
    ]
    apply.upsert_agents(connection, rows)
    claims = [claim("/r/fine", "fine"), claim("/r/out", "out"), claim("/r/gone", "gone")]
    locked = claim("/r/unreadable", "unreadable", outcome=ClaimOutcome.UNREADABLE)
    apply.upsert_claims(connection, [*claims, locked])

    assert sorted(registry.unconfirmed_looks()) == [
        "/r/gone",
        "/r/never-looked-at",
        "/r/out",
        "/r/unreadable",
    ]


def test_every_claim_has_a_signature_or_none_where_nothing_trusted_was_read(
    connection: apsw.Connection, registry: Registry
) -> None:
    signature = Signature(1, 2, 3, 2**63, 2**64)
    read = set(ClaimOutcome) - {ClaimOutcome.UNREADABLE, ClaimOutcome.ABSENT}
    apply.upsert_claims(
        connection,
        [
            claim(f"/r/{one}", None, outcome=one, signature=signature, looked_at_ns=5, look=6)
            for one in ClaimOutcome
        ],
    )

    assert {path: seen for path, seen, _ in registry.signatures()} == {
        f"/r/{one}": signature if one in read else None for one in ClaimOutcome
    }
    assert registry.highest_look() == 6


def test_claims_are_found_by_path_by_id_by_root_and_by_outcome(
    connection: apsw.Connection, registry: Registry
) -> None:
    here, there = claim("/r/a", "a"), claim("/s/a", "a", root="/s", outcome=ClaimOutcome.DUPLICATE)
    apply.upsert_claims(connection, [there, here])

    assert registry.claims_about(paths=["/r/a", "/none"]) == [here]
    assert sorted(one.path for one in registry.claims_about(ids=["a", "none"])) == ["/r/a", "/s/a"]
    assert registry.claims() == [here, there]
    assert registry.claims(ClaimOutcome.DUPLICATE) == [there]
    assert registry.claim_counts() == {"valid": 1, "duplicate": 1}


def test_rows_are_found_by_several_ids_and_paths_at_once(
    connection: apsw.Connection, registry: Registry
) -> None:
    moved = agent("b", project_path=None, last_path="/r/a")
    apply.upsert_agents(connection, [agent("a"), moved, agent("c")])

    assert [row.id for row in registry.agents_with(["c", "a", "none", "a'b"])] == ["c", "a"]
    assert sorted(row.id for row in registry.agents_at(["/r/a", "/r/none"])) == ["a", "b"]


# how the questions are answered

LARGE = 10_000
QUESTIONS: dict[str, Callable[[Registry], object]] = {
    "agent": lambda one: one.agent("a5"),
    "agents_with": lambda one: one.agents_with(["a5", "a6"]),
    "agents_at": lambda one: one.agents_at(["/r/a5"]),
    "record by id": lambda one: one.record("a5"),
    "record by path": lambda one: one.record("/r/a5"),
    "record by last path": lambda one: one.record("/r/none"),
    "unreachable": lambda one: listed(one, listing.unreachable()),
    "unreachable before": lambda one: listed(one, listing.unreachable(FEBRUARY)),
    "paths_within": lambda one: one.paths_within("/r/a5"),
    "claims of an outcome": lambda one: one.claims(ClaimOutcome.DUPLICATE),
    "ids_below": lambda one: one.ids_below("/r"),
    # asked before every commit
    "contested": lambda one: one.contested(),
    "changes_since": lambda one: one.changes_since(LARGE - 5),
    "newest_seq": lambda one: one.newest_seq(),
    "meta": lambda one: one.meta("epoch"),
}


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[apsw.Connection]:
    """A registry of ten thousand agents, a hundred unreachable, ten contested."""
    connection = new_database(tmp_path_factory.mktemp("large") / "meshd.db")
    names = [f"a{number}" for number in range(LARGE)]
    with transaction(connection):
        apply.upsert_agents(
            connection, [unreachable(n, JANUARY) if n.endswith("77") else agent(n) for n in names]
        )
        apply.upsert_claims(connection, [claim(f"/r/{name}", name) for name in names])
        copies = [claim(f"/c/{n}", n, outcome=ClaimOutcome.DUPLICATE) for n in names[:10]]
        apply.upsert_claims(connection, copies)
        changelog.append(connection, map(change, names), AT)
    yield connection
    connection.close()


def steps_of(question: Callable[[Registry], object], connection: apsw.Connection) -> list[str]:
    """Return how SQLite answers every statement of a question."""
    statements: list[tuple[str, apsw.Bindings | None]] = []

    def trace(_: apsw.Cursor, sql: str, bindings: apsw.Bindings | None) -> bool:
        statements.append((sql, bindings))
        return True

    connection.exec_trace = trace
    question(Registry(connection))
    connection.exec_trace = None

    return [
        step
        for sql, bindings in statements
        for *_, step in connection.execute(f"EXPLAIN QUERY PLAN {sql}", bindings)
    ]


@pytest.mark.parametrize("question", QUESTIONS)
def test_no_question_about_a_few_rows_reads_a_whole_table(
    question: str, large: apsw.Connection
) -> None:
    steps = steps_of(QUESTIONS[question], large)

    assert steps
    assert [step for step in steps if step.startswith("SCAN") and not _is_small(step)] == []


def test_the_ids_below_a_root_are_the_live_ones_or_else_those_that_lived_there(
    connection: apsw.Connection, registry: Registry
) -> None:
    gone = agent("b", project_path="/r/b", status=Status.UNREACHABLE)
    apply.upsert_agents(connection, [gone, agent("c", project_path="/s/c", scan_root="/s")])
    assert registry.ids_below("/r") == {"/r/b": "b"}
    apply.upsert_agents(connection, [agent("a")])
    assert registry.ids_below("/r") == {"/r/a": "a"}


def _is_small(step: str) -> bool:
    """Whether a scan is of something that is as short as the question."""
    return step.startswith(("SCAN wanted", "SCAN sqlite_sequence", "SCAN CONSTANT ROW"))
