"""One layer of the configuration per place it was written in.

Owns reading: TOML files, the MESHD_ environment, the flags. A layer knows where each of its
keys was written and turns its paths into absolute ones, because `./projects` means something
else in every file. Promises: what cannot be read becomes a problem with its place, never an
exception; nothing below a root is opened, only the root's own path is resolved.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeGuard

from meshd.config.locate import line_of
from meshd.config.resolving import Resolver
from meshd.config.schema import every_key, fields, from_text, nearest
from meshd.config.settings import Settings
from meshd.escaping import escape
from meshd.places import expand

if TYPE_CHECKING:
    from pathlib import Path

    from meshd.config.resolving import Resolved

KeyPath = tuple[str | int, ...]

PREFIX = "MESHD_"
DELIMITER = "__"
_SYNTAX_LINE = re.compile(r"\(at line ([0-9]+),")
_PATHS = (("store", "directory"), ("api", "socket"), ("api", "token_file"))


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and the place that says it."""

    place: str
    key: str
    what: str

    def __str__(self) -> str:
        """Return the problem as one line, whatever the configuration holds."""
        return escape(": ".join(part for part in (self.place, self.key, self.what) if part))


@dataclass(frozen=True)
class Layer:
    """What one place says.

    Attributes:
        values: section -> key -> value, as written but for paths, which are absolute.
        place: tells where a key was written, as `FILE:LINE` or a variable's name.
    """

    values: dict[str, object]
    place: Callable[[KeyPath], str]

    def says(self, path: KeyPath) -> bool:
        """Whether this layer holds a value at `path`."""
        value: object = self.values
        for part in path:
            if not isinstance(value, dict) or part not in value:
                return False
            value = value[part]
        return True


@dataclass
class Reading:
    """The layers read so far, weakest first, and what was wrong with them."""

    environ: Mapping[str, str]
    layers: list[Layer] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    resolver: Resolver = field(default_factory=Resolver)

    def add_file(self, path: Path) -> None:
        """Read one TOML file; its relative paths start from its directory."""
        try:
            raw = path.read_bytes()
        except OSError as error:
            self.problems.append(Problem(str(path), "", f"cannot be read: {error.strerror}"))
            return
        try:
            text = raw.decode("utf-8")
            values = tomllib.loads(text)
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            self.problems.append(Problem(f"{path}:{line}", "", "is not UTF-8"))
        except tomllib.TOMLDecodeError as error:
            found = _SYNTAX_LINE.search(str(error))
            line = int(found[1]) if found else text.count("\n") + 1  # "at end of document"
            self.problems.append(Problem(f"{path}:{line}", "", f"is not TOML: {error}"))
        except RecursionError:  # tomllib follows every bracket
            self.problems.append(Problem(str(path), "", "is not a configuration: nested too deep"))
        else:
            self._add(values, partial(_place_in_file, path, text), path.parent)

    def add_environment(self, base: Path) -> None:
        """Read the MESHD_SECTION__KEY variables; lists and tables are written as JSON."""
        values: dict[str, dict[str, object]] = {}
        for name in sorted(self.environ):
            text = self.environ[name]
            if not text or not _is_setting(name):
                continue
            section, _, key = name.removeprefix(PREFIX).lower().partition(DELIMITER)
            known = fields(section).get(key)
            if known is None:
                meant = nearest(name, [_variable(path) for path in every_key()])
                self.problems.append(Problem(name, "", f"is not a setting{meant}"))
            else:
                values.setdefault(section, {})[key] = from_text(text, known)
        self._add(dict(values), _variable, base)

    def add_flags(self, overrides: Mapping[str, object], base: Path) -> None:
        """Take what the command line says, section -> key -> value."""
        copied = {
            section: dict(table) if isinstance(table, Mapping) else table
            for section, table in overrides.items()
        }
        self._add(copied, lambda _path: "command line", base)

    def _add(self, values: dict[str, object], place: Callable[[KeyPath], str], base: Path) -> None:
        layer = Layer(values, place)
        for section, key in _PATHS:
            table = values.get(section)
            if isinstance(table, dict) and _is_path(table.get(key)):
                table[key] = str(expand(table[key], base, self.environ))
        scan = values.get("scan")
        if isinstance(scan, dict):
            self._resolve_roots(scan, layer, base)
        self.layers.append(layer)

    def _resolve_roots(self, scan: dict[str, object], layer: Layer, base: Path) -> None:
        """Resolve every path that names a root. A missing root is no error here: it is sick."""
        for key in ("roots", "isolated"):
            written = scan.get(key)
            if isinstance(written, list | tuple):
                self._refuse_duplicates(key, written, layer, base)
                scan[key] = [
                    self._resolve(text, base).path if _is_path(text) else text for text in written
                ]
        namespaces = scan.get("namespaces")
        if isinstance(namespaces, Mapping):
            self._refuse_duplicates("namespaces", list(namespaces), layer, base)
            scan["namespaces"] = {
                self._resolve(text, base).path if _is_path(text) else text: names
                for text, names in namespaces.items()
            }

    def _resolve(self, text: str, base: Path) -> Resolved:
        return self.resolver.resolve(str(expand(text, base, self.environ)))

    def _refuse_duplicates(
        self, key: str, written: list[object] | tuple[object, ...], layer: Layer, base: Path
    ) -> None:
        first_seen: dict[object, object] = {}
        for text in filter(_is_path, written):
            resolved = self._resolve(text, base)
            if resolved.identity in first_seen:
                place, first = layer.place(("scan", key)), first_seen[resolved.identity]
                what = f'"{first}" and "{text}" are the same directory, {resolved.path}'
                self.problems.append(Problem(place, f"scan.{key}", what))
            first_seen.setdefault(resolved.identity, text)


def _is_path(value: object) -> TypeGuard[str]:
    """Whether a value can name a file at all; validation refuses the rest."""
    return isinstance(value, str) and bool(value) and "\0" not in value


def _place_in_file(path: Path, text: str, key: KeyPath) -> str:
    return f"{path}:{line_of(text, tuple(part for part in key if isinstance(part, str)))}"


def _variable(key: KeyPath) -> str:
    return PREFIX + DELIMITER.join(str(part) for part in key[:2]).upper()


def _is_setting(name: str) -> bool:
    """Whether a variable is meant as a setting; MESHD_SOCKET, for one, is not."""
    rest = name.removeprefix(PREFIX)
    if rest == name:
        return False
    return DELIMITER in rest or rest.lower().partition("_")[0] in Settings.model_fields
