"""What a look counts for: denied, then out of scope, then a sick root, then its outcome."""

from __future__ import annotations

import random

import pytest

from meshd.core.model import Claim, FileIdentity, Observation, Reason, RootState
from meshd.core.verdict import Circumstances, Stand, judge, rank, same_directory
from tests.core.batches import (
    FILESYSTEM,
    NESTED,
    OTHER_FILESYSTEM,
    R,
    S,
    absent,
    circumstances,
    claim,
    invalid,
    known,
    present,
    scope,
    unknown,
    worktree,
)

OUTCOMES = {
    Stand.PRESENT: lambda path: present(path, "a"),
    Stand.ABSENT: absent,
    Stand.INVALID: invalid,
    Stand.FROZEN: unknown,
}


def stand(
    look: Observation, given: Circumstances, before: Claim | None = None
) -> tuple[Stand, str, Reason | None]:
    claims = [] if before is None else [before]
    verdict = judge([look], known((), claims), given)[look.path]
    return verdict.stand, verdict.root, verdict.reason


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize(
    ("path", "given", "expected"),
    [
        pytest.param(
            "/r/excluded/x",
            circumstances(R, scope=scope(denied=frozenset({"/r/excluded"}))),
            (Stand.DENIED, R, Reason.DENIED),
            id="denied goes before excluded and sick",
        ),
        pytest.param(
            "/elsewhere",
            circumstances(scope=scope(denied=frozenset({"/elsewhere"}))),
            (Stand.DENIED, "", Reason.DENIED),
            id="denied goes before no root",
        ),
        pytest.param(
            "/r/excluded/x",
            circumstances(R),
            (Stand.UNSCANNED, R, Reason.EXCLUDED),
            id="excluded goes before sick",
        ),
        pytest.param(
            "/r/1/2/3/4",
            circumstances(R),
            (Stand.UNSCANNED, R, Reason.TOO_FAR_DOWN),
            id="too deep goes before sick",
        ),
        pytest.param(
            "/gone/x",
            circumstances(),
            (Stand.UNSCANNED, "", Reason.NO_ROOT),
            id="its root was taken out of the configuration",
        ),
        pytest.param(
            "/r/x", circumstances(R), (Stand.FROZEN, R, Reason.ROOT_SICK), id="the root is sick"
        ),
        pytest.param(
            "/r/nested/x",
            circumstances(NESTED),
            (Stand.FROZEN, NESTED, Reason.ROOT_SICK),
            id="the longest root owns, also while it is sick",
        ),
        pytest.param(
            "/r/x",
            Circumstances(scope(), {S: RootState(S, healthy=True)}),
            (Stand.FROZEN, R, Reason.ROOT_SICK),
            id="a root never checked counts as sick",
        ),
    ],
)
def test_what_goes_before_the_look_decides_whatever_the_look_says(
    path: str,
    given: Circumstances,
    expected: tuple[Stand, str, Reason | None],
    outcome: Stand,
) -> None:
    assert stand(OUTCOMES[outcome](path), given) == expected


@pytest.mark.parametrize("path", ["/r/x", "/r/nested/x", "/r", "/r/nested/1/2/3"])
@pytest.mark.parametrize("outcome", OUTCOMES)
def test_a_look_on_a_healthy_root_counts_as_what_it_is(path: str, outcome: Stand) -> None:
    look = OUTCOMES[outcome](path)
    root = NESTED if path.startswith(NESTED) else R

    assert stand(look, circumstances()) == (outcome, root, look.reason)


def test_another_root_that_is_sick_is_no_reason() -> None:
    assert stand(absent("/r/x"), circumstances(NESTED, S))[0] is Stand.ABSENT
    assert stand(absent("/r/nested/x"), circumstances(R))[0] is Stand.ABSENT


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        pytest.param(FILESYSTEM, FILESYSTEM, Stand.ABSENT, id="on the same file system"),
        pytest.param(FILESYSTEM, OTHER_FILESYSTEM, Stand.FROZEN, id="its disk is not mounted"),
        pytest.param(None, OTHER_FILESYSTEM, Stand.ABSENT, id="nobody knows where it lay"),
        pytest.param(FILESYSTEM, None, Stand.ABSENT, id="nobody knows what lies there"),
    ],
)
def test_an_absence_counts_only_on_the_file_system_the_project_lay_on(
    before: str | None, now: str | None, expected: Stand
) -> None:
    look = absent("/r/x", filesystem=now)
    reason = Reason.OTHER_FILESYSTEM if expected is Stand.FROZEN else look.reason

    assert stand(look, circumstances(), claim("/r/x", "a", filesystem=before)) == (
        expected, R, reason,
    )  # fmt: skip


@pytest.mark.parametrize("outcome", [Stand.PRESENT, Stand.INVALID])
def test_what_is_there_to_see_counts_on_any_file_system(outcome: Stand) -> None:
    make = {Stand.PRESENT: lambda: present("/r/x", "a", filesystem=OTHER_FILESYSTEM),
            Stand.INVALID: lambda: invalid("/r/x", filesystem=OTHER_FILESYSTEM)}  # fmt: skip

    assert stand(make[outcome](), circumstances(), claim("/r/x", "a"))[0] is outcome


def test_of_several_looks_at_a_path_the_newest_counts_in_any_order() -> None:
    looks = [present("/r/x", "a", look=3), absent("/r/x", look=5), invalid("/r/x", look=4)]
    for _ in range(6):
        random.Random(0).shuffle(looks)
        assert judge(looks, known(), circumstances())["/r/x"].observation.look == 5


@pytest.mark.parametrize(
    ("look", "given", "releases"),
    [
        pytest.param(absent("/r/x"), circumstances(), True, id="absent"),
        pytest.param(present("/r/x", "b"), circumstances(), True, id="holds another id"),
        pytest.param(present("/r/x", "a"), circumstances(), False, id="holds it"),
        pytest.param(invalid("/r/x"), circumstances(), False, id="invalid: could be a torn save"),
        pytest.param(unknown("/r/x"), circumstances(), False, id="could not tell"),
        pytest.param(absent("/r/x"), circumstances(R), False, id="absent, but its root is sick"),
        pytest.param(present("/r/x", "b"), circumstances(R), False, id="another id, sick root"),
        pytest.param(unknown("/r/excluded"), circumstances(), True, id="out of scope"),
        pytest.param(
            unknown("/r/x"),
            circumstances(scope=scope(denied=frozenset({"/r"}))),
            True,
            id="denied",
        ),
    ],
)
def test_a_path_releases_an_id_only_when_it_is_known_not_to_hold_it(
    look: Observation, given: Circumstances, *, releases: bool
) -> None:
    assert judge([look], known(), given)[look.path].releases("a") is releases


def test_only_a_present_look_that_counts_holds_an_id() -> None:
    look = present("/r/x", "a")

    assert judge([look], known(), circumstances())["/r/x"].agent_id == "a"
    assert judge([look], known(), circumstances(R))["/r/x"].agent_id is None


def test_claims_are_ranked_by_inheritance_then_checkout_then_path() -> None:
    looks = [worktree("/r/a", "a"), present("/r/b", "a"), present("/r/c", "a"), present("/s", "a")]
    verdicts = judge(looks, known(), circumstances()).values()

    ranked = sorted(verdicts, key=lambda one: rank(one, {"a": "/s"}))

    assert [one.path for one in ranked] == ["/s", "/r/b", "/r/c", "/r/a"]


def test_two_paths_are_one_directory_when_they_show_one_inode() -> None:
    dork = FileIdentity(9, 9)
    looks = [
        present("/r/x", "a", dork=dork),
        present("/s/x", "a", dork=dork),
        present("/s/y", "a"),
        present("/s/z", "a", dork=None),
        present("/s/w", "a", dork=None),
    ]
    x, same, other, untold, untold_too = judge(looks, known(), circumstances()).values()

    assert same_directory(x, same)
    assert not same_directory(x, other)
    assert not same_directory(x, x)
    assert not same_directory(untold, untold_too)
