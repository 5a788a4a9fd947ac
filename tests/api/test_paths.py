"""A path in a request is a file name, absolute and normal, or it is refused."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.api.requests import normal_path

file_names = st.binary(max_size=40).filter(lambda name: b"\x00" not in name).map(os.fsdecode)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/", "/"),
        ("//", "/"),
        ("//srv//a/", "/srv/a"),
        ("/srv/./a/.", "/srv/a"),
        ("/srv/..a/b..", "/srv/..a/b.."),
        ("/srv/\udcff", "/srv/\udcff"),
    ],
)
def test_a_path_is_made_normal(text: str, expected: str) -> None:
    assert normal_path(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(None, id="nothing"),
        pytest.param(5, id="a number"),
        pytest.param("srv", id="relative"),
        pytest.param("/srv/..", id="climbs at the end"),
        pytest.param("/../srv", id="climbs at the start"),
        pytest.param("/srv/\x00", id="NUL"),
        pytest.param("/srv/\ud800", id="a half character of no file name"),
    ],
)
def test_what_is_no_path_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"must|encode"):
        normal_path(text)


@given(file_names)
def test_a_normal_path_is_absolute_stays_so_and_climbs_nowhere(name: str) -> None:
    try:
        path = normal_path(f"/{name}")
    except ValueError:
        assert ".." in name.split("/")
        return
    assert normal_path(path) == path == os.path.abspath(path)  # noqa: PTH100 - text alone
