"""How the process keeps its memory.

Owns what the garbage collector is told of, and when memory goes back to the system. Promises:
what stays is not passed over again and again, which stops every thread; and neither what only an
import needed stays, nor a life of the daemon that ended with its database.
"""

from __future__ import annotations

import ctypes
import gc
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

YOUNG_OBJECTS: Final = (50_000, 10, 1_000)
"""How much new is made before the garbage collector looks at it, at what it looked at once, and
at everything. Little here is cyclic and hardly any of it lives long, whereas directories and
rows live long and are not garbage."""


def prepare() -> None:
    """Set the collector for a process that makes much and drops nearly all of it."""
    gc.set_threshold(*YOUNG_OBJECTS)


def settle(give_back: Callable[[], None] = lambda: None) -> None:
    """Take all there is for what stays, and give back to the system what nobody holds.

    By itself the allocator of glibc keeps what an import has freed.

    Args:
        give_back: frees what others keep for themselves, and need not.
    """
    give_back()
    gc.freeze()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def let_go() -> None:
    """Free what was taken for what stays and is held by nobody any more."""
    gc.unfreeze()
    gc.collect()
