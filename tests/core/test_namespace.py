"""Namespaces: what a manifest declares, what a place gives, and that nothing ever fails."""

from __future__ import annotations

import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.core.namespace import KNOWN_RUNTIMES, derive, normalise

SAFE = re.compile(r"[a-z0-9]([a-z0-9-]{0,64}[a-z0-9])?")


@pytest.mark.parametrize(
    ("declared", "path", "expected"),
    [
        pytest.param("tools", "/code/web/site", "tools", id="the manifest's comes first"),
        pytest.param("My Tools", "/code/web/site", "my-tools", id="normalised"),
        pytest.param("Café", "/code/web/site", "cafe", id="accents are dropped"),
        pytest.param("a" * 63 + " b", "/code/a", "a" * 63, id="cut without a hyphen at its end"),
        pytest.param("!!!", "/code/web/site", "web", id="nothing to keep: the place"),
        pytest.param("", "/code/web/site", "web", id="empty: the place"),
        pytest.param(None, "/code/web/site", "web", id="the first segment below the root"),
        pytest.param(None, "/code/web", "web", id="directly below the root"),
        pytest.param(None, "/code", "code", id="the root's own name"),
        pytest.param(None, "/code/codex/a", "codex-ns", id="a runtime's name from the place"),
        pytest.param("claude-code", "/code/a", "claude-code-ns", id="a runtime's name declared"),
        pytest.param("Claude Code", "/code/a", "claude-code-ns", id="also once normalised"),
        pytest.param(None, "/code/.../x", "default", id="nothing to keep of the place"),
        pytest.param(None, "/codes/a", "code", id="a path that is not below its root"),
    ],
)
def test_the_manifest_decides_else_the_place(
    declared: str | None, path: str, expected: str
) -> None:
    assert (expected, ()) == derive(declared, "/code", path, None)


@pytest.mark.parametrize(
    ("root", "path", "expected"),
    [("/", "/srv/a", "srv"), ("/", "/", "default"), ("/code/", "/code/a/b", "a")],
)
def test_a_root_may_end_in_a_slash(root: str, path: str, expected: str) -> None:
    assert (expected, ()) == derive(None, root, path, None)


@pytest.mark.parametrize(
    ("declared", "allowed", "expected"),
    [
        ("tools", ["tools", "web"], ("tools", ())),
        ("Tools", ["tools"], ("tools", ())),
        ("codex", ["codex"], ("codex-ns", ())),
        ("billing", ["tools"], ("web", ("namespace-refused",))),
        ("billing", [], ("web", ("namespace-refused",))),
        (None, ["tools"], ("web", ())),
    ],
)
def test_a_root_limits_what_its_manifests_declare(
    declared: str | None, allowed: list[str], expected: tuple[str, tuple[str, ...]]
) -> None:
    assert expected == derive(declared, "/code", "/code/web/a", allowed)


@given(st.none() | st.text(), st.binary(max_size=40), st.binary(max_size=40))
def test_any_text_gives_a_safe_token(declared: str | None, root: bytes, path: bytes) -> None:
    namespace, _ = derive(declared, os.fsdecode(root), os.fsdecode(path), None)

    assert SAFE.fullmatch(namespace)
    assert len(namespace) <= 64
    assert namespace not in KNOWN_RUNTIMES


@given(st.text(alphabet=st.characters() | st.characters(categories=["Cs"])))
def test_normalising_twice_changes_nothing(name: str) -> None:
    once = normalise(name)

    assert once is None or once == normalise(once)
