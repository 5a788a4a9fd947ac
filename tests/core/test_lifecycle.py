"""Every pair of a row's state and an event, against the design told a second time."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from meshd.core.lifecycle import TRANSITIONS, Event, RowState, state_of, transition
from meshd.core.model import Agent, Kind, Reason, Status
from tests.core.batches import agent, displaced, lost, unscanned

NONE, ACTIVE, GONE, OUT = (
    RowState.NONE,
    RowState.ACTIVE,
    RowState.UNREACHABLE,
    RowState.UNSCANNED,
)

# (state, event): (next state, what the log is told), as the rows of "What a look means" say.
EXPECTED: dict[tuple[RowState, Event], tuple[RowState, Kind | None]] = {
    # present, same id, same path
    (NONE, Event.CONFIRMED): (ACTIVE, Kind.REGISTERED),
    (ACTIVE, Event.CONFIRMED): (ACTIVE, None),
    (GONE, Event.CONFIRMED): (ACTIVE, Kind.RETURNED),
    (OUT, Event.CONFIRMED): (ACTIVE, Kind.RETURNED),
    # present, id known elsewhere, and that path lets go
    (ACTIVE, Event.MOVED): (ACTIVE, Kind.RELOCATED),
    (GONE, Event.MOVED): (ACTIVE, Kind.RELOCATED),
    (OUT, Event.MOVED): (ACTIVE, Kind.RELOCATED),
    # absent
    (ACTIVE, Event.LOST): (GONE, Kind.UNREACHABLE),
    (GONE, Event.LOST): (GONE, None),
    (OUT, Event.LOST): (GONE, Kind.UNREACHABLE),
    # path held A, now says B
    (ACTIVE, Event.DISPLACED): (GONE, Kind.DISPLACED),
    (GONE, Event.DISPLACED): (GONE, Kind.DISPLACED),
    (OUT, Event.DISPLACED): (GONE, Kind.DISPLACED),
    # invalid, and unknown: could not tell is never gone, and never back
    (ACTIVE, Event.INVALID): (ACTIVE, None),
    (GONE, Event.INVALID): (GONE, None),
    (OUT, Event.INVALID): (OUT, None),
    (ACTIVE, Event.UNKNOWN): (ACTIVE, None),
    (GONE, Event.UNKNOWN): (GONE, None),
    (OUT, Event.UNKNOWN): (OUT, None),
    # unreachable for the whole grace, and absent again
    (GONE, Event.EXPIRED): (NONE, Kind.REMOVED),
    # acts of the operator
    (ACTIVE, Event.DENIED): (NONE, Kind.DENIED),
    (GONE, Event.DENIED): (NONE, Kind.DENIED),
    (OUT, Event.DENIED): (NONE, Kind.DENIED),
    (ACTIVE, Event.OUT_OF_SCOPE): (OUT, Kind.UNSCANNED),
    (GONE, Event.OUT_OF_SCOPE): (OUT, Kind.UNSCANNED),
    (OUT, Event.OUT_OF_SCOPE): (OUT, None),
    (ACTIVE, Event.FORGOTTEN): (NONE, Kind.FORGOTTEN),
    (GONE, Event.FORGOTTEN): (NONE, Kind.FORGOTTEN),
    (OUT, Event.FORGOTTEN): (NONE, Kind.FORGOTTEN),
    (ACTIVE, Event.UNREGISTERED): (NONE, Kind.UNREGISTERED),
    (GONE, Event.UNREGISTERED): (NONE, Kind.UNREGISTERED),
    (OUT, Event.UNREGISTERED): (NONE, Kind.UNREGISTERED),
}
PAIRS = list(product(RowState, Event))


@pytest.mark.parametrize(("state", "event"), [pair for pair in PAIRS if pair in EXPECTED])
def test_an_event_that_can_happen_leads_where_the_design_says(
    state: RowState, event: Event
) -> None:
    assert transition(state, event) == EXPECTED[state, event]


@pytest.mark.parametrize(("state", "event"), [pair for pair in PAIRS if pair not in EXPECTED])
def test_an_event_that_cannot_happen_is_refused_by_name(state: RowState, event: Event) -> None:
    before = {one: dict(events) for one, events in TRANSITIONS.items()}

    with pytest.raises(LookupError, match=f"^bug: {event} cannot happen to a row that is {state}$"):
        transition(state, event)

    assert before == TRANSITIONS


def test_the_table_is_asked_about_every_pair() -> None:
    assert len(PAIRS) == len(RowState) * len(Event)
    assert EXPECTED.keys() <= set(PAIRS)


@pytest.mark.parametrize(
    ("row", "state"),
    [
        pytest.param(None, NONE, id="no row"),
        pytest.param(agent("a", "/r/x"), ACTIVE, id="active"),
        pytest.param(lost("a", "/r/x"), GONE, id="unreachable"),
        pytest.param(displaced("a", "/r/x"), GONE, id="unreachable and without a path"),
        pytest.param(unscanned("a", "/r/x"), OUT, id="unscanned"),
        pytest.param(
            replace(lost("a", "/r/x"), unscanned=Reason.NO_ROOT), OUT,
            id="unreachable before it was unscanned",
        ),
    ],
)  # fmt: skip
def test_a_row_stands_in_exactly_one_state(row: Agent | None, state: RowState) -> None:
    assert state_of(row) is state


def test_only_an_active_row_is_routed() -> None:
    rows = [
        agent("a", "/r/x"),
        lost("a", "/r/x"),
        unscanned("a", "/r/x"),
        replace(lost("a", "/r/x"), unscanned=Reason.NO_ROOT),
    ]

    assert [row.live for row in rows] == [state_of(row) is ACTIVE for row in rows]
    assert rows[1].status is Status.UNREACHABLE
