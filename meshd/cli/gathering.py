"""The facts of a diagnosis: what the daemon, its files and the host say.

Owns the gathering, by whatever way is open. Assumes that anything may be missing, refused or
damaged. Promises: nothing is changed, no root is touched while a daemon runs, and what could not
be looked at is named.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshd import __version__
from meshd.diagnosis import Facts, Limits, StateDirectory, Unfinished
from meshd.errors import ConfigError, DamagedDatabaseError, MeshdError, NoDaemonError

if TYPE_CHECKING:
    from meshd.cli.session import Reader, Session
    from meshd.client import Document
    from meshd.config import Settings

_INOTIFY = Path("/proc/sys/fs/inotify")


def gather(session: Session, *, full: bool) -> tuple[Facts, list[str]]:
    """Look at everything there is to look at.

    Args:
        session: says where to look.
        full: check every page and every row of the database.

    Returns:
        The facts, and what could not be looked at.
    """
    unchecked: list[str] = []
    told = _told(session, unchecked)
    settings, problem = _configuration(session)
    answered = "socket" in told
    socket = told.pop("socket", session.sockets()[0])
    facts = Facts(
        now=time.time(),
        user=_user(told.get("status")),
        version=__version__,
        socket=str(socket),
        socket_mode=_socket_mode(socket),
        database=str(session.database),
        configuration_problem=problem,
        sweep_seconds=None if settings is None else settings.sweep.interval,
        backend=None if settings is None else settings.watch.backend,
        root_checks={} if answered else _root_checks(settings),
        limits=Limits(
            _limit("max_user_watches"), _limit("max_user_instances"), _limit("max_queued_events")
        ),
        **told,
    )
    return replace(facts, **_kept(session, facts, unchecked, full=full)), unchecked


def _kept(session: Session, facts: Facts, unchecked: list[str], *, full: bool) -> dict[str, Any]:
    """Return what the files tell that meshd keeps, if they are those of the daemon."""
    directory = session.state_directory
    holder = _holder(directory)
    if facts.running and facts.status is not None and holder != facts.status["pid"]:
        unchecked.append(f"state directory and database: the daemon keeps them not in {directory}")
        return {}
    return {
        "holder": holder,
        "state": _state_directory(directory, unchecked),
        "database_problems": _database_problems(session.database, unchecked, full=full),
    }


def _holder(directory: Path) -> int | None:
    """Return the process that holds the lock of a state directory, None while none does."""
    from meshd.opening import LOCK

    try:
        found = (directory / LOCK).stat()
        locks = Path("/proc/locks").read_text("ascii").splitlines()
    except OSError:
        return None
    # NUMBER: FLOCK ADVISORY WRITE PROCESS MAJOR:MINOR:INODE START END
    held = [line.split() for line in locks if f":{found.st_ino} " in line and " FLOCK " in line]
    # Files on other file systems have the same number; and some tell another device to stat.
    exact = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    held.sort(key=lambda fields: exact not in fields)
    return next((int(fields[4]) for fields in held if fields[4].isdecimal()), None)


def _told(session: Session, unchecked: list[str]) -> dict[str, Any]:
    """Return what the daemon says of itself and its mesh or, while none runs, its database."""
    told: dict[str, Any] = {}
    try:
        client = session.client()
    except NoDaemonError:
        pass
    except MeshdError as error:
        told["refused"] = (error.message, error.hint)
    else:
        with client:
            try:
                return {"socket": client.socket_path, **_documents(client)}
            except MeshdError as error:
                return {"socket": client.socket_path, "refused": (error.message, error.hint)}
    try:
        from meshd.cli.offline import open_database

        with open_database(session.database) as reader:
            told.update(_documents(reader))
    except (MeshdError, OSError):  # what is wrong with the file its own check says
        unchecked.append("agents and claims: no daemon answers, and no database can be read")
    unchecked.append("watching, sweeps and the clock: no daemon answers")
    return told


def _documents(reader: Reader) -> dict[str, Any]:
    return {
        "status": reader.status(),
        "agents": tuple(reader.registry()["agents"]),
        "claims": tuple(reader.claims()["claims"]),
    }


def _configuration(session: Session) -> tuple[Settings | None, str | None]:
    """Return the configuration on disk, or why it would be refused."""
    from meshd.config import load

    try:
        return load(session.config, environ=session.environ), None
    except ConfigError as error:
        return None, error.message


def _user(status: Document | None) -> int:
    """Return the id of the daemon's user, or of our own while none runs."""
    if status is not None and status["pid"] is not None:
        try:
            return Path(f"/proc/{status['pid']}").stat().st_uid
        except OSError:  # it ended meanwhile, or counts its processes by itself
            pass
    return os.geteuid()


def _root_checks(settings: Settings | None) -> dict[str, str | None]:
    """Return, by configured root, why it is sick; a daemon would know better."""
    from meshd.looker.health import examine

    roots = () if settings is None else settings.scan.roots
    return {root: examine(root, None, None).look.reason for root in roots}


def _socket_mode(path: Path) -> int | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return stat.S_IMODE(found.st_mode) if stat.S_ISSOCK(found.st_mode) else None


def _limit(name: str) -> int | None:
    try:
        return int((_INOTIFY / name).read_text("ascii"))
    except (OSError, ValueError):
        return None


def _state_directory(path: Path, unchecked: list[str]) -> StateDirectory | None:
    try:
        found = path.stat()
        free = shutil.disk_usage(path).free
    except FileNotFoundError:
        return None
    except OSError as error:
        unchecked.append(f"the state directory {path}: {error.strerror}")
        return None
    try:
        names = sorted(os.listdir(path))  # noqa: PTH208 - names, not paths
    except OSError as error:
        unchecked.append(f"what lies in {path}: {error.strerror}")
        names = []
    return StateDirectory(
        str(path),
        found.st_uid,
        stat.S_IMODE(found.st_mode),
        free,
        tuple(name for name in names if _is_set_aside(name)),
        *_policy(path, unchecked),
    )


def _is_set_aside(name: str) -> bool:
    return ".corrupt-" in name and not name.endswith(("-wal", "-shm"))


def _policy(directory: Path, unchecked: list[str]) -> tuple[str | None, tuple[Unfinished, ...]]:
    """Return why the mirror of the policy cannot be understood, and what it says is unfinished."""
    from meshd.opening import POLICY
    from meshd.policy import PolicyFile

    policy = None
    try:
        policy = PolicyFile(directory / POLICY).load()
    except DamagedDatabaseError as error:
        return error.message, ()
    except MeshdError as error:
        unchecked.append(error.message)
    intents = (policy and policy.intents) or ()
    return None, tuple(Unfinished(one.path, one.left, one.created_at) for one in intents)


def _database_problems(
    database: Path, unchecked: list[str], *, full: bool
) -> tuple[str, ...] | None:
    from meshd.cli.soundness import examine_database, examine_quickly

    try:
        if not database.exists():
            unchecked.append(f"the database: there is none at {database}")
            return None
        check = examine_database if full else examine_quickly
        return tuple(check(database).problems)
    except PermissionError as error:
        unchecked.append(f"the database {database}: {error.strerror}")
        return None
    except (MeshdError, OSError) as error:
        return (str(error),)
