"""What a look means, the rows of the table in which a manifest is found, by name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshd.core.model import (
    FileIdentity,
    Kind,
    Reason,
)
from tests.core.batches import (
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
    manifest,
    present,
    sweep,
    unknown,
    worktree,
)
from tests.core.cases import (
    ABSENT,
    ALIAS,
    DUPLICATE,
    GONE_X,
    HOLDS_X,
    INVALID,
    OUT_X,
    S1,
    UNREADABLE,
    VALID,
    Case,
    X,
    Y,
    Z,
    check,
    check_again,
)

ONE_DIRECTORY = FileIdentity(8, 8)

PRESENT = {
    "an unknown id at a free path is registered": Case(
        [present(X, "a")],
        told=((Kind.REGISTERED, "a", X),),
        after=(agent("a", X),),
        judged=((X, VALID),),
    ),
    "the root itself may be a project": Case(
        [present(R, "a")],
        told=((Kind.REGISTERED, "a", R),),
        after=(agent("a", R),),
        judged=((R, VALID),),
    ),
    "below two roots the longest owns": Case(
        [present("/r/nested/x", "a")],
        told=((Kind.REGISTERED, "a", "/r/nested/x"),),
        after=(replace(agent("a", "/r/nested/x"), scan_root=NESTED),),
        judged=(("/r/nested/x", VALID),),
    ),
    "the same id at the same path, equal: nothing": Case([present(X, "a")], **HOLDS_X),
    "the same id at the same path, differing: updated": Case(
        [present(X, "a", manifest=manifest("a", name="new", color="red"))],
        **HOLDS_X,
        told=((Kind.UPDATED, "a", X),),
        after=(agent("a", X, name="new", color="red"),),
    ),
    "a row that was damaged in the database is brought back to the file": Case(
        [present(X, "a")],
        rows=(agent("a", X, runtime="nonsense", capabilities=("root",)),),
        claims=(claim(X, "a"),),
        told=((Kind.UPDATED, "a", X),),
        after=(agent("a", X),),
    ),
    "unreachable and there again: returned": Case(
        [present(X, "a")],
        **GONE_X,
        told=((Kind.RETURNED, "a", X),),
        after=(agent("a", X),),
        judged=((X, VALID),),
    ),
    "displaced, and its last path holds it again: returned": Case(
        [present(X, "a")],
        rows=(displaced("a", X),),
        told=((Kind.RETURNED, "a", X),),
        after=(agent("a", X),),
        judged=((X, VALID),),
    ),
    "unscanned and in scope again: returned": Case(
        [present(X, "a")],
        **OUT_X,
        told=((Kind.RETURNED, "a", X),),
        after=(agent("a", X),),
        judged=((X, VALID),),
    ),
}

ELSEWHERE = {
    "its path is absent: relocated": Case(
        [absent(X), present(S1, "a")],
        **HOLDS_X,
        told=((Kind.RELOCATED, "a", S1),),
        after=(agent("a", S1),),
        judged=((S1, VALID),),
        dropped=(X,),
    ),
    "its path is a link that a move left behind, absent to a look: relocated": Case(
        [absent(X, Reason.PROJECT_MISSING), present("/r/nested/x", "a")],
        **HOLDS_X,
        told=((Kind.RELOCATED, "a", "/r/nested/x"),),
        after=(agent("a", "/r/nested/x"),),
        judged=(("/r/nested/x", VALID),),
        dropped=(X,),
    ),
    "its path holds another id: relocated": Case(
        [present(X, "b"), present(Y, "a")],
        **HOLDS_X,
        told=((Kind.RELOCATED, "a", Y), (Kind.REGISTERED, "b", X)),
        after=(agent("a", Y), agent("b", X)),
        judged=((X, VALID), (Y, VALID)),
    ),
    "the row is unreachable: relocated and reachable again": Case(
        [absent(X), present(Y, "a")],
        **GONE_X,
        told=((Kind.RELOCATED, "a", Y),),
        after=(agent("a", Y),),
        judged=((Y, VALID),),
        dropped=(X,),
    ),
    "the row is displaced, and its last path still holds another id: relocated": Case(
        [present(X, "b"), present(Y, "a")],
        rows=(displaced("a", X), agent("b", X)),
        claims=(claim(X, "b"),),
        told=((Kind.RELOCATED, "a", Y),),
        after=(agent("a", Y),),
        judged=((Y, VALID),),
    ),
    "that path still holds it: refused": Case(
        [present(X, "a"), present(Y, "a")],
        **HOLDS_X,
        told=((Kind.REFUSED, "a", Y),),
        judged=((Y, DUPLICATE),),
    ),
    "a refusal is news once": Case(
        [present(X, "a"), present(Y, "a")],
        rows=(agent("a", X),),
        claims=(claim(X, "a"), duplicate(Y, "a")),
    ),
    "a refused path that claims another id than before is news": Case(
        [present(X, "a"), present(Y, "a")],
        rows=(agent("a", X), agent("b", Z)),
        claims=(claim(X, "a"), claim(Z, "b"), duplicate(Y, "b")),
        told=((Kind.REFUSED, "a", Y),),
        judged=((Y, DUPLICATE),),
    ),
    "that path is torn: refused, for it may be a save": Case(
        [invalid(X), present(Y, "a")],
        **HOLDS_X,
        told=((Kind.REFUSED, "a", Y), (Kind.INVALID, "a", X)),
        judged=((X, INVALID), (Y, DUPLICATE)),
    ),
    "that path cannot be read: refused": Case(
        [unknown(X), present(Y, "a")],
        **HOLDS_X,
        told=((Kind.REFUSED, "a", Y),),
        judged=((X, UNREADABLE), (Y, DUPLICATE)),
    ),
    "the root of that path is sick: refused": Case(
        [absent(X), present(S1, "a")],
        **HOLDS_X,
        given=circumstances(R),
        told=((Kind.REFUSED, "a", S1),),
        judged=((S1, DUPLICATE),),
    ),
    "unreachable, and its last path cannot be read: refused": Case(
        [unknown(X), present(Y, "a")],
        **GONE_X,
        told=((Kind.REFUSED, "a", Y),),
        judged=((X, UNREADABLE), (Y, DUPLICATE)),
    ),
    "absent, but on another file system: refused": Case(
        [absent(X, filesystem=OTHER_FILESYSTEM), present(Y, "a")],
        **HOLDS_X,
        told=((Kind.REFUSED, "a", Y),),
        judged=((X, UNREADABLE), (Y, DUPLICATE)),
    ),
    "a refused claim takes over when the incumbent lets go": Case(
        [absent(X), present(Y, "a")],
        rows=(agent("a", X),),
        claims=(claim(X, "a"), duplicate(Y, "a")),
        told=((Kind.RELOCATED, "a", Y),),
        after=(agent("a", Y),),
        judged=((Y, VALID),),
        dropped=(X,),
    ),
    "the same directory seen through a bind mount: an alias": Case(
        [present(X, "a", dork=ONE_DIRECTORY), present(S1, "a", dork=ONE_DIRECTORY)],
        rows=(agent("a", X),),
        claims=(claim(X, "a", dork=ONE_DIRECTORY),),
        judged=((S1, ALIAS),),
    ),
    "an alias takes over when the incumbent's path is unmounted for good": Case(
        [absent(X), present(S1, "a", dork=ONE_DIRECTORY)],
        rows=(agent("a", X),),
        claims=(claim(X, "a"), claim(S1, "a", outcome=ALIAS, dork=ONE_DIRECTORY)),
        told=((Kind.RELOCATED, "a", S1),),
        after=(agent("a", S1),),
        judged=((S1, VALID),),
        dropped=(X,),
    ),
    "no alias without an identity to tell by": Case(
        [present(X, "a", dork=None), present(Y, "a", dork=None)],
        rows=(agent("a", X),),
        claims=(claim(X, "a", dork=None),),
        told=((Kind.REFUSED, "a", Y),),
        judged=((Y, DUPLICATE),),
    ),
}

SEVERAL = {
    "the main checkout goes before a linked worktree": Case(
        [worktree(X, "a"), present(Y, "a")],
        told=((Kind.REGISTERED, "a", Y), (Kind.REFUSED, "a", X)),
        after=(agent("a", Y),),
        judged=((X, DUPLICATE), (Y, VALID)),
    ),
    "then the smallest path": Case(
        [present(Z, "a"), present(S1, "a"), present(Y, "a")],
        told=((Kind.REGISTERED, "a", Y), (Kind.REFUSED, "a", Z), (Kind.REFUSED, "a", S1)),
        after=(agent("a", Y),),
        judged=((Y, VALID), (Z, DUPLICATE), (S1, DUPLICATE)),
    ),
    "several new claims through a bind mount: the smallest path, and an alias": Case(
        [present(Y, "a", dork=ONE_DIRECTORY), present(X, "a", dork=ONE_DIRECTORY)],
        told=((Kind.REGISTERED, "a", X),),
        after=(agent("a", X),),
        judged=((X, VALID), (Y, ALIAS)),
    ),
    "a row born in this sweep yields to a better claim of it": Case(
        [present(X, "a"), present(Y, "a")],
        rows=(agent("a", Y, born_sweep=7),),
        claims=(claim(Y, "a"),),
        given=circumstances(sweep=sweep(number=7)),
        told=((Kind.RELOCATED, "a", X), (Kind.REFUSED, "a", Y)),
        after=(agent("a", X, born_sweep=7),),
        judged=((X, VALID), (Y, DUPLICATE)),
    ),
    "a row born in this sweep does not yield to a worse claim": Case(
        [worktree(X, "a"), present(Y, "a")],
        rows=(agent("a", Y, born_sweep=7),),
        claims=(claim(Y, "a"),),
        given=circumstances(sweep=sweep(number=7)),
        told=((Kind.REFUSED, "a", X),),
        judged=((X, DUPLICATE),),
    ),
    "a row born in this sweep does not yield to itself through a bind mount": Case(
        [present(X, "a", dork=ONE_DIRECTORY), present(Y, "a", dork=ONE_DIRECTORY)],
        rows=(agent("a", Y, born_sweep=7),),
        claims=(claim(Y, "a", dork=ONE_DIRECTORY),),
        given=circumstances(sweep=sweep(number=7)),
        judged=((X, ALIAS),),
    ),
    "a row born in an earlier sweep yields to nobody": Case(
        [present(X, "a"), present(Y, "a")],
        rows=(agent("a", Y, born_sweep=6),),
        claims=(claim(Y, "a"),),
        given=circumstances(sweep=sweep(number=7)),
        told=((Kind.REFUSED, "a", X),),
        judged=((X, DUPLICATE),),
    ),
    "a row born in this sweep whose file is torn yields to nobody": Case(
        [present(X, "a"), invalid(Y)],
        rows=(agent("a", Y, born_sweep=7),),
        claims=(claim(Y, "a"),),
        given=circumstances(sweep=sweep(number=7)),
        told=((Kind.REFUSED, "a", X), (Kind.INVALID, "a", Y)),
        judged=((X, DUPLICATE), (Y, INVALID)),
    ),
    "before a rebuild another path held it: that one, whatever its rank": Case(
        [present(X, "a"), worktree(Y, "a")],
        given=circumstances(incumbents={"a": Y}),
        told=((Kind.REGISTERED, "a", Y), (Kind.REFUSED, "a", X)),
        after=(agent("a", Y),),
        judged=((X, DUPLICATE), (Y, VALID)),
    ),
    "before a rebuild another path held it, which cannot be read: nobody yet": Case(
        [present(X, "a"), unknown(Y)],
        given=circumstances(incumbents={"a": Y}),
        told=((Kind.REFUSED, "a", X),),
        judged=((X, DUPLICATE), (Y, UNREADABLE)),
    ),
    "before a rebuild another path held it, which is torn: nobody yet": Case(
        [present(X, "a"), invalid(Y)],
        given=circumstances(incumbents={"a": Y}),
        told=((Kind.REFUSED, "a", X), (Kind.INVALID, None, Y)),
        judged=((X, DUPLICATE), (Y, INVALID)),
    ),
    "before a rebuild another path held it, which is gone: the best claim": Case(
        [present(X, "a"), absent(Y)],
        given=circumstances(incumbents={"a": Y}),
        told=((Kind.REGISTERED, "a", X),),
        after=(agent("a", X),),
        judged=((X, VALID),),
    ),
}

DISPLACED = {
    "A is nowhere: displaced, without a path, its last path kept": Case(
        [present(X, "b")],
        **HOLDS_X,
        told=((Kind.DISPLACED, "a", X), (Kind.REGISTERED, "b", X)),
        after=(displaced("a", X, None), agent("b", X)),
        judged=((X, VALID),),
    ),
    "B is known elsewhere and that path still holds it: the path is left without owner": Case(
        [present(X, "b"), present(Y, "b")],
        rows=(agent("a", X), agent("b", Y)),
        claims=(claim(X, "a"), claim(Y, "b")),
        told=((Kind.DISPLACED, "a", X), (Kind.REFUSED, "b", X)),
        after=(displaced("a", X, None),),
        judged=((X, DUPLICATE),),
    ),
    "A was unreachable at the path that B takes: displaced": Case(
        [present(X, "b")],
        **GONE_X,
        told=((Kind.DISPLACED, "a", X), (Kind.REGISTERED, "b", X)),
        after=(displaced("a", X), agent("b", X, born_sweep=None)),
        judged=((X, VALID),),
    ),
    "a sweep that sees A displaced starts its observed absence": Case(
        [present(X, "b"), present(Y, "b")],
        rows=(agent("a", X), agent("b", Y)),
        claims=(claim(X, "a"), claim(Y, "b")),
        given=circumstances(sweep=sweep(NOW)),
        told=((Kind.DISPLACED, "a", X), (Kind.REFUSED, "b", X)),
        after=(displaced("a", X, NOW),),
        judged=((X, DUPLICATE),),
    ),
    "A is displaced already: nothing more": Case(
        [present(X, "b")],
        rows=(displaced("a", X), agent("b", X)),
        claims=(claim(X, "b"),),
    ),
    "B, which took the path, goes too: both are unreachable, A as displaced as before": Case(
        [absent(X)],
        rows=(displaced("a", X), agent("b", X)),
        claims=(claim(X, "b"),),
        told=((Kind.UNREACHABLE, "b", X),),
        after=(lost("b", X, None),),
        judged=((X, ABSENT),),
    ),
}

CASES = {**PRESENT, **ELSEWHERE, **SEVERAL, **DISPLACED}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_look_means(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_same_look_again_means_nothing(case: Case) -> None:
    check_again(case)
