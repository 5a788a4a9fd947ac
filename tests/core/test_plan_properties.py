"""The plan over histories: whatever the disk did, every invariant holds at every step.

A history is a list of disks. Each is looked at, whole or in part, closed, and committed as the
daemon does it: gains first, then costs. So every registry a plan meets is one that plans made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hypothesis import example, given, settings
from hypothesis import strategies as st

from meshd.core.model import FileIdentity, Git, Observation, Reason
from meshd.core.plan import plan
from meshd.core.snapshot import snapshot
from meshd.core.verdict import SweepContext, judge
from tests.core.batches import (
    GRACE,
    OTHER_FILESYSTEM,
    ROOTS,
    Disk,
    R,
    S,
    absent,
    circumstances,
    dork_of,
    invalid,
    manifest,
    present,
    scope,
    unknown,
)
from tests.core.invariants import check_everything

if TYPE_CHECKING:
    from meshd.core.verdict import Circumstances, Known

IDS = ("a", "b", "c", "d")
PATHS = ("/r", "/r/x", "/r/y", "/r/deep/1", "/r/nested/x", "/s/x", "/s/y")
BIND = FileIdentity(5, 5)


class Step(NamedTuple):
    """One state of the world, and what of it is looked at."""

    looks: dict[str, Observation]
    asked: frozenset[str]
    given: Circumstances


def found(path: str) -> st.SearchStrategy[Observation]:
    """Return looks at a path: mostly plain ones."""
    there = st.builds(
        lambda agent_id, name, git, bind: present(
            path,
            agent_id,
            manifest=manifest(agent_id, name=name),
            git=git,
            dork=BIND if bind else dork_of(path),
        ),
        st.sampled_from(IDS),
        st.sampled_from(("agent", "renamed")),
        st.sampled_from(Git),
        st.sampled_from((False, False, False, True)),
    )
    gone = st.sampled_from(
        (
            absent(path),
            absent(path, Reason.MANIFEST_MISSING),
            absent(path, filesystem=OTHER_FILESYSTEM),
        )
    )
    bad = st.sampled_from((invalid(path), unknown(path), invalid(path, Reason.EMPTY)))
    return st.one_of(there, there, gone, bad)


@st.composite
def worlds(draw: st.DrawFn) -> Circumstances:
    """Return what a batch may rest on: sick roots, denials, changes of scope, a sweep."""
    sick = draw(st.sets(st.sampled_from(ROOTS), max_size=1))
    denied = draw(st.frozensets(st.sampled_from(PATHS[1:]), max_size=1))
    roots = draw(st.sampled_from((ROOTS, ROOTS, ROOTS, (R, S), (R,))))
    depth = draw(st.sampled_from((3, 3, 1)))
    clocks = st.fixed_dictionaries(
        {}, optional={root: st.sampled_from((0.0, GRACE / 2, GRACE, 3 * GRACE)) for root in ROOTS}
    )
    sweep = draw(st.none() | st.builds(SweepContext, st.integers(1, 3), clocks, st.just(GRACE)))
    return circumstances(
        *sick,
        scope=scope(roots=roots, denied=denied, max_depth=depth),
        sweep=sweep,
        incumbents=draw(st.dictionaries(st.sampled_from(IDS), st.sampled_from(PATHS), max_size=1)),
        held=draw(st.frozensets(st.sampled_from(IDS), max_size=1)),
    )


@st.composite
def steps(draw: st.DrawFn) -> Step:
    looks = draw(st.fixed_dictionaries({path: found(path) for path in PATHS}))
    asked = draw(st.frozensets(st.sampled_from(PATHS), min_size=1))
    return Step(looks, asked, draw(worlds()))


HISTORIES = st.lists(steps(), min_size=1, max_size=4)


def shown(step: Step) -> list[Observation]:
    return [step.looks[path] for path in PATHS]


@given(HISTORIES, st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_every_invariant_holds_along_any_history(history: list[Step], random) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - random.Random
    disk = Disk({})
    for step in history:
        disk.looks = step.looks
        looks = disk.close(step.asked, step.given)
        random.shuffle(looks)
        _, disk.holds = check_everything(disk.holds, looks, step.given)


@given(HISTORIES)
@settings(max_examples=60)
def test_gains_and_costs_are_closed_apart_and_come_to_what_they_come_to_together(
    history: list[Step],
) -> None:
    disk = Disk({})
    for step in history:
        disk.looks = step.looks
        looks = disk.close(step.asked, step.given)
        costly = disk.costly(looks, step.given)
        gains = [look for look in looks if look.path not in costly]
        costs = [look for look in looks if look.path in costly]
        together = Disk(step.looks, disk.holds)
        together.commit(looks, step.given)
        for part in (gains, costs):
            # What is parted from a batch that is closed needs no further look.
            assert {look.path for look in disk.close({one.path for one in part}, step.given)} == {
                look.path for look in part
            }
        before = disk.holds
        disk.commit(gains, step.given)
        check_nothing_is_taken(before, disk.holds, step.given)
        check_everything(disk.holds, costs, step.given)
        disk.commit(costs, step.given)
        assert disk.holds == together.holds


def check_nothing_is_taken(before: Known, after: Known, given: Circumstances) -> None:
    """R7: without a second look a row loses its place only by an act of the operator."""
    for agent_id, row in before.rows.items():
        now = after.rows.get(agent_id)
        if now is None or now.holder_path != row.holder_path or (row.live and not now.live):
            assert given.scope.judge(row.holder_path).refusal is not None, "taken on one look"


@given(HISTORIES)
@settings(max_examples=60)
def test_one_healthy_look_at_everything_brings_the_registry_to_the_disk(
    history: list[Step],
) -> None:
    """I1 and I20: whatever was before, for every id found there is one live row, at its path."""
    disk = Disk({})
    for step in history:
        disk.looks = step.looks
        disk.commit(disk.close(step.asked, step.given), step.given)
    disk.looks = {
        path: look if look.manifest is not None else absent(path)
        for path, look in history[-1].looks.items()
    }
    well = circumstances()

    disk.commit(disk.close({*PATHS, *disk.holds.claims}, well), well)

    on_disk = {look.manifest.id for look in disk.looks.values() if look.manifest is not None}
    live = {row.id: row for row in disk.holds.rows.values() if row.live}
    assert live.keys() == on_disk
    for agent_id, row in live.items():
        look = disk.looks[str(row.project_path)]
        assert look.manifest is not None
        assert (look.manifest.id, look.manifest.name) == (agent_id, row.name)


@given(HISTORIES)
@settings(max_examples=60)
def test_the_change_log_alone_tells_the_registry(history: list[Step]) -> None:
    """Replayed from the beginning, before and after of every change give every row."""
    disk, told = Disk({}), dict[str, dict[str, object]]()
    for step in history:
        disk.looks = step.looks
        for change in disk.commit(disk.close(step.asked, step.given), step.given).changes:
            if change.before is None and change.after is None:
                continue
            if "reason" in (change.after or {}):  # of a claim
                continue
            was = told.pop(str(change.agent_id), {})
            assert {field: was[field] for field in change.before or {}} == (change.before or {})
            if change.after is not None:
                told[str(change.agent_id)] = {**was, **change.after}
    assert told == {agent_id: snapshot(row) for agent_id, row in disk.holds.rows.items()}


@given(steps(), steps())
@settings(max_examples=60)
def test_nothing_is_lost_while_nobody_can_look(before: Step, blind: Step) -> None:
    """Every root sick, or every look without an answer: no row changes at all."""
    disk = Disk(before.looks)
    disk.commit(disk.close(PATHS, circumstances()), circumstances())
    rows = disk.holds.rows
    every_root_sick = circumstances(*ROOTS, sweep=blind.given.sweep)
    disk.commit(disk.close(PATHS, every_root_sick), every_root_sick)
    assert disk.holds.rows == rows

    disk.looks = {path: unknown(path) for path in PATHS}
    well = circumstances(sweep=blind.given.sweep)
    disk.commit(disk.close(PATHS, well), well)
    assert disk.holds.rows == rows


@given(steps())
@example(Step({path: present(path, "a") for path in PATHS}, frozenset(PATHS), circumstances()))
@settings(max_examples=60)
def test_one_sweep_comes_to_the_same_in_whatever_batches_it_is_seen(step: Step) -> None:
    """All claims of one sweep are simultaneous: whom the walk met first does not matter."""
    whole, pieces = Disk(step.looks), Disk(step.looks)
    given_sweep = circumstances(sweep=SweepContext(1, {}, GRACE))
    whole.commit(whole.close(PATHS, given_sweep), given_sweep)
    for path in reversed(PATHS):
        pieces.commit(pieces.close([path], given_sweep), given_sweep)

    live = [
        {row.id: _place(row.project_path, one) for row in one.holds.rows.values()}
        for one in (whole, pieces)
    ]
    assert live[0] == live[1]


def _place(path: str | None, disk: Disk) -> FileIdentity | None:
    # Through a bind mount one directory has several paths, and any of them will do.
    return None if path is None else disk.looks[path].dork


@given(steps())
def test_planning_leaves_its_input_alone(step: Step) -> None:
    disk = Disk(step.looks)
    disk.commit(disk.close(PATHS, step.given), step.given)
    looks = [absent(path) for path in PATHS]
    verdicts = judge(looks, disk.holds, step.given)
    before = (dict(disk.holds.rows), dict(disk.holds.claims), dict(verdicts))

    plan(disk.holds, verdicts, step.given)

    assert before == (disk.holds.rows, disk.holds.claims, verdicts)
