"""A newer meshd takes the registry over, and an older one finds its way back."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

import pytest

from meshd.store.migrations import migrations
from tests.systemd.box import SOURCES

if TYPE_CHECKING:
    from tests.systemd.service import SystemService

NEWER: Final = "/opt/newer"
KNOWN: Final = len(migrations())

TO_NEWER: Final = f"""
mkdir -p {NEWER}
cp -r {SOURCES}/meshd {NEWER}
echo 'CREATE TABLE next (value TEXT);' > {NEWER}/meshd/store/sql/{KNOWN + 1:04}_next.sql
sed 's#{SOURCES}:#{NEWER}:#' /usr/local/bin/meshd > /usr/local/bin/meshd-newer
chmod 755 /usr/local/bin/meshd-newer
"""
DROP_IN: Final = "[Service]\nExecStart=\nExecStart=/usr/local/bin/{} run\n"


SLOWLY: Final = """
import sys, time
import meshd.opening
from meshd.cli import main
sys.argv[0] = "/usr/local/bin/meshd"
migrate = meshd.opening.migrate
def slowly(connection, at):
    until = time.monotonic() + 12
    while time.monotonic() < until:
        connection.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)"
            " SELECT count(*) FROM n"
        ).fetchall()
    return migrate(connection, at)
meshd.opening.migrate = slowly
sys.exit(main())
"""


def test_a_migration_may_take_longer_than_a_start(service: SystemService) -> None:
    """12 s of 10: while it moves, the manager is asked for more time."""
    service.box.write("/usr/local/lib/slowly.py", SLOWLY)
    program = "/usr/local/bin/meshd-python /usr/local/lib/slowly.py run"
    service.drop_in(
        "slowly.conf", f"[Service]\nExecStart=\nExecStart={program}\nTimeoutStartSec=10s\n"
    )
    service.start()
    assert service.shown("NRestarts") == "0"
    took = int(service.shown("ActiveEnterTimestampMonotonic")) - int(
        service.shown("InactiveExitTimestampMonotonic")
    )
    assert took > 12_000_000  # microseconds


@pytest.mark.slow
def test_an_upgrade_migrates_and_a_downgrade_has_a_way_back(service: SystemService) -> None:
    box = service.box
    box.run("sh", "-c", TO_NEWER)
    gone = service.save("one")
    service.save("two")
    service.start()
    before = service.ask("status")
    follower = service.client().follow(0)
    entries = itertools.takewhile(lambda entry: entry["seq"] < before["seq"], follower)
    told = [entry["seq"] for entry in entries]
    assert told == list(range(1, before["seq"]))
    service.systemctl("stop", service.unit)

    # What changes between the two is found by the first sweep, and told to who follows by id.
    service.save("three")
    box.run("rm", "-r", gone)
    service.drop_in("version.conf", DROP_IN.format("meshd-newer"))
    service.start()
    assert "database_migrated" in service.events()
    copy = f"{service.state}/meshd.db.schema-{KNOWN}"
    assert box.run("stat", "-c", "%U %a", copy).stdout.split() == ["ada", "600"]
    assert service.agents() == {"one": "unreachable", "two": "active", "three": "active"}
    after = service.ask("status")
    assert after["epoch"] == before["epoch"]
    # The same reader of the feed goes on where it was: nothing twice, nothing left out.
    more = list(itertools.islice(follower, after["seq"] - before["seq"]))
    assert [entry["seq"] for entry in more] == list(range(before["seq"] + 1, after["seq"] + 1))
    assert {(entry["kind"], entry["agentId"]) for entry in more} >= {
        ("unreachable", "one"), ("registered", "three")
    }  # fmt: skip
    service.systemctl("stop", service.unit)

    service.drop_in("version.conf", DROP_IN.format("meshd"))
    assert service.systemctl("start", service.unit, check=False).returncode != 0
    # It would refuse again and again: nobody tries.
    assert (service.shown("ExecMainStatus"), service.shown("ActiveState")) == ("5", "failed")
    assert service.shown("NRestarts") == "0"
    said = " ".join(str(one["MESSAGE"]) for one in service.journal())
    assert f"schema {KNOWN + 1}" in said
    back = f"cp {copy} {service.state}/meshd.db"
    assert f"meshd db rebuild --yes, then: {back}" in said
    service.meshd("db", "rebuild", "--yes")
    box.run(*back.split(), user="ada")
    service.start()
    assert service.agents() == {"one": "unreachable", "two": "active", "three": "active"}
    assert service.ask("status")["epoch"] != before["epoch"]
