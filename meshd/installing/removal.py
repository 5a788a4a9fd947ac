"""Removing the service.

Owns what goes and what stays. Promises: only files that an installation writes are removed, and
the registry only when that is said; a unit that other users need stays.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
        MeshdError: the service could not be stopped.
    """
    target = manager.target
    if manager.is_active() or manager.is_enabled():
        manager.tell("disable", "--now", target.unit)
    unit = target.units / target.template
    ours = [target.roots_drop_in]
    if not _other_instances(target):
        ours.append(unit)
    removed = [path for path in ours if path.is_file()]
    for path in removed:
        path.unlink()
    if target.drop_ins.is_dir() and not any(target.drop_ins.iterdir()):
        target.drop_ins.rmdir()
    if removed:
        manager.tell("daemon-reload")
    if data and target.state.is_dir():
        # In the state directory lies nothing that cannot be built again but denials and rules.
        shutil.rmtree(target.state)
        removed.append(target.state)
    left = (unit, target.drop_ins, target.config, target.state)
    return Removed(tuple(removed), tuple(path for path in left if path.exists()))


def _other_instances(target: Target) -> list[Path]:
    """Return what shows that other users of the host have the service too."""
    if target.of_user:
        return []
    wanted = target.units.glob("*.wants/meshd@*.service")
    drop_ins = target.units.glob("meshd@*.service.d/roots.conf")
    mine = {target.unit, target.drop_ins.name}
    return [path for path in (*wanted, *drop_ins) if not {path.name, path.parent.name} & mine]
