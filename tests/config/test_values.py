"""Durations, lines, and values that make no sense."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd import config
from meshd.config.duration import parse_duration
from meshd.config.locate import line_of
from meshd.config.schema import every_key
from meshd.errors import ConfigError

# Durations.


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("200ms", 0.2), ("5m", 300.0), ("24h", 86400.0), ("90d", 7776000.0), ("1.5s", 1.5), ("0s", 0)],
)
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "nothing"),
        ("5", "no unit"),
        ("m", "no number"),
        ("-5m", "negative"),
        ("+5m", "a sign"),
        ("5 m", "a gap"),
        ("5m\n", "a line"),
        ("1h30m", "two units"),
        ("5y", "an unknown unit"),
        ("\u0665m", "digits of another script"),
        ("inf s", "no end"),
        (5, "a bare number"),
        (True, "a flag"),
        (None, "none"),
    ],
)
def test_nonsense_is_no_duration(value: object, reason: str) -> None:
    with pytest.raises(ValueError, match='for example "5m"'):
        parse_duration(value)


@given(st.integers(0, 10**9 - 1), st.sampled_from(["ms", "s", "m", "h", "d"]))
def test_every_duration_is_finite_and_not_negative(number: int, unit: str) -> None:
    assert 0 <= parse_duration(f"{number}{unit}") < 10**14


# Lines.

KEYS = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=6, unique=True)
VALUES = st.sampled_from(
    ['"x"', "[\n 1,\n 2,\n]", "'''\n[a]\nb = 1\n'''", "{ x = 1 }", "3 # a = 4"]
)


@given(st.lists(st.tuples(st.sampled_from("uvwxyz"), KEYS, VALUES), unique_by=lambda t: t[0]))
def test_the_line_of_every_key_is_the_line_that_sets_it(
    tables: list[tuple[str, list[str], str]],
) -> None:
    lines = ["# first"]
    expected: dict[tuple[str, ...], int] = {}
    for name, keys, value in tables:
        lines.append(f"[{name}]")
        expected[(name,)] = len(lines)
        for key in keys:
            expected[(name, key)] = len(lines) + 1
            lines.extend(f"{key} = {value}".split("\n"))
    text = "\n".join(lines)
    assert expected == {key: line_of(text, key) for key in expected}


def test_the_line_of_a_key_that_is_not_set_is_that_of_the_table_above() -> None:
    assert line_of("\n[a.b]\nc = 1", ("a", "b", "zz")) == 2
    assert line_of("x = 1", ("zz",)) == 1


# Anything at all.

WORDS = st.sampled_from(
    ["scan", "roots", "namespaces", "isolated", "api", "socket", "listen", "sweep", "interval"]
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)


def refusal(environ: dict[str, str], overrides: dict[str, object]) -> list[str]:
    """Return the lines of the refusal, none if there is nothing wrong."""
    try:
        config.load(None, environ={"HOME": "/h", **environ}, overrides=overrides)
    except ConfigError as error:
        return error.message.split("\n")
    return []


@given(st.dictionaries(WORDS, ANYTHING | st.dictionaries(WORDS, ANYTHING)))
def test_a_configuration_is_either_valid_or_refused_in_words(tree: dict[str, object]) -> None:
    assert all(line.startswith("command line: ") for line in refusal({}, tree))


@given(st.sampled_from(every_key()), st.text(max_size=20))
def test_a_variable_is_either_valid_or_refused_in_words(key: tuple[str, str], text: str) -> None:
    name = f"MESHD_{key[0]}__{key[1]}".upper()
    assert all(line.startswith(f"{name}: {key[0]}.{key[1]}") for line in refusal({name: text}, {}))
