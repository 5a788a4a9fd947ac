"""What journald has of the service: fields to match by, and nothing that a manifest forged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.systemd.service import PROJECTS

if TYPE_CHECKING:
    from tests.systemd.service import SystemService

pytestmark = pytest.mark.slow  # each starts services of its own

FORGED: Final = "x\nMESHD_EVENT=removed\nPRIORITY=0\n_UID=0"


def test_one_agents_life_is_one_match(service: SystemService) -> None:
    project = service.save("one")
    service.save("two")
    service.start()
    service.save("one", description="changed")
    service.sync()
    service.box.run("rm", "-r", project)
    service.sync()
    records = service.journal("AGENT_ID=one")
    assert [one["MESHD_EVENT"] for one in records] == ["registered", "updated", "unreachable"]
    assert {one["AGENT_PATH"] for one in records} == {project}
    numbers = [int(one["MESHD_SEQ"]) for one in records]
    assert numbers == sorted(set(numbers))
    assert {one["SYSLOG_IDENTIFIER"] for one in records} == {"meshd"}
    assert {one["_SYSTEMD_UNIT"] for one in records} == {"meshd@ada.service"}
    assert {one["PRIORITY"] for one in records} <= {"4", "5", "6"}


def test_a_path_cannot_forge_a_field(service: SystemService) -> None:
    service.save(FORGED)
    service.start()
    records = service.journal("MESHD_EVENT=registered") or service.journal("MESHD_EVENT=invalid")
    (record,) = [one for one in records if "forged" in str(one) or PROJECTS in str(one)]
    assert record["AGENT_PATH"] == f"{PROJECTS}/{FORGED}"
    assert record["PRIORITY"] != "0"
    assert record["_UID"] == "4711"
    assert "removed" not in service.events()
    assert "\n" not in record["MESSAGE"]


def test_errors_are_ranked_as_errors(service: SystemService) -> None:
    service.start()
    service.configure([PROJECTS], "[sweep]\nintervall = 3\n")
    service.systemctl("kill", "--signal=HUP", "--kill-whom=main", service.unit)
    service.box.wait_until(lambda: bool(service.journal("MESHD_EVENT=reload_refused")), "refusal")
    record = service.journal("MESHD_EVENT=reload_refused")[0]
    assert record["PRIORITY"] == "3"
    assert "intervall" in record["MESHD_WHY"]


def test_a_journald_that_stands_still_does_not_hold_the_daemon_up(service: SystemService) -> None:
    """A blocking sender hangs after some 500 records; what is not taken is counted."""
    service.start()
    box = service.box
    box.run("systemctl", "kill", "--signal=STOP", "systemd-journald.service")
    try:
        for number in range(30):
            box.run(
                "sh", "-c", "for n in $(seq 40); do mkdir -p $1/p$2-$n/.dork;"
                " echo broken > $1/p$2-$n/.dork/agent.json; done",
                "sh", PROJECTS, str(number), user="ada",
            )  # fmt: skip
        service.sync()
        assert service.ask("status")["claims"]["invalid"] == 1200
    finally:
        box.run("systemctl", "kill", "--signal=CONT", "systemd-journald.service")
    metrics = service.meshd("metrics").stdout
    dropped = [line for line in metrics.splitlines() if line.startswith("meshd_log_dropped")]
    assert dropped
    assert float(dropped[0].split()[-1]) > 0
