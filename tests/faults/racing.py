"""What a hostile user does while the daemon looks: again and again, as fast as it goes."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_EXCHANGE: Final = 2  # RENAME_EXCHANGE of renameat2(2)
_HERE: Final = -100  # AT_FDCWD
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


class Turns:
    """How often something was done."""

    count = 0


@contextlib.contextmanager
def over_and_over(turn: Callable[[], object]) -> Iterator[Turns]:
    """Do something in a thread, without a pause, for as long as the context lasts."""
    turns, stop = Turns(), threading.Event()

    def run() -> None:
        while not stop.is_set():
            turn()
            turns.count += 1

    thread = threading.Thread(target=run, name="racer")
    thread.start()
    try:
        yield turns
    finally:
        stop.set()
        thread.join()


def exchange(one: Path, other: Path) -> None:
    """Swap two names at one instant.

    Raises:
        OSError: what the kernel says.
    """
    if _LIBC.renameat2(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(one))
