"""The configuration: where it comes from, what it refuses, and where it says so."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd import config, places
from meshd.config import Settings
from meshd.config.duration import parse_duration
from meshd.config.locate import line_of
from meshd.errors import ConfigError

Write = Callable[..., Path]

EXAMPLE = Path(__file__).parent.parent / "config.example.toml"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(text: str, name: str = "config.toml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return path

    return write_file


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


def test_no_configuration_gives_the_defaults() -> None:
    assert Settings() == load(None)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(None).sweep.interval = 1.0  # type: ignore[misc]


def test_the_process_environment_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHD_LOG__LEVEL", "debug")
    monkeypatch.setenv("LOG", '{"level": "debug"}')
    assert load(None).log.level == "info"


# The example file.


def test_the_example_shows_every_setting_and_no_other() -> None:
    shown: set[str] = set()
    section = ""
    for line in EXAMPLE.read_text("utf-8").splitlines():
        if header := re.fullmatch(r"\[([a-z.]+)\]", line):
            section = header[1]
            shown.add(section)
        elif key := re.match(r"(?:# )?([a-z_]+) = ", line):
            shown.add(f"{section}.{key[1]}")
    sections = dict(Settings())
    wanted = {f"{name}.{key}" for name, table in sections.items() for key, _ in table}
    assert wanted | set(sections) == shown


def test_the_example_is_the_defaults() -> None:
    assert Settings() == load(EXAMPLE)


def test_the_example_writes_out_every_default_there_is() -> None:
    written = tomllib.loads(EXAMPLE.read_text("utf-8"))
    unwritten = {
        f"{name}.{key}": value
        for name, table in Settings()
        for key, value in table
        if key not in written[name]
    }
    assert set(unwritten.values()) == {None}


def test_what_the_example_comments_out_is_valid(write: Write) -> None:
    text = re.sub(r"(?m)^# (?=[a-z_]+ = )", "", EXAMPLE.read_text("utf-8"))
    settings = load(write(text))
    assert None not in [value for _, table in settings for _, value in table]


# Sources.


def test_each_source_outranks_the_one_before_it(write: Write) -> None:
    path = write('[sweep]\ninterval = "1m"\ngrace = "1h"\nfull_every = 2\n[log]\nlevel = "debug"')
    write('[sweep]\ninterval = "2m"\ngrace = "2h"\nfull_every = 3', "conf.d/10-first.toml")
    write('[sweep]\ngrace = "3h"\nfull_every = 4', "conf.d/20-second.toml")
    write("not toml", "conf.d/.hidden.toml")
    write("not toml", "conf.d/readme")
    settings = load(path, {"sweep": {"full_every": 6}}, MESHD_SWEEP__FULL_EVERY="5")
    assert settings.log.level == "debug"
    assert (settings.sweep.interval, settings.sweep.grace) == (120.0, 10800.0)
    assert settings.sweep.full_every == 6


def test_the_environment_writes_lists_as_json_and_the_rest_as_it_stands() -> None:
    settings = load(
        None,
        MESHD_SCAN__ROOTS='["/srv/a"]',
        MESHD_SCAN__NAMESPACES='{"/srv/a": ["a"]}',
        MESHD_SCAN__EXCLUDE_DEFAULTS="false",
        MESHD_LIMITS__AGENTS_PER_OWNER="7",
        MESHD_API__SOCKET_MODE="660",
        MESHD_STORE__KEEP_CHANGES="30d",
        MESHD_STORE__DIRECTORY="",
        MESHD_SOCKET="/run/elsewhere.sock",
    )
    assert settings.scan.namespaces == {"/srv/a": ("a",)}
    assert settings.scan.exclude_defaults is False
    assert settings.limits.agents_per_owner == 7
    assert settings.api.socket_mode == "660"
    assert settings.store.keep_changes == 30 * 86400
    assert settings.store.directory is None


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


# Roots and paths.


def test_paths_are_relative_to_the_file_they_are_written_in(tmp_path: Path, write: Write) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    path = write('[scan]\nroots = ["link", "~/code", "missing/../gone"]\nisolated = ["real"]')
    write('[store]\ndirectory = "state"\n[api]\nsocket = "~/s.sock"', "conf.d/1.toml")
    settings = load(path)
    real = os.path.realpath(tmp_path)
    assert settings.scan.roots == (f"{real}/real", "/home/ada/code", f"{real}/gone")
    assert settings.scan.isolated == (f"{real}/real",)
    assert settings.store.directory == f"{tmp_path}/conf.d/state"
    assert settings.api.socket == "/home/ada/s.sock"


def test_roots_of_flags_are_relative_to_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(None, {"scan": {"roots": ["."]}}).scan.roots == (os.path.realpath(tmp_path),)


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


def test_namespaces_name_their_root_in_any_spelling(tmp_path: Path, write: Write) -> None:
    path = write('[scan]\nroots = ["a"]\n[scan.namespaces]\n"./b/../a" = ["x", "y"]')
    assert load(path).scan.namespaces == {f"{os.path.realpath(tmp_path)}/a": ("x", "y")}


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


# Reload.


def test_differences_are_named_by_key(write: Write) -> None:
    path = write('[scan]\nroots = ["/srv"]\nmax_depth = 3\n[api]\nsocket = "/s"')
    changed = config.differences(Settings(), load(path))
    assert changed == ["api.socket", "scan.max_depth", "scan.roots"]
    assert config.differences(load(path), load(path)) == []
    assert config.RESTART_KEYS & set(changed) == {"api.socket"}


def test_every_key_that_needs_a_restart_exists() -> None:
    keys = {f"{name}.{key}" for name, table in Settings() for key, _ in table}
    assert keys >= config.RESTART_KEYS


def test_watched_files_are_the_file_and_its_fragments_in_order(write: Write) -> None:
    path = write("")
    fragments = [write("", "conf.d/20.toml"), write("", "conf.d/10.toml")]
    write("", "conf.d/notes.txt")
    assert config.watched_files(path) == [path, *reversed(fragments)]
    assert config.watched_files(None) == []


# Places.


def test_the_users_configuration_comes_first(tmp_path: Path, write: Write) -> None:
    path = write("", "meshd/config.toml")
    assert places.find_config({"XDG_CONFIG_HOME": str(tmp_path)}) == path
    dotted = write("", "home/.config/meshd/config.toml")
    assert places.find_config({"HOME": str(tmp_path / "home")}) == dotted


def test_the_systems_configuration_comes_second(
    tmp_path: Path,
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    system = write("", "etc/config.toml")
    monkeypatch.setattr(places, "SYSTEM_CONFIG", system)
    assert places.find_config({"HOME": str(tmp_path)}) == system
    system.unlink()
    assert places.find_config({"HOME": str(tmp_path)}) is None


@pytest.mark.parametrize(
    ("environ", "state", "socket"),
    [
        ({"HOME": "/h"}, "/h/.local/state/meshd", "/h/.local/state/meshd/meshd.sock"),
        (
            {"HOME": "/h", "XDG_STATE_HOME": "/s", "XDG_RUNTIME_DIR": "/r"},
            "/s/meshd",
            "/r/meshd/meshd.sock",
        ),
        ({"HOME": "/h", "XDG_STATE_HOME": "s"}, "/h/.local/state/meshd", None),
        (
            {"STATE_DIRECTORY": "/a:/b", "RUNTIME_DIRECTORY": "/c:/d", "XDG_RUNTIME_DIR": "/r"},
            "/a",
            "/c/meshd.sock",
        ),
    ],
)
def test_state_and_socket_follow_the_session(
    environ: dict[str, str], state: str, socket: str | None
) -> None:
    settings = Settings()
    assert str(config.state_directory(settings, environ)) == state
    if socket is not None:
        assert str(config.socket_path(settings, environ)) == socket


def test_what_is_configured_outranks_the_session() -> None:
    settings = load(None, MESHD_STORE__DIRECTORY="/x/state", MESHD_API__SOCKET="/x/s.sock")
    environ = {"STATE_DIRECTORY": "/a", "RUNTIME_DIRECTORY": "/c"}
    assert str(config.state_directory(settings, environ)) == "/x/state"
    assert str(config.socket_path(settings, environ)) == "/x/s.sock"


def test_a_client_finds_the_socket_the_daemon_opens(write: Write) -> None:
    path = write('[api]\nsocket = "first.sock"')
    write('[api]\nsocket = "second.sock"', "conf.d/1.toml")
    environ = {"HOME": "/h"}
    opened = config.socket_path(config.load(path, environ=environ), environ)
    assert places.client_sockets(path, environ) == [opened]


def test_a_client_tries_the_places_of_the_session_in_order(write: Write) -> None:
    broken = write("[api")
    environ = {"HOME": "/h", "USER": "ada", "XDG_RUNTIME_DIR": "/run/user/1000"}
    assert [str(path) for path in places.client_sockets(broken, environ)] == [
        "/run/user/1000/meshd/meshd.sock",
        "/run/meshd-ada/meshd.sock",
        "/h/.local/state/meshd/meshd.sock",
    ]
