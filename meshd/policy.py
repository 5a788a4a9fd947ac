"""`policy.json`: what the disk does not say, kept beside the database (R1).

Owns the file that lets a rebuild fail closed: denials, explicit rules, which path held an id
that several claim, and what is unfinished in the files of projects. Promises: the file is
replaced atomically and is on disk before whoever asked for the change hears of it; an equal
policy writes nothing.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from meshd.core.model import Denial
from meshd.errors import DamagedPolicyError, StoreError
from meshd.store.intents import Intent

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

VERSION = 1
_MOST_ROWS: Final = 2**62


@dataclass(frozen=True, slots=True)
class Policy:
    """What must survive the loss of the database.

    Attributes:
        epoch: name of the database's life this was mirrored from.
        denials: paths left alone.
        rules: explicit rules as (source, target, action, created_at).
        incumbents: by id, the path that holds an id which several claim.
        intents: changes of files that are not finished; None in a file older than them.
    """

    epoch: str
    denials: tuple[Denial, ...] = ()
    rules: tuple[tuple[str, str, str, str], ...] = ()
    incumbents: Mapping[str, str] = field(default_factory=dict)
    intents: tuple[Intent, ...] | None = ()


class PolicyFile:
    """The file itself. Used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written: str | None = None

    def load(self) -> Policy | None:
        """Read the policy; None when the file does not exist.

        Raises:
            DamagedDatabaseError: it exists and cannot be understood.
            StoreError: it cannot be read, which says nothing of what is in it.
        """
        try:
            text = self.path.read_text("ascii")
            policy = _from_document(json.loads(text))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(
                f"cannot read {self.path}: {error.strerror}",
                hint="see that it is a file and that meshd may read it",
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DamagedPolicyError(
                f"{self.path} cannot be understood",
                hint="put back a copy of it, or delete it to give up its denials and rules",
            ) from error
        self._written = text
        return policy

    def save(self, policy: Policy) -> bool:
        """Replace the file when the policy differs from it; return whether it did.

        Raises:
            OSError: it could not be made durable; the file may be the old one or the new one.
        """
        text = json.dumps(_to_document(policy), indent=1, sort_keys=True) + "\n"
        if text == self._written:
            return False
        temporary = self.path.with_suffix(".tmp")
        descriptor = os.open(
            temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path)
        directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        self._written = text
        return True


def _to_document(policy: Policy) -> dict[str, Any]:
    return {
        "version": VERSION,
        "epoch": policy.epoch,
        "denied": [
            {
                "path": denial.path,
                "reason": denial.reason,
                "denier": denial.denier,
                "createdAt": denial.created_at,
            }
            for denial in policy.denials
        ],
        "rules": [
            {"source": source, "target": target, "action": action, "createdAt": created_at}
            for source, target, action, created_at in policy.rules
        ],
        "incumbents": dict(policy.incumbents),
        "unfinished": [
            {
                "id": intent.number,
                "kind": intent.kind,
                "path": intent.path,
                "document": dict(intent.document),
                "createdAt": intent.created_at,
            }
            for intent in policy.intents or ()
        ],
    }


def _from_document(document: dict[str, Any]) -> Policy:
    """Build a policy from JSON, so strictly that a rebuild never fails on what it is given."""
    if document["version"] != VERSION:
        raise ValueError("a version this meshd does not know")
    return Policy(
        epoch=_text(document["epoch"]),
        denials=tuple(
            Denial(
                _path(one["path"]),
                None if one["reason"] is None else _text(one["reason"]),
                _text(one["denier"]),
                _text(one["createdAt"]),
            )
            for one in document["denied"]
        ),
        rules=tuple(
            (
                _text(one["source"]),
                _text(one["target"]),
                _action(one["action"]),
                _text(one["createdAt"]),
            )
            for one in document["rules"]
        ),
        incumbents={key: _path(value) for key, value in document["incumbents"].items()},
        intents=_intents(document.get("unfinished")),
    )


def _intents(listed: list[dict[str, Any]] | None) -> tuple[Intent, ...] | None:
    if listed is None:
        return None
    return tuple(
        Intent(
            _number(one["id"]),
            _text(one["kind"]),
            _path(one["path"]),
            {_text(key): value for key, value in one["document"].items()},
            _text(one["createdAt"]),
        )
        for one in listed
    )


def _number(value: object) -> int:
    if not isinstance(value, int) or not 0 < value < _MOST_ROWS:
        raise TypeError("not a number of a row")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    value.encode()  # the database takes no lone surrogates: ValueError
    return value


def _path(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a path")
    os.fsencode(value)  # surrogates stand for bytes that are not UTF-8, and for nothing else
    return value


def _action(value: object) -> str:
    if value not in ("allow", "deny"):
        raise ValueError("not an action")
    return _text(value)
