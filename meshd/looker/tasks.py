"""What a looker may be asked to do in its root, besides looking and walking.

Owns the form of a task: a value that is called with the open root, here or in the worker
process. Promises nothing of what a task does; each says that itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from meshd.looker.look import OpenRoot

Answer_co = TypeVar("Answer_co", covariant=True)


class Task(Protocol[Answer_co]):
    """Something to do in a root, in one go.

    A task and its answer cross to the worker process, so both can be pickled. It keeps no
    descriptor when it returns, takes less than the deadline of one request, and tells what goes
    wrong in its answer; an OSError that escapes it is the root's, as RootLostError.
    """

    def __call__(self, root: OpenRoot) -> Answer_co:
        """Do it."""
        ...
