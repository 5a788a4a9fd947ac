"""Before a database is migrated, a copy of it: the way back to an older meshd.

Owns the copies' names and content. Assumes that nobody else writes. Promises: a copy is whole
and on disk before the first migration, or there is none and nothing is migrated; one that is put
in the database's place begins a new epoch, and takes denials and rules from `policy.json`, where
they are newer.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import apsw

if TYPE_CHECKING:
    from pathlib import Path


def copy_of(path: Path, number: int) -> Path:
    """Return where the copy of a database lies that has this schema."""
    return path.with_name(f"{path.name}.schema-{number}")


def keep_copy(connection: apsw.Connection, path: Path, number: int) -> Path:
    """Copy a database, replacing a copy that an earlier try has left.

    Args:
        connection: to the database, in no transaction.
        path: of the database.
        number: of its schema.

    Raises:
        apsw.Error: it could not be copied, for example because the disk is full.
        OSError: likewise; nothing is left of the try.
    """
    target = copy_of(path, number)
    draft = target.with_name(f"{target.name}.new")
    draft.unlink(missing_ok=True)
    try:
        # Before there is anything in it: nobody else may ever read the copy.
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        connection.execute("VACUUM INTO ?", (str(draft),))
        _let_it_begin_anew(draft)
        _make_durable(draft)
        draft.replace(target)
        _make_durable(target.parent)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return target


def way_back(path: Path, number: int) -> str:
    """Return what an operator can do whose meshd knows no schema beyond `number`."""
    copy = copy_of(path, number)
    begin = "start the newer meshd again, or go back: meshd db rebuild --yes"
    if copy.exists():
        return f"{begin}, then: cp {copy} {path}"
    return f"{begin}; the next start builds the registry from the files"


def _let_it_begin_anew(path: Path) -> None:
    """Take the epoch out: whoever follows the log must not take other entries for its next."""
    connection = apsw.Connection(str(path))
    try:
        if connection.table_exists("main", "meta"):
            connection.execute("DELETE FROM meta WHERE key = 'epoch'")
    finally:
        connection.close()


def _make_durable(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
