"""The example file shows every setting as it is."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from meshd import config
from meshd.config import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Write = Callable[..., Path]


EXAMPLE = Path(__file__).parents[2] / "config.example.toml"


def load(
    path: Path | None, overrides: Mapping[str, object] | None = None, **environ: str
) -> Settings:
    return config.load(path, environ={"HOME": "/home/ada", **environ}, overrides=overrides)


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
