"""Making a service of meshd, and undoing that.

Owns the files of the service: the unit, its drop-in for the roots, and a first configuration.
Assumes systemd. Promises: doing it again changes nothing; a file that is there and not ours to
write is never written over; root writes nothing below a user's home; data stays unless it is
asked for.
"""

from __future__ import annotations

from meshd.installing.files import Written
from meshd.installing.installation import Installation
from meshd.installing.manager import Manager, environment_of_own_manager
from meshd.installing.removal import Removed, remove
from meshd.installing.target import Target, system_target, user_target

__all__ = [
    "Installation",
    "Manager",
    "Removed",
    "Target",
    "Written",
    "environment_of_own_manager",
    "remove",
    "system_target",
    "user_target",
]
