"""Removing the service.

Owns what goes and what stays. Promises: only files that an installation writes are removed, and
the registry only when that is said and nobody uses it; a unit that other users need stays, and
so does what somebody changed by hand.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from meshd.errors import AlreadyRunningError
from meshd.installing.files import is_ours
from meshd.opening import LOCK

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from meshd.installing.manager import Manager
    from meshd.installing.target import Target


@dataclass(frozen=True, slots=True)
class Removed:
    """What became of the service.

    Attributes:
        removed: what is gone.
        kept: what is still there.
    """

    removed: tuple[Path, ...]
    kept: tuple[Path, ...]


def remove(manager: Manager, *, data: bool) -> Removed:
    """Stop the service and remove its files; doing it again changes nothing.

    Args:
        manager: of the service's target.
        data: whether the registry goes too.

    Raises:
        MeshdError: there is no systemd, or the service could not be stopped; nothing is removed.
        AlreadyRunningError: the registry is to go, and another daemon uses it.
    """
    target = manager.target
    manager.version()
    if manager.is_active() or manager.is_enabled():
        manager.tell("disable", "--now", target.unit)
    has_data = target.state.is_dir()
    with _unused(target.state) if data and has_data else contextlib.nullcontext():
        removed = _remove_files(manager)
        if data and has_data:
            # In the state directory lies nothing that cannot be built again but denials and rules.
            shutil.rmtree(target.state)
            removed.append(target.state)
    left = (
        target.units / target.template, target.roots_drop_in, target.drop_ins,
        target.config, target.state,
    )  # fmt: skip
    return Removed(tuple(removed), tuple(path for path in left if os.path.lexists(path)))


def _remove_files(manager: Manager) -> list[Path]:
    """Remove what an installation has written, and return that; not what was changed since."""
    target = manager.target
    unit = target.units / target.template
    ours = [target.roots_drop_in]
    catalogue = None if _other_instances(target) else target.catalogue
    if not _other_instances(target):
        ours += [unit, *([catalogue] if catalogue else [])]
    removed = [path for path in ours if is_ours(path)]
    for path in removed:
        path.unlink()
    if target.drop_ins.is_dir() and not any(target.drop_ins.iterdir()):
        target.drop_ins.rmdir()
    if removed:
        manager.tell("daemon-reload")
    if catalogue in removed:
        manager.learn_explanations()
    return removed


@contextlib.contextmanager
def _unused(state: Path) -> Iterator[None]:
    """Keep a registry from being used for the length of a block.

    Unlike the daemon's own way to the lock this writes nothing and follows nothing: root must not
    where a user may have put a link.

    Raises:
        AlreadyRunningError: a daemon uses it.
    """
    try:
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(state / LOCK, flags)
    except OSError:  # without a lock of its own no daemon runs there
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise AlreadyRunningError(
            f"a daemon that is no service uses {state}", hint="stop it first"
        ) from None
    finally:
        os.close(descriptor)


def _other_instances(target: Target) -> list[Path]:
    """Return what shows that other users of the host have the service too."""
    if target.of_user:
        return []
    wanted = target.units.glob("*.wants/meshd@*.service")
    drop_ins = target.units.glob("meshd@*.service.d/roots.conf")
    mine = {target.unit, target.drop_ins.name}
    return [path for path in (*wanted, *drop_ins) if not {path.name, path.parent.name} & mine]
