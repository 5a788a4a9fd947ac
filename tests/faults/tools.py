"""What a fault needs of the machine: root, and the tools that provoke it.

Owns the reasons for which a fault cannot be provoked. Promises: each is printed with the skip;
where `.ci/run` has installed its tools and is root, none of them holds.
"""

from __future__ import annotations

import os
import shutil

import pytest

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts, owners, devices")
"""For tests that change what only root may change."""


def needs_tool(command: str) -> pytest.MarkDecorator:
    """Skip a test on a machine that lacks a command, and name the command."""
    return pytest.mark.skipif(shutil.which(command) is None, reason=f"needs {command}")
