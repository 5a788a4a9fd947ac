"""What a configuration is refused for, and where the refusal says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from meshd import config
from meshd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from meshd.config import Settings

    Write = Callable[..., Path]


def load(
    path: Path | None, overrides: Mapping[str, object] | None = None, **environ: str
) -> Settings:
    return config.load(path, environ={"HOME": "/home/ada", **environ}, overrides=overrides)


def refusal(path: Path | None, **environ: str) -> list[str]:
    """Return the lines of the refusal, the directory of the file left out."""
    with pytest.raises(ConfigError) as caught:
        load(path, None, **environ)
    directory = f"{path.parent}/" if path else ""
    return caught.value.message.replace(directory, "").splitlines()


# Refusals, each with its file and line.

TABLE = "[sweep]\n# a comment\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            TABLE + 'intervall = "5m"',
            'config.toml:3: sweep.intervall: unknown key, did you mean "interval"?',
            id="a misspelt key",
        ),
        pytest.param(
            '\n[sweeep]\ninterval = "5m"',
            'config.toml:2: sweeep: unknown key, did you mean "sweep"?',
            id="a misspelt section",
        ),
        pytest.param(
            'interval = "5m"',
            'config.toml:1: interval: unknown key, did you mean "sweep.interval"?',
            id="a key outside its section",
        ),
        pytest.param(
            '[scan]\ngrace = "5m"',
            'config.toml:2: scan.grace: unknown key, did you mean "sweep.grace"?',
            id="a key in another section",
        ),
        pytest.param(
            "[scan]\nzzzzzz = 1", "config.toml:2: scan.zzzzzz: unknown key", id="nothing is near"
        ),
        pytest.param(
            "\n[sweep]\ninterval = 300",
            "config.toml:3: sweep.interval: write a duration with its unit, "
            'for example "5m", not 300',
            id="a bare number",
        ),
        pytest.param(
            '[sweep]\ninterval = "0s"',
            'config.toml:2: sweep.interval: must be longer than zero, for example "5m"',
            id="a sweep that never rests",
        ),
        pytest.param(
            '[scan]\nmax_depth = "5"',
            "config.toml:2: scan.max_depth: must be a valid integer",
            id="text for a number",
        ),
        pytest.param(
            "[scan]\nmax_depth = true",
            "config.toml:2: scan.max_depth: must be a valid integer",
            id="a flag for a number",
        ),
        pytest.param("\nscan = 3", "config.toml:2: scan: must be a table", id="no table"),
        pytest.param(
            '[scan]\nroots = "/srv"',
            'config.toml:2: scan.roots: must be a list, for example ["a", "b"]',
            id="a text for a list",
        ),
        pytest.param(
            "[scan]\nroots = [\n 'a',\n 7,\n]",
            "config.toml:2: scan.roots[1]: must be a valid string",
            id="an entry of a list",
        ),
        pytest.param(
            '[watch]\nbackend = "polling"',
            "config.toml:2: watch.backend: must be 'auto', 'inotify', 'fanotify' or 'none'",
            id="not one of the words",
        ),
        pytest.param(
            'watch = { settle = "3s", settle_max = "2s" }',
            "config.toml:1: watch.settle_max: must not be shorter than watch.settle",
            id="within an inline table",
        ),
        pytest.param(
            'api.socket_mode = "rw"',
            'config.toml:1: api.socket_mode: "rw" is not a file mode, write it as "0600"',
            id="a dotted key",
        ),
        pytest.param(
            '[api]\nlisten = "0.0.0.0:80"\ntoken_file = "t"',
            'config.toml:2: api.listen: "0.0.0.0:80" is not a loopback address, '
            'write it as "127.0.0.1:4390"',
            id="every interface",
        ),
        pytest.param(
            '[api]\nlisten = "127.0.0.1:80"',
            "config.toml:2: api.listen: needs api.token_file: anyone on this host could connect",
            id="no token",
        ),
        pytest.param(
            '[relay]\nsystem = ["a b"]',
            "config.toml:2: relay.system[0]: String should match pattern "
            "'^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$'",
            id="not an agent id",
        ),
        pytest.param(
            '[scan]\nroots = ["/srv"]\n[scan.namespaces]\n"/srv" = ["Big"]',
            "config.toml:4: scan.namespaces./srv[0]: "
            '"Big" is not a namespace: 1 to 64 of a-z, 0-9 and "-"',
            id="not a namespace",
        ),
        pytest.param(
            '[scan.namespaces]\n"/elsewhere" = ["a"]',
            'config.toml:1: scan.namespaces: "/elsewhere" is not one of scan.roots',
            id="a namespace limit for a stranger",
        ),
        pytest.param(
            '[scan]\nisolated = ["/elsewhere"]',
            'config.toml:2: scan.isolated: "/elsewhere" is not one of scan.roots',
            id="an isolated stranger",
        ),
        pytest.param(
            '[watch]\nsettle = "1\\n\\u001b[2J"',
            'config.toml:2: watch.settle: write a duration with its unit, for example "5m", '
            r'not "1\x0a\x1b[2J"',
            id="a value that would start a line",
        ),
        pytest.param(
            '[scan]\nroots = ["a\\u0000b"]',
            "config.toml:2: scan.roots[0]: must not hold a NUL character",
            id="no system call takes it",
        ),
        pytest.param(
            "[scan]\nroots = [",
            "config.toml:2: is not TOML: Invalid value (at end of document)",
            id="ends too early",
        ),
        pytest.param(
            "[scan]\nroots 3",
            "config.toml:2: is not TOML: Expected '=' after a key in a key/value pair "
            "(at line 2, column 7)",
            id="not TOML",
        ),
        pytest.param(
            "a = " + "[" * 5000 + "]" * 5000,
            "config.toml: is not a configuration: nested too deep",
            id="nested too deep",
        ),
    ],
)
def test_a_refusal_names_file_line_and_key(write: Write, text: str, expected: str) -> None:
    assert [expected] == refusal(write(text))


def test_all_errors_are_listed_each_with_the_place_that_says_it(write: Write) -> None:
    path = write('[sweep]\ninterval = "soon"\ngrace = "1h"\n[log]\nlevell = "x"')
    write('[sweep]\ngrace = "never"', "conf.d/10.toml")
    lines = refusal(path, MESHD_LOG__FORMAT="xml", MESHD_LOG__COLOUR="1")
    places_named = [line.split(": ")[0] for line in lines]
    assert sorted(places_named) == [
        "MESHD_LOG__COLOUR",
        "MESHD_LOG__FORMAT",
        "conf.d/10.toml:2",
        "config.toml:2",
        "config.toml:5",
    ]


def test_a_file_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"[scan]\n# \xff\n")
    assert refusal(path) == ["config.toml:2: is not UTF-8"]


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "x.toml") == ["x.toml: cannot be read: No such file or directory"]


def test_flags_are_named_as_such() -> None:
    with pytest.raises(ConfigError, match=r"^command line: log\.level: must be 'debug'"):
        load(None, {"log": {"level": "loud"}})


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        (("real", "real"), "twice the same"),
        (("real", "./link"), "a symlink to it"),
        (("gone", "./gone/."), "it need not exist"),
    ],
)
def test_one_directory_is_one_root(
    tmp_path: Path,
    write: Write,
    written: tuple[str, str],
    reason: str,
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    path = write(f'\n[scan]\nroots = ["{written[0]}", "{written[1]}"]')
    (line,) = refusal(path)
    expected = (
        f'config.toml:3: scan.roots: "{written[0]}" and "{written[1]}" are the same directory'
    )
    assert line.startswith(expected), reason


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("MESHD_SWEEP__INTERVALL", 'is not a setting, did you mean "MESHD_SWEEP__INTERVAL"?'),
        ("MESHD_SWEEP_INTERVAL", 'is not a setting, did you mean "MESHD_SWEEP__INTERVAL"?'),
        ("MESHD_QQQQ__XXXX", "is not a setting"),
        ("MESHD_SCAN__NAMESPACES__X", 'is not a setting, did you mean "MESHD_SCAN__NAMESPACES"?'),
    ],
)
def test_a_misspelt_variable_is_refused(name: str, expected: str) -> None:
    assert [f"{name}: {expected}"] == refusal(None, **{name: "5m"})
