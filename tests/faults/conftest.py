"""What the fault suite shares with the tests of the whole program: a home, a root, mounts."""

from __future__ import annotations

from tests.system.conftest import home, mount, root

__all__ = ["home", "mount", "root"]
