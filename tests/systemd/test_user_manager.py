"""ada's own meshd, under a real manager of hers: the same life, within a user's limits."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.systemd.service import PROJECTS

if TYPE_CHECKING:
    from tests.systemd.service import UserService

pytestmark = pytest.mark.slow  # each starts services of its own


def test_it_starts_reloads_and_stops_without_root(user_service: UserService) -> None:
    service = user_service
    service.save("one")
    service.start()
    assert service.agents() == {"one": "active"}
    assert service.box.path("/run/user/4711/meshd/meshd.sock").exists()
    assert service.box.path(f"{service.state}/meshd.db").exists()
    service.configure([PROJECTS, "/home/ada/other"])
    service.systemctl("reload", service.unit)
    assert len(service.roots()) == 2
    service.configure([PROJECTS], "[sweep]\nintervall = 3\n")
    assert service.systemctl("reload", service.unit, check=False).returncode != 0
    service.systemctl("stop", service.unit)
    assert service.shown("Result") == "success"


def test_after_kill_9_it_is_back(user_service: UserService) -> None:
    service = user_service
    service.start()
    daemon = service.pid()
    service.save("one")
    service.systemctl("kill", "--signal=KILL", service.unit)
    service.await_ready()
    assert service.pid() != daemon
    assert service.agents() == {"one": "active"}


def test_its_records_are_fields_in_the_journal(user_service: UserService) -> None:
    service = user_service
    service.save("one")
    service.start()
    (record,) = [
        one for one in service.box.journal("AGENT_ID=one", "_UID=4711")
        if one.get("_SYSTEMD_USER_UNIT") == service.unit
        and one["_SYSTEMD_INVOCATION_ID"] == service.shown("InvocationID")
    ]  # fmt: skip
    assert record["MESHD_EVENT"] == "registered"


def test_a_users_sandbox_is_real(user_service: UserService) -> None:
    """Without PrivateUsers= an old manager ignores the rest in silence."""
    service = user_service
    for secret in ("/home/ada/.ssh/id", "/home/ada/.gnupg/key"):
        service.box.write(secret, "secret", user="ada")
    service.save("one")
    forbidden = {
        "write beside the state": "touch /home/ada/elsewhere",
        "write into a root": f"touch {PROJECTS}/file",
        "read ssh keys": "cat /home/ada/.ssh/id",
        "read gnupg keys": "cat /home/ada/.gnupg/key",
        "open an internet socket": "meshd-python -c 'import socket; socket.socket()'",
    }
    allowed = {
        "write its state": f"touch {service.state}/file",
        "read a project": f"cat {PROJECTS}/one/.dork/agent.json",
    }
    answers = service.probe(allowed | forbidden)
    assert answers == dict.fromkeys(allowed, True) | dict.fromkeys(forbidden, False)


def test_a_second_daemon_on_the_same_registry_is_refused(user_service: UserService) -> None:
    service = user_service
    service.start()
    second = service.meshd("run", "--json", check=False)
    assert second.returncode == 1
    assert "already runs" in json.loads(second.stdout)["error"]["message"]
