"""`meshd db`: check, back up and rebuild the database.

Owns what an operator may do to the file itself. Promises: a check and a backup disturb no
running daemon, a backup overwrites nothing, and a rebuild deletes nothing and loses no denial.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from meshd.cli.asking import require_agreement
from meshd.cli.group import Group
from meshd.cli.output import print_json, print_line, print_note
from meshd.cli.session import current_session
from meshd.errors import DamagedDatabaseError, MeshdError, NotFoundError, StoreError

if TYPE_CHECKING:
    import apsw

    from meshd.cli.session import Session

_REBUILD_HINT = "stop the daemon and start it again: it keeps the file and builds a new one"


@click.group(cls=Group)
def db() -> None:
    """Check, back up or rebuild the database."""


@db.command
def check() -> int:
    """Check the database, every row of it; exit 1 if it is damaged."""
    from meshd.cli.soundness import examine_database

    session = current_session()
    database = _existing(session)
    report = examine_database(database)
    if session.as_json:
        print_json(
            {
                "database": str(database),
                "ok": not report.problems,
                "condition": report.condition,
                "rows": report.rows,
                "problems": report.problems,
            }
        )
    elif report.problems:
        for problem in report.problems:
            print_line(problem)
        print_note(f"hint: {_REBUILD_HINT}")
    else:
        counts = ", ".join(f"{count} {table}" for table, count in report.rows.items())
        print_line(f"ok: {database} ({counts})")
    return DamagedDatabaseError.exit_code if report.problems else 0


@db.command
@click.argument("file", type=click.Path(path_type=Path))
def backup(file: Path) -> None:
    """Write a copy of the database to FILE, which must not exist; a daemon may run."""
    session = current_session()
    database = _existing(session)
    _copy(database, file)
    if session.as_json:
        print_json({"database": str(database), "backup": str(file.absolute())})
    else:
        print_line(f"backed up: {file.absolute()}")


@db.command
@click.option("--yes", is_flag=True, help="Do not ask.")
def rebuild(yes: bool) -> None:
    """Put the database aside, so that the next start builds a new one from the manifests.

    Denials, rules and who holds a contested id are taken over from policy.json; the change
    log and heartbeats begin anew.
    """
    session = current_session()
    database = _existing(session)
    if not yes:
        require_agreement(f"Put {click.format_filename(database)} aside?")
    moved = [str(path) for path in _put_aside(database)]
    if session.as_json:
        print_json({"database": str(database), "moved": moved})
    else:
        for path in moved:
            print_line(f"moved to: {path}")
        print_note("the next start builds a new database: meshd run")


def _existing(session: Session) -> Path:
    database = session.database
    if not database.exists():
        raise NotFoundError(
            f"there is no database {database}", hint="the first meshd run DIR makes it"
        )
    return database


def _copy(database: Path, file: Path) -> None:
    """Copy the database page by page into a file of our own making.

    Raises:
        StoreError: the file exists, or the copy failed; then nothing is left of it.
    """
    import apsw

    from meshd.store.connection import open_reading

    try:
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        raise StoreError(f"{file} exists", hint="name a file that does not") from None
    try:
        with (
            contextlib.closing(open_reading(database)) as source,
            contextlib.closing(apsw.Connection(str(file))) as target,
        ):
            _copy_pages(source, target)
    except BaseException as error:
        file.unlink()
        if isinstance(error, apsw.Error):
            raise StoreError(
                f"cannot copy {database}: {error}", hint="see meshd db check"
            ) from error
        raise


def _copy_pages(source: apsw.Connection, target: apsw.Connection) -> None:
    with target.backup("main", source, "main") as copying:
        copying.step()  # all pages at once: a reader of the log holds nobody up
    target.pragma("journal_mode", "delete")  # a copy is one file, with no log beside it
    if target.execute("PRAGMA quick_check(1)").get != "ok":
        raise StoreError("the copy is damaged, and so is the database", hint="see meshd db check")


def _put_aside(database: Path) -> list[Path]:
    """Rename the database, with the state directory locked.

    Raises:
        AlreadyRunningError: a daemon uses it.
        DamagedDatabaseError: `policy.json` cannot be understood.
        MeshdError: there is no `policy.json`, so that the denials would be lost.
    """
    from meshd.clock import SystemClock, timestamp
    from meshd.opening import POLICY, locked
    from meshd.policy import PolicyFile
    from meshd.store.connection import quarantine

    with locked(database.parent):
        policy = database.with_name(POLICY)
        if PolicyFile(policy).load() is None:
            raise MeshdError(
                f"{policy} is missing, and with it what a rebuild must not lose",
                hint="start the daemon once: it writes the file from the database",
            )
        stamp = timestamp(SystemClock().wall_ns()).replace(":", "").replace(".", "-")
        return quarantine(database, stamp)
