"""The one exception tree of meshd.

Owns every exception that meshd raises on purpose. Each class carries the code that an
answer shows and the exit code of the command line, so that a surface translates an error
without knowing which one it is. A message says what is wrong; a hint says what to do.
"""

from __future__ import annotations


class MeshdError(Exception):
    """Something meshd could not do.

    Attributes:
        code: stable word for programs, shown in JSON answers.
        exit_code: what the command line exits with (design: §Surfaces, exit codes).
        message: what is wrong, one sentence.
        hint: what to do about it, or None when nothing useful can be said.
    """

    code = "failed"
    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class NotFoundError(MeshdError):
    """The agent, path or root that was named is not known."""

    code = "not-found"
    exit_code = 3


class NoDaemonError(MeshdError):
    """No daemon answers on the socket."""

    code = "no-daemon"
    exit_code = 4


class ConfigError(MeshdError):
    """The configuration is not valid; nothing of it was applied."""

    code = "invalid-config"
    exit_code = 5


class InvalidManifestError(MeshdError):
    """A manifest is not valid."""

    code = "invalid-manifest"
    exit_code = 5


class BadRequestError(MeshdError):
    """What was asked cannot be meant: a key, a value or a combination that makes no sense."""

    code = "bad-request"
    exit_code = 2


class ConflictError(MeshdError):
    """Somebody else changed it meanwhile; nothing of this call was kept."""

    code = "conflict"


class DuplicateError(MeshdError):
    """Another path holds the id already."""

    code = "duplicate"


class LimitError(MeshdError):
    """A ceiling of `[limits]` leaves no room for another agent."""

    code = "limit"


class OutOfScopeError(MeshdError):
    """The path lies in a root, and is not scanned: denied, excluded, too deep, or no directory."""

    code = "out-of-scope"


class NotWritableError(MeshdError):
    """The files of a project cannot be changed; they are as they were."""

    code = "not-writable"


class BusyError(MeshdError):
    """It cannot be done now, and may be in a moment."""

    code = "busy"


class GoneError(MeshdError):
    """The change log cannot go on from where the caller is.

    Its entries are no longer kept, or are those of a database that was rebuilt. The caller
    reads the registry anew, and follows from the `epoch` and `seq` of its status.
    """

    code = "gone"


class StillLiveError(MeshdError):
    """The agent is live; its row would come back at the next look."""

    code = "still-live"


class PermissionRefusedError(MeshdError):
    """The caller may not do this."""

    code = "permission"
    exit_code = 7


class SystemAgentError(PermissionRefusedError):
    """A system agent is protected from this."""

    code = "system-agent"


class DeadlineError(MeshdError):
    """It did not happen in time."""

    code = "timeout"
    exit_code = 8


class StoreError(MeshdError):
    """The database could not do what was asked; nothing of the batch was written."""

    code = "store"


class ForeignDatabaseError(StoreError):
    """The database file belongs to another program."""

    code = "foreign-database"
    exit_code = 5


class NewerDatabaseError(StoreError):
    """The database was written by a newer meshd."""

    code = "newer-database"
    exit_code = 5


class DamagedDatabaseError(StoreError):
    """The database file is damaged, emptied or lost."""

    code = "damaged-database"


class DamagedPolicyError(DamagedDatabaseError):
    """What must outlive the database cannot be understood; a person has to say what holds."""

    code = "damaged-policy"
    exit_code = 5


class AlreadyRunningError(MeshdError):
    """Another meshd owns the state directory."""

    code = "already-running"


class StoppingError(MeshdError):
    """The daemon is stopping and takes no more work."""

    code = "stopping"
