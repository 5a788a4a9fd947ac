"""What the README says of the service happens as shown, under a real systemd."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.system.daemon import REPOSITORY
from tests.test_readme import Block, assert_printed, steps

if TYPE_CHECKING:
    from tests.systemd.service import UserService


def service_blocks() -> list[Block]:
    text = (REPOSITORY / "README.md").read_text("utf-8")
    found = re.findall(r"^```service\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block("service", block) for block in found]


@pytest.mark.slow
def test_the_service_lives_as_the_readme_shows(user_service: UserService) -> None:
    """Ada has one project, and no more than what the README takes for granted."""
    service, box = user_service, user_service.box
    box.run("rm", "-rf", service.config, f"{service.units}/meshd.service", service.state)
    service.systemctl("daemon-reload")
    example = (REPOSITORY / "examples/checkout/.dork/agent.json").read_text("utf-8")
    box.write("/home/ada/projects/checkout/.dork/agent.json", example, user="ada")
    box.run("mkdir", "-p", "/home/ada/work", user="ada")
    for block in service_blocks():
        for command, shown in steps(block):
            done = box.run("bash", "-c", f"{command} 2>&1", user="ada")
            assert_printed(command, shown, done.stdout)
            if command.startswith("meshd install"):
                service.await_ready()
                box.wait_until(lambda: "agents" in service.shown("StatusText"), "figures")
    box.run("rm", "-f", service.config)
