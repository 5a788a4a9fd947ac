"""The dashboard asks for metrics that exist, and leaves none of ours out without a reason."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.system.daemon import REPOSITORY, Daemon
from tests.system.trees import save

if TYPE_CHECKING:
    from collections.abc import Iterator

DASHBOARD: Final = REPOSITORY / "examples" / "grafana-dashboard.json"

LEFT_OUT: Final[dict[str, str]] = {
    "meshd_log_dropped_total": "the log itself tells of it, once it is taken again",
}
"""Metrics of ours that the dashboard does not show, each with the reason."""

# What is no metric in an expression: strings, label matchers, ranges, lists of labels.
_NO_METRICS: Final = re.compile(
    r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]|\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)'
)
_NAME: Final = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*(?!\s*\(|[A-Za-z0-9_:])")
_LABEL: Final = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"')


def panels() -> Iterator[dict[str, Any]]:
    for panel in json.loads(DASHBOARD.read_text("utf-8"))["panels"]:
        yield panel
        yield from panel.get("panels", ())


def expressions() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel.get("targets", ())]


def metrics_of(expression: str) -> set[str]:
    return set(_NAME.findall(_NO_METRICS.sub(" ", expression)))


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ('sum by (status) (a{b="c"})', {"a"}),
        ('rate(a_total{i=~"$x"}[$__rate_interval]) / (b > 0)', {"a_total", "b"}),
        ("time() - max(a) without (b)", {"a"}),
    ],
)
def test_the_metrics_of_an_expression_are_its_names(expression: str, names: set[str]) -> None:
    assert metrics_of(expression) == names


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, str]]]:
    """By name, the labels of every sample that a daemon gives after a sweep."""
    base = tmp_path_factory.mktemp("dashboard")
    (base / "h").mkdir()
    save(base / "root" / "one", "one")
    with Daemon(base / "h", base / "root") as daemon:
        daemon.sweep()
        text = daemon.cli("metrics").stdout
    found: dict[str, list[dict[str, str]]] = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name = re.split(r"[{ ]", line, maxsplit=1)[0]
            found.setdefault(name, []).append(dict(_LABEL.findall(line)))
    return found


@pytest.mark.parametrize("expression", expressions())
def test_a_panel_asks_for_metrics_and_labels_that_exist(
    samples: dict[str, list[dict[str, str]]], expression: str
) -> None:
    assert metrics_of(expression) - samples.keys() == set()
    for name, matchers in re.findall(r"(\w+)\{([^}]*)\}", expression):
        wanted = [
            (label, value) for label, value in _LABEL.findall(matchers) if label != "instance"
        ]
        for label, value in wanted:
            given = {labels.get(label) for labels in samples[name]}
            assert set(value.split("|")) <= given, (name, label)


def test_a_panel_groups_by_labels_that_exist(samples: dict[str, list[dict[str, str]]]) -> None:
    for expression in expressions():
        for labels in re.findall(r"\bby\s*\(([^)]*)\)", expression):
            (name,) = metrics_of(expression)
            assert set(re.split(r",\s*", labels)) <= samples[name][0].keys()


def test_every_metric_of_ours_is_shown(samples: dict[str, list[dict[str, str]]]) -> None:
    shown = set().union(*map(metrics_of, expressions()))
    ours = {name for name in samples if name.startswith("meshd_")}
    assert ours - shown - LEFT_OUT.keys() == set()


def test_every_panel_has_a_title_a_place_of_its_own_and_the_chosen_source() -> None:
    every = list(panels())
    assert len({panel["id"] for panel in every}) == len(every)
    places: set[tuple[int, int]] = set()
    for panel in every:
        assert panel["title"]
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not places & cells, panel["title"]
        assert max(x for x, _ in cells) < 24
        places |= cells
        for target in panel.get("targets", ()):
            assert target["datasource"]["uid"] == "${datasource}"
            assert 'instance=~"$instance"' in target["expr"]
