"""The explanations for `journalctl -x`: with the service, one for each event, and safe to print."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import meshd
from meshd.installing import Installation, Manager, remove
from meshd.installing.units import shipped
from meshd.journal import MESSAGE_IDS
from tests.installing.telling import PROGRAM, Told, install

if TYPE_CHECKING:
    from meshd.installing import Target

MODULES: Final = Path(meshd.__file__).parent


def test_the_explanations_come_with_the_first_service_and_go_with_the_last(
    target: Target, told: Told, tmp_path: Path
) -> None:
    place = tmp_path / "catalog" / "meshd.catalog"
    ada = replace(
        target, of_user=False, template="meshd@.service", unit="meshd@ada.service", catalogue=place
    )
    bob = replace(ada, user="bob", unit="meshd@bob.service")
    for one, changed in ((ada, True), (bob, False)):
        install(one, "/srv")
        told.commands.clear()
        explained = Installation(Manager(one), PROGRAM, []).explain()
        assert [file.changed for file in explained] == [changed]
        assert told.commands == (["journalctl --update-catalog"] if changed else [])
    assert place not in remove(Manager(ada), data=False).removed
    assert place in remove(Manager(bob), data=False).removed
    assert told.commands[-1] == "journalctl --update-catalog"
    place.parent.rmdir()
    place.parent.touch()
    assert Installation(Manager(ada), PROGRAM, []).explain() == []


def test_every_explained_event_has_one_text_and_that_repeats_nothing_of_a_record() -> None:
    text = shipped("meshd.catalog")
    found = dict(re.findall(r"^# (\w+)\n-- ([0-9a-f]{32})\nSubject: \S", text, re.MULTILINE))
    assert found == MESSAGE_IDS
    assert len(set(found.values())) == len(found)
    # journalctl would print a field as it is, escape sequences of a path included.
    assert "@" not in text


def test_only_what_is_logged_is_explained() -> None:
    sources = "".join(path.read_text("utf-8") for path in MODULES.rglob("*.py"))
    for event in MESSAGE_IDS:
        assert sources.count(f'"{event}"') > 1, event
