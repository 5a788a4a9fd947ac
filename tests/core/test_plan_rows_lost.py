"""What a look means, the rows of the table in which none is found or may be, by name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshd.core.model import (
    Kind,
    Reason,
)
from tests.core.batches import (
    GRACE,
    NESTED,
    NOW,
    OTHER_FILESYSTEM,
    R,
    absent,
    agent,
    circumstances,
    claim,
    displaced,
    duplicate,
    invalid,
    lost,
    present,
    scope,
    sweep,
    unknown,
    unscanned,
)
from tests.core.cases import (
    ABSENT,
    GONE_X,
    HOLDS_X,
    INVALID,
    OUT_X,
    UNREADABLE,
    VALID,
    Case,
    X,
    Y,
    check,
    check_again,
)

GONE = {
    "the project is gone": Case(
        [absent(X, Reason.PROJECT_MISSING)],
        **HOLDS_X,
        told=((Kind.UNREACHABLE, "a", X),),
        after=(lost("a", X, None),),
        judged=((X, ABSENT),),
    ),
    "the manifest is gone": Case(
        [absent(X, Reason.MANIFEST_MISSING)],
        **HOLDS_X,
        told=((Kind.UNREACHABLE, "a", X),),
        after=(lost("a", X, None, unreachable_reason=Reason.MANIFEST_MISSING),),
        judged=((X, ABSENT),),
    ),
    "a sweep keeps the observed clock's value": Case(
        [absent(X)],
        **HOLDS_X,
        given=circumstances(sweep=sweep(NOW)),
        told=((Kind.UNREACHABLE, "a", X),),
        after=(lost("a", X, NOW),),
        judged=((X, ABSENT),),
    ),
    "an absence an event reported is first observed by the next sweep": Case(
        [absent(X)],
        rows=(lost("a", X, None),),
        claims=GONE_X["claims"],
        given=circumstances(sweep=sweep(NOW)),
        after=(lost("a", X, NOW),),
    ),
    "absent still, its grace not over: nothing": Case(
        [absent(X)], **GONE_X, given=circumstances(sweep=sweep(NOW + GRACE - 0.5))
    ),
    "the reason changes: updated, and the clock runs on": Case(
        [absent(X, Reason.MANIFEST_MISSING)],
        **GONE_X,
        given=circumstances(sweep=sweep(NOW + 5)),
        told=((Kind.UPDATED, "a", X),),
        after=(lost("a", X, unreachable_reason=Reason.MANIFEST_MISSING),),
        judged=((X, ABSENT),),
    ),
    "absent for the whole grace, and again in this sweep: removed": Case(
        [absent(X)],
        **GONE_X,
        given=circumstances(sweep=sweep(NOW + GRACE)),
        told=((Kind.REMOVED, "a", X),),
        removed=("a",),
        dropped=(X,),
    ),
    "displaced for the whole grace: removed, and the new owner is untouched": Case(
        [present(X, "b")],
        rows=(displaced("a", X), agent("b", X)),
        claims=(claim(X, "b"),),
        given=circumstances(sweep=sweep(NOW + GRACE)),
        told=((Kind.REMOVED, "a", X),),
        removed=("a",),
    ),
    "outside of a sweep nobody is removed": Case([absent(X)], **GONE_X),
    "before every root is walked nobody is removed": Case(
        [absent(X)], **GONE_X, given=circumstances(sweep=replace(sweep(NOW + GRACE), clocks={}))
    ),
    "a walk of its own root that did not end removes nobody": Case(
        [absent(X)],
        **GONE_X,
        given=circumstances(sweep=replace(sweep(), clocks={"/s": NOW + GRACE})),
    ),
    "a root that another one now owns the path of starts the absence anew": Case(
        [absent("/r/nested/x")],
        rows=(replace(lost("a", "/r/nested/x", 1.0), scan_root=R),),
        given=circumstances(sweep=sweep(NOW)),
        told=((Kind.UPDATED, "a", "/r/nested/x"),),
        after=(lost("a", "/r/nested/x", NOW),),
        judged=(("/r/nested/x", ABSENT),),
    ),
    "found again in the sweep that would remove it: returned": Case(
        [present(X, "a")],
        **GONE_X,
        given=circumstances(sweep=sweep(NOW + GRACE)),
        told=((Kind.RETURNED, "a", X),),
        after=(agent("a", X),),
        judged=((X, VALID),),
    ),
    "found elsewhere in the sweep that would remove it: relocated": Case(
        [absent(X), present(Y, "a")],
        **GONE_X,
        given=circumstances(sweep=sweep(NOW + GRACE)),
        told=((Kind.RELOCATED, "a", Y),),
        after=(agent("a", Y),),
        judged=((Y, VALID),),
        dropped=(X,),
    ),
    "an absence where nothing is known is nothing": Case([absent(X)]),
    "a claim that is gone is dropped": Case(
        [absent(Y)], claims=(claim(Y, None, outcome=INVALID),), dropped=(Y,)
    ),
}

BAD = {
    "invalid where there is no row: a claim only": Case(
        [invalid(X)], told=((Kind.INVALID, None, X),), judged=((X, INVALID),)
    ),
    "invalid at an active row: it keeps its last good fields": Case(
        [invalid(X, Reason.SYMLINK)],
        **HOLDS_X,
        told=((Kind.INVALID, "a", X),),
        judged=((X, INVALID),),
    ),
    "invalid at an unreachable row: its clock starts anew": Case(
        [invalid(X)],
        **GONE_X,
        given=circumstances(sweep=sweep(NOW + GRACE)),
        told=((Kind.INVALID, None, X),),
        after=(lost("a", X, None),),
        judged=((X, INVALID),),
    ),
    "invalid at an unscanned row: not routed on a bad look": Case(
        [invalid(X)], **OUT_X, told=((Kind.INVALID, None, X),), judged=((X, INVALID),)
    ),
    "invalid for another reason than before: told again": Case(
        [invalid(X, Reason.EMPTY)],
        rows=(agent("a", X),),
        claims=(claim(X, "a", outcome=INVALID, reason=Reason.NOT_JSON),),
        told=((Kind.INVALID, "a", X),),
        judged=((X, INVALID),),
    ),
    "invalid as before: nothing": Case(
        [invalid(X)],
        rows=(agent("a", X),),
        claims=(claim(X, "a", outcome=INVALID, reason=Reason.NOT_JSON),),
    ),
    "valid again: told": Case(
        [present(X, "a")],
        rows=(agent("a", X),),
        claims=(claim(X, "a", outcome=INVALID, reason=Reason.NOT_JSON),),
        told=((Kind.VALID, "a", X),),
        judged=((X, VALID),),
    ),
    "unknown at an active row: frozen and unconfirmed": Case(
        [unknown(X)], **HOLDS_X, judged=((X, UNREADABLE),)
    ),
    "unknown at an unreachable row: its clock is kept, and nobody is removed": Case(
        [unknown(X)],
        **GONE_X,
        given=circumstances(sweep=sweep(NOW + GRACE)),
        judged=((X, UNREADABLE),),
    ),
    "unknown at an unscanned row: nothing": Case([unknown(X)], **OUT_X, judged=((X, UNREADABLE),)),
    "a sick root freezes rows and claims, absent or not": Case(
        [absent(X)], **HOLDS_X, given=circumstances(R, sweep=sweep(NOW + GRACE))
    ),
    "a sick root keeps an unreachable row beyond its grace": Case(
        [absent(X)], **GONE_X, given=circumstances(R, sweep=sweep(NOW + GRACE))
    ),
    "a sick nested root freezes though the outer one is healthy": Case(
        [absent("/r/nested/x")],
        rows=(agent("a", "/r/nested/x"),),
        claims=(claim("/r/nested/x", "a"),),
        given=circumstances(NESTED),
    ),
    "absent, with the disk it lay on not mounted: frozen": Case(
        [absent(X, filesystem=OTHER_FILESYSTEM)], **HOLDS_X, judged=((X, UNREADABLE),)
    ),
}

DENIED_X = scope(denied=frozenset({X}))
OUT_OF_SCOPE = {
    "denied: the row leaves": Case(
        [unknown(X)],
        **HOLDS_X,
        given=circumstances(scope=DENIED_X),
        told=((Kind.DENIED, "a", X),),
        removed=("a",),
        dropped=(X,),
    ),
    "denied while its root is sick: the row leaves": Case(
        [unknown(X)],
        **HOLDS_X,
        given=circumstances(R, scope=DENIED_X),
        told=((Kind.DENIED, "a", X),),
        removed=("a",),
        dropped=(X,),
    ),
    "denied, while another path claims the id: that one takes over": Case(
        [unknown(X), present(Y, "a")],
        rows=(agent("a", X),),
        claims=(claim(X, "a"), duplicate(Y, "a")),
        given=circumstances(scope=DENIED_X),
        told=((Kind.RELOCATED, "a", Y),),
        after=(agent("a", Y),),
        judged=((Y, VALID),),
        dropped=(X,),
    ),
    "denied, and what lived there before it too": Case(
        [unknown(X)],
        rows=(agent("a", X), displaced("b", X)),
        claims=(claim(X, "a"),),
        given=circumstances(scope=DENIED_X),
        told=((Kind.DENIED, "a", X), (Kind.DENIED, "b", X)),
        removed=("a", "b"),
        dropped=(X,),
    ),
    "excluded: not routed, not expired": Case(
        [unknown("/r/excluded/x")],
        rows=(agent("a", "/r/excluded/x"),),
        given=circumstances(sweep=sweep(NOW + GRACE)),
        told=((Kind.UNSCANNED, "a", "/r/excluded/x"),),
        after=(unscanned("a", "/r/excluded/x"),),
    ),
    "too deep": Case(
        [unknown("/r/1/2/3/4")],
        rows=(agent("a", "/r/1/2/3/4"),),
        told=((Kind.UNSCANNED, "a", "/r/1/2/3/4"),),
        after=(unscanned("a", "/r/1/2/3/4", Reason.TOO_FAR_DOWN),),
    ),
    "its root is taken out of the configuration; what its file system was is kept": Case(
        [unknown("/gone/x")],
        rows=(agent("a", "/gone/x", scan_root="/gone"),),
        claims=(claim("/gone/x", "a", root="/gone"),),
        told=((Kind.UNSCANNED, "a", "/gone/x"),),
        after=(unscanned("a", "/gone/x", Reason.NO_ROOT, scan_root="/gone"),),
        judged=(("/gone/x", ABSENT),),
    ),
    "an unreachable row out of scope does not expire: its clock starts anew": Case(
        [unknown("/gone/x")],
        rows=(lost("a", "/gone/x", scan_root="/gone"),),
        given=circumstances(sweep=sweep(NOW + GRACE)),
        told=((Kind.UNSCANNED, "a", "/gone/x"),),
        after=(lost("a", "/gone/x", None, scan_root="/gone", unscanned=Reason.NO_ROOT),),
    ),
    "out of scope still: nothing": Case(
        [unknown("/r/excluded/x")], rows=(unscanned("a", "/r/excluded/x"),)
    ),
    "out of scope for another reason: updated": Case(
        [unknown("/gone/x")],
        rows=(unscanned("a", "/gone/x", Reason.EXCLUDED, scan_root="/gone"),),
        told=((Kind.UPDATED, "a", "/gone/x"),),
        after=(unscanned("a", "/gone/x", Reason.NO_ROOT, scan_root="/gone"),),
    ),
    "a claim in scope relocates it": Case(
        [unknown("/r/excluded/x"), present(Y, "a")],
        rows=(unscanned("a", "/r/excluded/x"),),
        told=((Kind.RELOCATED, "a", Y),),
        after=(agent("a", Y),),
        judged=((Y, VALID),),
    ),
    "in scope again, and absent: unreachable": Case(
        [absent(X)],
        **OUT_X,
        given=circumstances(sweep=sweep(NOW)),
        told=((Kind.UNREACHABLE, "a", X),),
        after=(lost("a", X, NOW),),
        judged=((X, ABSENT),),
    ),
    "in scope again, absent, with a clock from before: only what is observed now counts": Case(
        [absent(X)],
        rows=(lost("a", X, NOW - GRACE, unscanned=Reason.EXCLUDED),),
        given=circumstances(sweep=sweep(NOW)),
        told=((Kind.UNREACHABLE, "a", X),),
        after=(lost("a", X, NOW),),
        judged=((X, ABSENT),),
    ),
    "in scope again, and another id lives there: displaced": Case(
        [present(X, "b")],
        **OUT_X,
        told=((Kind.DISPLACED, "a", X), (Kind.REGISTERED, "b", X)),
        after=(displaced("a", X, None), agent("b", X)),
        judged=((X, VALID),),
    ),
    "in scope again, its disk not mounted: frozen": Case(
        [absent(X, filesystem=OTHER_FILESYSTEM)],
        **OUT_X,
        claims=(claim(X, None, outcome=ABSENT, reason=Reason.EXCLUDED, dork=None),),
        judged=((X, UNREADABLE),),
    ),
}

CASES = {**GONE, **BAD, **OUT_OF_SCOPE}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_look_means(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_same_look_again_means_nothing(case: Case) -> None:
    check_again(case)
